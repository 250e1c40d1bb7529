//! The registries on the command line of `run`: each `--registry` and the flags that follow it.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use regauth_shared::RegistryName;

/// All of them, in the order in which they were given.
#[derive(Debug)]
pub(super) struct Registries(pub(super) Vec<Described>);

/// One registry.
#[derive(Debug)]
pub(super) struct Described {
    /// What to call it.
    pub(super) name: RegistryName,
    /// Its index, or its scope where its kind has no index.
    pub(super) place: String,
    /// The variable that holds its token.
    pub(super) token_env: String,
    /// `cargo` and so on.
    pub(super) kind: Option<String>,
    /// More scopes.
    pub(super) scopes: Vec<String>,
    /// How the token becomes a header.
    pub(super) scheme: Option<String>,
    /// For the scheme `basic`.
    pub(super) username: Option<String>,
    /// `allow` or `deny`.
    pub(super) writes: Option<String>,
    /// Extra roots.
    pub(super) ca_file: Option<PathBuf>,
}

impl Described {
    /// Only cargo's registries have an index.
    pub(super) fn has_index(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "cargo")
    }
}

impl Args for Registries {
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
                "scheme",
                "SCHEME",
                "How the token becomes a header: basic, bearer, raw or a template [default: bearer]",
            ),
            flag("username", "USER", "The user name, for the scheme basic"),
            flag("kind", "KIND", "What reads and writes look like [default: cargo]")
                .value_parser(["cargo", "git", "pypi", "npm", "generic"]),
            flag("scope", "URL", "What it covers besides; can be given several times"),
            flag(
                "writes",
                "POLICY",
                "Whether writes such as publish and push pass [default: deny]",
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

impl FromArgMatches for Registries {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let starts: Vec<usize> = matches.indices_of(REGISTRY).into_iter().flatten().collect();
        let places = matches.get_many::<String>(REGISTRY).into_iter().flatten();
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        let spans = starts.iter().copied().zip(ends);
        refuse_strays(matches, starts.first().copied().unwrap_or(usize::MAX))?;
        let all = places
            .zip(spans)
            .map(|(place, span)| Flags { matches, span }.described(place));
        all.collect::<Result<_, _>>().map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flags between one `--registry` and the next.
struct Flags<'a> {
    matches: &'a ArgMatches,
    span: (usize, usize),
}

impl Flags<'_> {
    fn described(&self, registry: &str) -> Result<Described, clap::Error> {
        let (name, place) = registry
            .split_once('=')
            .ok_or_else(|| wrong("--registry takes NAME=URL, such as corp=sparse+https://corp.example/index/"))?;
        let name: RegistryName = name.parse().map_err(|error| wrong(&format!("--registry: {error}")))?;
        let token_env = self
            .one("token-env")?
            .ok_or_else(|| wrong(&format!("the registry {name} has no --token-env")))?;
        Ok(Described {
            place: place.to_owned(),
            token_env,
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
        let here = indices.zip(values).filter(|(at, _)| (start..end).contains(at));
        here.map(|(_, value)| value.clone()).collect()
    }

    fn one<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Result<Option<T>, clap::Error> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(wrong(&format!("--{name} is given twice for one registry"))),
        }
    }
}

fn refuse_strays(matches: &ArgMatches, first: usize) -> Result<(), clap::Error> {
    for name in ABOUT_ONE {
        let mut indices = matches.indices_of(name).into_iter().flatten();
        if indices.any(|at| at < first) {
            return Err(wrong(&format!(
                "--{name} belongs behind the --registry that it is about"
            )));
        }
    }
    Ok(())
}

fn wrong(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

const REGISTRY: &str = "registry";
const ABOUT_ONE: [&str; 7] = ["token-env", "scheme", "username", "kind", "scope", "writes", "ca-file"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Registries, clap::Error> {
        let command = Registries::augment_args(Command::new("run").no_binary_name(true));
        Registries::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn flags_are_about_the_registry_before_them() {
        let line = "--registry a=sparse+https://a/ --token-env A --scheme basic --username me --registry b=https://b/ \
                    --kind git --token-env B --scope https://c/ --scope https://d/";
        let Registries(all) = read(line).unwrap();
        let [a, b] = all.try_into().unwrap();
        assert_eq!(
            (a.token_env.as_str(), a.scheme.as_deref(), a.kind.as_deref()),
            ("A", Some("basic"), None)
        );
        assert_eq!(
            (b.token_env.as_str(), b.scheme.as_deref(), b.scopes.len()),
            ("B", None, 2)
        );
        assert!(a.has_index() && !b.has_index());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (line, message) in [
            ("--registry a=x", "has no --token-env"),
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
