//! Recipes of `regauthctl grant --as`: what a client needs beside the grant, as text and as data.
//!
//! A recipe is made before the grant ([`Plan`]), so a mistake leaves no grant behind, and completed with the grant's URL.
//! [`listener`] finds how a container reaches the daemon, [`variables`] makes the environment, [`container`], [`build`] and
//! [`java`] make commands and files.

use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::response::GrantView;
use serde::Serialize;

use crate::daemon_info::DaemonInfo;
use crate::environment::Variable;
use crate::error;

mod build;
mod container;
mod java;
mod listener;
mod variables;

/// Client that a recipe is for. The variants' docs are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ClientKind {
    /// docker run
    Docker,
    /// podman run
    Podman,
    /// Service of a compose file
    Compose,
    /// devcontainer.json
    Devcontainer,
    /// docker build, by BuildKit's secrets
    Buildx,
    /// buildah build and podman build
    Buildah,
    /// NAME=value lines with all variables, for a shell or a sandbox
    Env,
    /// cargo's variables alone
    Cargo,
    /// Maven, by a settings file
    Maven,
    /// Gradle, by gradle.properties
    Gradle,
    /// Other programs in Java, by a forwarder
    Java,
}

/// Names as the client sees them, where the defaults do not fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Host of the proxy.
    pub(crate) host: Option<String>,
    /// Folder of the bundle and of the trust store for Java.
    pub(crate) bundle_folder: Option<String>,
    /// File for the grant.
    pub(crate) file: Option<PathBuf>,
}

/// Everything about a recipe that is known before the grant.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    client: ClientKind,
    info: &'a DaemonInfo,
    overrides: Overrides,
}

impl<'a> Plan<'a> {
    /// Checks that the recipe can be made.
    ///
    /// # Errors
    /// The daemon has no folder to mount, or a path cannot be expressed.
    pub(crate) fn new(client: ClientKind, info: &'a DaemonInfo, overrides: Overrides) -> Result<Self, ErrorBody> {
        if client.is_container() {
            let folder = info.bundle_folder.as_deref().ok_or_else(|| {
                error::refused("an ephemeral daemon has no folder with the bundle to mount into a container")
                    .hint("start it with REGAUTH_BUNDLE=/FOLDER/ca-bundle.pem, in a folder of its own")
            })?;
            if folder.contains([':', ',', '"', '\n']) {
                return Err(error::refused(format!("a container tool cannot mount {folder}"))
                    .hint("name a path without colon, comma and quote in REGAUTH_BUNDLE"));
            }
        }
        if client.is_build() && overrides.bundle_folder.is_some() {
            return Err(error::usage("--bundle-folder: a build gets the bundle as a secret"));
        }
        let plan = Self {
            client,
            info,
            overrides,
        };
        if client == ClientKind::Maven && plan.bundle().contains(char::is_whitespace) {
            return Err(
                error::usage("MAVEN_OPTS cannot name a trust store whose path has a blank")
                    .hint("copy the bundle's folder, and name the copy with --bundle-folder"),
            );
        }
        Ok(plan)
    }

    /// File for the grant: the given one, or one with a lasting name in the run folder, so that a compose file can name it.
    /// `None`: the settings are printed.
    pub(crate) fn file(&self, grant: &GrantView, run: &std::path::Path) -> Option<PathBuf> {
        if let Some(file) = &self.overrides.file {
            return std::path::absolute(file).ok();
        }
        let ending = self.client.file_ending()?;
        let mut name = self.client.name().to_owned();
        let registries = grant.registries.iter().map(regauth_shared::RegistryName::as_str);
        for registry in registries {
            name = format!("{name}-{registry}");
        }
        if grant.write {
            name += "-write";
        }
        Some(run.join("grants").join(format!("{name}.{ending}")))
    }

