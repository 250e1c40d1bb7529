//! One environment for all clients: the proxy and the bundle under every name that one of them reads. A
//! [`shell`](crate::shell) puts it into its own words.

use std::path::Path;

use regauth_shared::response::RegistryView;

use crate::daemon_info::DaemonInfo;
use crate::program::PROVIDER;

/// A variable and what it is to be; `None` takes it out.
pub(crate) type Variable = (String, Option<String>);

/// What the caller's environment has to become: ours, and what the caller's own variables have to say instead.
pub(crate) fn of_caller(facts: &DaemonInfo) -> Vec<Variable> {
    let callers = |name: &str| std::env::var(name).ok();
    let mut variables = variables(facts);
    variables.extend(java(facts, callers));
    variables.extend(exceptions(facts, callers));
    variables
}

/// What is the same in every environment.
pub(crate) fn variables(facts: &DaemonInfo) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), Some(value.to_owned())));
    for name in PROXIES {
        set(name, &facts.proxy);
    }
    for name in BUNDLES {
        set(name, &facts.bundle);
    }
    // Any [http] setting switches cargo to a git that knows no credential helpers, for all hosts.
    set("CARGO_NET_GIT_FETCH_WITH_CLI", "true");
    // Cargo splits the list at blanks, so there is no room for arguments: REGAUTH_HOME says where the daemon is.
    let provider = provider(facts);
    set(
        "CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS",
        &format!("cargo:token {provider}"),
    );
    if let Some(home) = &facts.home {
        set("REGAUTH_HOME", &home.display().to_string());
    }
    variables
}

/// What cargo has to be told of each registry, where no file of its own names it.
pub(crate) fn registries(facts: &DaemonInfo) -> Vec<Variable> {
    let of = |(view, index): (&RegistryView, &str)| {
        let name = view.name.as_str().to_ascii_uppercase().replace('-', "_");
        [("INDEX", index), ("CREDENTIAL_PROVIDER", provider(facts))]
            .map(|(key, value)| (format!("CARGO_REGISTRIES_{name}_{key}"), Some(value.to_owned())))
    };
    facts.cargo_indexes().flat_map(of).collect()
}

fn provider(facts: &DaemonInfo) -> &str {
    let program = facts.provider.first().map_or(PROVIDER, String::as_str);
    if program.contains(char::is_whitespace) {
        PROVIDER
    } else {
        program
    }
}

/// `JAVA_TOOL_OPTIONS`: Java reads neither the proxy variables nor a PEM file. The caller's own options stay. None where
/// a folder's name has a blank, which the options have no room for.
fn java(facts: &DaemonInfo, variable: impl Fn(&str) -> Option<String>) -> Option<Variable> {
    let proxy = url::Url::parse(&facts.proxy).ok()?;
    let store = Path::new(&facts.bundle).with_extension("jks").display().to_string();
    if store.contains(char::is_whitespace) {
        return None;
    }
    let ours = [
        ("-Djavax.net.ssl.trustStore=", store),
        (
            "-Dhttps.proxyHost=",
            proxy.host_str()?.trim_matches(['[', ']']).to_owned(),
        ),
        ("-Dhttps.proxyPort=", proxy.port_or_known_default()?.to_string()),
    ];
    let theirs = variable(JAVA).unwrap_or_default();
    let is_ours = |word: &&str| ours.iter().any(|(option, _)| word.starts_with(option));
    let kept = theirs
        .split_whitespace()
        .filter(|word| !is_ours(word))
        .map(str::to_owned);
    let words: Vec<String> = kept
        .chain(ours.iter().map(|(option, value)| format!("{option}{value}")))
        .collect();
    Some((JAVA.to_owned(), Some(words.join(" "))))
}

/// The caller's `NO_PROXY`, under both its names, without what would send a registry past the proxy. It beats every
/// proxy variable, cargo's own included.
fn exceptions(facts: &DaemonInfo, variable: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    let hosts = facts.hosts();
    let names = ["NO_PROXY", "no_proxy"];
    names
        .into_iter()
        .filter_map(|name| {
            let value = variable(name)?;
            let kept = without(&value, &hosts);
            (kept != value).then(|| (name.to_owned(), (!kept.is_empty()).then_some(kept)))
        })
        .collect()
}

/// The entries of a `NO_PROXY` that send one of these hosts past a proxy.
pub(crate) fn bypassing<'a>(value: &'a str, hosts: &[String]) -> Vec<&'a str> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .filter(|entry| hosts.iter().any(|host| bypasses(entry, host)))
        .collect()
}

/// A `NO_PROXY` without them; one that has none stays as it is.
pub(crate) fn without(value: &str, hosts: &[String]) -> String {
    let gone = bypassing(value, hosts);
    let entries = value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty() && !gone.contains(entry));
    let kept: Vec<_> = entries.collect();
    if gone.is_empty() {
        value.to_owned()
    } else {
        kept.join(",")
    }
}

/// As curl reads it: `*`, a name that stands for its subdomains too, a leading dot or `*.` that changes nothing.
fn bypasses(entry: &str, host: &str) -> bool {
    let entry = entry
        .trim_start_matches("*.")
        .trim_start_matches('.')
        .to_ascii_lowercase();
    let entry = entry.rsplit_once(':').map_or(entry.as_str(), |(name, port)| {
        if port.chars().all(|digit| digit.is_ascii_digit()) && !name.contains(':') {
            name
        } else {
            entry.as_str()
        }
    });
    let host = host.trim_matches(['[', ']']);
    entry == "*" || host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

/// `HTTP_PROXY` is not among them: for https it does nothing, and plain http is no registry's.
const PROXIES: [&str; 5] = [
    "HTTPS_PROXY",
    "https_proxy",
    "CARGO_HTTP_PROXY",
    "PIP_PROXY",
    "npm_config_https_proxy",
];

/// An npmrc `cafile` silently disables NODE_EXTRA_CA_CERTS, so npm is told twice.
const BUNDLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
];

const JAVA: &str = "JAVA_TOOL_OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_loses_what_names_a_registry_and_nothing_else() {
        let hosts = ["npm.corp.example".to_owned(), "127.0.0.1".to_owned()];
        for (value, kept) in [
            ("localhost,.corp.example, other.example", "localhost,other.example"),
            ("corp.example:443,x", "x"),
            ("127.0.0.1:8443,::1", "::1"),
            ("*", ""),
            ("*.corp.example", ""),
            ("p.example,xnpm.corp.example.org", "p.example,xnpm.corp.example.org"),
        ] {
            assert_eq!(without(value, &hosts), kept, "{value}");
        }
    }
}
