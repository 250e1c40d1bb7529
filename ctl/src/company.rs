//! A company's proxy and roots in the caller's environment or a client's files, which regauth's settings replace.
//!
//! Clients then leave through regauthd, so regauthd needs the proxy, and its bundle needs the roots.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use regauth_shared::request::SetUpstream;
use regauth_shared::response::UpstreamSet;
use regauth_shared::{ErrorBody, Request, Secret};

use crate::client::Client;
use crate::daemon_info::DaemonInfo;
use crate::environment::{BUNDLE_VARIABLES, JAVA_OPTIONS, PROXY_VARIABLES};
use crate::{error, output};

/// A value that regauth's setting replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompanySetting {
    /// Place of the value: a file, or an environment variable.
    pub(crate) place: String,
    value: CompanyValue,
}

/// Value of a company's setting. A proxy may hold a password, so it is never shown whole.
#[derive(Clone, PartialEq, Eq)]
enum CompanyValue {
    Proxy(String),
    CaFile(String),
    JavaTrustStore(String),
}

impl std::fmt::Debug for CompanyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Proxy(url) => f.write_str(&without_login(url)),
            Self::CaFile(file) | Self::JavaTrustStore(file) => f.write_str(file),
        }
    }
}

/// A company's setting that regauthd lacks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingSetting {
    /// Sentence about the setting.
    pub(crate) problem: String,
    /// Command or change to the configuration that gives regauthd the setting.
    pub(crate) remedy: String,
    /// False if regauthd has another setting in its place.
    pub(crate) is_broken: bool,
}

impl CompanySetting {
    /// A proxy.
    pub(crate) fn proxy(place: &str, url: &str) -> Self {
        Self {
            place: place.to_owned(),
            value: CompanyValue::Proxy(url.to_owned()),
        }
    }

    /// A file with trusted roots.
    pub(crate) fn ca_file(place: &str, file: &str) -> Self {
        Self {
            place: place.to_owned(),
            value: CompanyValue::CaFile(file.to_owned()),
        }
    }

    /// A trust store of Java.
    pub(crate) fn java_trust_store(place: &str, file: &str) -> Self {
        Self {
            place: place.to_owned(),
            value: CompanyValue::JavaTrustStore(file.to_owned()),
        }
    }

    /// A proxy and a trust store in `JAVA_TOOL_OPTIONS`.
    fn of_java(options: &str) -> Vec<Self> {
        let value = |name: &str| {
            let mut found = options
                .split_whitespace()
                .filter_map(|option| option.strip_prefix(name));
            found.next_back().filter(|value| !value.is_empty())
        };
        let port = value("-Dhttps.proxyPort=").unwrap_or("80");
        let proxy = value("-Dhttps.proxyHost=");
        let proxy = proxy.map(|host| Self::proxy(JAVA_OPTIONS, &format!("http://{host}:{port}")));
        let trust_store = value("-Djavax.net.ssl.trustStore=");
        let trust_store = trust_store.map(|file| Self::java_trust_store(JAVA_OPTIONS, file));
        proxy.into_iter().chain(trust_store).collect()
    }

    /// Looks for the setting in regauthd. `carry_over` is the command that gives it to regauthd, if there is one. `None` if
    /// regauthd has the proxy or the roots, or the file has none.
    pub(crate) fn missing(&self, info: &DaemonInfo, carry_over: Option<&str>) -> Option<MissingSetting> {
        match &self.value {
            CompanyValue::Proxy(url) => self.missing_proxy(&without_login(url), info, carry_over),
            CompanyValue::CaFile(file) => self.missing_ca_file(file, info, carry_over),
            CompanyValue::JavaTrustStore(file) => self.missing_trust_store(file, info),
        }
    }

    /// True for a proxy on this machine that does not run.
    fn is_dead(&self) -> bool {
        matches!(&self.value, CompanyValue::Proxy(url) if is_dead_proxy(&without_login(url)))
    }

