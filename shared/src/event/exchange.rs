//! Content of the events about a request: the client, the request and its answer.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// A request and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchange {
    /// Registry whose scope covers the request; absent outside of every scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryName>,
    /// Host and port of the request, or of a refused CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Client that sent it.
    pub client: Client,
    /// Operation, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path without its query, cut at [`MAX_PATH`] bytes: a cut one ends with `…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Status code that the client got; absent if it left before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Code of the refusal, as in the header `regauth-error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Generation of the credential that the request carried; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Bytes of the request's body.
    #[serde(default)]
    pub bytes_up: u64,
    /// Bytes of the answer's body that the client has taken.
    #[serde(default)]
    pub bytes_down: u64,
    /// Microseconds from the request's head to the end of the answer.
    #[serde(default)]
    pub total_us: u64,
    /// Microseconds from the request's head to the head of the registry's answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// Microseconds of [`Exchange::first_byte_us`] that regauthd took itself, before the request was on its way. The
    /// remainder is the network's and the registry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_us: Option<u64>,
    /// True if the connection to the registry has carried an earlier request; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<bool>,
}

/// Client of a request, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Client {
    /// Number of the user on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Address of a client on another machine, or one whose user the kernel does not name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Id of the grant that the client has shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Workload whose token the client has shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Process that holds the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Path of the process's executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Path of its parent's executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Working folder of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Workload: a CI job, a pod or a service, by the token that an OpenID provider has signed for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Workload {
    /// Issuer of the token.
    pub issuer: String,
    /// Its subject.
    pub subject: String,
    /// Repository of a CI job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// Effect of a request on the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}