    /// Completes the recipe with the grant's URL.
    pub(crate) fn complete(&self, grant: &GrantView, url: &str, file: Option<PathBuf>) -> Recipe {
        match self.client {
            ClientKind::Docker | ClientKind::Podman | ClientKind::Compose | ClientKind::Devcontainer => {
                container::recipe(self, grant, url, file)
            }
            ClientKind::Buildx | ClientKind::Buildah => build::recipe(self, grant, url, file),
            ClientKind::Env | ClientKind::Cargo => variables::recipe(self, grant, url, file),
            ClientKind::Maven => java::maven(self, url, file),
            ClientKind::Gradle => java::gradle(self, url, file),
            ClientKind::Java => java::forwarder(self.info),
        }
    }

    /// Path of the bundle as the client sees it.
    fn bundle(&self) -> String {
        match &self.overrides.bundle_folder {
            Some(folder) => format!("{}/{}", folder.trim_end_matches('/'), self.info.bundle_file_name()),
            None => self.info.bundle.clone(),
        }
    }

    /// Warning that a grant does not restrict the client.
    fn own_user_note(&self) -> Option<String> {
        (self.info.clients == "same-user").then(|| {
            "programs of your own user with this machine's network need no grant, so a grant does not restrict them; \
             `clients = \"grants\"` in config.toml does"
                .to_owned()
        })
    }
}

impl ClientKind {
    fn is_container(self) -> bool {
        let containers = [Self::Docker, Self::Podman, Self::Compose, Self::Devcontainer];
        containers.contains(&self) || self.is_build()
    }

    fn is_build(self) -> bool {
        matches!(self, Self::Buildx | Self::Buildah)
    }

    /// Name of the client on the command line.
    fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Ending of the file with the grant; `None` if the settings are printed by default.
    fn file_ending(self) -> Option<&'static str> {
        match self {
            Self::Docker | Self::Podman | Self::Compose | Self::Devcontainer => Some("env"),
            Self::Buildx | Self::Buildah => Some("sh"),
            Self::Maven => Some("xml"),
            Self::Gradle => Some("properties"),
            Self::Env | Self::Cargo | Self::Java => None,
        }
    }
}

/// Settings and commands for a client of the bearer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Recipe {
    /// Name of the client.
    pub(crate) client: String,
    /// File with the grant, of mode 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// Environment of the client.
    #[serde(serialize_with = "as_object", skip_serializing_if = "Vec::is_empty")]
    pub(crate) variables: Vec<Variable>,
    /// Command line, word by word. A word in capitals stands for the user's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    /// Part of a file of the user's, such as a service of a compose file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snippet: Option<String>,
    /// Facts that the user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// Text of the file.
    #[serde(skip)]
    pub(crate) file_text: String,
    /// Instructions for a person.
    #[serde(skip)]
    pub(crate) text: String,
}

impl Recipe {
    fn new(client: ClientKind) -> Self {
        Self {
            client: client.name(),
            file: None,
            variables: Vec::new(),
            command: Vec::new(),
            snippet: None,
            notes: Vec::new(),
            file_text: String::new(),
            text: String::new(),
        }
    }
}

/// Parses the host of a proxy's URL.
///
/// # Errors
/// Text that is not a host alone.
pub(crate) fn host(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(&format!("http://{text}:1/")).ok();
    let is_host = url.is_some_and(|url| url.as_str() == format!("http://{text}:1/"));
    let is_host = is_host && !text.contains(['@', '/', '?', '#']);
    is_host
        .then(|| text.to_owned())
        .ok_or("expected a host name or an address, without scheme and port")
}

/// Parses a folder of the client's file system.
///
/// # Errors
/// A relative path, the root, or one that the flags of container tools cannot express.
pub(crate) fn client_folder(text: &str) -> Result<String, &'static str> {
    let is_absolute = text.starts_with('/') && !text.trim_end_matches('/').is_empty();
    let is_plain = !text.contains([':', ',', '"', '\'', '$']) && !text.contains(char::is_control);
    (is_absolute && is_plain)
        .then(|| text.to_owned())
        .ok_or("expected an absolute path below / without : , $ or quotes")
}

fn as_object<S: serde::Serializer>(variables: &[Variable], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(variables.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests;
