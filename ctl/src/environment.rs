//! Environment variables that make all clients use the proxy and trust the bundle. [`Shell`](crate::shell::Shell)
//! prints them in the syntax of each shell.

use std::path::Path;

use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::response::RegistryView;

use crate::client_files::{self, ClientFile};
use crate::daemon_info::DaemonInfo;
use crate::program::PROVIDER;
use crate::setup;

/// Environment variable with its new value; `None` unsets it.
pub(crate) type Variable = (String, Option<String>);

/// All variables for the caller's environment: regauth's own, and changed values of the caller's.
pub(crate) fn caller_variables(info: &DaemonInfo) -> Vec<Variable> {
    let current = |name: &str| std::env::var(name).ok();
    let grant = grant_of_caller(info);
    let mut variables = variables_with_proxy(info, grant.as_deref().unwrap_or(&info.proxy));
    variables.extend(java_options(&info.proxy, Path::new(&info.bundle), current));
    variables.extend(no_proxy(info, current));
    // Their proxy is the daemon's own, which answers 407 to a client that needs a grant.
    if grant.is_none() {
        let files = client_files::all(info).into_iter().filter(ClientFile::is_written);
        variables.extend(files.map(|file| file.variable(current)));
    }
    variables.extend(uv_placeholders(info, current));
    variables.extend(index_variables(info));
    variables
}

/// Login for uv's index of the name of each PyPI registry. uv sends nothing without one for `authenticate = "always"`.
fn uv_placeholders(info: &DaemonInfo, current: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    placeholders(info.of_kind("pypi").flat_map(uv_logins), current)
}

fn uv_logins(view: &RegistryView) -> [String; 2] {
    let name = view.name.as_str().to_ascii_uppercase().replace(['-', '.'], "_");
    ["USERNAME", "PASSWORD"].map(|part| format!("UV_INDEX_{name}_{part}"))
}

/// Variables with a login that clients of this registry insist on, to read or also to publish.
pub(crate) fn login_variables(view: &RegistryView, publishes: bool) -> Vec<String> {
    let publishing: &[&str] = match view.kind.as_str() {
        "pypi" if publishes => &PYPI_LOGINS,
        "npm" if publishes => &NPM_LOGINS,
        _ => &[],
    };
    let reading = (view.kind == "pypi").then(|| uv_logins(view));
    let publishing = publishing.iter().map(|name| (*name).to_owned());
    reading.into_iter().flatten().chain(publishing).collect()
}

/// Placeholders for variables that the caller has not set.
fn placeholders(names: impl IntoIterator<Item = String>, current: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    let unset = names.into_iter().filter(|name| current(name).is_none());
    unset.map(|name| (name, Some(PLACEHOLDER.to_owned()))).collect()
}

/// Proxy URL in the caller's environment, if it is a grant of this daemon. A job can run with fewer rights than its user.
pub(crate) fn grant_of_caller(info: &DaemonInfo) -> Option<String> {
    let candidates = ["HTTPS_PROXY", "https_proxy"].into_iter();
    let mut values = candidates.filter_map(|name| std::env::var(name).ok());
    values.find(|value| is_grant(value, &info.proxy))
}

/// True if the text is a proxy URL with a grant of the daemon at `proxy`.
pub(crate) fn is_grant(value: &str, proxy: &str) -> bool {
    let [Ok(value), Ok(proxy)] = [value, proxy].map(url::Url::parse) else {
        return false;
    };
    value.username() == "regauth" && value.password().is_some() && value.origin() == proxy.origin()
}

/// Variables that do not depend on the caller's environment.
pub(crate) fn variables(info: &DaemonInfo) -> Vec<Variable> {
    let mut variables = variables_with_proxy(info, &info.proxy);
    variables.extend(client_files::all(info).iter().map(|file| file.variable(|_| None)));
    variables.extend(index_variables(info));
    variables
}

/// Placeholders for clients that publish only with a login. They hide the login that such a client has for other
/// registries, so they are for a command with registries of its own.
pub(crate) fn publishing_placeholders(info: &DaemonInfo) -> Vec<Variable> {
    let of_kind = |kind: &str, names: &'static [&'static str]| {
        let names = if info.of_kind(kind).next().is_some() {
            names
        } else {
            &[]
        };
        names.iter().copied().map(str::to_owned)
    };
    let names = of_kind("pypi", &PYPI_LOGINS).chain(of_kind("npm", &NPM_LOGINS));
    placeholders(names, |name| std::env::var(name).ok())
}

