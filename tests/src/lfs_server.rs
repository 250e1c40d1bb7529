//! Git host with Git LFS behind a token check: `git http-backend` with giftless, or with a server that repeats the
//! request's Authorization in its answers, as GitLab, Gitea and Forgejo do.
//!
//! Its URLs have `LOCALHOST` in capitals: git-lfs is a program in Go, and those never send `localhost` through a proxy.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth_gate::{AuthGate, Scheme};
use crate::certificates::Authority;
use crate::exec;
use crate::git_backend::GitBackend;
use crate::http_server::{Handler, HttpServer};
use crate::nginx::Nginx;
use crate::process::Process;
use crate::programs::tool;

/// Running git host. [`LfsServer::nginx`] has its requests.
#[derive(Debug)]
pub struct LfsServer {
    /// nginx in front of the repositories and of the LFS server.
    pub nginx: Nginx,
    authority: Authority,
    backend: GitBackend,
    _folder: TempDir,
    _lfs: Lfs,
}

#[derive(Debug)]
enum Lfs {
    Giftless { _process: Process },
    Echoing { _server: HttpServer },
}

impl LfsServer {
    /// Starts a host with giftless, whose objects need the token that giftless gives for them.
    pub fn giftless(user: &str, password: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path();
        let jwt = "import jwt; print(jwt.encode({'sub': 'me', 'scopes': ['obj:team/*']}, 'a-key-of-32-bytes-or-more-for-hs256',\
                   algorithm='HS256', headers={'kid': 'corp'}))";
        let mut python = exec::command(tool("python/bin/python"), home);
        let jwt = exec::run(python.args(["-c", jwt])).succeeds().stdout;
        fs::write(home.join("giftless.yaml"), GIFTLESS).unwrap();
        let socket = home.join("lfs");
        let mut gunicorn = exec::command(tool("python/bin/gunicorn"), home);
        gunicorn
            .arg(format!("--bind=unix:{}", socket.display()))
            .arg("giftless.wsgi_entrypoint:app")
            .env("GIFTLESS_CONFIG_FILE", home.join("giftless.yaml"))
            .current_dir(home);
        let mut process = Process::spawn("giftless", &mut gunicorn, &home.join("giftless.log"));
        process.wait_until("its socket", || socket.exists().then_some(()));
        // giftless writes the host in its answers in lower case.
        let directives = format!(
            "proxy_set_header Authorization 'Bearer {}'; sub_filter_types *; sub_filter_once off; \
             sub_filter https://localhost https://LOCALHOST;",
            jwt.trim()
        );
        Self::start(user, password, folder, &directives, Lfs::Giftless { _process: process })
    }

    /// Starts a host whose LFS server puts the Authorization of the request into its answer.
    pub fn echoing(user: &str, password: &str) -> Self {
        Self::with_own(user, password, EchoingLfs::default())
    }

    /// Starts a host whose LFS server gives `token` for each object, and redirects downloads with it to `target`, which
    /// ends with a slash.
    pub fn redirecting(user: &str, password: &str, token: &str, target: &str) -> Self {
        let lfs = EchoingLfs {
            redirect: Some((token.to_owned(), target.to_owned())),
            ..EchoingLfs::default()
        };
        Self::with_own(user, password, lfs)
    }

    fn with_own(user: &str, password: &str, lfs: EchoingLfs) -> Self {
        let folder = TempDir::new().unwrap();
        let server = HttpServer::on_unix_socket(&folder.path().join("lfs"), lfs);
        Self::start(user, password, folder, "", Lfs::Echoing { _server: server })
    }

