//! Requests from `regauthctl` to the daemon: one internally tagged JSON object per line.
//!
//! `{"v":1,"method":"rotate","name":"corp","token":"…"}`. The daemon rejects unknown methods and fields, and names them.
//! Structs hold text as the person typed it; the daemon parses and checks it.

mod access;
mod configuration;
mod daemon;
mod registry;
mod store;
mod token;
mod traffic;
mod watch;

pub use access::{Allow, Grant, Revoke};
pub use configuration::{ConfigurationText, Export, Reload, ReplaceConfiguration, SetRegistry};
pub use daemon::{Log, LogLevel, Metrics, MetricsFormat, SetUpstream};
pub use registry::{AddRegistry, AddScope, Confirm, SourceCommand};
pub use store::{StoreMove, Unlock};
pub use token::{CompareToken, Rotate, Verify};
pub use traffic::TrafficOf;
pub use watch::Watch;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorKind};
use crate::name::RegistryName;
use crate::version;

/// One request over the control socket; each variant names the type of its answer.
///
/// ```
/// use regauth_shared::Request;
/// use regauth_shared::request::ByName;
///
/// let request = Request::Show(ByName { name: "corp".parse()? });
/// let line = request.to_line()?;
/// assert_eq!(line, r#"{"v":1,"method":"show","name":"corp"}"#);
/// assert!(matches!(Request::from_line(&line), Ok(Request::Show(_))));
///
/// // An error names an unknown field, and never repeats a value: the value may be a token.
/// let error = Request::from_line(r#"{"v":1,"method":"show","name":"corp","pasword":"s3cret"}"#).unwrap_err();
/// assert!(error.message.contains("pasword") && !error.message.contains("s3cret"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Request {
    /// Adds a registry and serves it at once. Answer: [`crate::response::RegistryAdded`].
    AddRegistry(Box<AddRegistry>),
    /// Asks a registry that is to be added what can be known without a token. The fields are those of `add-registry`; a
    /// token is not used. Answer: [`crate::response::RegistryChecked`].
    CheckRegistry(Box<AddRegistry>),
    /// Removes a registry and deletes its secret. Answer: [`crate::response::RegistryRemoved`].
    RemoveRegistry(ByName),
    /// Adds scopes to a registry. Answer: [`crate::response::RegistryView`].
    AddScope(AddScope),
    /// Takes in what a configuration adds to what a stored token was given for. Answer: [`crate::response::RegistryView`].
    Confirm(Confirm),
    /// Changes keys of a registry. Answer: [`crate::response::ConfigurationChanged`].
    SetRegistry(SetRegistry),
    /// Replaces the text of the configuration file. Answer: [`crate::response::ConfigurationChanged`].
    ReplaceConfiguration(ReplaceConfiguration),
    /// Reports the definitions of registries, for another person. Answer: [`crate::response::Exported`].
    Export(Export),
    /// Lists all registries. Answer: [`crate::response::RegistryList`].
    List(Nothing),
    /// Shows one registry. Answer: [`crate::response::RegistryView`].
    Show(ByName),
    /// Replaces a registry's token. Answer: [`crate::response::Rotated`].
    Rotate(Rotate),
    /// Deletes a registry's token and keeps the registry. Answer: [`crate::response::LoggedOut`].
    Logout(ByName),
    /// Begins a login with a device code, for a source with the identity `device`. Answer:
    /// [`crate::response::DeviceLogin`].
    DeviceLogin(ByName),
    /// Asks whether the person has confirmed the login. Answer: [`crate::response::DeviceLoginState`].
    DeviceLoginPoll(ByName),
    /// Asks registries whether they accept their tokens. Answer: [`crate::response::Verified`].
    Verify(Verify),
    /// Opens a registry for writes for a limited time. Answer: [`crate::response::WritesChanged`].
    Allow(Allow),
    /// Closes a registry for writes at once. Answer: [`crate::response::WritesChanged`].
    Deny(ByName),
    /// Creates a grant for a client of another user or machine. Answer: [`crate::response::Granted`].
    Grant(Grant),
    /// Lists all grants. Answer: [`crate::response::GrantList`].
    Grants(Nothing),
    /// Ends a grant at once. Answer: [`crate::response::Revoked`].
    Revoke(Revoke),
    /// Reports the daemon's state. Answer: [`crate::response::Status`].
    Status(Nothing),
    /// Reports the counters of the data path. Answer: [`crate::response::Traffic`].
    Traffic(TrafficOf),
    /// Streams events. Answer: [`crate::response::Watching`], then one [`crate::event::Event`] per line until the daemon or
    /// the client ends the connection.
    Watch(Watch),
    /// Opens the files of the audit record. Answer: [`crate::response::AuditFiles`], with the open files.
    AuditFiles(Nothing),
    /// Reports the metrics as text. Answer: [`crate::response::Metrics`].
    Metrics(Metrics),
    /// Writes a company's proxy and roots into the configuration. Answer: [`crate::response::UpstreamSet`].
    SetUpstream(SetUpstream),
    /// Reads the configuration and the certificates again. Answer: [`crate::response::Reloaded`].
    Reload(Reload),
    /// Opens a locked store. Answer: [`crate::response::Unlocked`].
    Unlock(Unlock),
    /// Shows the store and a move in progress. Answer: [`crate::response::StoreShown`].
    Store(Nothing),
    /// Moves every secret to another store. Answer: [`crate::response::StoreMoved`].
    StoreMove(StoreMove),
    /// Compares a token with the registry's present one. Answer: [`crate::response::TokenComparison`].
    #[serde(rename = "holds")]
    CompareToken(CompareToken),
    /// Reports or changes the log level. Answer: [`crate::response::LogLevels`].
    Log(Log),
    /// Drains connections and ends the daemon. Answer: [`crate::response::Stopping`].
    Stop(Nothing),
}

