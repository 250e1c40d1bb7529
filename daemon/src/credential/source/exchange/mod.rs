//! Exchanges: services that give a registry's token for an identity. One file a service.
//!
//! [`settings`] reads the keys of a `source` table or flag; [`Mint`] is such a source with every text checked, and
//! [`Minter`] fetches its tokens. [`token_answer`] reads OAuth 2.0's answer, and [`refresh_token`] keeps a replaced refresh
//! token. [`jwt`] and [`sigv4`] sign requests.

pub(crate) mod settings;

mod minter;

mod azure;
mod cloudsmith;
mod codeartifact;
mod device;
mod github_app;
mod google;
mod google_file;
mod jfrog;
mod oauth;
mod vault;

mod jwt;
mod refresh_token;
mod sigv4;
mod token_answer;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::sources::lifetime;
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::identity::Identity;
use crate::credential::source::secret_reference::SecretReference;
use crate::registry::{Command, Kind, Scheme};
pub(crate) use device::{DeviceFlow, LoginPoll, StartedLogin};
use minter::MintContext;
pub(crate) use minter::Minter;
use settings::{InvalidSetting, Key, Settings};

/// Source that mints tokens: an identity and the exchange that takes it, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Mint {
    /// The service.
    pub(crate) exchange: Exchange,
    /// Its settings as written.
    pub(crate) settings: Settings,
    /// The identity.
    pub(crate) identity: Identity,
    /// Audience that the identity is asked for, if not the exchange's usual one.
    pub(crate) audience: Option<String>,
    /// Host of a CI system of one's own, with its port, which may be asked for the identity.
    pub(crate) identity_host: Option<String>,
    /// Longest lifetime of a token.
    pub(crate) ttl: Option<Duration>,
}

/// Service that gives a token for an identity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Exchange {
    /// Any OAuth 2.0 server.
    Oauth(oauth::Oauth),
    /// JFrog Artifactory.
    Jfrog(jfrog::Jfrog),
    /// Cloudsmith.
    Cloudsmith(cloudsmith::Cloudsmith),
    /// HashiCorp Vault or OpenBao.
    Vault(vault::Vault),
    /// AWS CodeArtifact.
    Codeartifact(codeartifact::Codeartifact),
    /// Google Artifact Registry.
    Google(google::Google),
    /// Azure Artifacts.
    Azure(azure::Azure),
    /// GitHub App.
    GithubApp(github_app::GithubApp),
}

/// Exchange as a person configures it.
#[derive(Debug)]
pub(crate) struct ExchangeKind {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its keys.
    pub(crate) keys: &'static [Key],
    build: fn(&Settings) -> Result<Exchange, InvalidSetting>,
}

/// All exchanges.
pub(crate) const EXCHANGES: &[ExchangeKind] = &[
    codeartifact::KIND,
    azure::KIND,
    jfrog::KIND,
    cloudsmith::KIND,
    google::KIND,
    github_app::KIND,
    vault::KIND,
    oauth::KIND,
];

impl ExchangeKind {
    /// The exchange of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        EXCHANGES.iter().find(|kind| kind.name == name)
    }

    /// Checks settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a key that is missing or unusable.
    pub(crate) fn mint(&self, settings: Settings, identity: Identity) -> Result<Mint, InvalidSetting> {
        let exchange = (self.build)(&settings)?;
        if identity != Identity::Found && !exchange.takes_identity() {
            return Err(InvalidSetting::new(
                "identity",
                "this exchange takes none as it is set; remove it",
            ));
        }
        if identity == Identity::Device && exchange.device_flow().is_none() {
            let reason = "this exchange has no login with a code; azure has, and oauth with device-url and client-id";
            return Err(InvalidSetting::new("identity", reason));
        }
        exchange.check_identity(&settings, &identity)?;
        let ttl = settings.text("ttl").map(lifetime).transpose();
        let identity_host = settings.text(IDENTITY_HOST).map(Endpoint::of_host).transpose();
        let identity_host = identity_host.map_err(|reason| InvalidSetting::new(IDENTITY_HOST, reason))?;
        Ok(Mint {
            identity_host: identity_host.map(|endpoint| endpoint.host()),
            exchange,
            identity,
            audience: settings.text("audience").map(str::to_owned),
            ttl: ttl.map_err(|reason| InvalidSetting::new("ttl", reason))?,
            settings,
        })
    }

    /// Parses `key=value,key=value`.
    ///
    /// # Errors
    /// [`InvalidExchange`]; it repeats no value.
    pub(crate) fn parse(&'static self, text: &str) -> Result<Mint, InvalidExchange> {
        let mut settings = Settings::new(self.name);
        let mut identity = Identity::Found;
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (given, value) = pair.split_once('=').ok_or(InvalidExchange::NoPair(self.name))?;
            if given == "identity" {
                let parsed = Identity::from_str(value);
                identity = parsed.map_err(|reason| InvalidSetting::new("identity", reason))?;
                continue;
            }
            let known = self.keys.iter().chain(COMMON_KEYS).find(|key| key.name == given);
            let key = known.ok_or_else(|| InvalidExchange::UnknownKey(self.name, self.known_keys()))?;
            settings.set(key, value)?;
        }
        Ok(self.mint(settings, identity)?)
    }

    fn known_keys(&self) -> String {
        let keys = self.keys.iter().chain(COMMON_KEYS).map(|key| key.name);
        keys.chain(["identity"]).collect::<Vec<_>>().join(", ")
    }
}

