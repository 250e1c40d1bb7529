//! Answers of the daemon to requests that it carried out.
//!
//! No type here can hold a registry's secret: [`crate::Secret`] has no `Serialize`. The one confidential value is
//! [`GrantUrl`], which the daemon shows once so that a person can hand it to a client.
//!
//! Times are RFC 3339 in UTC. A later release may add fields; readers ignore fields that they do not know.

mod access;
mod configuration;
mod daemon;
mod registry;
mod store;
mod token;
mod traffic;

pub use access::{GrantList, GrantUrl, GrantView, Granted, Revoked, WritesChanged};
pub use configuration::{ConfigurationChange, ConfigurationChanged, Definition, Exported};
pub use daemon::{
    AuditFiles, AuditView, LogLevels, Metrics, Problem, Reloaded, SocketOrigin, Sockets, Status, Stopping,
    UpstreamProxy, UpstreamSet, Watching,
};
pub use registry::{
    CredentialState, CredentialView, OfferedLocation, RegistryAdded, RegistryChecked, RegistryList, RegistryProblem,
    RegistryRemoved, RegistryView, RequestFailure, SourceFailure,
};
pub use store::{StoreMoved, StoreMoving, StoreShown, StoreView, Unlocked};
pub use token::{DeviceLogin, DeviceLoginState, LoggedOut, Rotated, TokenComparison, Verdict, VerdictResult, Verified};
pub use traffic::{
    ClientTraffic, Histogram, LastRefusal, NamedCount, RegistryTraffic, RequestCount, Traffic, WorkloadTraffic,
};