impl Request {
    /// Writes the request as one line of the protocol, without the line ending. The line may hold a secret.
    ///
    /// # Errors
    /// None in practice, since every type here has a JSON form; the serializer's signature has one.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Line {
            v: version::PROTOCOL,
            request: self,
        })
    }

    /// Reads one line of the protocol.
    ///
    /// # Errors
    /// An [`ErrorBody`] for the client: malformed JSON, another version, an unknown method or field. It never repeats a
    /// value from the line, since the value may be a secret.
    pub fn from_line(line: &str) -> Result<Self, ErrorBody> {
        let value: Value = serde_json::from_str(line)
            .map_err(|_| ErrorBody::new(ErrorKind::Invalid, "the request is not one JSON object on one line"))?;
        let Value::Object(mut fields) = value else {
            return Err(ErrorBody::new(ErrorKind::Invalid, "the request is not a JSON object"));
        };
        version::check(fields.remove("v").as_ref())?;
        let method = fields
            .get("method")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        serde_json::from_value(Value::Object(fields)).map_err(|error| {
            ErrorBody::new(
                ErrorKind::Invalid,
                format!("`{method}`: {}", without_values(&error.to_string())),
            )
        })
    }
}

/// Fields of a request that has none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Fields of a request about one registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByName {
    /// Name of the registry.
    pub name: RegistryName,
}

/// A request with its version, as written.
///
/// Serialised directly and not by way of a [`Value`]: no second copy of a token is made, and the order of the fields
/// does not depend on serde_json's features.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    #[serde(flatten)]
    request: &'a Request,
}

/// Removes quoted values from serde's message, since a value may be a token.
///
/// serde puts both unexpected values and the names of fields and variants in quotes. Only messages that begin as below
/// quote names alone and stay as they are.
fn without_values(message: &str) -> String {
    let serde_names = ["unknown field", "unknown variant", "missing field", "duplicate field"];
    let own_messages = ["a registry name is", "the token "];
    let mut safe_starts = serde_names.iter().chain(&own_messages);
    if safe_starts.any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    message.split(['"', '`']).step_by(2).collect::<Vec<_>>().join("…")
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_unknown_field_and_an_unknown_method() {
        let error = Request::from_line(r#"{"v":1,"method":"show","name":"corp","colour":"red"}"#).unwrap_err();
        assert!(error.message.contains("colour"), "{}", error.message);
        let error = Request::from_line(r#"{"v":1,"method":"paint"}"#).unwrap_err();
        assert!(error.message.contains("paint"), "{}", error.message);
    }

    #[test]
    fn errors_never_repeat_a_value() {
        for line in [
            r#"{"v":1,"method":"rotate","name":"corp","token":["canary"]}"#,
            r#"{"v":1,"method":"rotate","name":"corp","token":"canary\nx"}"#,
            r#"{"v":1,"method":"rotate","name":"corp","token":"x","verify":"canary"}"#,
            r#"{"v":1,"method":"rotate","name":"canary!","token":"x"}"#,
            r#"{"v":1,"method":"allow","name":"corp","seconds":"canary"}"#,
            r#"canary"#,
            r#"["canary"]"#,
        ] {
            let error = Request::from_line(line).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn refuses_a_request_of_another_version_or_of_none() {
        let error = Request::from_line(r#"{"v":2,"method":"status"}"#).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedVersion);
        assert!(Request::from_line(r#"{"method":"status"}"#).is_err());
    }
}