impl Exchange {
    /// Login of a person with a code, if the service has one.
    fn device_flow(&self) -> Option<DeviceFlow> {
        match self {
            Self::Oauth(oauth) => oauth.device_flow(),
            Self::Azure(azure) => Some(azure.device_flow()),
            _ => None,
        }
    }

    /// Checks that the identity is of a kind that the exchange takes.
    fn check_identity(&self, settings: &Settings, identity: &Identity) -> Result<(), InvalidSetting> {
        match self {
            Self::Codeartifact(codeartifact) => codeartifact.check_identity(settings, identity),
            _ if *identity == Identity::Aws => Err(InvalidSetting::new("identity", "aws is for codeartifact only")),
            _ => Ok(()),
        }
    }

    /// URLs of the configuration that get the identity. Those in a file of Google's are known when it is read.
    fn endpoints(&self) -> Vec<&Endpoint> {
        match self {
            Self::Oauth(oauth) => oauth.endpoints(),
            Self::Jfrog(jfrog) => vec![jfrog.endpoint()],
            Self::Cloudsmith(cloudsmith) => vec![cloudsmith.endpoint()],
            Self::Vault(vault) => vec![vault.address()],
            Self::Codeartifact(codeartifact) => codeartifact.endpoints(),
            Self::Google(google) => google.endpoints(),
            Self::Azure(azure) => azure.endpoints(),
            Self::GithubApp(app) => vec![app.endpoint()],
        }
    }

    fn takes_identity(&self) -> bool {
        match self {
            Self::Oauth(oauth) => oauth.takes_identity(),
            Self::Google(google) => google.takes_identity(),
            Self::GithubApp(_) => false,
            Self::Jfrog(_) | Self::Cloudsmith(_) | Self::Vault(_) | Self::Codeartifact(_) | Self::Azure(_) => true,
        }
    }
}

impl Mint {
    /// Scheme that the service's registries of this kind want.
    pub(crate) fn usual_scheme(&self, kind: Kind) -> Scheme {
        match &self.exchange {
            Exchange::Codeartifact(_) => codeartifact::Codeartifact::scheme(kind),
            Exchange::Google(_) => google::Google::scheme(kind),
            Exchange::GithubApp(_) => github_app::GithubApp::scheme(kind),
            Exchange::Oauth(_)
            | Exchange::Jfrog(_)
            | Exchange::Cloudsmith(_)
            | Exchange::Vault(_)
            | Exchange::Azure(_) => Scheme::Bearer,
        }
    }

    /// Login of a person with a code, if that is the identity.
    pub(crate) fn device_flow(&self) -> Option<DeviceFlow> {
        (self.identity == Identity::Device)
            .then(|| self.exchange.device_flow())
            .flatten()
    }

    /// True if Google's metadata server gives the token.
    pub(crate) fn asks_metadata_server(&self) -> bool {
        matches!(&self.exchange, Exchange::Google(google) if google.asks_metadata_server())
    }

    /// True if neither the identity nor a setting is a program, a path or a variable of this machine.
    pub(crate) fn is_portable(&self) -> bool {
        let is_portable = matches!(self.identity, Identity::Found | Identity::Of(_) | Identity::Device);
        is_portable && !self.asks_metadata_server() && self.settings.secret_references().next().is_none()
    }

    /// Service of the configuration that is asked without TLS.
    pub(crate) fn plain_endpoint(&self) -> Option<&Endpoint> {
        self.exchange
            .endpoints()
            .into_iter()
            .find(|endpoint| endpoint.is_plain())
    }

    /// Program that prints the identity, if there is one.
    pub(crate) fn command(&self) -> Option<&Command> {
        match &self.identity {
            Identity::Command(command) => Some(command),
            _ => None,
        }
    }

    /// Environment variables with secrets that the configuration names for this source.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        self.secret_references()
            .filter_map(SecretReference::into_variable)
            .collect()
    }

    /// Files with secrets that the configuration names for this source.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.secret_references().filter_map(SecretReference::into_file)
    }

    fn secret_references(&self) -> impl Iterator<Item = SecretReference> {
        let identity = self.identity.secret_reference().cloned();
        identity.into_iter().chain(self.settings.secret_references())
    }
}

/// Name of the exchange and its identity, for `show` and for messages.
impl fmt::Display for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.settings.exchange())?;
        match self.exchange.takes_identity() {
            true => write!(f, " with the identity of {}", self.identity),
            false => Ok(()),
        }
    }
}

/// Flag that names an exchange and cannot be used as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExchange {
    /// A value is missing or unusable.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Not `key=value`.
    #[error("what follows `{0}:` is not of the form key=value,key=value")]
    NoPair(&'static str),
    /// Not one of its keys.
    #[error("`{0}` does not know one of the keys that follow it; it knows: {1}")]
    UnknownKey(&'static str, String),
}

/// Keys of every exchange besides `identity`.
pub(crate) const COMMON_KEYS: &[Key] = &[
    Key::new("audience", r#""https://corp.example""#),
    Key::new(IDENTITY_HOST, r#""github.corp.example""#),
    Key::new("ttl", r#""1h""#),
];

const IDENTITY_HOST: &str = "identity-host";

#[cfg(test)]
mod tests;
