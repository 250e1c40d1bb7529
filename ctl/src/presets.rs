//! The registries that people have, as one table: how each wants its token, where its index is, and how it says no.
//! What is not known for certain is not in it.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// What is known of one kind of registry.
#[derive(Debug)]
pub(crate) struct Preset {
    /// As a person types it.
    pub(crate) name: &'static str,
    /// What it is called.
    pub(crate) title: &'static str,
    /// Where its index is: `{host}` and the like stand for one part of the path, `{path}` for any number. None when it
    /// may be anywhere.
    pub(crate) places: &'static [&'static str],
    /// How the token becomes a header; none where that is the web server's affair.
    pub(crate) scheme: Option<&'static str>,
    /// Whose token it is.
    pub(crate) user: User,
    /// What a rejected token looks like, and what else a person should know.
    pub(crate) rejection: &'static str,
}

/// The user name that goes with the token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// There is none.
    Nobody,
    /// There may be one, and then the scheme is `basic`.
    Perhaps(&'static str),
    /// Always this one.
    Always(&'static str),
}

static PRESETS: [Preset; 11] = [
    Preset {
        name: "artifactory",
        title: "JFrog Artifactory",
        places: &[
            "sparse+https://{host}/artifactory/api/cargo/{repository}/index/",
            "https://{host}/artifactory/git/{repository}.git",
        ],
        scheme: Some("bearer"),
        user: User::Perhaps("your e-mail address, if the token is to be a password"),
        rejection: "Artifactory answers 401, sometimes 400 or 403, and locks a user out for a while after many of them",
    },
    Preset {
        name: "cloudsmith",
        title: "Cloudsmith",
        places: &["sparse+https://cargo.cloudsmith.io/{owner}/{repository}/"],
        scheme: Some("Authorization: Token {token}"),
        user: User::Nobody,
        rejection: "an API key is sent as `Token`; for a JWT give --scheme bearer",
    },
    Preset {
        name: "codeartifact",
        title: "AWS CodeArtifact",
        places: &["sparse+https://{domain}.d.codeartifact.{region}.amazonaws.com/cargo/{repository}/"],
        scheme: Some("raw"),
        user: User::Nobody,
        rejection: "its tokens end after 12 hours; --source codeartifact:domain=…,owner=…,region=… has new ones made in time",
    },
    Preset {
        name: "azure",
        title: "Azure Artifacts",
        places: &[
            "sparse+https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/Cargo/index/",
            "sparse+https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/Cargo/index/",
        ],
        scheme: Some("basic"),
        user: User::Always("PAT"),
        rejection: "a personal access token needs the scope Packaging (read)",
    },
    Preset {
        name: "gitlab",
        title: "GitLab",
        places: &["sparse+https://{host}/api/v4/projects/{id}/packages/cargo/"],
        scheme: Some("bearer"),
        user: User::Nobody,
        rejection: "GitLab answers 404 to a token that may not see the project",
    },
    Preset {
        name: "gitea",
        title: "Gitea or Forgejo",
        places: &[
            "sparse+https://{host}/api/packages/{owner}/cargo/",
            "https://{host}/{owner}/_cargo-index.git",
        ],
        scheme: Some("bearer"),
        user: User::Nobody,
        rejection: "the token needs the permission to read packages",
    },
    Preset {
        name: "github",
        title: "GitHub, for git dependencies and index repositories",
        places: &["https://github.com/{path}"],
        scheme: Some("basic"),
        user: User::Always("x-access-token"),
        rejection: "GitHub answers 404 to a token that may not see the repository",
    },
    Preset {
        name: "kellnr",
        title: "Kellnr",
        places: &["sparse+https://{host}/{path}"],
        scheme: Some("raw"),
        user: User::Nobody,
        rejection: "Kellnr answers 401 to everything, config.json included",
    },
    Preset {
        name: "nexus",
        title: "Sonatype Nexus 3",
        places: &["sparse+https://{host}/repository/{repository}/"],
        scheme: Some("bearer"),
        user: User::Nobody,
        rejection: "Nexus has no search, and needs cargo 1.68 or newer",
    },
    Preset {
        name: "shipyard",
        title: "Shipyard.rs",
        places: &[],
        scheme: Some("User-Agent: shipyard {token}"),
        user: User::Nobody,
        rejection: "its index is fetched over SSH, which regauth takes no part in: give the https places with --scope",
    },
    Preset {
        name: "margo",
        title: "margo, or any static web server",
        places: &["sparse+https://{host}/{path}"],
        scheme: None,
        user: User::Perhaps("the user name, if the web server asks for one"),
        rejection: "the web server in front decides what is accepted: --scheme and --username have to be its own",
    },
];

/// All of them.
pub(crate) fn all() -> &'static [Preset] {
    &PRESETS
}

