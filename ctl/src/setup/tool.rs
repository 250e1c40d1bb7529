//! Tools that can be set up, by their names on the command line.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::{EnumValueParser, TypedValueParser};
use regauth_shared::ErrorBody;
use regauth_shared::response::RegistryView;
use serde::{Deserialize, Serialize};

use super::clients::{self, CONFIG_ROLE, Client, Context, ToolSettings};
use super::gateway;
use super::record::SetupRecord;
use super::target::SetupTarget;
use crate::company::{self, CompanySetting};
use crate::daemon_info::{DaemonInfo, is_git_index};
use crate::program::on_path;

/// Tool that can be set up. The comments are help texts of `regauthctl setup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// cargo: proxy, bundle, registries and the credential provider, in config.toml
    Cargo,
    /// git: proxy and bundle for the configured hosts only, in .gitconfig
    Git,
    /// pip: proxy and bundle, in pip.conf
    Pip,
    /// uv: proxy, in uv.toml; the bundle has to come from the shell
    Uv,
    /// npm, pnpm and Yarn 1: proxy, bundle and placeholder tokens, in .npmrc
    #[value(alias = "pnpm")]
    Npm,
    /// Yarn 2 and later: proxy, bundle and placeholder tokens, in .yarnrc.yml
    Yarn,
    /// bun: bundle, in .bunfig.toml; the proxy has to come from the shell
    Bun,
    /// Maven 3.8 to 4: proxy, in settings.xml, and trust store, in .mavenrc
    #[value(alias = "mvn")]
    Maven,
    /// Gradle: proxy and trust store, in gradle.properties
    Gradle,
    /// gem and Bundler: proxy and bundle, in .gemrc
    #[value(alias = "bundler")]
    Gem,
    /// podman and buildah: proxy and bundle, in containers.conf; containers get no proxy
    #[value(alias = "buildah")]
    Podman,
    /// Mercurial: proxy and bundle, in .hgrc
    #[value(alias = "hg")]
    Mercurial,
    /// wget: proxy and bundle, in .wgetrc
    Wget,
    /// aria2: proxy and bundle, in aria2.conf
    #[value(alias = "aria2c")]
    Aria2,
    /// the shell: the environment for everything that it starts, in its profile
    #[value(aliases = ["bash", "zsh", "fish", "direnv"])]
    Shell,
    /// All clients of a gateway, by the shell; `setup --gateway` names it.
    #[value(skip)]
    Gateway,
}

impl Tool {
    /// Name on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.client().name
    }

    fn client(self) -> Client {
        match self {
            Self::Cargo => clients::CARGO,
            Self::Git => clients::GIT,
            Self::Pip => clients::PIP,
            Self::Uv => clients::UV,
            Self::Npm => clients::NPM,
            Self::Yarn => clients::YARN,
            Self::Bun => clients::BUN,
            Self::Maven => clients::MAVEN,
            Self::Gradle => clients::GRADLE,
            Self::Gem => clients::GEM,
            Self::Podman => clients::PODMAN,
            Self::Mercurial => clients::MERCURIAL,
            Self::Wget => clients::WGET,
            Self::Aria2 => clients::ARIA2,
            Self::Shell => clients::SHELL,
            Self::Gateway => gateway::CLIENT,
        }
    }

    /// All tools, in the order of the help. The shell is last: what it starts has its own configuration first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let tools = Self::value_variants().iter().copied();
        let others = tools.filter(|tool| *tool != Self::Shell);
        others.chain([Self::Shell])
    }

    /// Tools that are installed here.
    pub(crate) fn found() -> impl Iterator<Item = Self> {
        Self::all().filter(|tool| tool.is_found())
    }

    /// True if one of the tool's programs is in `PATH`, or the user has a configuration file of it.
    pub(crate) fn is_found(self) -> bool {
        let Ok(file) = self.config_file(&SetupTarget::User) else {
            return false;
        };
        let programs = self.client().programs;
        self == Self::Shell || file.is_file() || programs.iter().any(|program| on_path(program).is_some())
    }

    /// True if the tool can use this registry.
    pub(crate) fn uses(self, view: &RegistryView) -> bool {
        let is_of_kind = self.client().kinds.contains(&view.kind.as_str());
        self == Self::Shell || is_of_kind || (self == Self::Git && is_git_index(view))
    }

    /// Computes the settings of this tool. The configuration file of an earlier setup stays the one, even if the
    /// environment now names another.
    ///
    /// # Errors
    /// `HOME` is not set, or a program that has to be asked is missing.
    pub(super) fn settings(
        self,
        target: &SetupTarget,
        info: &DaemonInfo,
        earlier: &SetupRecord,
    ) -> Result<ToolSettings, ErrorBody> {
        let path = match earlier.path_of(CONFIG_ROLE) {
            Some(path) if !self.is_shadowed(path) => path.to_owned(),
            _ => self.config_file(target)?,
        };
        (self.client().settings)(&Context {
            path,
            target,
            info,
            earlier,
        })
    }

    /// A company's settings outside the tool's own files, which the tool's settings override: the environment, for git
    /// the settings of all hosts, and for Maven the user's proxies.
    pub(super) fn overridden(self) -> Vec<CompanySetting> {
        let mut found = company::of_environment(|name| std::env::var(name).ok());
        match self {
            Self::Git => found.extend(clients::git::overridden()),
            Self::Maven => found.extend(clients::maven_proxies()),
            _ => {}
        }
        found
    }

    /// True if the tool ignores the file: cargo reads `config` instead of `config.toml` if both exist.
    fn is_shadowed(self, path: &Path) -> bool {
        let is_config_toml = path.file_name().is_some_and(|name| name == "config.toml");
        self == Self::Cargo && is_config_toml && path.with_file_name("config").is_file()
    }

    /// Configuration file of the tool that a setup for this target edits.
    ///
    /// # Errors
    /// `HOME` is not set, or the tool has no settings of a project.
    pub(super) fn config_file(self, target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
        (self.client().file)(target)
    }
}

