//! Proposal of an installation, which root agrees to: registries, the hosts that get their tokens, and proxies for other hosts.
//!
//! The texts come from the user's side. One that a terminal would show differently from what the daemon reads is refused
//! ([`unshowable`]); the others are cleaned for display.

use std::collections::BTreeSet;

use regauth_shared::RegistryName;
use regauth_shared::request::{AddRegistry, SetUpstream};
use serde::Serialize;

use super::hand_over::HandingOver;
use super::outcome::StayingRegistry;
use crate::company::without_login;
use crate::output::one_line;
use crate::team_file::CaFile;

/// Everything that an installation would take over.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Proposal {
    /// Registries that would be moved.
    pub(crate) registries: Vec<ProposedRegistry>,
    /// Ways to other hosts, one a user. They become those of all users.
    pub(crate) upstreams: Vec<ProposedUpstream>,
    /// Registries that stay with their users.
    pub(crate) staying: Vec<StayingRegistry>,
}

/// Registry with all that its token would be bound to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProposedRegistry {
    user: String,
    name: RegistryName,
    kind: String,
    scheme: String,
    username: Option<String>,
    scopes: Vec<String>,
    index: Option<String>,
    token_service: Option<String>,
    credential_of: Option<RegistryName>,
    writes: String,
    programs: Vec<String>,
    /// SHA-256 fingerprints of its `ca-file`.
    roots: Vec<String>,
}

/// Corporate proxy and company's roots. The proxy's password is not in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProposedUpstream {
    user: String,
    proxy: Option<String>,
    proxy_user: Option<String>,
    no_proxy: Vec<String>,
    /// SHA-256 fingerprints of the global `ca-file`.
    roots: Vec<String>,
}

impl Proposal {
    /// Adds what a user has. A registry that stays and that the guarded daemon has already (`known`) was moved before.
    pub(super) fn add(&mut self, user: &str, handing_over: &HandingOver, known: &BTreeSet<RegistryName>) {
        let moving = handing_over.registries.iter();
        self.registries
            .extend(moving.map(|moving| ProposedRegistry::new(user, &moving.request, moving.roots.as_ref())));
        let upstream = handing_over.upstream.as_ref();
        self.upstreams
            .extend(upstream.map(|(request, roots)| ProposedUpstream::new(user, request, roots.as_ref())));
        let staying = handing_over.left.iter().filter(|(name, _)| !known.contains(name));
        self.staying.extend(staying.map(|(name, reason)| StayingRegistry {
            user: user.to_owned(),
            name: name.clone(),
            reason: reason.clone(),
        }));
    }

    /// True if there is nothing for a person to agree to.
    pub(crate) fn is_empty(&self) -> bool {
        self.registries.is_empty() && self.upstreams.is_empty()
    }

    /// The text for a person, with `would` before the verbs.
    pub(crate) fn describe(&self, would: &str) -> String {
        let registries = self.registries.iter().map(|registry| registry.describe(would));
        let upstreams = self.upstreams.iter().map(|upstream| upstream.describe(would));
        let staying = self.staying.iter().map(StayingRegistry::describe);
        registries.chain(upstreams).chain(staying).collect()
    }
}

impl ProposedRegistry {
    /// Registry of a request, with the roots of its `ca-file`.
    pub(super) fn new(user: &str, request: &AddRegistry, roots: Option<&CaFile>) -> Self {
        let text = |text: &Option<String>, usual: &str| one_line(text.as_deref().unwrap_or(usual));
        let lines = |texts: &[String]| texts.iter().map(|text| one_line(text)).collect();
        Self {
            user: user.to_owned(),
            name: request.name.clone(),
            kind: text(&request.kind, "cargo"),
            scheme: text(&request.scheme, "bearer"),
            username: request.username.as_deref().map(one_line),
            scopes: lines(&request.scopes),
            index: request.index.as_deref().map(one_line),
            token_service: request.token_service.as_deref().map(one_line),
            credential_of: request.credential_of.clone(),
            writes: text(&request.writes, "deny"),
            programs: lines(&request.programs),
            roots: roots.map(|roots| roots.fingerprints().to_vec()).unwrap_or_default(),
        }
    }