/// Variables of all clients for the proxy and the bundle.
pub(crate) fn proxy_and_bundle(proxy: &str, bundle: &str) -> Vec<Variable> {
    let proxies = PROXY_VARIABLES.map(|name| (name, proxy));
    let bundles = BUNDLE_VARIABLES.map(|name| (name, bundle));
    let switches = [
        // Without it, Node 22 and later read no proxy variable.
        ("NODE_USE_ENV_PROXY", "1"),
        // Any [http] setting makes cargo use libgit2, which runs no credential helpers, for all hosts.
        ("CARGO_NET_GIT_FETCH_WITH_CLI", "true"),
    ];
    let all = proxies.into_iter().chain(bundles).chain(switches);
    all.map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
        .collect()
}

fn variables_with_proxy(info: &DaemonInfo, proxy: &str) -> Vec<Variable> {
    let mut variables = proxy_and_bundle(proxy, &info.bundle);
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), Some(value.to_owned())));
    // Cargo splits the list at blanks, so the provider gets no arguments; REGAUTH_HOME names the daemon's folder
    // instead.
    let provider = credential_provider(info);
    set(
        "CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS",
        &format!("cargo:token {provider}"),
    );
    if let Some(home) = &info.home {
        set("REGAUTH_HOME", &home.display().to_string());
    }
    variables
}

/// Cargo's variables for the index of each registry, so that a project can name it. An index to which cargo's files give
/// another name gets no second one: cargo rejects that.
fn index_variables(info: &DaemonInfo) -> Vec<Variable> {
    let is_expressible = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let indexes = info.cargo_indexes();
    let wanted = indexes.filter(|(view, index)| {
        let name = view.name.as_str();
        is_expressible(name) && !setup::has_other_cargo_name(index, name)
    });
    let variable = |(view, index): (&RegistryView, &str)| {
        let name = view.name.as_str().to_ascii_uppercase().replace('-', "_");
        (format!("CARGO_REGISTRIES_{name}_INDEX"), Some(index.to_owned()))
    };
    wanted.map(variable).collect()
}

/// Cargo's variables for each registry, for a cargo whose files do not name the registries.
pub(crate) fn registry_variables(info: &DaemonInfo) -> Vec<Variable> {
    let of_registry = |(view, index): (&RegistryView, &str)| {
        let name = view.name.as_str().to_ascii_uppercase().replace('-', "_");
        [("INDEX", index), ("CREDENTIAL_PROVIDER", credential_provider(info))]
            .map(|(key, value)| (format!("CARGO_REGISTRIES_{name}_{key}"), Some(value.to_owned())))
    };
    // No shell can set a variable with a dot, and cargo refuses such a name anyway.
    let can_be_variable = |(view, _): &(&RegistryView, &str)| !view.name.as_str().contains('.');
    info.cargo_indexes()
        .filter(can_be_variable)
        .flat_map(of_registry)
        .collect()
}

/// Path of the credential provider, or only its name if cargo would split the path at a blank.
fn credential_provider(info: &DaemonInfo) -> &str {
    let program = info.provider.first().map_or(PROVIDER, String::as_str);
    if program.contains(char::is_whitespace) {
        PROVIDER
    } else {
        program
    }
}

/// `JAVA_TOOL_OPTIONS` with the caller's own options kept: Java reads neither the proxy variables nor a PEM file.
/// `None` if the bundle's path has a blank, which the variable cannot express.
pub(crate) fn java_options(proxy: &str, bundle: &Path, current: impl Fn(&str) -> Option<String>) -> Option<Variable> {
    let proxy = url::Url::parse(proxy).ok()?;
    let key_store = bundle.with_extension("jks").display().to_string();
    if key_store.contains(char::is_whitespace) {
        return None;
    }
    let host = proxy.host_str()?.trim_matches(['[', ']']).to_owned();
    let added = [
        ("-Djavax.net.ssl.trustStore=", key_store),
        ("-Dhttps.proxyHost=", host),
        ("-Dhttps.proxyPort=", proxy.port_or_known_default()?.to_string()),
        // Maven 3.9 and 4 have transports of their own, which read the properties above only if told so.
        ("-Daether.connector.http.useSystemProperties=", "true".to_owned()),
        ("-Daether.transport.apache.useSystemProperties=", "true".to_owned()),
    ];
    let present = current(JAVA_OPTIONS).unwrap_or_default();
    let is_added = |option: &&str| added.iter().any(|(prefix, _)| option.starts_with(prefix));
    let kept = present.split_whitespace().filter(|option| !is_added(option));
    let options: Vec<String> = kept
        .map(str::to_owned)
        .chain(added.iter().map(|(prefix, value)| format!("{prefix}{value}")))
        .collect();
    Some((JAVA_OPTIONS.to_owned(), Some(options.join(" "))))
}

