//! Private cargo registry: nginx checks tokens and serves the index, the archives and the web API, with a sparse or a
//! git index. Paths below `/api/cargo/` need a token; the rest of the host is public.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth_gate::{AuthGate, Scheme};
use crate::certificates::Authority;
use crate::crate_index::CrateIndex;
use crate::crates::{self, PackagedCrate};
use crate::git_backend::GitBackend;
use crate::http_server::HttpServer;
use crate::nginx::{self, Nginx};
use crate::registry_api;

/// Origin of crate archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downloads {
    /// Registry itself.
    SameHost,
    /// Redirect to a public CDN on another host, which answers 400 to any credential, as S3 does.
    Redirected,
    /// Another host, named by `dl` in config.json, that needs the same token.
    OtherHost,
}

/// Builder of a [`Registry`].
#[derive(Debug)]
pub struct Builder {
    authority: Authority,
    scheme: Scheme,
    token: String,
    host: String,
    auth_required: bool,
    git_index: bool,
    http1_only: bool,
    downloads: Downloads,
    locations: Vec<(String, String)>,
    public_index: Option<String>,
}

impl Builder {
    /// Sets the CA of its certificate. Default: a CA of its own.
    pub fn authority(mut self, authority: &Authority) -> Self {
        self.authority = authority.clone();
        self
    }

    /// Sets the host, a name or a loopback address. Default: `localhost`.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Sets `auth-required` in config.json: cargo then needs a token of its own.
    pub fn auth_required(mut self) -> Self {
        self.auth_required = true;
        self
    }

    /// Sets host and path of the index to those of a product, `https://HOST/PATH/`, which clients reach on port 443 by a
    /// [`NameProxy`](crate::name_proxy::NameProxy). Archives are below the same path.
    pub fn public_index(mut self, url: &str) -> Self {
        let host = url.split('/').nth(2).unwrap();
        host.clone_into(&mut self.host);
        self.public_index = Some(url.to_owned());
        self
    }

    /// Serves the index as a git repository instead of sparse files.
    pub fn git_index(mut self) -> Self {
        self.git_index = true;
        self
    }

    /// Disables HTTP/2.
    pub fn http1_only(mut self) -> Self {
        self.http1_only = true;
        self
    }

    /// Sets the origin of archives. Default: [`Downloads::SameHost`].
    pub fn downloads(mut self, downloads: Downloads) -> Self {
        self.downloads = downloads;
        self
    }

    /// Adds an nginx location without a token check: `.location("= /api/cargo/moved", "return 302 https://…;")`.
    pub fn location(mut self, path: &str, directives: &str) -> Self {
        self.locations.push((path.to_owned(), directives.to_owned()));
        self
    }

    /// Adds an nginx location with the token check, for the files of a folder.
    pub fn files(self, path: &str, folder: &Path, media_type: &str) -> Self {
        let directives = format!("GUARD default_type {media_type}; alias {}/;", folder.display());
        self.location(path, &directives)
    }

    /// Starts the registry with the crates `anchor`, `rope` and `ship`.
    pub fn start(self) -> Registry {
        let folder = TempDir::new().unwrap();
        let gate = AuthGate::new(self.scheme.clone(), folder.path());
        gate.accept(&[&self.token]);
        fs::create_dir(folder.path().join("files")).unwrap();
        let git = self.git_index.then(GitBackend::start);
        let cdn = self.start_cdn(&gate, folder.path());
        let nginx = self.start_nginx(&gate, folder.path(), git.as_ref(), cdn.as_ref());
        let config = self.index_config(&nginx, cdn.as_ref());
        let crate_index = Arc::new(CrateIndex::new(
            folder.path(),
            &config,
            git.as_ref().map(|git| git.repository("index")),
        ));
        let api = registry_api::serve(&folder.path().join("api.sock"), Arc::clone(&crate_index));
        let registry = Registry {
            nginx,
            cdn,
            crate_index,
            gate,
            git,
            authority: self.authority,
            token: self.token,
            _api: api,
            folder,
        };
        registry.add(crates::chain());
        registry
    }

    fn start_nginx(&self, gate: &AuthGate, folder: &Path, git: Option<&GitBackend>, cdn: Option<&Nginx>) -> Nginx {
        let (guard, folder) = (gate.location_directives(), folder.display());
        let crates = match (self.downloads, cdn) {
            (Downloads::Redirected, Some(_)) => "try_files /none @cdn;".to_owned(),
            _ => format!("alias {folder}/crates/;"),
        };
        let api = format!("proxy_pass http://unix:{folder}/api.sock:/; proxy_http_version 1.1;");
        let mut nginx = self
            .origin(&self.host, gate)
            .location("/api/cargo/", &format!("{guard} {api}"))
            .location("/api/cargo/index/", &format!("{guard} alias {folder}/index/;"))
            .location("/api/cargo/crates/", &format!("{guard} {crates}"))
            .location("/api/cargo/files/", &format!("{guard} alias {folder}/files/;"))
            .location("/", "return 200 'public\n';");
        if let Some(cdn) = cdn {
            let target = cdn.url("/crates");
            nginx = nginx.location(
                "@cdn",
                &format!("rewrite ^/api/cargo/crates(/.*)$ {target}$1 redirect;"),
            );
        }
        if let Some(git) = git {
            nginx = nginx.location(GIT_PATH, &format!("{guard} {}", git.directives(GIT_PATH)));
        }
        if let Some(url) = &self.public_index {
            let path = url.split_once("://").unwrap().1;
            let path = path.split_at(path.find('/').unwrap()).1;
            nginx = nginx
                .location(path, &format!("{guard} alias {folder}/index/;"))
                .location(
                    &format!("{path}{ARCHIVES}/"),
                    &format!("{guard} alias {folder}/crates/;"),
                );
        }
        for (path, directives) in &self.locations {
            nginx = nginx.location(path, &directives.replace("GUARD", &guard));
        }
        nginx.start()
    }

