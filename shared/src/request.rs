//! What `regauthctl` asks of the daemon: one internally tagged JSON object a line.
//!
//! `{"v":1,"method":"rotate","name":"corp","token":"…"}`. Unknown methods and fields are errors that name them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorKind};
use crate::name::RegistryName;
use crate::secret::{self, Secret};
use crate::version;

/// Everything that can be asked over the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Request {
    /// Adds a registry and serves it at once. Answer: [`crate::response::RegistryAdded`].
    AddRegistry(Box<AddRegistry>),
    /// Forgets a registry and deletes its secret. Answer: [`crate::response::RegistryRemoved`].
    RemoveRegistry(ByName),
    /// Makes a registry cover more. Answer: [`crate::response::RegistryView`].
    AddScope(AddScope),
    /// All registries. Answer: [`crate::response::RegistryList`].
    List(Nothing),
    /// One registry. Answer: [`crate::response::RegistryView`].
    Show(ByName),
    /// Replaces a registry's token. Answer: [`crate::response::Rotated`].
    Rotate(Rotate),
    /// Asks registries whether their tokens work. Answer: [`crate::response::Verified`].
    Verify(Verify),
    /// Opens a registry for writes for a while. Answer: [`crate::response::WritesChanged`].
    Allow(Allow),
    /// Closes a registry for writes at once. Answer: [`crate::response::WritesChanged`].
    Deny(ByName),
    /// Lets a client that is not this user's in for a while. Answer: [`crate::response::Granted`].
    Grant(Grant),
    /// All grants. Answer: [`crate::response::GrantList`].
    Grants(Nothing),
    /// Ends a grant at once. Answer: [`crate::response::Revoked`].
    Revoke(Revoke),
    /// What the daemon is doing. Answer: [`crate::response::Status`].
    Status(Nothing),
    /// Reads the configuration and the certificates again. Answer: [`crate::response::Reloaded`].
    Reload(Nothing),
    /// Opens a locked store. Answer: [`crate::response::Unlocked`].
    Unlock(Unlock),
    /// What keeps the secrets. Answer: [`crate::response::StoreShown`].
    Store(Nothing),
    /// Takes every secret to another store. Answer: [`crate::response::StoreMoved`].
    StoreMove(StoreMove),
    /// Whether a registry's token is this one. Answer: [`crate::response::Held`].
    Holds(Holds),
    /// Says or changes how much is logged. Answer: [`crate::response::LogLevels`].
    Log(Log),
    /// Drains and ends the daemon. Answer: [`crate::response::Stopping`].
    Stop(Nothing),
}

impl Request {
    /// The request as one line of the protocol, without the line ending. It may hold a secret.
    ///
    /// # Errors
    /// None that can occur: every type here has a JSON form. The serializer's type has one all the same.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Line {
            v: version::PROTOCOL,
            request: self,
        })
    }

    /// Reads one line of the protocol.
    ///
    /// # Errors
    /// An [`ErrorBody`] to send back: malformed JSON, another version, an unknown method or field. None repeats a value
    /// from the line, since that may be a secret.
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

/// Written directly, not by way of a `Value`: no second copy of a token, and the order of the fields does not depend on
/// serde_json's features.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    #[serde(flatten)]
    request: &'a Request,
}

/// serde quotes string values it did not expect in double quotes or back quotes; field and variant names come in back
/// quotes after the words below. Everything else that is quoted could be a token, and goes.
fn without_values(message: &str) -> String {
    let names_only = ["unknown field", "unknown variant", "missing field", "duplicate field"];
    let ours = ["a registry name is", "the token "];
    if names_only.iter().chain(&ours).any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    message.split(['"', '`']).step_by(2).collect::<Vec<_>>().join("…")
}

/// A request without fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A request about one registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByName {
    /// The registry.
    pub name: RegistryName,
}

/// The fields of `add-registry`. Texts are checked by the daemon, which knows the rules; the command line sends what
/// was typed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddRegistry {
    /// The new registry's name.
    pub name: RegistryName,
    /// `sparse+https://…/` or the `https://….git` URL of a git index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Scopes besides those found in the index's `config.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// `cargo` (default), `git`, `pypi`, `npm` or `generic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `basic`, `bearer` (default), `raw` or a header template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The user name of the `basic` scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// `allow` or `deny` (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<String>,
    /// A PEM file of extra roots for this registry's upstream connections. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Where the token comes from: `store` (default), `env:VARIABLE`, `file:/path`, or a preset such as `google` or
    /// `vault:path=secret/cargo,field=token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A program that prints the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_command: Option<SourceCommand>,
    /// The registry whose credential this one uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_of: Option<RegistryName>,
    /// The token, for the source `store` and no other.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub token: Option<Secret>,
    /// Ask the registry whether it accepts the token before anything is stored.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// A program that prints a token. Texts are checked by the daemon.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceCommand {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// Where the token is in the JSON that it prints (RFC 6901); without it, it prints one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where the time of expiry is in that JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// How long a token lives where the output does not say, as `11h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// How long the program may run, as `20s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Variables of the daemon's environment that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

/// The fields of `add-scope`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddScope {
    /// The registry.
    pub name: RegistryName,
    /// What it covers from now on, too: `https://host/path/`.
    pub scopes: Vec<String>,
}

/// The fields of `rotate`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The registry.
    pub name: RegistryName,
    /// The new token; absent for a registry whose token comes from a file or a program, which is asked again.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub token: Option<Secret>,
    /// Ask the registry whether it accepts the token before the old one is replaced.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// The fields of `verify`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// One registry, or all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RegistryName>,
}

/// The fields of `allow`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// The registry.
    pub name: RegistryName,
    /// For how long writes stay open, in seconds.
    pub seconds: u64,
}

/// The fields of `grant`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The registries that it opens; none means every one, also those that are added later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// Whether it opens writes too.
    #[serde(default)]
    pub write: bool,
    /// For how long, in seconds.
    pub seconds: u64,
}

/// The fields of `revoke`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The grant's id, as `grants` lists it.
    pub id: String,
}

/// The fields of `unlock`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unlock {
    /// The vault's passphrase; absent for a keychain, which asks in its own window.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
    /// The vault's passphrase from now on. A vault that is locked is unlocked first, with `passphrase`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub set_passphrase: Option<Secret>,
}

/// The fields of `store-move`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreMove {
    /// `keychain` or `vault`.
    pub to: String,
    /// Of the vault, where that is where the secrets go and it is under one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
}

/// The fields of `holds`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// The registry.
    pub name: RegistryName,
    /// A token that was found elsewhere.
    #[serde(serialize_with = "secret::expose")]
    pub token: Secret,
}

/// The fields of `log`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How much from now on, until the daemon ends; absent to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
}

/// How much is logged; each level has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What keeps something from working.
    Error,
    /// What will, if nobody looks at it.
    Warn,
    /// What was done.
    Info,
    /// Each connection and why it ended.
    Debug,
    /// The libraries' own.
    Trace,
}

impl LogLevel {
    /// All of them, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
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
    fn never_repeats_a_value() {
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
    fn another_version_is_refused_by_number() {
        let error = Request::from_line(r#"{"v":2,"method":"status"}"#).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedVersion);
        assert!(Request::from_line(r#"{"method":"status"}"#).is_err());
    }
}
