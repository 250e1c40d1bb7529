//! What a registry is and what covers what. Pure: nothing here does I/O or sees a secret.
//!
//! A [`Scope`] is `https://host[:port]/path/`; a request belongs to the registry with the longest matching path. The
//! policy, what a request may do there, is in [`crate::policy`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use regauth_shared::RegistryName;
use url::Url;

use crate::credential::preset::{Choice, InvalidChoice, PRESETS, Preset};
use crate::host::{Host, Origin};

/// A registry as configured. Its name is the key it is kept under.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// What reads and writes look like.
    pub kind: Kind,
    /// The index, for those that have one.
    pub index: Option<Index>,
    /// What it covers; never empty.
    pub scopes: Vec<Scope>,
    /// How the secret becomes a header.
    pub scheme: Scheme,
    /// Where the credential comes from.
    pub source: Source,
    /// Whether writes are open without `allow`.
    pub writes: Writes,
    /// Extra upstream roots, for this registry only.
    pub ca_file: Option<PathBuf>,
    /// Upstream mTLS.
    pub client_identity: Option<ClientIdentity>,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What a method and path mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A cargo registry.
    #[default]
    Cargo,
    /// Git over HTTPS.
    Git,
    /// A Python package index.
    Pypi,
    /// An npm registry.
    Npm,
    /// Anything else: only GET, HEAD and OPTIONS read.
    Generic,
}

impl Kind {
    /// The word for it in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Git => "git",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Generic => "generic",
        }
    }
}

impl FromStr for Kind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        [Self::Cargo, Self::Git, Self::Pypi, Self::Npm, Self::Generic]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(InvalidKind)
    }
}

/// The text is not a kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kind is cargo, git, pypi, npm or generic")]
pub struct InvalidKind;

/// Whether writes are open without `allow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Closed until someone opens them.
    #[default]
    Deny,
    /// Always open.
    Allow,
}

impl Writes {
    /// The word for it in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

impl FromStr for Writes {
    type Err = InvalidWrites;

    fn from_str(text: &str) -> Result<Self, InvalidWrites> {
        [Self::Deny, Self::Allow]
            .into_iter()
            .find(|writes| writes.as_str() == text)
            .ok_or(InvalidWrites)
    }
}

/// The text says neither deny nor allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("writes are deny or allow")]
pub struct InvalidWrites;

/// Where a registry's index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// `sparse+https://…/`, RFC 2789. The URL ends with a slash.
    Sparse(Url),
    /// A git repository over HTTPS.
    Git(Url),
}

impl Index {
    /// Where it is, without `sparse+`.
    pub fn url(&self) -> &Url {
        match self {
            Self::Sparse(url) | Self::Git(url) => url,
        }
    }

    /// The scope that covers the index itself.
    ///
    /// # Errors
    /// [`InvalidScope`] when the URL cannot be a scope.
    pub fn scope(&self) -> Result<Scope, InvalidScope> {
        Scope::from_url(self.url().clone())
    }
}

impl FromStr for Index {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let (sparse, rest) = match text.strip_prefix("sparse+") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut url = Url::parse(rest).map_err(|_| InvalidScope::NotAUrl)?;
        rest.parse::<Scope>()?;
        if !sparse {
            return Ok(Self::Git(url));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self::Sparse(url))
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sparse(url) => write!(f, "sparse+{url}"),
            Self::Git(url) => write!(f, "{url}"),
        }
    }
}

/// `https://host[:port]/path/`: an origin and a path prefix of whole segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Plain HTTP, which is allowed on loopback only.
    pub plain: bool,
    /// The host and port.
    pub origin: Origin,
    /// Begins and ends with `/`.
    path: Box<str>,
}