    /// A proxy of regauthd's own is a decision, so another one in a client is no fault.
    fn missing_proxy(&self, shown: &str, info: &DaemonInfo, carry_over: Option<&str>) -> Option<MissingSetting> {
        if shown == without_login(&info.proxy) || info.upstream_proxies.iter().any(|used| used == shown) {
            return None;
        }
        let place = &self.place;
        if is_dead_proxy(shown) {
            return Some(MissingSetting {
                problem: format!("{place} sets the proxy {shown}, and nothing listens there"),
                remedy: self.remedy_of_dead_proxy(shown, info, carry_over),
                is_broken: false,
            });
        }
        if info.configured_proxy.as_deref() == Some(shown) {
            return Some(MissingSetting {
                problem: format!("{place} sets the proxy {shown}, and regauthd uses it from its next start"),
                remedy: format!("restart regauthd: {}", info.restart_command()),
                is_broken: true,
            });
        }
        if let Some(other) = info.configured_proxy.as_ref().or(info.upstream_proxies.first()) {
            return Some(MissingSetting {
                problem: format!("{place} sets the proxy {shown}, and regauthd has the proxy {other} instead"),
                remedy: format!(
                    "nothing, if {other} is right; else regauthctl upstream {shown}, then restart regauthd: {}",
                    info.restart_command()
                ),
                is_broken: false,
            });
        }
        let by_hand = || {
            format!(
                "regauthctl upstream {shown}, then restart regauthd: {}",
                info.restart_command()
            )
        };
        Some(MissingSetting {
            problem: format!(
                "{place} sets the proxy {shown}, and regauthd does not use it: hosts that only this proxy can reach are \
                 out of reach"
            ),
            remedy: carry_over.map_or_else(by_hand, str::to_owned),
            is_broken: true,
        })
    }

    /// regauthd behind a proxy that does not run would reach nothing, so that is never the first advice.
    fn remedy_of_dead_proxy(&self, shown: &str, info: &DaemonInfo, carry_over: Option<&str>) -> String {
        match carry_over {
            Some(command) => format!("nothing, if it is out of use; else start that proxy, then {command}"),
            None => {
                let place = &self.place;
                let removal = match place.as_str() {
                    JAVA_OPTIONS => format!("take it out of {place}"),
                    _ => format!("unset {place}"),
                };
                format!(
                    "{removal}; or start that proxy, then regauthctl upstream {shown}, then restart regauthd: {}",
                    info.restart_command()
                )
            }
        }
    }

    fn missing_ca_file(&self, file: &str, info: &DaemonInfo, carry_over: Option<&str>) -> Option<MissingSetting> {
        let missing = missing_roots(Path::new(file), Path::new(&info.bundle));
        let present = info.company_roots.as_deref();
        let remedy = || match (present, carry_over) {
            (Some(present), _) if present == file => "regauthctl reload".to_owned(),
            (Some(present), _) => {
                format!(
                    "append the certificates of {file} to {present}, which is the `ca-file`; then regauthctl reload"
                )
            }
            (None, Some(command)) => command.to_owned(),
            (None, None) => format!("set `ca-file = \"{file}\"` at the top of config.toml, then regauthctl reload"),
        };
        (missing > 0).then(|| MissingSetting {
            problem: format!(
                "{} sets the CA file {file}, and regauth's bundle lacks {missing} of its certificates: hosts whose \
                 certificates they signed are not trusted",
                self.place
            ),
            remedy: remedy(),
            is_broken: true,
        })
    }

    /// A key store cannot be read here, nor carried over. With a `ca-file`, somebody has taken care of the company's roots.
    fn missing_trust_store(&self, file: &str, info: &DaemonInfo) -> Option<MissingSetting> {
        let ours = Path::new(&info.bundle).with_extension("jks");
        (Path::new(file) != ours && info.company_roots.is_none()).then(|| MissingSetting {
            problem: format!(
                "{} sets the trust store {file}, and regauth's replaces it: Java trusts only the bundle",
                self.place
            ),
            remedy: format!(
                "write the company's roots in it to a PEM file (keytool -exportcert -rfc -keystore {file} -alias NAME), and \
                 set that as `ca-file` at the top of config.toml"
            ),
            is_broken: true,
        })
    }
}

/// Settings in the environment. Each value is listed once.
pub(crate) fn of_environment(current: impl Fn(&str) -> Option<String>) -> Vec<CompanySetting> {
    let proxies = PROXY_VARIABLES.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    let value = |name: &str| current(name).filter(|value| !value.is_empty());
    let proxies = proxies.filter_map(|name| Some(CompanySetting::proxy(name, &value(name)?)));
    let files = BUNDLE_VARIABLES.into_iter();
    let files = files.filter_map(|name| Some(CompanySetting::ca_file(name, &value(name)?)));
    let java = value(JAVA_OPTIONS).map_or_else(Vec::new, |options| CompanySetting::of_java(&options));
    without_repetitions(proxies.chain(files).chain(java))
}

