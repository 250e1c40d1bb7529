//! Table of common registries: their token scheme, the URL of their index and their reaction to a bad token.
//!
//! The table holds documented or tested facts only.

mod offers;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use regauth_shared::ErrorBody;

use crate::error;
pub(crate) use offers::{Login, Offer};

/// Known properties of one kind of registry.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// Name of the product.
    pub(crate) title: &'static str,
    /// URL patterns of the index: `{host}` and the like stand for one segment of the path, `{path}` for any number.
    /// Empty if the index may have any URL.
    pub(crate) index_patterns: &'static [&'static str],
    /// Scheme of the token; none if the web server in front decides.
    pub(crate) scheme: Option<&'static str>,
    /// User name that goes with the token.
    pub(crate) username: Username,
    /// Hint for a rejected token: the registry's answer, or a condition that tokens have to meet.
    pub(crate) rejection_hint: &'static str,
    /// Statuses with which the registry rejects a token; empty for the usual ones.
    pub(crate) rejected_by: &'static [u16],
}

/// User name that goes with a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Username {
    /// The registry takes none.
    None,
    /// The registry takes one, with the scheme `basic`. The text describes it in a prompt.
    Optional(&'static str),
    /// The registry requires this one.
    Fixed(&'static str),
}

static PRESETS: [Preset; 11] = [
    Preset {
        name: "artifactory",
        title: "JFrog Artifactory",
        index_patterns: &[
            "sparse+https://{host}/artifactory/api/cargo/{repository}/index/",
            "https://{host}/artifactory/git/{repository}.git",
        ],
        scheme: Some("bearer"),
        username: Username::Optional("your e-mail address, if the token is used as a password"),
        rejection_hint: "Artifactory answers 401, sometimes 400 or 403, and locks a user out for a while after many of them",
        rejected_by: &[400, 401, 403],
    },
    Preset {
        name: "cloudsmith",
        title: "Cloudsmith",
        index_patterns: &["sparse+https://cargo.cloudsmith.io/{owner}/{repository}/"],
        scheme: Some("Authorization: Token {token}"),
        username: Username::None,
        rejection_hint: "an API key is sent as `Token`; for a JWT give --scheme bearer",
        rejected_by: &[],
    },
    Preset {
        name: "codeartifact",
        title: "AWS CodeArtifact",
        index_patterns: &["sparse+https://{domain}.d.codeartifact.{region}.amazonaws.com/cargo/{repository}/"],
        scheme: Some("raw"),
        username: Username::None,
        rejection_hint: "its tokens expire after 12 hours; --source codeartifact:domain=…,owner=…,region=… fetches new ones in time",
        rejected_by: &[],
    },
    Preset {
        name: "azure",
        title: "Azure Artifacts",
        index_patterns: &[
            "sparse+https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/Cargo/index/",
            "sparse+https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/Cargo/index/",
        ],
        scheme: Some("basic"),
        username: Username::Fixed("PAT"),
        rejection_hint: "a personal access token needs the scope Packaging (read)",
        rejected_by: &[],
    },
    Preset {
        name: "gitlab",
        title: "GitLab",
        index_patterns: &["sparse+https://{host}/api/v4/projects/{id}/packages/cargo/"],
        scheme: Some("bearer"),
        username: Username::None,
        rejection_hint: "GitLab answers 404 to a token without access to the project",
        rejected_by: &[],
    },
    Preset {
        name: "gitea",
        title: "Gitea or Forgejo",
        index_patterns: &[
            "sparse+https://{host}/api/packages/{owner}/cargo/",
            "https://{host}/{owner}/_cargo-index.git",
        ],
        scheme: Some("bearer"),
        username: Username::None,
        rejection_hint: "the token needs the permission to read packages",
        rejected_by: &[],
    },
    Preset {
        name: "github",
        title: "GitHub, for git dependencies and index repositories",
        index_patterns: &["https://github.com/{path}"],
        scheme: Some("basic"),
        username: Username::Fixed("x-access-token"),
        rejection_hint: "GitHub answers 404 to a token without access to the repository",
        rejected_by: &[],
    },
    Preset {
        name: "kellnr",
        title: "Kellnr",
        index_patterns: &["sparse+https://{host}/{path}"],
        scheme: Some("raw"),
        username: Username::None,
        rejection_hint: "Kellnr answers 401 to everything, config.json included",
        rejected_by: &[],
    },
    Preset {
        name: "nexus",
        title: "Sonatype Nexus 3",
        index_patterns: &["sparse+https://{host}/repository/{repository}/"],
        scheme: Some("bearer"),
        username: Username::None,
        rejection_hint: "Nexus has no search, and needs cargo 1.68 or newer",
        // A valid login without the privilege gets 403 (Sonatype, "Troubleshooting Artifact Deployment Failures").
        rejected_by: &[401],
    },
    Preset {
        name: "shipyard",
        title: "Shipyard.rs",
        index_patterns: &[],
        scheme: Some("User-Agent: shipyard {token}"),
        username: Username::None,
        rejection_hint: "its index is fetched over SSH, which regauth does not proxy: give its https:// URLs with --scope",
        rejected_by: &[],
    },
    Preset {
        name: "margo",
        title: "margo, or any static web server",
        index_patterns: &["sparse+https://{host}/{path}"],
        scheme: None,
        username: Username::Optional("the user name, if the web server asks for one"),
        rejection_hint: "the web server in front checks the token: give its --scheme and --username",
        rejected_by: &[],
    },
];

/// Presets in the order of the prompt.
pub(crate) fn all() -> &'static [Preset] {
    &PRESETS
}

