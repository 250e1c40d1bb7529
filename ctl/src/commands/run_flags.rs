//! Parser of the repeated flags of `run`: each `--registry` with the flags that follow it.
//!
//! clap's derive has no groups that repeat, so this module implements clap's traits by hand.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use regauth_shared::RegistryName;
use regauth_shared::kind::KINDS;

/// Registries in the order of the command line.
#[derive(Debug)]
pub(super) struct RegistryList(pub(super) Vec<RegistryFlags>);

/// Flags of one registry.
#[derive(Debug)]
pub(super) struct RegistryFlags {
    /// Name of the registry.
    pub(super) name: RegistryName,
    /// Index of a cargo registry, scope of another one.
    pub(super) url: String,
    /// Origin of the token.
    pub(super) token: TokenOrigin,
    /// Protocol: `cargo`, `git` and so on.
    pub(super) kind: Option<String>,
    /// Further scopes.
    pub(super) scopes: Vec<String>,
    /// Scheme of the header.
    pub(super) scheme: Option<String>,
    /// User name for the scheme `basic`.
    pub(super) username: Option<String>,
    /// `allow` or `deny`.
    pub(super) writes: Option<String>,
    /// File of extra roots.
    pub(super) ca_file: Option<PathBuf>,
}

/// Origin of a registry's token.
#[derive(Debug)]
pub(super) enum TokenOrigin {
    /// An environment variable.
    Variable(String),
    /// A source that the daemon asks, such as `jfrog:host=…,provider=…`.
    Source(String),
}

impl RegistryFlags {
    /// True if the URL is an index: only cargo's registries have one.
    pub(super) fn has_index(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "cargo")
    }
}

impl Args for RegistryList {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name(value)
                .help(help)
                .action(clap::ArgAction::Append)
        };
        command.args([
            flag(
                REGISTRY,
                "NAME=URL",
                "A registry: its name, and its index or, for kinds without one, its scope",
            ),
            flag("token-env", "VAR", "The environment variable that holds its token"),
            flag(
                "source",
                "SOURCE",
                "In place of a token: a source as add-registry takes it, such as an exchange that mints tokens from this \
                 job's identity",
            ),
            flag(
                "scheme",
                "SCHEME",
                "Header that carries the token: basic, bearer, raw or a template [default: bearer]",
            ),
            flag("username", "USER", "The user name, for the scheme basic"),
            flag(
                "kind",
                "KIND",
                "Protocol, which tells reads from writes [default: cargo]",
            )
            .value_parser(KINDS),
            flag(
                "scope",
                "URL",
                "A further scope that it covers; can be given several times",
            ),
            flag(
                "writes",
                "POLICY",
                "Policy for writes such as publish and push [default: deny]",
            )
            .value_parser(["allow", "deny"]),
            flag(
                "ca-file",
                "FILE",
                "A PEM file of extra roots that its certificate may chain to",
            )
            .value_parser(value_parser!(PathBuf)),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RegistryList {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let starts: Vec<usize> = matches.indices_of(REGISTRY).into_iter().flatten().collect();
        let values = matches.get_many::<String>(REGISTRY).into_iter().flatten();
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        let spans = starts.iter().copied().zip(ends);
        reject_flags_before(matches, starts.first().copied().unwrap_or(usize::MAX))?;
        let registries = values
            .zip(spans)
            .map(|(value, span)| Span { matches, span }.parse(value));
        registries.collect::<Result<_, _>>().map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Flags between one `--registry` and the next.
struct Span<'a> {
    matches: &'a ArgMatches,
    span: (usize, usize),
}

impl Span<'_> {
    fn parse(&self, registry: &str) -> Result<RegistryFlags, clap::Error> {
        let (name, url) = registry
            .split_once('=')
            .ok_or_else(|| usage_error("--registry takes NAME=URL, such as corp=sparse+https://corp.example/index/"))?;
        let name: RegistryName = name
            .parse()
            .map_err(|error| usage_error(&format!("--registry: {error}")))?;
        let token = match (self.one("token-env")?, self.one("source")?) {
            (Some(variable), None) => TokenOrigin::Variable(variable),
            (None, Some(source)) => TokenOrigin::Source(source),
            (None, None) => {
                let message = format!("the registry {name} has no --token-env and no --source");
                return Err(usage_error(&message));
            }
            (Some(_), Some(_)) => {
                let message = format!("the registry {name} has both --token-env and --source; give one of them");
                return Err(usage_error(&message));
            }
        };
        Ok(RegistryFlags {
            url: url.to_owned(),
            token,
            kind: self.one("kind")?,
            scopes: self.all("scope"),
            scheme: self.one("scheme")?,
            username: self.one("username")?,
            writes: self.one("writes")?,
            ca_file: self.one("ca-file")?,
            name,
        })
    }

    fn all<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Vec<T> {
        let (start, end) = self.span;
        let indices = self.matches.indices_of(name).into_iter().flatten();
        let values = self.matches.get_many::<T>(name).into_iter().flatten();
        let in_span = indices.zip(values).filter(|(index, _)| (start..end).contains(index));
        in_span.map(|(_, value)| value.clone()).collect()
    }

    fn one<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Result<Option<T>, clap::Error> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(usage_error(&format!("--{name} is given twice for one registry"))),
        }
    }
}

/// Rejects flags of a registry in front of the first `--registry`.
fn reject_flags_before(matches: &ArgMatches, first: usize) -> Result<(), clap::Error> {
    for name in FLAGS_OF_A_REGISTRY {
        let mut indices = matches.indices_of(name).into_iter().flatten();
        if indices.any(|index| index < first) {
            return Err(usage_error(&format!(
                "--{name} belongs behind the --registry that it describes"
            )));
        }
    }
    Ok(())
}

fn usage_error(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

const REGISTRY: &str = "registry";
const FLAGS_OF_A_REGISTRY: [&str; 8] = [
    "token-env",
    "source",
    "scheme",
    "username",
    "kind",
    "scope",
    "writes",
    "ca-file",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<RegistryList, clap::Error> {
        let command = RegistryList::augment_args(Command::new("run").no_binary_name(true));
        RegistryList::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn assigns_flags_to_the_registry_before_them() {
        let line = "--registry a=sparse+https://a/ --token-env A --scheme basic --username me --registry b=https://b/ \
                    --kind git --source jfrog:host=h,provider=p --scope https://c/ --scope https://d/";
        let RegistryList(all) = read(line).unwrap();
        let [a, b] = all.try_into().unwrap();
        assert!(matches!(&a.token, TokenOrigin::Variable(name) if name == "A"));
        assert!(matches!(&b.token, TokenOrigin::Source(source) if source == "jfrog:host=h,provider=p"));
        assert_eq!((a.scheme.as_deref(), a.kind.as_deref()), (Some("basic"), None));
        assert_eq!((b.scheme.as_deref(), b.scopes.len()), (None, 2));
        assert!(a.has_index() && !b.has_index());
    }

    #[test]
    fn rejects_incomplete_and_repeated_flags() {
        for (line, message) in [
            ("--registry a=x", "has no --token-env and no --source"),
            ("--registry a=x --token-env A --source google", "has both"),
            ("--source google --registry a=x", "belongs behind"),
            ("--registry a --token-env A", "NAME=URL"),
            ("--token-env A --registry a=x", "belongs behind"),
            ("--registry a=x --token-env A --token-env B", "given twice"),
            ("--registry A!=x --token-env A", "a registry name is"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
