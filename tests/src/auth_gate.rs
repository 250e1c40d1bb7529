//! The registry's door: which credential nginx wants and which values it accepts right now. What is accepted lies in
//! files that nginx looks up at every request, so a rotation takes effect at once and needs no reload.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use crate::exec;

/// How a registry wants its credential.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// Nothing is asked for.
    Open,
    /// `Authorization: Basic base64(username:token)`, checked against an htpasswd file.
    Basic {
        /// The user name; the token is the password.
        username: String,
    },
    /// The token in a header behind a fixed prefix: `Authorization: Bearer …`, `X-Api-Key: …`.
    Header {
        /// The header's name.
        name: String,
        /// What stands before the token, with its space; empty for none.
        prefix: String,
    },
}

impl Scheme {
    /// Basic for this user.
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

    /// The header's whole value for a token, as a client must send it.
    pub fn value(&self, token: &str) -> String {
        match self {
            Self::Open => String::new(),
            Self::Basic { username } => format!("Basic {}", STANDARD.encode(format!("{username}:{token}"))),
            Self::Header { prefix, .. } => format!("{prefix}{token}"),
        }
    }
}

/// A door in nginx's configuration.
#[derive(Debug)]
pub struct AuthGate {
    scheme: Scheme,
    folder: PathBuf,
}

impl AuthGate {
    /// A door that keeps its files below `folder` and accepts nothing yet.
    pub fn new(scheme: Scheme, folder: &Path) -> Self {
        let gate = Self {
            scheme,
            folder: folder.to_owned(),
        };
        gate.accept(&[]);
        gate
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// From now on exactly these tokens are accepted. Tokens that stay are accepted at every moment in between.
    pub fn accept(&self, tokens: &[&str]) {
        if matches!(self.scheme, Scheme::Open) {
            return;
        }
        // An htpasswd file has one password for a user: the other tokens are looked up as files.
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

    /// For nginx's `http` block.
    pub fn declaration(&self) -> String {
        let (variable, prefix) = match &self.scheme {
            Scheme::Open => return String::new(),
            Scheme::Basic { .. } => ("http_authorization".to_owned(), "Basic "),
            Scheme::Header { name, prefix } => (variable(name), prefix.as_str()),
        };
        format!("map ${variable} $gate {{ default ''; '~^{prefix}([A-Za-z0-9._~+/=-]+)$' $1; }}\n")
    }

    /// For nginx's `server` block.
    pub fn decision(&self) -> String {
        let accepted = self.accepted();
        let accepted = accepted.display();
        match &self.scheme {
            Scheme::Open => String::new(),
            _ => format!("set $realm corp; if (-f {accepted}/$gate) {{ set $realm off; }}\n"),
        }
    }

    /// For the beginning of every guarded `location`.
    pub fn guard(&self) -> String {
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

    fn accepted(&self) -> PathBuf {
        self.folder.join("accepted")
    }
}

/// A line of an htpasswd file, in Apache's own form of a password, which every server reads.
pub(crate) fn htpasswd(user: &str, password: &str) -> String {
    let mut openssl = exec::command("openssl", Path::new("/"));
    openssl.args(["passwd", "-apr1", "-stdin"]);
    let hashed = exec::run_with_input(&mut openssl, password).succeeds().stdout;
    format!("{user}:{hashed}")
}

/// nginx's variable for a request header.
pub(crate) fn variable(header: &str) -> String {
    format!("http_{}", header.to_ascii_lowercase().replace('-', "_"))
}

/// Replaces a file in one step: nginx reads the old or the new one.
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
