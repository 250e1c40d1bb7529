//! Handover of a user's registries and tokens to a guarded daemon.
//!
//! `regauthd --hand-over`, run as the user, writes one [`HandOver`] a line to a pipe, the last one [`HandOver::End`]. It then
//! reads what the guarded daemon has taken over, one a line: the name of a registry, or [`PROXY_PASSWORD`]. It deletes that
//! from the user's store, and writes the number of lines. No line is ever shown or logged: it may hold a token.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;
use crate::request::{AddRegistry, SetUpstream};

/// One line of a handover.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HandOver {
    /// Registry that the guarded daemon can serve.
    Registry {
        /// Request that adds it, with its token.
        request: Box<AddRegistry>,
        /// Contents of its `ca-file`, which the guarded daemon may not be able to read.
        roots: Option<String>,
    },
    /// Registry that stays with the user.
    Left {
        /// Name of the registry.
        name: RegistryName,
        /// Reason, as the end of a sentence about the registry.
        reason: String,
    },
    /// Way to other hosts, if the configuration has one.
    Upstream {
        /// Request that sets it.
        request: SetUpstream,
        /// Contents of the global `ca-file`.
        roots: Option<String>,
    },
    /// End of the list.
    End,
}

/// Answer that names the corporate proxy's password.
pub const PROXY_PASSWORD: &str = "upstream:proxy";