    fn describe(&self, would: &str) -> String {
        let username = self.username.iter().map(|name| format!(" as {name}"));
        let writes = (self.writes != "deny").then(|| ", writes open".to_owned());
        let more: String = username.chain(writes).collect();
        let mut lines = vec![format!(
            "  {would}move {} of {} ({}, {}{more})\n",
            self.name, self.user, self.kind, self.scheme
        )];
        let mut add = |what: &str, values: &[String]| {
            lines.extend(values.iter().map(|value| format!("    {what} {value}\n")));
        };
        add("its token goes to", &self.scopes);
        add("its token goes to the index", self.index.as_slice());
        add("its token goes to the token service", self.token_service.as_slice());
        let owner = self.credential_of.as_ref().map(ToString::to_string);
        add("its token is that of", owner.as_slice());
        let programs = (!self.programs.is_empty()).then(|| self.programs.join(", "));
        add(
            "it refuses all requests, since a guarded daemon cannot see programs:",
            programs.as_slice(),
        );
        add("it trusts the root SHA-256", &self.roots);
        lines.concat()
    }
}

impl ProposedUpstream {
    /// Way of a request, with the roots of its `ca-file`.
    pub(super) fn new(user: &str, request: &SetUpstream, roots: Option<&CaFile>) -> Self {
        let url = request.proxy.as_ref().map(|proxy| proxy.expose());
        let login = url.and_then(proxy_login);
        Self {
            user: user.to_owned(),
            proxy: url.map(|url| one_line(&without_login(url))),
            proxy_user: login.map(|(user, _)| one_line(user)),
            no_proxy: request.no_proxy.iter().map(|entry| one_line(entry)).collect(),
            roots: roots.map(|roots| roots.fingerprints().to_vec()).unwrap_or_default(),
        }
    }

    fn describe(&self, would: &str) -> String {
        let mut text = format!(
            "  {would}take over the way of {} to other hosts, for all users\n",
            self.user
        );
        if let Some(proxy) = &self.proxy {
            let login = self.proxy_user.as_ref().map(|user| format!(" as {user}"));
            text += &format!(
                "    all requests go through the proxy {proxy}{}\n",
                login.unwrap_or_default()
            );
        }
        if !self.no_proxy.is_empty() {
            text += &format!("    without the proxy: {}\n", self.no_proxy.join(", "));
        }
        for root in &self.roots {
            text += &format!("    clients trust the root SHA-256 {root}\n");
        }
        text
    }
}

/// Reason why a request cannot be shown as the daemon reads it. URL parsers drop tabs and line feeds, decode host names, take
/// `\` for `/`, and turn letters of other scripts into other ASCII names.
pub(super) fn unshowable(request: &AddRegistry) -> Option<&'static str> {
    let mut urls = request
        .scopes
        .iter()
        .chain(&request.index)
        .chain(&request.token_service);
    let mut words = request.kind.iter().chain(&request.scheme).chain(&request.writes);
    let is_plain = |word: &String| word.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (!urls.all(|url| is_plain_url(url)) || !words.all(is_plain))
        .then_some("its definition has characters that cannot be shown")
}

/// Reason why a way to other hosts cannot be shown as the daemon reads it.
pub(super) fn unshowable_upstream(request: &SetUpstream) -> Option<&'static str> {
    let is_strange = |proxy: &str| {
        let origin = without_login(proxy);
        let (_, host) = origin.split_once("://").unwrap_or_default();
        !is_visible(proxy) || proxy.contains('\\') || !is_plain_host(host)
    };
    let mut proxies = request.proxy.iter().map(|proxy| proxy.expose());
    let is_unshowable = proxies.any(is_strange) || !request.no_proxy.iter().all(|entry| is_visible(entry));
    is_unshowable.then_some("its settings have characters that cannot be shown")
}

/// True for a URL whose host every parser reads as it is written.
fn is_plain_url(url: &str) -> bool {
    let authority = url
        .split_once("://")
        .map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    is_visible(url) && authority.is_some_and(is_plain_host)
}