impl Scope {
    fn from_url(url: Url) -> Result<Self, InvalidScope> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            "ssh" | "git" => return Err(InvalidScope::NotHttp),
            _ => return Err(InvalidScope::NotAUrl),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidScope::UserInformation);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidScope::QueryOrFragment);
        }
        let host: Host = url
            .host_str()
            .and_then(|host| host.parse().ok())
            .ok_or(InvalidScope::NotAUrl)?;
        if plain && !host.is_loopback() {
            return Err(InvalidScope::PlainHttp);
        }
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or(InvalidScope::NotAUrl)?;
        let mut path = url.path().to_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        if crate::policy::path::readings_differ(&path) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Ok(Self {
            plain,
            origin: Origin { host, port },
            path: path.into(),
        })
    }

    /// The path prefix; begins and ends with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a request's path is inside, by whole segments: `/cargo/` covers `/cargo` and `/cargo/x`, never
    /// `/cargo-evil`.
    pub fn covers_path(&self, path: &str) -> bool {
        path.starts_with(&*self.path) || Some(path) == self.path.strip_suffix('/')
    }

    /// Whether every request inside `other` is inside `self`.
    pub fn covers(&self, other: &Self) -> bool {
        self.plain == other.plain && self.origin == other.origin && other.path.starts_with(&*self.path)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        // The URL parser resolves dot segments silently; a person who wrote one should hear of it.
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        if crate::policy::path::readings_differ(&format!("/{path}")) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Self::from_url(Url::parse(text).map_err(|_| InvalidScope::NotAUrl)?)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.plain { ("http", 80) } else { ("https", 443) };
        if self.origin.port == usual {
            write!(f, "{scheme}://{}{}", self.origin.host, self.path)
        } else {
            write!(f, "{scheme}://{}{}", self.origin, self.path)
        }
    }
}

/// Why a text is not a scope or an index.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// Not `https://host/path/`.
    #[error("it is not a URL of the form https://host/path/")]
    NotAUrl,
    /// SSH and git URLs carry no HTTP header.
    #[error("ssh and git URLs carry no HTTP credential; give the registry's https URL")]
    NotHttp,
    /// Plain HTTP beyond loopback would show the token to the network.
    #[error("plain http would show the token to the network; only https is allowed (loopback aside)")]
    PlainHttp,
    /// `https://user:password@host/`.
    #[error("it holds a user name or password; remove them, the token is asked for separately")]
    UserInformation,
    /// A query or fragment.
    #[error("it has a query or a fragment; a scope is a path and what lies below it")]
    QueryOrFragment,
    /// `..`, `//`, `%2e` and the like.
    #[error("its path can be read in more than one way (dot segments, double slashes or encoded ones)")]
    AmbiguousPath,
}

/// How the secret becomes a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Basic base64(username:token)`, RFC 7617.
    Basic {
        /// The user name.
        username: String,
    },
    /// `Authorization: Bearer token`, RFC 6750.
    Bearer,
    /// `Authorization: token`, as cargo sends it.
    Raw,
    /// `Name: prefix{token}suffix`.
    Template {
        /// The header.
        header: HeaderName,
        /// What stands before the token.
        prefix: String,
        /// What stands after it.
        suffix: String,
    },
}

impl Scheme {
    /// Reads `basic`, `bearer`, `raw` or `Header-Name: … {token} …`; `username` is for `basic`, which needs it.
    ///
    /// # Errors
    /// [`InvalidScheme`] says what is missing or not allowed.
    pub fn parse(text: &str, username: Option<&str>) -> Result<Self, InvalidScheme> {
        match (text, username) {
            ("basic", Some(name)) if name.contains(':') || name.chars().any(char::is_control) => {
                Err(InvalidScheme::BadUsername)
            }
            ("basic", Some(name)) => Ok(Self::Basic {
                username: name.to_owned(),
            }),
            ("basic", None) => Err(InvalidScheme::UsernameMissing),
            (_, Some(_)) => Err(InvalidScheme::UsernameWithoutBasic),
            ("bearer", None) => Ok(Self::Bearer),
            ("raw", None) => Ok(Self::Raw),
            (template, None) => Self::template(template),
        }
    }

    fn template(text: &str) -> Result<Self, InvalidScheme> {
        let (name, value) = text.split_once(':').ok_or(InvalidScheme::Unknown)?;
        let header = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| InvalidScheme::BadHeaderName)?;
        if FRAMING_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("proxy-") {
            return Err(InvalidScheme::ForbiddenHeader);
        }
        let (prefix, suffix) = value.trim().split_once("{token}").ok_or(InvalidScheme::TokenMissing)?;
        let parts = format!("{prefix}{suffix}");
        if parts.contains(['{', '}']) || parts.chars().any(|c| !(' '..='~').contains(&c)) {
            return Err(InvalidScheme::BadTemplate);
        }
        Ok(Self::Template {
            header,
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        })
    }

    /// The header that carries the credential; the client's own value of it is removed.
    pub fn header(&self) -> HeaderName {
        match self {
            Self::Basic { .. } | Self::Bearer | Self::Raw => http::header::AUTHORIZATION,
            Self::Template { header, .. } => header.clone(),
        }
    }

    /// The user name of `basic`.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Basic { username } => Some(username),
            _ => None,
        }
    }
}