    fn start(user: &str, password: &str, folder: TempDir, batch: &str, lfs: Lfs) -> Self {
        let (authority, backend) = (Authority::new("Corp Root"), GitBackend::start());
        let gate = AuthGate::new(Scheme::basic(user), folder.path());
        gate.accept(&[password]);
        let protection = gate.location_directives();
        let forward = format!(
            "proxy_pass http://unix:{}:; proxy_set_header Host LOCALHOST:$server_port; \
             proxy_set_header X-Forwarded-Proto https;",
            folder.path().join("lfs").display()
        );
        let git = backend.directives("/team/");
        let nginx = Nginx::builder(&authority.issue(&["localhost"]))
            .http(&gate.http_directives())
            .server(&gate.server_directives())
            .location("~ /objects/batch$", &format!("{protection} {forward} {batch}"))
            .location("~ /objects/storage", &forward)
            .location("/team/", &format!("{protection} {git}"))
            .start();
        Self {
            nginx,
            authority,
            backend,
            _folder: folder,
            _lfs: lfs,
        }
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Scope of all repositories.
    pub fn scope(&self) -> String {
        self.nginx.url("/team/")
    }

    /// Creates an empty repository and returns its URL.
    pub fn repository(&self, name: &str) -> String {
        let bare = self.backend.repository(name);
        let home = bare.parent().unwrap().to_owned();
        let bare = bare.to_str().unwrap();
        for arguments in [
            &["init", "--quiet", "--bare", "--initial-branch=main", bare][..],
            &["-C", bare, "config", "http.receivepack", "true"],
        ] {
            exec::run(exec::command("git", &home).args(arguments)).succeeds();
        }
        self.nginx
            .url(&format!("/team/{name}.git"))
            .replace("localhost", "LOCALHOST")
    }
}

const GIFTLESS: &str = "
LEGACY_ENDPOINTS: false
AUTH_PROVIDERS:
  - factory: giftless.auth.jwt:factory
    options: { algorithm: HS256, private_key: a-key-of-32-bytes-or-more-for-hs256, key_id: corp }
PRE_AUTHORIZED_ACTION_PROVIDER:
  factory: giftless.auth.jwt:factory
  options: { algorithm: HS256, private_key: a-key-of-32-bytes-or-more-for-hs256, key_id: corp }
MIDDLEWARE:
  - class: werkzeug.middleware.proxy_fix:ProxyFix
    kwargs: { x_proto: 1 }
";

/// LFS server with its objects in memory.
#[derive(Clone, Default)]
struct EchoingLfs {
    objects: Arc<Mutex<HashMap<String, Bytes>>>,
    /// Token that the server gives for objects, and target of its redirects.
    redirect: Option<(String, String)>,
}

impl Handler for EchoingLfs {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let name = head.uri.path().rsplit('/').next().unwrap().to_owned();
        match head.method {
            Method::POST => {
                let text = |name| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
                let (folder, _) = head.uri.path().rsplit_once("/batch").unwrap();
                let base = format!("https://{}{folder}/storage/", text(HOST));
                let own = self.redirect.as_ref().map(|(token, _)| token.as_str());
                let authorization = own.unwrap_or_else(|| text(AUTHORIZATION));
                let answer = batch_answer(&serde_json::from_slice(&body).unwrap(), &base, authorization);
                let response = Response::builder().header(CONTENT_TYPE, "application/vnd.git-lfs+json");
                response.body(Full::from(answer.to_string())).unwrap()
            }
            Method::PUT => {
                self.objects.lock().unwrap().insert(name, body);
                Response::default()
            }
            _ if self.redirect.is_some() => {
                let (token, target) = self.redirect.as_ref().unwrap();
                let given = head.headers.get(AUTHORIZATION);
                let is_own = given.is_some_and(|value| value.as_bytes() == token.as_bytes());
                let status = if is_own { 307 } else { 401 };
                let response = Response::builder().status(status);
                let response = response.header(LOCATION, format!("{target}{name}"));
                response.body(Full::default()).unwrap()
            }
            _ => match self.objects.lock().unwrap().get(&name) {
                Some(object) => Response::new(Full::new(object.clone())),
                None => {
                    let mut response = Response::default();
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    response
                }
            },
        }
    }
}

fn batch_answer(request: &Value, base: &str, authorization: &str) -> Value {
    let operation = request["operation"].as_str().unwrap();
    let answer = |object: &Value| {
        let href = format!("{base}{}", object["oid"].as_str().unwrap());
        let action = json!({"href": href, "header": {"Authorization": authorization, "X-Kept": "yes"}});
        json!({"oid": object["oid"], "size": object["size"], "authenticated": true, "actions": {operation: action}})
    };
    let objects: Vec<Value> = request["objects"].as_array().unwrap().iter().map(answer).collect();
    json!({"transfer": "basic", "objects": objects})
}
