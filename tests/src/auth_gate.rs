//! Token check in nginx: the scheme, and the tokens that are accepted now. nginx looks the tokens up in files at every
//! request, so a change takes effect at once, without a reload.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use crate::exec;

/// Authentication scheme of a registry.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// No credential is needed.
    Open,
    /// `Authorization: Basic base64(username:token)`, checked against an htpasswd file.
    Basic {
        /// User name; the token is the password.
        username: String,
    },
    /// Token in a header after a fixed prefix: `Authorization: Bearer …`, `X-Api-Key: …`.
    Header {
        /// Name of the header.
        name: String,
        /// Text before the token, with its space; may be empty.
        prefix: String,
    },
}

impl Scheme {
    /// Basic scheme for this user.
    pub fn basic(username: &str) -> Self {
        Self::Basic {
            username: username.to_owned(),
        }
    }

    /// `Authorization: Bearer TOKEN`.
    pub fn bearer() -> Self {
        Self::header("Authorization", "Bearer ")
    }

    /// `Authorization: TOKEN`.
    pub fn raw() -> Self {
        Self::header("Authorization", "")
    }

    /// Any header: `name: prefixTOKEN`.
    pub fn header(name: &str, prefix: &str) -> Self {
        Self::Header {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    /// Header value for a token, as a client must send it.
    pub fn value(&self, token: &str) -> String {
        match self {
            Self::Open => String::new(),
            Self::Basic { username } => format!("Basic {}", STANDARD.encode(format!("{username}:{token}"))),
            Self::Header { prefix, .. } => format!("{prefix}{token}"),
        }
    }
}

/// Token check in nginx's configuration. Clones share its files.
#[derive(Clone, Debug)]
pub struct AuthGate {
    scheme: Scheme,
    folder: PathBuf,
}

impl AuthGate {
    /// Creates a check that accepts no token. Its files are below `folder`.
    pub fn new(scheme: Scheme, folder: &Path) -> Self {
        let gate = Self {
            scheme,
            folder: folder.to_owned(),
        };
        gate.accept(&[]);
        gate
    }

    /// Authentication scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Replaces the set of accepted tokens. A token in the old and the new set is accepted throughout.
    pub fn accept(&self, tokens: &[&str]) {
        if matches!(self.scheme, Scheme::Open) {
            return;
        }
        // An htpasswd file has one password per user: nginx looks the other tokens up as files.
        let in_file = usize::from(matches!(self.scheme, Scheme::Basic { .. })).min(tokens.len());
        let (password, others) = tokens.split_at(in_file);
        let stale = files_below(&self.accepted());
        let present: Vec<PathBuf> = others.iter().map(|token| self.accepted_file(token)).collect();
        for file in &present {
            replace(file, b"");
        }
        self.write_passwords(password.first().copied());
        for file in stale.iter().filter(|file| !present.contains(file)) {
            fs::remove_file(file).unwrap();
        }
    }

    /// Accepts one more token, besides the first one of [`AuthGate::accept`].
    pub fn accept_also(&self, token: &str) {
        replace(&self.accepted_file(token), b"");
    }

    /// Ends what [`AuthGate::accept_also`] began.
    pub fn reject(&self, token: &str) {
        // A lease that was renewed ends once for each renewal, and the test may be over.
        let _ = fs::remove_file(self.accepted_file(token));
    }

    /// Directives for nginx's `http` block.
    pub fn http_directives(&self) -> String {
        let (variable, prefix) = match &self.scheme {
            Scheme::Open => return String::new(),
            Scheme::Basic { .. } => ("http_authorization".to_owned(), "Basic "),
            Scheme::Header { name, prefix } => (variable(name), prefix.as_str()),
        };
        format!("map ${variable} $gate {{ default ''; '~^{prefix}([A-Za-z0-9._~+/=-]+)$' $1; }}\n")
    }

    /// Directives for nginx's `server` block.
    pub fn server_directives(&self) -> String {
        let accepted = self.accepted();
        let accepted = accepted.display();
        match &self.scheme {
            Scheme::Open => String::new(),
            _ => format!("set $realm corp; if (-f {accepted}/$gate) {{ set $realm off; }}\n"),
        }
    }

    /// Directives for the beginning of every `location` that needs a token.
    pub fn location_directives(&self) -> String {
        match &self.scheme {
            Scheme::Open => String::new(),
            Scheme::Basic { .. } => format!(
                "auth_basic $realm; auth_basic_user_file {};",
                self.passwords().display()
            ),
            Scheme::Header { .. } => "if ($realm != off) { \
                add_header WWW-Authenticate 'Bearer realm=\"corp\"' always; return 401 'no such token\\n'; }"
                .to_owned(),
        }
    }

    fn write_passwords(&self, token: Option<&str>) {
        let line = match (&self.scheme, token) {
            (Scheme::Basic { username }, Some(token)) => format!("{username}:{{PLAIN}}{token}\n"),
            _ => String::new(),
        };
        replace(&self.passwords(), line.as_bytes());
    }

    fn accepted_file(&self, token: &str) -> PathBuf {
        let value = match &self.scheme {
            Scheme::Basic { .. } => self.scheme.value(token).trim_start_matches("Basic ").to_owned(),
            _ => token.to_owned(),
        };
        self.accepted().join(value)
    }

    fn passwords(&self) -> PathBuf {
        self.folder.join("htpasswd")
    }

    /// Folder with a file for each token of [`AuthGate::accept_also`], named by the header's value after the prefix.
    pub(crate) fn accepted(&self) -> PathBuf {
        self.folder.join("accepted")
    }
}

/// Line of an htpasswd file with Apache's MD5 hash, which every server reads.
pub(crate) fn htpasswd(user: &str, password: &str) -> String {
    let mut openssl = exec::command("openssl", Path::new("/"));
    openssl.args(["passwd", "-apr1", "-stdin"]);
    let hashed = exec::run_with_input(&mut openssl, password).succeeds().stdout;
    format!("{user}:{hashed}")
}

/// Name of nginx's variable for a request header.
pub(crate) fn variable(header: &str) -> String {
    format!("http_{}", header.to_ascii_lowercase().replace('-', "_"))
}

/// Replaces a file atomically: nginx reads the old or the new one.
pub(crate) fn replace(file: &Path, contents: &[u8]) {
    let folder = file.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut new = NamedTempFile::new_in(folder).unwrap();
    new.write_all(contents).unwrap();
    new.persist(file).unwrap();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
