//! Checks of git's effective settings for the scopes that git uses.

use std::path::Path;

use regauth_shared::response::RegistryView;

use super::context::{DoctorContext, first_variable, missing_suffix, output_of, removal, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};
use crate::daemon_info::is_git_index;
use crate::program::on_path;
use crate::setup::Tool;

/// Checks git, if it is installed.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    // git answers nothing, not even its version, if a file of its configuration has an error.
    if on_path("git").is_none() || context.is_unreadable(Tool::Git) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for scope in scopes(context) {
        let of_scope = [
            check_proxy(context, scope),
            check_bundle(context, scope),
            check_rewriting(context, scope),
        ];
        faults.extend(of_scope.into_iter().flatten().map(|fault| (fault, scope)));
    }
    group(faults)
}

/// Scopes that git is expected to use: those of git hosts and git indexes. Registries of the kind generic may be git's,
/// which shows when git is set up.
fn scopes(context: &DoctorContext) -> impl Iterator<Item = &str> {
    let with_generic = context.is_set_up(Tool::Git);
    let uses_git = move |view: &&RegistryView| {
        is_git_index(view) || view.kind == "git" || (with_generic && view.kind == "generic")
    };
    let views = context.info.registries.iter().filter(uses_git);
    views.flat_map(|view| &view.scopes).map(String::as_str)
}

/// Fault of git's settings for one scope.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    code: &'static str,
    message: String,
    consequence: &'static str,
    remedy: String,
    is_note: bool,
}

/// One finding for all scopes that have the same fault.
fn group(faults: Vec<(Fault, &str)>) -> Vec<Finding> {
    let mut groups: Vec<(Fault, Vec<&str>)> = Vec::new();
    for (fault, scope) in faults {
        match groups.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, scopes)) => scopes.push(scope),
            None => groups.push((fault, vec![scope])),
        }
    }
    let finding = |(fault, scopes): (Fault, Vec<&str>)| {
        let message = format!("for {}, {}", scopes.join(", "), fault.message);
        let finding = Finding::new(fault.code, message, fault.consequence, fault.remedy);
        if fault.is_note { finding.into_note() } else { finding }
    };
    groups.into_iter().map(finding).collect()
}

/// Git's own setting overrides the variables.
fn check_proxy(context: &DoctorContext, scope: &str) -> Option<Fault> {
    let fault = |code, message, remedy| Fault {
        code,
        message,
        consequence: BYPASSES_PROXY,
        remedy,
        is_note: false,
    };
    if let Some(value) = effective("http.proxy", scope) {
        if context.is_our_proxy(&value) {
            return None;
        }
        let origin = Origin::of("proxy", &value);
        let message = format!(
            "git uses another proxy, from its http.proxy{}",
            Origin::place(origin.as_ref())
        );
        return Some(fault(
            "git-other-proxy",
            message,
            Origin::remedy(origin, context, "http.proxy"),
        ));
    }
    let by_variable = first_variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    match by_variable {
        Some((_, value)) if context.is_our_proxy(&value) => None,
        Some((source, _)) => Some(fault(
            "git-other-proxy",
            format!("git uses another proxy, from {source}"),
            SETUP.to_owned(),
        )),
        None => Some(fault("git-no-proxy", "git uses no proxy".to_owned(), SETUP.to_owned())),
    }
}

/// The variable overrides git's settings.
fn check_bundle(context: &DoctorContext, scope: &str) -> Option<Fault> {
    let fault = |code, message, remedy| Fault {
        code,
        message,
        consequence: DISTRUSTS_REGAUTHD,
        remedy,
        is_note: false,
    };
    let from = |file: &str, source: &str| {
        let missing = missing_suffix(file);
        format!("git reads the roots from {file}, set by {source}{missing}")
    };
    if let Some(file) = variable("GIT_SSL_CAINFO") {
        let finding = || {
            fault(
                "git-other-bundle",
                from(&file, "GIT_SSL_CAINFO"),
                "unset GIT_SSL_CAINFO".to_owned(),
            )
        };
        return (!context.is_our_bundle(&file)).then(finding);
    }
    let Some(file) = effective("http.sslCAInfo", scope) else {
        return Some(fault("git-distrusts", "git has no bundle".to_owned(), SETUP.to_owned()));
    };
    if context.is_our_bundle(&file) {
        return None;
    }
    let origin = Origin::of("sslcainfo", &file);
    let message = from(&file, "http.sslCAInfo") + &Origin::place(origin.as_ref());
    Some(fault(
        "git-other-bundle",
        message,
        Origin::remedy(origin, context, "http.sslCAInfo"),
    ))
}