/// As it stands in the configuration; the user name of `basic` has a key of its own.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { .. } => f.write_str("basic"),
            Self::Bearer => f.write_str("bearer"),
            Self::Raw => f.write_str("raw"),
            Self::Template { header, prefix, suffix } => write!(f, "{header}: {prefix}{{token}}{suffix}"),
        }
    }
}

/// Why a text is not a scheme.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScheme {
    /// Neither a known word nor a template.
    #[error("a scheme is basic, bearer, raw or a header template such as \"X-Api-Key: {{token}}\"")]
    Unknown,
    /// `basic` needs one.
    #[error("the basic scheme needs a user name")]
    UsernameMissing,
    /// Only `basic` has one.
    #[error("only the basic scheme has a user name")]
    UsernameWithoutBasic,
    /// RFC 7617, section 2: no colon, no control characters.
    #[error("a user name has no colon and no control characters")]
    BadUsername,
    /// Not a header's name.
    #[error("what stands before the colon is not a header name")]
    BadHeaderName,
    /// A header that frames or routes the message.
    #[error("that header frames or routes the message and cannot carry a credential")]
    ForbiddenHeader,
    /// No `{token}`.
    #[error("the template has no {{token}}")]
    TokenMissing,
    /// Other braces, or characters that a header cannot carry.
    #[error("the template has more than one {{token}}, other braces, or characters that a header cannot carry")]
    BadTemplate,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The store: keychain, vault or memory.
    Store,
    /// An environment variable of the daemon, read at start.
    Environment(String),
    /// A file whose one line is the token.
    File(PathBuf),
    /// A program that prints the token.
    Command(Command),
    /// Another registry's credential.
    Of(RegistryName),
}

/// `store`, `env:VAR`, `file:/path`, or a preset as `google` or `vault:path=…,field=…`. Other commands have no such short
/// form.
impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        match text.split_once(':') {
            None if text == "store" => Ok(Self::Store),
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Environment(name.to_owned())),
            Some(("env", _)) => Err(InvalidSource::BadVariable),
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("file", _)) => Err(InvalidSource::RelativeFile),
            split => {
                let (name, values) = split.unwrap_or((text, ""));
                let preset = Preset::find(name).ok_or(InvalidSource::Unknown)?;
                Ok(Self::Command(preset.parse(values)?))
            }
        }
    }
}

/// In a word or two, for `show` and for messages; of a command, the program without its arguments.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::Environment(variable) => write!(f, "env:{variable}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(command) => match &command.preset {
                Some(choice) => f.write_str(choice.preset),
                None => write!(f, "command:{}", command.program()),
            },
            Self::Of(name) => write!(f, "credential-of:{name}"),
        }
    }
}

/// POSIX's set (XBD, section 8.1) with lower case: what every shell can set.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Why a text is not a source. The text is not repeated: it may be a token in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// None of the forms.
    #[error(
        "a source is \"store\", \"env:VARIABLE\", \"file:/path\", a preset ({}) or a table with a command",
        preset_names()
    )]
    Unknown,
    /// A preset that lacks something.
    #[error(transparent)]
    Preset(#[from] InvalidChoice),
    /// Not something a shell could set.
    #[error("what follows `env:` is not the name of an environment variable")]
    BadVariable,
    /// Relative to what? A daemon has no useful working directory.
    #[error("what follows `file:` is not an absolute path")]
    RelativeFile,
}

fn preset_names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}

/// A program that prints a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// How its output is read.
    pub output: Output,
    /// How long a token lives where the output does not say.
    pub ttl: Option<Duration>,
    /// How long the program may run.
    pub timeout: Duration,
    /// Variables of our environment that it gets besides the usual ones.
    pub environment: Vec<String>,
    /// The preset that it was made from.
    pub preset: Option<Choice>,
}

