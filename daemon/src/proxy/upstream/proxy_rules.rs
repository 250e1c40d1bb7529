//! Choice of the corporate proxy for a connection, from the configuration or the environment. Pure.
//!
//! The environment is read as curl reads it: `http_proxy` (lower case only) for plain HTTP, `https_proxy` or `HTTPS_PROXY`
//! for the rest, `all_proxy` or `ALL_PROXY` for both, `no_proxy` or `NO_PROXY` for exceptions. An empty variable counts
//! as unset. A variable that cannot be read is an error: without it, connections would leave past the company's proxy.
//!
//! Loopback is never proxied.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::{InvalidProxyUrl, ProxyLogin, ProxyUrl, UpstreamSettings};
use crate::host::{Host, Origin};
use crate::proxy::upstream::proxy_handshake::ProxyProblem;

/// Corporate proxies by URL scheme, and the hosts that are reached without them.
pub struct ProxyRules {
    plain: Option<Arc<CorporateProxy>>,
    tls: Option<Arc<CorporateProxy>>,
    /// Matches the hosts of `no-proxy`.
    exceptions: Matcher,
}

impl ProxyRules {
    /// Rules of the configuration, or those of the environment.
    ///
    /// `listen` is the address of our own listener. A variable that names it is ignored: it is set for clients in the same
    /// environment.
    ///
    /// # Errors
    /// [`InvalidProxySetting`] when a setting cannot be used.
    pub fn new(
        settings: &UpstreamSettings,
        listen: SocketAddr,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, InvalidProxySetting> {
        let configured = settings.no_proxy.as_ref().map(|hosts| hosts.join(","));
        if let Some(url) = &settings.proxy {
            if is_own_listener(&url.origin, listen) {
                return Err(InvalidProxySetting::OwnListener);
            }
            let proxy = Some(Arc::new(CorporateProxy::new(url.clone(), ProxySetting::File)));
            return Ok(Self {
                plain: proxy.clone(),
                tls: proxy,
                exceptions: exceptions(&configured.unwrap_or_default()),
            });
        }
        let variables = Variables {
            value: &environment,
            listen,
        };
        let no_proxy = configured.or_else(|| variables.no_proxy());
        Ok(Self {
            plain: variables.proxy(PLAIN_VARIABLES)?,
            tls: variables.proxy(TLS_VARIABLES)?,
            exceptions: exceptions(&no_proxy.unwrap_or_default()),
        })
    }

    /// Rules that never use a proxy.
    pub fn direct() -> Self {
        Self {
            plain: None,
            tls: None,
            exceptions: exceptions(""),
        }
    }

    /// Proxy for a connection to a host: for a plain HTTP request, or for TLS and tunnels.
    pub(crate) fn select(&self, plain: bool, host: &Host) -> Option<&Arc<CorporateProxy>> {
        let proxy = if plain { &self.plain } else { &self.tls };
        proxy
            .as_ref()
            .filter(|_| !is_loopback(host) && !self.is_exception(host))
    }

    /// The proxies in use, each once.
    pub fn proxies(&self) -> Vec<&CorporateProxy> {
        match (self.tls.as_deref(), self.plain.as_deref()) {
            (Some(tls), Some(plain)) if tls == plain => vec![tls],
            (tls, plain) => tls.into_iter().chain(plain).collect(),
        }
    }

    /// True if the proxy is used for plain HTTP, or for everything else.
    pub fn uses(&self, proxy: &CorporateProxy, plain: bool) -> bool {
        let used = if plain { &self.plain } else { &self.tls };
        used.as_deref() == Some(proxy)
    }

    fn is_exception(&self, host: &Host) -> bool {
        let uri = Uri::try_from(format!("http://{host}/"));
        uri.is_ok_and(|uri| self.exceptions.intercept(&uri).is_none())
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules")
            .field("plain", &self.plain)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A corporate proxy and the place where it was set.
pub struct CorporateProxy {
    /// URL of the proxy. Its `Display` leaves out the user and password.
    pub url: ProxyUrl,
    /// Place where the proxy was set.
    pub setting: ProxySetting,
    /// `None` until the store has given the password.
    login: ArcSwapOption<Login>,
}

impl CorporateProxy {
    fn new(url: ProxyUrl, setting: ProxySetting) -> Self {
        let proxy = Self {
            url,
            setting,
            login: ArcSwapOption::empty(),
        };
        if !proxy.has_stored_password() {
            proxy.set_stored(None);
        }
        proxy
    }

    /// True if the file names a user, whose password the store has.
    pub(crate) fn has_stored_password(&self) -> bool {
        self.setting == ProxySetting::File && self.url.lacks_password()
    }

    /// True if the URL is that of this proxy and user, whatever the password.
    pub(crate) fn is_at(&self, url: &ProxyUrl) -> bool {
        url.with_password(None) == self.url.with_password(None)
    }

    /// Uses the login of a stored URL if that is the URL of this proxy and user, else the login of its own URL.
    pub(crate) fn set_stored(&self, stored: Option<&ProxyUrl>) {
        let url = stored.filter(|stored| self.is_at(stored)).unwrap_or(&self.url);
        self.login.store(Some(Arc::new(Login::new(url.login.clone()))));
    }

    /// User and password, if the proxy has any.
    ///
    /// # Errors
    /// [`ProxyProblem::PasswordLocked`] until the store has given the password.
    pub(super) fn login(&self) -> Result<Arc<Login>, ProxyProblem> {
        self.login.load_full().ok_or(ProxyProblem::PasswordLocked)
    }
}

/// User and password for a corporate proxy, if it has any.
pub(super) struct Login {
    /// For SOCKS5.
    pub(super) login: Option<ProxyLogin>,
    /// Value of Proxy-Authorization (RFC 7617), marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Login {
    fn new(login: Option<ProxyLogin>) -> Self {
        Self {
            authorization: login.as_ref().and_then(basic_authorization),
            login,
        }
    }
}

impl PartialEq for CorporateProxy {
    fn eq(&self, other: &Self) -> bool {
        (&self.url, self.setting) == (&other.url, other.setting)
    }
}

impl fmt::Debug for CorporateProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names the proxy in messages: its URL and where it was set.
impl fmt::Display for CorporateProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (set by {})", self.url, self.setting)
    }
}

/// Place where a corporate proxy was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySetting {
    /// `proxy` in `[upstream]` of `config.toml`.
    File,
    /// Environment variable of the daemon.
    Variable(&'static str),
}

impl fmt::Display for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("config.toml"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Error of a setting for the corporate proxy. A message has nothing of the value, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxySetting {
    /// Environment variable that is no proxy's URL.
    #[error(
        "cannot use {0} in regauthd's environment: {1}; correct it, unset it, or set `proxy` below [upstream] in \
         config.toml, which overrides it"
    )]
    Variable(&'static str, InvalidProxyUrl),
    /// `proxy` in the file that is our own listener.
    #[error(
        "`proxy` below [upstream] in config.toml is the address of this regauthd; set it to the company's proxy or \
         remove it"
    )]
    OwnListener,
}

