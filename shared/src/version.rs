//! How an older and a newer program talk to each other.
//!
//! The daemon speaks first and lists the versions it knows; every request says which one it is written in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorKind};

/// The version of the protocol that these types are.
pub const PROTOCOL: u32 = 1;

/// The version of the programs.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// The daemon's first line: `{"hello":{"versions":[1],"daemon":"0.1.0"}}`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The greeting proper.
    pub hello: Hello,
}

/// What the daemon says of itself before it is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol versions that it understands.
    pub versions: Vec<u32>,
    /// Its own version.
    pub daemon: String,
}

impl Greeting {
    /// The greeting of this very version.
    pub fn ours() -> Self {
        Self {
            hello: Hello {
                versions: vec![PROTOCOL],
                daemon: PROGRAM.to_owned(),
            },
        }
    }
}

/// Checks the `v` of a request.
///
/// # Errors
/// [`ErrorKind::UnsupportedVersion`] unless it is [`PROTOCOL`].
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