/// True for a host with an optional port.
fn is_plain_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// User of a proxy's URL, and whether the URL has a password.
pub(super) fn proxy_login(url: &str) -> Option<(&str, bool)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let (login, _) = authority.rsplit_once('@')?;
    Some(login.split_once(':').map_or((login, false), |(user, _)| (user, true)))
}

#[cfg(test)]
mod tests {
    use regauth_shared::Secret;
    use serde_json::json;

    use super::*;

    fn request(changes: serde_json::Value) -> AddRegistry {
        let mut request = json!({
            "name": "corp",
            "kind": "oci",
            "scheme": "basic",
            "username": "me",
            "scopes": ["https://corp.example/v2/"],
            "index": "sparse+https://index.example/",
            "token-service": "https://tokens.example/",
            "credential-of": "other",
            "writes": "allow",
            "programs": ["podman"],
        });
        request
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        serde_json::from_value(request).unwrap()
    }

    fn roots() -> CaFile {
        let text = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        CaFile::parse("ca-file", text.to_owned()).unwrap()
    }

    #[test]
    fn a_proposal_names_every_host_that_gets_the_token_and_every_root() {
        let registry = ProposedRegistry::new("me", &request(json!({})), Some(&roots()));
        let text = registry.describe("would ");
        for part in [
            "would move corp of me (oci, basic as me, writes open)\n",
            "its token goes to https://corp.example/v2/\n",
            "its token goes to the index sparse+https://index.example/\n",
            "its token goes to the token service https://tokens.example/\n",
            "its token is that of other\n",
            "cannot see programs: podman\n",
            "it trusts the root SHA-256 AE4B3280",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_proposal_names_the_proxy_without_its_password() {
        let upstream = SetUpstream {
            proxy: Some(Secret::parse("http://me:s3cret@proxy.example:3128").unwrap()),
            no_proxy: vec!["corp.example".to_owned()],
            ..SetUpstream::default()
        };
        assert_eq!(unshowable_upstream(&upstream), None);
        let proposed = ProposedUpstream::new("me", &upstream, Some(&roots()));
        let text = proposed.describe("") + &serde_json::to_string(&proposed).unwrap();
        assert!(text.contains("the proxy http://proxy.example:3128 as me\n"), "{text}");
        assert!(text.contains("without the proxy: corp.example\n"), "{text}");
        assert!(text.contains("trust the root SHA-256 AE4B3280"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        for hostile in [
            "http://evil.example\\@proxy.example",
            "http://pr\u{43e}xy.example",
            "http://%65vil.example",
            "http://",
        ] {
            let upstream = SetUpstream {
                proxy: Some(Secret::parse(hostile).unwrap()),
                ..SetUpstream::default()
            };
            assert!(unshowable_upstream(&upstream).is_some(), "{hostile}");
        }
        assert_eq!(proxy_login("http://proxy.example:3128"), None);
        assert_eq!(proxy_login("http://me@proxy.example"), Some(("me", false)));
    }

    #[test]
    fn a_text_cannot_show_another_host_than_the_daemon_reads() {
        assert_eq!(unshowable(&request(json!({}))), None);
        for hostile in [
            json!({ "scopes": ["https://ev\til.example/"] }),
            json!({ "scopes": ["https://evil.example/\n  move corp of me: https://corp.example/"] }),
            json!({ "index": "sparse+https://c\u{043e}rp.example/" }),
            json!({ "token-service": "https://a.example/\u{202e}" }),
            json!({ "scheme": "X: {token}\u{1b}[2K" }),
            json!({ "scopes": ["https://evil.example\\.corp.example/"] }),
            json!({ "scopes": ["https://corp.example@evil.example/"] }),
            json!({ "scopes": ["https://%65vil.example/"] }),
            json!({ "scopes": ["https:evil.example/"] }),
            json!({ "token-service": "https://evil.example?https://corp.example/" }),
        ] {
            assert!(unshowable(&request(hostile.clone())).is_some(), "{hostile}");
        }
        let odd = request(json!({ "username": "a\n  move b", "programs": ["\u{1b}[2J"] }));
        let text = ProposedRegistry::new("me", &odd, None).describe("");
        assert!(!text.contains('\u{1b}') && !text.contains("\n  move b"), "{text}");
    }
}