    fn start_cdn(&self, gate: &AuthGate, folder: &Path) -> Option<Nginx> {
        let guard = match self.downloads {
            Downloads::SameHost => return None,
            Downloads::Redirected => "if ($http_authorization) { return 400; }".to_owned(),
            Downloads::OtherHost => gate.location_directives(),
        };
        let directives = format!("{guard} alias {}/crates/;", folder.display());
        Some(self.origin(CDN_HOST, gate).location("/crates/", &directives).start())
    }

    fn origin(&self, host: &str, gate: &AuthGate) -> nginx::Builder {
        let origin = Nginx::builder(&self.authority.issue(&[host]))
            .host(host)
            .http(&gate.http_directives())
            .server(&gate.server_directives());
        let origin = match gate.scheme() {
            Scheme::Header { name, .. } => origin.log_header(name),
            _ => origin,
        };
        if self.http1_only { origin.http1_only() } else { origin }
    }

    fn index_config(&self, nginx: &Nginx, cdn: Option<&Nginx>) -> Value {
        let dl = match (self.downloads, cdn) {
            _ if self.public_index.is_some() => format!("{}{ARCHIVES}", self.public_index.as_deref().unwrap()),
            (Downloads::OtherHost, Some(cdn)) => cdn.url("/crates"),
            _ => nginx.url("/api/cargo/crates"),
        };
        let api = match &self.public_index {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => nginx.url("/api/cargo"),
        };
        let mut config = json!({ "dl": dl, "api": api });
        if self.auth_required {
            config["auth-required"] = json!(true);
        }
        config
    }
}

/// Running registry. [`Registry::nginx`] has its requests.
#[derive(Debug)]
pub struct Registry {
    /// nginx in front of the registry.
    pub nginx: Nginx,
    /// Other host that serves the archives.
    pub cdn: Option<Nginx>,
    /// Index and archives.
    pub crate_index: Arc<CrateIndex>,
    gate: AuthGate,
    git: Option<GitBackend>,
    authority: Authority,
    token: String,
    _api: HttpServer,
    folder: TempDir,
}

impl Registry {
    /// Builder of a registry that requires `token` by this scheme.
    pub fn builder(scheme: Scheme, token: &str) -> Builder {
        Builder {
            authority: Authority::new("Corp Root"),
            scheme,
            token: token.to_owned(),
            host: "localhost".to_owned(),
            auth_required: false,
            git_index: false,
            http1_only: false,
            downloads: Downloads::SameHost,
            locations: Vec::new(),
            public_index: None,
        }
    }

    /// Starts a registry with Basic for [`USERNAME`], a sparse index and no `auth-required`.
    pub fn start(token: &str) -> Self {
        Self::builder(Scheme::basic(USERNAME), token).start()
    }

    /// Index URL for cargo's configuration: `sparse+https://…/` or the URL of the git repository.
    pub fn index(&self) -> String {
        match self.git {
            Some(_) => self.nginx.url(&format!("{GIT_PATH}index.git")),
            None => format!("sparse+{}", self.nginx.url("/api/cargo/index/")),
        }
    }

    /// Scope of all paths that need a token: `https://localhost:PORT/api/cargo/`.
    pub fn scope(&self) -> String {
        self.nginx.url("/api/cargo/")
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> std::path::PathBuf {
        self.authority.file()
    }

    /// CA of the registry, to issue more certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Authentication scheme.
    pub fn scheme(&self) -> &Scheme {
        self.gate.scheme()
    }

    /// First token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Header value that cargo must send without regauth, for the first token.
    pub fn credential(&self) -> String {
        self.scheme().value(&self.token)
    }

    /// Check of the tokens, for a service that issues them.
    pub fn gate(&self) -> &AuthGate {
        &self.gate
    }

    /// Replaces the set of accepted tokens.
    pub fn accept(&self, tokens: &[&str]) {
        self.gate.accept(tokens);
    }

    /// Adds crates.
    pub fn add(&self, crates: &[PackagedCrate]) {
        for packaged in crates {
            assert!(
                self.crate_index.add(packaged),
                "{} was added before",
                packaged.entry["name"]
            );
        }
    }

    /// Creates a sparse file of `length` zero bytes that needs a token, and returns its URL.
    ///
    /// The index names neither this path nor that of uploads: `--scope` with [`Registry::scope`] covers both.
    pub fn file(&self, name: &str, length: u64) -> String {
        let file = File::create(self.folder.path().join("files").join(name)).unwrap();
        file.set_len(length).unwrap();
        self.nginx.url(&format!("/api/cargo/files/{name}"))
    }

    /// URL that accepts uploads of any size with a token and answers `{"length": …, "sha256": …}`.
    pub fn upload(&self) -> String {
        self.nginx.url("/api/cargo/upload")
    }
}

/// User name of [`Registry::start`].
pub const USERNAME: &str = "me@corp.example";

/// Folder of the archives below a public index.
const ARCHIVES: &str = "v1/archives";
const GIT_PATH: &str = "/api/cargo/git/";

/// Host of the CDN, with another name and certificate than `localhost`.
const CDN_HOST: &str = "127.0.0.1";