/// Parser of a tool's name. It explains why some clients have no setup.
pub(crate) fn parser() -> impl TypedValueParser<Value = Tool> {
    ToolParser(EnumValueParser::new())
}

#[derive(Clone)]
struct ToolParser(EnumValueParser<Tool>);

impl TypedValueParser for ToolParser {
    type Value = Tool;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Tool, clap::Error> {
        let without_setup = WITHOUT_SETUP
            .iter()
            .find(|(names, _)| names.iter().any(|name| value == *name));
        match without_setup {
            Some((names, why)) => {
                let message = format!("{} {why}\n", names.first().copied().unwrap_or_default());
                Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, message).with_cmd(command))
            }
            None => self.0.parse_ref(command, argument, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

const ENVIRONMENT_ONLY: &str = "takes its proxy and its certificates from the environment only, for example from \
    `regauthctl setup shell`";
const DOCKER: &str = "connects by a daemon of another user, which needs a grant: docs/clients.md has the lines for it; \
    for its containers: `regauthctl grant --registry NAME --as docker`";
const APT: &str = "connects as another user, which needs a grant: `regauthctl grant --registry NAME` makes one, and \
    docs/clients.md has the lines for it";

/// Clients without a setup, and why.
const WITHOUT_SETUP: [(&[&str], &str); 17] = [
    (
        &["java"],
        "has a setup for each build tool: `regauthctl setup maven`, `regauthctl setup gradle`",
    ),
    (&["go"], ENVIRONMENT_ONLY),
    (&["poetry"], ENVIRONMENT_ONLY),
    (&["pdm"], ENVIRONMENT_ONLY),
    (&["pipenv"], ENVIRONMENT_ONLY),
    (&["twine"], ENVIRONMENT_ONLY),
    (&["composer", "php"], ENVIRONMENT_ONLY),
    (&["deno"], ENVIRONMENT_ONLY),
    (&["node"], ENVIRONMENT_ONLY),
    (&["skopeo"], ENVIRONMENT_ONLY),
    (&["curl"], ENVIRONMENT_ONLY),
    (&["perl"], ENVIRONMENT_ONLY),
    (&["dotnet", "nuget"], ENVIRONMENT_ONLY),
    (&["docker"], DOCKER),
    (&["apt", "apt-get"], APT),
    (&["wget2"], "cannot use an HTTPS proxy: it sends no CONNECT"),
    (
        &["svn", "subversion"],
        "cannot be served: it reads with methods that regauth takes for writes, see docs/clients.md",
    ),
];
