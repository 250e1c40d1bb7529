//! Ready-made commands for programs that issue tokens. A table, and the code that fills it in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::registry::{Command, Output};

/// A command with `{placeholders}`.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Placeholders that a person fills in, each with an example.
    pub keys: &'static [(&'static str, &'static str)],
    /// Values of placeholders that a person leaves out.
    defaults: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
    /// JSON pointers to the token and to its expiry; `None` if the program prints one line.
    json: Option<(&'static str, &'static str)>,
    /// Variables that lead the program to its own login.
    environment: &'static [&'static str],
}

/// Variables that AWS's command line reads.
pub(super) const AWS_VARIABLES: &[&str] = &[
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CA_BUNDLE",
];

/// All presets.
pub(crate) const PRESETS: &[Preset] = &[
    Preset {
        name: "codeartifact",
        keys: &[
            ("domain", r#""corp""#),
            ("owner", r#""123456789012""#),
            ("region", r#""eu-central-1""#),
        ],
        defaults: &[],
        command: &[
            "aws",
            "codeartifact",
            "get-authorization-token",
            "--domain",
            "{domain}",
            "--domain-owner",
            "{owner}",
            "--region",
            "{region}",
            "--output",
            "json",
        ],
        json: Some(("/authorizationToken", "/expiration")),
        environment: AWS_VARIABLES,
    },
    // `gcloud auth print-access-token` prints the same token without its expiry.
    Preset {
        name: "google",
        keys: &[],
        defaults: &[],
        command: &["gcloud", "config", "config-helper", "--format=json"],
        json: Some(("/credential/access_token", "/credential/token_expiry")),
        environment: &[
            "CLOUDSDK_CONFIG",
            "CLOUDSDK_ACTIVE_CONFIG_NAME",
            "CLOUDSDK_PYTHON",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ],
    },
    Preset {
        name: "azure",
        keys: &[("resource", r#""499b84ac-1321-427f-aa17-267ca6975798""#)],
        // Azure DevOps, which serves Azure Artifacts.
        defaults: &[("resource", "499b84ac-1321-427f-aa17-267ca6975798")],
        command: &[
            "az",
            "account",
            "get-access-token",
            "--resource",
            "{resource}",
            "--output",
            "json",
        ],
        // `expires_on` is in seconds since 1970; `expiresOn` beside it is in local time and does not say which.
        json: Some(("/accessToken", "/expires_on")),
        environment: &["AZURE_CONFIG_DIR", "AZURE_EXTENSION_DIR"],
    },
    Preset {
        name: "vault",
        keys: &[("path", r#""secret/cargo""#), ("field", r#""token""#)],
        defaults: &[("field", "token")],
        command: &["vault", "kv", "get", "-field={field}", "{path}"],
        json: None,
        environment: &[
            "VAULT_ADDR",
            "VAULT_NAMESPACE",
            "VAULT_TOKEN",
            "VAULT_CACERT",
            "VAULT_CAPATH",
            "VAULT_CLIENT_CERT",
            "VAULT_CLIENT_KEY",
        ],
    },
    Preset {
        name: "1password",
        keys: &[("reference", r#""op://Private/corp/token""#)],
        defaults: &[],
        command: &["op", "read", "{reference}"],
        json: None,
        environment: &[
            "OP_ACCOUNT",
            "OP_SERVICE_ACCOUNT_TOKEN",
            "OP_CONNECT_HOST",
            "OP_CONNECT_TOKEN",
            "OP_BIOMETRIC_UNLOCK_ENABLED",
        ],
    },
];

/// A preset and a person's values, as config.toml has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetChoice {
    /// The preset's name.
    pub preset: &'static str,
    /// Values by placeholder.
    pub values: BTreeMap<&'static str, String>,
}

impl Preset {
    /// The preset of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Fills the placeholders in.
    ///
    /// # Errors
    /// [`MissingValue`] for the first placeholder without a value.
    pub(crate) fn fill(&'static self, values: BTreeMap<&'static str, String>) -> Result<Command, MissingValue> {
        let mut words: Vec<String> = self.command.iter().map(|word| (*word).to_owned()).collect();
        for (key, example) in self.keys {
            let default = || {
                self.defaults
                    .iter()
                    .find(|(name, _)| name == key)
                    .map(|(_, value)| *value)
            };
            let value = values
                .get(key)
                .map(String::as_str)
                .or_else(default)
                .ok_or(MissingValue {
                    preset: self.name,
                    key,
                    example,
                })?;
            let placeholder = format!("{{{key}}}");
            for (word, template) in words.iter_mut().zip(self.command) {
                if template.contains(&placeholder) {
                    *word = template.replace(&placeholder, value);
                }
            }
        }
        Ok(Command {
            command: words,
            output: match self.json {
                None => Output::Raw,
                Some((token, expires)) => Output::Json {
                    token: token.to_owned(),
                    expires: Some(expires.to_owned()),
                },
            },
            ttl: None,
            timeout: COMMAND_TIMEOUT,
            environment: self.environment.iter().map(|name| (*name).to_owned()).collect(),
            preset: Some(PresetChoice {
                preset: self.name,
                values,
            }),
        })
    }

    /// Parses `key=value,key=value`.
    ///
    /// # Errors
    /// [`InvalidPreset`]; it repeats no value.
    pub(crate) fn parse(&'static self, text: &str) -> Result<Command, InvalidPreset> {
        let mut values = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (given, value) = pair.split_once('=').ok_or(InvalidPreset::NoPair(self.name))?;
            let known = self.keys.iter().find(|(key, _)| *key == given);
            let (key, _) = known.ok_or_else(|| InvalidPreset::UnknownKey(self.name, self.known_keys()))?;
            values.insert(*key, check(value)?.to_owned());
        }
        Ok(self.fill(values)?)
    }

    /// True if each key of `key=value,key=value` is one of this preset's. An exchange of the same name has others.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let mut given = text.split(',').filter_map(|pair| pair.split_once('='));
        given.all(|(given, _)| self.keys.iter().any(|(key, _)| *key == given))
    }

    fn known_keys(&self) -> String {
        match self.keys {
            [] => "none".to_owned(),
            keys => keys.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", "),
        }
    }
}

/// Checks a value for a placeholder.
///
/// # Errors
/// [`InvalidPreset::BadValue`] if it is empty or has a control character.
pub(crate) fn check(value: &str) -> Result<&str, InvalidPreset> {
    if value.is_empty() || value.chars().any(char::is_control) {
        Err(InvalidPreset::BadValue)
    } else {
        Ok(value)
    }
}

/// A placeholder has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{preset}` needs {key}, such as {example}")]
pub struct MissingValue {
    preset: &'static str,
    /// The placeholder.
    pub key: &'static str,
    example: &'static str,
}

/// A preset that cannot be used as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPreset {
    /// Something is missing.
    #[error(transparent)]
    MissingValue(#[from] MissingValue),
    /// Not `key=value`.
    #[error("what follows `{0}:` is not of the form key=value,key=value")]
    NoPair(&'static str),
    /// Not one of its keys.
    #[error("`{0}` does not know one of the keys that follow it; it knows: {1}")]
    UnknownKey(&'static str, String),
    /// Empty, or with a control character.
    #[error("a value must not be empty and must not have control characters")]
    BadValue,
}

/// Time limit of a command, unless the configuration has another.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, text: &str) -> Result<String, String> {
        let command = Preset::find(name).unwrap().parse(text);
        command
            .map(|command| command.command.join(" "))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_preset_becomes_a_command() {
        for (name, text, command) in [
            (
                "codeartifact",
                "domain=corp,owner=123456789012,region=eu-central-1",
                "aws codeartifact get-authorization-token --domain corp --domain-owner 123456789012 --region eu-central-1 \
                 --output json",
            ),
            ("google", "", "gcloud config config-helper --format=json"),
            (
                "azure",
                "",
                "az account get-access-token --resource 499b84ac-1321-427f-aa17-267ca6975798 --output json",
            ),
            (
                "azure",
                "resource=x",
                "az account get-access-token --resource x --output json",
            ),
            ("vault", "path=secret/cargo", "vault kv get -field=token secret/cargo"),
            ("vault", "field=key,path=a", "vault kv get -field=key a"),
            ("1password", "reference=op://a/b/c", "op read op://a/b/c"),
        ] {
            assert_eq!(line(name, text).unwrap(), command);
        }
        assert_eq!(PRESETS.len(), 5);
    }

    #[test]
    fn a_value_is_one_word_and_no_template() {
        let command = Preset::find("vault").unwrap().parse("path={field} x,field=f").unwrap();
        assert_eq!(command.command, ["vault", "kv", "get", "-field=f", "{field} x"]);
    }

    #[test]
    fn a_missing_or_unknown_key_is_named_and_no_value_repeated() {
        for (name, text, error) in [
            (
                "codeartifact",
                "domain=corp",
                "`codeartifact` needs owner, such as \"123456789012\"",
            ),
            (
                "vault",
                "canary",
                "what follows `vault:` is not of the form key=value,key=value",
            ),
            (
                "vault",
                "canary=1",
                "`vault` does not know one of the keys that follow it; it knows: path, field",
            ),
            (
                "google",
                "a=b",
                "`google` does not know one of the keys that follow it; it knows: none",
            ),
            (
                "vault",
                "path=",
                "a value must not be empty and must not have control characters",
            ),
        ] {
            assert_eq!(line(name, text).unwrap_err(), error);
        }
    }
}
