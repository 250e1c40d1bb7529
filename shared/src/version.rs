//! Versions of the protocol and of the programs, and the daemon's greeting.
//!
//! The daemon speaks first and lists the protocol versions that it understands. Every request names the version that it
//! is written in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorKind};

/// Protocol version of the types in this crate.
pub const PROTOCOL: u32 = 1;

/// Version of the programs.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// First line of the daemon on each connection: `{"hello":{"versions":[1],"daemon":"0.1.0"}}`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Body of the greeting.
    pub hello: Hello,
}

/// Versions of the daemon.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions that the daemon understands.
    pub versions: Vec<u32>,
    /// Version of the program.
    pub daemon: String,
    /// True if polkit or macOS asks a person for a guarded request of this client ([`crate::presence`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
}

impl Greeting {
    /// Greeting of this release to a client whose guarded requests are asked about, or not.
    pub fn ours(asks: bool) -> Self {
        Self {
            hello: Hello {
                versions: vec![PROTOCOL],
                daemon: PROGRAM.to_owned(),
                asks,
            },
        }
    }
}

/// Checks the field `v` of a request.
///
/// # Errors
/// [`ErrorKind::UnsupportedVersion`] for a number other than [`PROTOCOL`]; [`ErrorKind::Invalid`] without a number.
pub(crate) fn check(version: Option<&Value>) -> Result<(), ErrorBody> {
    match version.and_then(Value::as_u64) {
        Some(number) if number == u64::from(PROTOCOL) => Ok(()),
        Some(number) => Err(ErrorBody::new(
            ErrorKind::UnsupportedVersion,
            format!("the request is in version {number} of the protocol; this daemon speaks version {PROTOCOL}"),
        )
        .hint("install regauthctl and regauthd of the same release")),
        None => Err(ErrorBody::new(
            ErrorKind::Invalid,
            "the request has no field `v`, the protocol's version",
        )),
    }
}