/// Parser of a preset's name on the command line.
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
    /// The index, or the scope, that `url` stands for: itself, or with `sparse+` in front. `None` if this kind of registry
    /// has none there.
    pub(crate) fn index_at(&self, url: &str) -> Option<String> {
        let sparse = format!("sparse+{url}");
        let has = |url: &str| self.index_patterns.iter().any(|pattern| matches(pattern, url));
        if self.index_patterns.is_empty() || has(url) {
            return Some(url.to_owned());
        }
        if has(&sparse) {
            return Some(sparse);
        }
        self.is_repository(url).then(|| url.to_owned())
    }

    /// Examples of the index: the patterns with values for their markers.
    pub(crate) fn index_examples(&self) -> impl Iterator<Item = String> {
        let path = match self.name {
            "github" => "acme/index.git",
            "kellnr" => "api/v1/crates/",
            _ => "index/",
        };
        let example = move |pattern: &&str| {
            let fill = |text: String, (marker, value): &(&str, &str)| text.replace(marker, value);
            EXAMPLE_VALUES.iter().fold(pattern.replace("{path}", path), fill)
        };
        self.index_patterns.iter().map(example)
    }

    /// True if the URL is that of a repository of another kind than cargo.
    pub(crate) fn is_repository(&self, url: &str) -> bool {
        let sparse = format!("sparse+{url}");
        let is_index = |pattern: &&str| matches(pattern, url) || matches(pattern, &sparse);
        let patterns = offers::of(self.name).iter().flat_map(|offer| offer.patterns);
        let has_one = patterns
            .into_iter()
            .any(|pattern| matches(pattern, repository_url(url)));
        has_one && !self.index_patterns.iter().any(is_index)
    }

    /// The product's repositories of which `url` is one, of this kind if one is given. `None` if the table has no such kind.
    ///
    /// # Errors
    /// Several kinds have such URLs and none is given, or those of the given kind have others.
    pub(crate) fn offer_at(&self, url: &str, kind: Option<&str>) -> Result<Option<&'static Offer>, ErrorBody> {
        let url = repository_url(url);
        let of_kind = |offer: &&'static Offer| kind.is_none_or(|kind| kind == offer.kind);
        let offers: Vec<_> = offers::of(self.name).iter().filter(of_kind).collect();
        let is_there = |offer: &&&Offer| offer.patterns.iter().any(|pattern| matches(pattern, url));
        let found: Vec<_> = offers.iter().filter(is_there).collect();
        match (found.as_slice(), offers.as_slice()) {
            ([one], _) => Ok(Some(one)),
            ([], [offer]) if kind.is_some() => {
                let patterns = offer.patterns.join(" or ");
                let message = format!("{} has its {} repositories at {patterns}", self.title, offer.kind);
                Err(error::usage(message).hint("correct --scope, or leave out --preset to use this URL"))
            }
            ([], _) => Ok(None),
            (several, _) => {
                let kinds: Vec<_> = several.iter().map(|offer| offer.kind).collect();
                let message = format!("{} has several kinds of repositories at such URLs", self.title);
                Err(error::usage(message).hint(format!("say which one: --kind {}", kinds.join(", --kind "))))
            }
        }
    }

    /// Scheme for a token with or without a user name.
    pub(crate) fn scheme_for(&self, username: Option<&str>) -> Option<&'static str> {
        match (&self.username, username) {
            (Username::Optional(_), Some(_)) => Some("basic"),
            _ => self.scheme,
        }
    }
}

/// URL of a repository, from one that its clients are given.
fn repository_url(url: &str) -> &str {
    let pages = ["index.json", "packages.json", "simple/", "simple"];
    let repository = pages.iter().find_map(|page| url.strip_suffix(page));
    repository.filter(|repository| repository.ends_with('/')).unwrap_or(url)
}

/// Matches a URL against a pattern. `{path}` takes the rest, even nothing; every other marker takes at least one
/// character and no slash.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((literal, rest)) = pattern.split_once('{') else {
        return pattern.trim_end_matches('/') == text.trim_end_matches('/');
    };
    let (Some(text), Some((marker, rest))) = (text.strip_prefix(literal), rest.split_once('}')) else {
        return false;
    };
    if marker == "path" {
        return true;
    }
    let length = text.find('/').unwrap_or(text.len());
    (1..=length)
        .filter_map(|end| text.get(end..))
        .any(|remaining| matches(rest, remaining))
}

/// Values of the markers in an example.
const EXAMPLE_VALUES: [(&str, &str); 9] = [
    ("{host}", "corp.example"),
    ("{repository}", "crates"),
    ("{owner}", "acme"),
    ("{organisation}", "acme"),
    ("{project}", "tools"),
    ("{feed}", "crates"),
    ("{id}", "42"),
    ("{domain}", "acme-111122223333"),
    ("{region}", "eu-west-1"),
];

#[cfg(test)]
mod tests;