/// Reads one by its name, for the command line.
pub(crate) fn parser() -> impl TypedValueParser<Value = &'static Preset> {
    let names = PossibleValuesParser::new(PRESETS.iter().map(|preset| preset.name));
    names.try_map(|name| {
        PRESETS
            .iter()
            .find(|preset| preset.name == name)
            .ok_or("there is no such preset")
    })
}

impl Preset {
    /// Whether an index, or a scope, is where this kind of registry has it.
    pub(crate) fn has(&self, place: &str) -> bool {
        self.places.is_empty() || self.places.iter().any(|pattern| fits(pattern, place))
    }

    /// The scheme for a token with or without a user name.
    pub(crate) fn scheme_for(&self, username: Option<&str>) -> Option<&'static str> {
        match (&self.user, username) {
            (User::Perhaps(_), Some(_)) => Some("basic"),
            _ => self.scheme,
        }
    }
}

/// `{path}` takes anything, even nothing; every other marker takes at least one character and no slash.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((fixed, rest)) = pattern.split_once('{') else {
        return pattern.trim_end_matches('/') == text.trim_end_matches('/');
    };
    let (Some(text), Some((marker, rest))) = (text.strip_prefix(fixed), rest.split_once('}')) else {
        return false;
    };
    if marker == "path" {
        return true;
    }
    let length = text.find('/').unwrap_or(text.len());
    (1..=length)
        .filter_map(|end| text.get(end..))
        .any(|remaining| fits(rest, remaining))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> &'static Preset {
        all().iter().find(|preset| preset.name == name).unwrap()
    }

    #[test]
    fn an_index_is_where_its_kind_of_registry_has_it() {
        for (name, place, fits) in [
            (
                "artifactory",
                "sparse+https://corp.jfrog.io/artifactory/api/cargo/crates/index/",
                true,
            ),
            (
                "artifactory",
                "sparse+https://corp.jfrog.io/artifactory/api/cargo/crates/index",
                true,
            ),
            ("artifactory", "https://corp.jfrog.io/artifactory/git/crates.git", true),
            (
                "artifactory",
                "sparse+https://corp.jfrog.io/api/cargo/crates/index/",
                false,
            ),
            (
                "artifactory",
                "https://corp.jfrog.io/artifactory/api/cargo/crates/index/",
                false,
            ),
            (
                "codeartifact",
                "sparse+https://d-123.d.codeartifact.eu-west-1.amazonaws.com/cargo/r/",
                true,
            ),
            (
                "azure",
                "sparse+https://pkgs.dev.azure.com/o/p/_packaging/f/Cargo/index/",
                true,
            ),
            (
                "azure",
                "sparse+https://pkgs.dev.azure.com/o/_packaging/f/Cargo/index/",
                true,
            ),
            ("github", "https://github.com/corp/", true),
            ("github", "https://github.com.evil/corp/", false),
            ("kellnr", "sparse+https://kellnr.corp:8443/api/v1/crates/", true),
            ("shipyard", "https://anywhere/", true),
        ] {
            assert_eq!(preset(name).has(place), fits, "{name} {place}");
        }
    }

    #[test]
    fn a_user_name_makes_a_password_of_the_token_where_there_may_be_one() {
        assert_eq!(preset("artifactory").scheme_for(None), Some("bearer"));
        assert_eq!(preset("artifactory").scheme_for(Some("me")), Some("basic"));
        assert_eq!(preset("margo").scheme_for(None), None);
    }
}