/// `url.BASE.insteadOf` sends git to another URL than the scope: by SSH, or to another host.
fn check_rewriting(context: &DoctorContext, scope: &str) -> Option<Fault> {
    let used = output_of("git", &["ls-remote", "--get-url", scope])?;
    if used == scope {
        return None;
    }
    let (base, origin) = rewriting(scope)?;
    let shown = without_user(&base);
    let key = format!("url.{shown}.insteadOf");
    let place = origin.display();
    let is_served = context
        .info
        .registries
        .iter()
        .flat_map(|view| &view.scopes)
        .any(|served| without_user(&used).starts_with(served.as_str()));
    Some(Fault {
        code: if is_served { "git-holds-token" } else { "git-rewritten" },
        message: format!("git uses {} instead, by {key} in {place}", without_user(&used)),
        consequence: if is_served {
            "git has a user name or token of its own, which it does not need any more"
        } else {
            BYPASSES_PROXY
        },
        remedy: removal(&key, &place),
        is_note: is_served,
    })
}

/// Base and file of the `insteadOf` that applies to a URL: the longest prefix wins (git-config(1), "url.<base>.insteadOf").
fn rewriting(url: &str) -> Option<(String, Origin)> {
    let lines = output_of(
        "git",
        &["config", "--show-origin", "--get-regexp", r"^url\..*\.insteadof$"],
    )?;
    let entries = lines.lines().filter_map(|line| {
        let (origin, entry) = line.split_once('\t')?;
        let (key, prefix) = entry.split_once(' ')?;
        let base = key.strip_prefix("url.")?.strip_suffix(".insteadof")?;
        Some((base.to_owned(), prefix.to_owned(), Origin(origin.to_owned())))
    });
    let applying = entries.filter(|(_, prefix, _)| url.starts_with(prefix.as_str()));
    let (base, _, origin) = applying.max_by_key(|(_, prefix, _)| prefix.len())?;
    Some((base, origin))
}

/// A URL without the user name and password, which may be secret.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// Origin of a setting, as git names it: `file:PATH` or `command line:`.
#[derive(Debug)]
struct Origin(String);

impl Origin {
    /// Origin of the last `http.proxy` or `http.URL.proxy` (or another key) with this value.
    fn of(key: &str, value: &str) -> Option<Self> {
        let pattern = format!(r"^http\.(.*\.)?{key}$");
        let lines = output_of("git", &["config", "--show-origin", "--get-regexp", &pattern])?;
        let mut entries = lines.lines().rev().filter_map(|line| line.split_once('\t'));
        let (origin, _) = entries.find(|(_, entry)| entry.split_once(' ').is_some_and(|(_, found)| found == value))?;
        Some(Self(origin.to_owned()))
    }

    fn file(&self) -> Option<std::path::PathBuf> {
        let file = Path::new(self.0.strip_prefix("file:")?);
        std::path::absolute(file).ok()
    }

    fn display(&self) -> String {
        self.file().map_or_else(
            || "the variables GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0 and so on".to_owned(),
            |file| file.display().to_string(),
        )
    }

    fn place(origin: Option<&Self>) -> String {
        origin.map_or_else(String::new, |origin| format!(" in {}", origin.display()))
    }

    fn remedy(origin: Option<Self>, context: &DoctorContext, key: &str) -> String {
        match origin {
            Some(origin) if origin.file().is_none() => "unset GIT_CONFIG_COUNT".to_owned(),
            origin => context.remedy(Tool::Git, key, origin.and_then(|origin| origin.file()).as_deref()),
        }
    }
}

/// Git's effective value of a key for a URL.
fn effective(key: &str, scope: &str) -> Option<String> {
    output_of("git", &["config", "--get-urlmatch", key, scope])
}

const SETUP: &str = "regauthctl setup git";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_user() {
        for (url, shown) in [
            ("https://me:pw@git.example/a/", "https://git.example/a/"),
            ("https://git.example/a@b/", "https://git.example/a@b/"),
            ("ssh://git@git.example", "ssh://git.example"),
            ("git@git.example:team", "git@git.example:team"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }
}