/// Prints a note on stderr for each setting of the environment that regauthd lacks: stdout is for a shell or a program.
pub(crate) fn warn_of_replaced_variables(info: &DaemonInfo) {
    for setting in of_environment(|name| std::env::var(name).ok()) {
        if let Some(MissingSetting { problem, remedy, .. }) = setting.missing(info, None) {
            output::print_to_stderr(&format!("note: {problem}; {remedy}\n"));
        }
    }
}

/// The settings without later ones of the same value.
pub(crate) fn without_repetitions(settings: impl IntoIterator<Item = CompanySetting>) -> Vec<CompanySetting> {
    let mut kept: Vec<CompanySetting> = Vec::new();
    for setting in settings {
        if kept.iter().all(|before| before.value != setting.value) {
            kept.push(setting);
        }
    }
    kept
}

/// Writes the first proxy and the first CA file that regauthd lacks into its configuration. Returns the daemon's notes.
///
/// # Errors
/// The daemon does not accept a setting.
pub(crate) fn carry_over(
    settings: &[CompanySetting],
    info: &DaemonInfo,
    client: &Client,
) -> Result<Vec<String>, ErrorBody> {
    let lacking = || {
        let usable = settings.iter().filter(|setting| !setting.is_dead());
        usable.filter(|setting| setting.missing(info, None).is_some())
    };
    let proxy = lacking().find_map(|setting| match &setting.value {
        CompanyValue::Proxy(url) => Some(url),
        CompanyValue::CaFile(_) | CompanyValue::JavaTrustStore(_) => None,
    });
    let ca_file = lacking().find_map(|setting| match &setting.value {
        CompanyValue::CaFile(file) => Some(file),
        CompanyValue::Proxy(_) | CompanyValue::JavaTrustStore(_) => None,
    });
    if proxy.is_none() && ca_file.is_none() {
        return Ok(Vec::new());
    }
    let secret = |url: &String| Secret::parse(url).map_err(|why| error::failed(format!("the proxy's URL: {why}")));
    let absolute = |file: &String| {
        let file = std::path::absolute(file).map_err(error::io(format!("cannot find {file}")))?;
        Ok(file.display().to_string())
    };
    let request = Request::SetUpstream(SetUpstream {
        proxy: proxy.map(secret).transpose()?,
        no_proxy: no_proxy(|name| std::env::var(name).ok()),
        ca_file: ca_file.map(absolute).transpose()?,
        ..SetUpstream::default()
    });
    client.call::<UpstreamSet>(&request).map(|reply| reply.answer.notes)
}

/// Hosts that the environment excepts from the proxy: regauthd reaches them without it too.
fn no_proxy(current: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let values = ["no_proxy", "NO_PROXY"].into_iter().filter_map(current);
    let value = values.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    let entries = value.split(|separator: char| separator == ',' || separator.is_whitespace());
    let entries = entries.filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

/// Scheme, host and port of a proxy, without user, password and path. A missing scheme is http, as for all clients.
pub(crate) fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let origin = authority.rsplit_once('@').map_or(authority, |(_, origin)| origin);
    format!("{scheme}://{origin}").to_ascii_lowercase()
}

/// True for the URL of a proxy on a loopback address that refuses connections, such as that of an earlier regauthd.
pub(crate) fn is_dead_proxy(url: &str) -> bool {
    let origin = without_login(url);
    let authority = origin
        .split_once("://")
        .map_or(origin.as_str(), |(_, authority)| authority);
    let authority = authority.replace("localhost", "127.0.0.1");
    let Ok(address) = authority.parse::<SocketAddr>() else {
        return false;
    };
    let refuses = || {
        let connected = TcpStream::connect_timeout(&address, LOOPBACK_TIMEOUT);
        connected.is_err_and(|why| why.kind() == ErrorKind::ConnectionRefused)
    };
    address.ip().is_loopback() && refuses()
}

/// Time for a connection on this machine.
const LOOPBACK_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of certificates in a file that the bundle lacks. A file that cannot be read has none.
fn missing_roots(file: &Path, bundle: &Path) -> usize {
    let read = |file| {
        fs::read_to_string(file)
            .map(|text| certificates(&text))
            .unwrap_or_default()
    };
    let bundle = read(bundle);
    read(file).iter().filter(|root| !bundle.contains(*root)).count()
}

/// Certificates of a PEM text: their base64 without line breaks. Equal certificates have equal base64.
fn certificates(text: &str) -> BTreeSet<String> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|block| block.split_once("-----END CERTIFICATE-----"));
    bodies.map(|(body, _)| body.split_whitespace().collect()).collect()
}

#[cfg(test)]
mod tests;