/// The caller's `NO_PROXY` and `no_proxy` without the entries that match a registry's host. They override every proxy
/// variable, cargo's own included.
fn no_proxy(info: &DaemonInfo, current: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    let hosts = info.hosts();
    let changed = |name: &str| {
        let value = current(name)?;
        let kept = without_bypassing_entries(&value, &hosts);
        (kept != value).then(|| (name.to_owned(), (!kept.is_empty()).then_some(kept)))
    };
    ["NO_PROXY", "no_proxy"].into_iter().filter_map(changed).collect()
}

/// Entries of a `NO_PROXY` value that match one of these hosts.
pub(crate) fn bypassing_entries<'a>(no_proxy: &'a str, hosts: &[String]) -> Vec<&'a str> {
    let matches_any = |entry: &&str| hosts.iter().any(|host| entry_matches(entry, host));
    entries(no_proxy).filter(matches_any).collect()
}

/// A `NO_PROXY` value without the entries that match one of these hosts. Without such an entry, the value stays as it
/// is.
pub(crate) fn without_bypassing_entries(no_proxy: &str, hosts: &[String]) -> String {
    let removed = bypassing_entries(no_proxy, hosts);
    if removed.is_empty() {
        return no_proxy.to_owned();
    }
    let kept: Vec<_> = entries(no_proxy).filter(|entry| !removed.contains(entry)).collect();
    kept.join(",")
}

fn entries(no_proxy: &str) -> impl Iterator<Item = &str> {
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Matches as curl does: `*` matches every host, a name matches its subdomains too, and a leading `.` or `*.` is
/// ignored.
fn entry_matches(entry: &str, host: &str) -> bool {
    let entry = entry
        .trim_start_matches("*.")
        .trim_start_matches('.')
        .to_ascii_lowercase();
    let entry = without_port(&entry);
    let host = host.trim_matches(['[', ']']);
    entry == "*" || host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

/// Removes the port of `host:port`. An IPv6 address has several colons and no port here.
fn without_port(entry: &str) -> &str {
    match entry.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) && !name.contains(':') => name,
        _ => entry,
    }
}

/// Proxy variables. `HTTP_PROXY` is left out: it applies to plain http only, and no registry uses that.
pub(crate) const PROXY_VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "CARGO_HTTP_PROXY",
    "PIP_PROXY",
    "npm_config_https_proxy",
    "YARN_HTTPS_PROXY",
];

/// Bundle variables. npm needs two, because a `cafile` in an npmrc silently disables `NODE_EXTRA_CA_CERTS`.
pub(crate) const BUNDLE_VARIABLES: [&str; 10] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "PERL_LWP_SSL_CA_FILE",
];

const PYPI_LOGINS: [&str; 6] = [
    "TWINE_USERNAME",
    "TWINE_PASSWORD",
    "UV_PUBLISH_USERNAME",
    "UV_PUBLISH_PASSWORD",
    "PDM_PUBLISH_USERNAME",
    "PDM_PUBLISH_PASSWORD",
];

const NPM_LOGINS: [&str; 1] = ["YARN_NPM_AUTH_TOKEN"];

pub(crate) const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_proxy_url_of_this_daemon_with_a_token() {
        let proxy = "http://127.0.0.1:9001";
        assert!(is_grant("http://regauth:tok@127.0.0.1:9001/", proxy));
        for other in [
            proxy,
            "http://regauth@127.0.0.1:9001",
            "http://me:tok@127.0.0.1:9001",
            "http://regauth:tok@127.0.0.1:9002",
            "http://regauth:tok@proxy.corp:9001",
            "regauth:tok@127.0.0.1:9001",
        ] {
            assert!(!is_grant(other, proxy), "{other}");
        }
    }

    #[test]
    fn removes_only_the_no_proxy_entries_of_registries() {
        let hosts = ["npm.corp.example".to_owned(), "127.0.0.1".to_owned()];
        for (value, kept) in [
            ("localhost,.corp.example, other.example", "localhost,other.example"),
            ("corp.example:443,x", "x"),
            ("127.0.0.1:8443,::1", "::1"),
            ("*", ""),
            ("*.corp.example", ""),
            ("p.example,xnpm.corp.example.org", "p.example,xnpm.corp.example.org"),
        ] {
            assert_eq!(without_bypassing_entries(value, &hosts), kept, "{value}");
        }
    }
}