/// Proxy variables of the daemon's environment.
struct Variables<'a, F> {
    value: &'a F,
    listen: SocketAddr,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<'_, F> {
    /// Proxy of the first variable that is set and does not name our own listener.
    fn proxy(&self, names: &[&'static str]) -> Result<Option<Arc<CorporateProxy>>, InvalidProxySetting> {
        for &name in names {
            let Some(value) = self.non_empty(name) else { continue };
            let text = value.to_str().ok_or(InvalidProxyUrl::NotAProxy);
            let url = text.and_then(ProxyUrl::from_variable);
            let url = url.map_err(|error| InvalidProxySetting::Variable(name, error))?;
            if !is_own_listener(&url.origin, self.listen) {
                let proxy = CorporateProxy::new(url, ProxySetting::Variable(name));
                return Ok(Some(Arc::new(proxy)));
            }
        }
        Ok(None)
    }

    fn no_proxy(&self) -> Option<String> {
        let mut values = ["no_proxy", "NO_PROXY"]
            .into_iter()
            .filter_map(|name| self.non_empty(name));
        values.next().map(|value| value.to_string_lossy().into_owned())
    }

    fn non_empty(&self, name: &str) -> Option<OsString> {
        (self.value)(name).filter(|value| !value.is_empty())
    }
}

fn is_own_listener(proxy: &Origin, listen: SocketAddr) -> bool {
    proxy.port == listen.port() && (is_loopback(&proxy.host) || proxy.host == Host::Address(listen.ip()))
}

/// True for loopback names and addresses, also for IPv4 ones in the form of IPv6.
pub(super) fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(_) => host.is_loopback(),
        Host::Address(address) => is_loopback_address(*address),
    }
}

pub(super) fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Matcher of the hosts in a `no_proxy` list. Beyond curl's forms, `*.x` means `.x`, as other programs have it.
fn exceptions(no_proxy: &str) -> Matcher {
    let entries = no_proxy.split(|separator: char| separator == ',' || separator.is_whitespace());
    let entries: Vec<&str> = entries
        .map(|entry| {
            entry
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(entry)
        })
        .map(|entry| entry.strip_suffix('.').unwrap_or(entry))
        .map(|entry| entry.trim_matches(['[', ']']))
        .filter(|entry| !entry.is_empty())
        .collect();
    // Only the exceptions matter, so any proxy will do.
    Matcher::builder().all("http://proxy").no(entries.join(",")).build()
}

fn basic_authorization(login: &ProxyLogin) -> Option<HeaderValue> {
    let encoded = STANDARD.encode(format!(
        "{}:{}",
        login.user,
        login.password.as_deref().unwrap_or_default()
    ));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// curl ignores `HTTP_PROXY`: a CGI server sets it from a request header.
const PLAIN_VARIABLES: &[&str] = &["http_proxy", "all_proxy", "ALL_PROXY"];
const TLS_VARIABLES: &[&str] = &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

#[cfg(test)]
mod tests;