impl Command {
    /// The program's name, for messages: its arguments may hold anything.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// How a command's output is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One line, the token.
    Raw,
    /// A JSON document and the JSON pointers (RFC 6901) into it.
    Json {
        /// Where the token is.
        token: String,
        /// Where the time of expiry is.
        expires: Option<String>,
    },
}

/// Headers that a credential may never replace.
const FRAMING_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_whole_segments() {
        let scope: Scope = "https://corp.example/cargo".parse().unwrap();
        for (path, covered) in [
            ("/cargo", true),
            ("/cargo/", true),
            ("/cargo/a/b", true),
            ("/cargo-evil", false),
            ("/cargo.evil/x", false),
            ("/", false),
            ("/Cargo/x", false),
        ] {
            assert_eq!(scope.covers_path(path), covered, "{path}");
        }
    }

    #[test]
    fn a_scope_has_one_form() {
        for (text, form) in [
            ("https://Corp.Example", "https://corp.example/"),
            ("https://corp.example:443/a", "https://corp.example/a/"),
            ("https://corp.example:8443/a/", "https://corp.example:8443/a/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("https://[::1]/x", "https://[::1]/x/"),
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), form, "{text}");
        }
    }

    #[test]
    fn refuses_scopes_that_are_unsafe_or_unclear() {
        for (text, error) in [
            ("http://corp.example/", InvalidScope::PlainHttp),
            ("https://me:pw@corp.example/", InvalidScope::UserInformation),
            ("https://corp.example/?a", InvalidScope::QueryOrFragment),
            ("ssh://git@corp.example/x", InvalidScope::NotHttp),
            ("corp.example", InvalidScope::NotAUrl),
            ("https://corp.example/a/../b/", InvalidScope::AmbiguousPath),
            ("https://corp.example/a//b/", InvalidScope::AmbiguousPath),
            ("https://corp.example/a%2fb/", InvalidScope::AmbiguousPath),
        ] {
            assert_eq!(text.parse::<Scope>(), Err(error), "{text}");
        }
    }

    #[test]
    fn sources_have_a_short_form() {
        for (text, source) in [
            ("store", Ok(Source::Store)),
            ("env:CORP_TOKEN", Ok(Source::Environment("CORP_TOKEN".to_owned()))),
            ("file:/run/corp.token", Ok(Source::File("/run/corp.token".into()))),
            ("env:", Err(InvalidSource::BadVariable)),
            ("env:A-B", Err(InvalidSource::BadVariable)),
            ("env:1A", Err(InvalidSource::BadVariable)),
            ("file:corp.token", Err(InvalidSource::RelativeFile)),
            ("file:~/corp.token", Err(InvalidSource::RelativeFile)),
            ("keychain", Err(InvalidSource::Unknown)),
            ("store:x", Err(InvalidSource::Unknown)),
        ] {
            assert_eq!(text.parse(), source, "{text}");
        }
    }

    #[test]
    fn schemes_are_read_and_written_alike() {
        for text in [
            "bearer",
            "raw",
            "x-api-key: {token}",
            "authorization: Token {token}",
            "user-agent: shipyard {token}",
        ] {
            assert_eq!(Scheme::parse(text, None).unwrap().to_string(), text);
        }
        assert_eq!(Scheme::parse("basic", Some("me")).unwrap().username(), Some("me"));
        for (text, username, error) in [
            ("basic", None, InvalidScheme::UsernameMissing),
            ("basic", Some("a:b"), InvalidScheme::BadUsername),
            ("bearer", Some("me"), InvalidScheme::UsernameWithoutBasic),
            ("digest", None, InvalidScheme::Unknown),
            ("Host: {token}", None, InvalidScheme::ForbiddenHeader),
            ("Proxy-Authorization: {token}", None, InvalidScheme::ForbiddenHeader),
            ("X-Key: token", None, InvalidScheme::TokenMissing),
            ("X-Key: {token}{token}", None, InvalidScheme::BadTemplate),
            ("X Key: {token}", None, InvalidScheme::BadHeaderName),
        ] {
            assert_eq!(Scheme::parse(text, username), Err(error), "{text}");
        }
    }
}
