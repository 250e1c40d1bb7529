//! Private container registry: Debian's docker-registry behind nginx, with a password or with a token service.
//!
//! Its URLs have `LOCALHOST` in capitals: Go's programs never send `localhost` through a proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::auth_gate::{AuthGate, Scheme};
use crate::certificates::Authority;
use crate::daemon::Daemon;
use crate::exec::{self, Output};
use crate::http_server::{Handler, HttpServer};
use crate::nginx::Nginx;
use crate::process::Process;

/// Running registry. [`ContainerRegistry::nginx`] has its requests and those of its token service.
#[derive(Debug)]
pub struct ContainerRegistry {
    /// nginx in front of both.
    pub nginx: Nginx,
    authority: Authority,
    folder: TempDir,
    /// Image of [`Self::sample_image`], which several clients may ask for at once.
    image_folder: OnceLock<PathBuf>,
    _registry: Process,
    _tokens: HttpServer,
}

impl ContainerRegistry {
    /// Starts a registry that asks for this user's password at each request.
    pub fn with_password(user: &str, password: &str) -> Self {
        Self::start(user, password, false)
    }

    /// Starts a registry that sends clients to a token service, which asks for this user's password.
    pub fn with_token_service(user: &str, password: &str) -> Self {
        Self::start(user, password, true)
    }

    fn start(user: &str, password: &str, has_tokens: bool) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Corp Root"));
        let home = folder.path();
        create_signing_key(home);
        let scheme = Scheme::basic(user);
        let service = TokenService {
            authorization: Arc::new(scheme.value(password)),
            folder: Arc::new(home.to_owned()),
        };
        let tokens = HttpServer::on_unix_socket(&home.join("tokens"), service);
        let gate = AuthGate::new(scheme, home);
        gate.accept(&[password]);
        let protection = if has_tokens {
            String::new()
        } else {
            gate.location_directives()
        };
        let forward = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;";
        let [socket, tokens_socket] = ["registry", "tokens"].map(|name| home.join(name).display().to_string());
        let nginx = Nginx::builder(&authority.issue(&["localhost"]))
            .http(&gate.http_directives())
            .server(&gate.server_directives())
            .location("/token", &format!("proxy_pass http://unix:{tokens_socket}:; {forward}"))
            .location(
                "/",
                &format!("{protection} proxy_pass http://unix:{socket}:; {forward}"),
            )
            .start();
        let configuration = home.join("config.yml");
        let realm = nginx.url("/token").replace("localhost", HOST);
        fs::write(&configuration, configuration_text(home, has_tokens.then_some(&*realm))).unwrap();
        let mut command = exec::command("docker-registry", home);
        command.arg("serve").arg(configuration).current_dir(home);
        let mut registry = Process::spawn("docker-registry", &mut command, &home.join("registry.log"));
        let listening = PathBuf::from(socket);
        registry.wait_until("its socket", || listening.exists().then_some(()));
        Self {
            nginx,
            authority,
            folder,
            image_folder: OnceLock::new(),
            _registry: registry,
            _tokens: tokens,
        }
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// `docker://LOCALHOST:PORT/NAME`.
    pub fn image(&self, name: &str) -> String {
        let authority = self.nginx.url("").replace("https://localhost", HOST);
        format!("docker://{authority}/{name}")
    }

    /// Source of an image without layers, for skopeo.
    pub fn sample_image(&self) -> String {
        let image = self.image_folder.get_or_init(|| {
            let image = self.folder.path().join("image");
            write_image(&image);
            image
        });
        format!("dir:{}", image.display())
    }

    /// Runs skopeo through this proxy, which trusts the daemon's bundle.
    pub fn skopeo(&self, daemon: &Daemon, proxy: &str, arguments: &[&str]) -> Output {
        let home = self.folder.path().join("skopeo");
        fs::create_dir_all(&home).unwrap();
        let mut skopeo = exec::command("skopeo", &home);
        skopeo
            .arg("--insecure-policy")
            .args(arguments)
            .env("HTTPS_PROXY", proxy)
            .env("SSL_CERT_FILE", daemon.bundle());
        exec::run(&mut skopeo)
    }
}

fn configuration_text(home: &Path, realm: Option<&str>) -> String {
    let home = home.display();
    let auth = realm.map_or_else(String::new, |realm| {
        format!(
            "auth: {{ token: {{ realm: '{realm}', service: corp, issuer: corp, rootcertbundle: {home}/signing.pem }} }}\n"
        )
    });
    format!(
        "version: 0.1\nlog: {{ level: info }}\n\
         storage: {{ filesystem: {{ rootdirectory: {home}/images }}, delete: {{ enabled: true }} }}\n\
         http: {{ net: unix, addr: {home}/registry, relativeurls: true }}\n{auth}"
    )
}

/// Key and certificate with which the token service signs.
fn create_signing_key(home: &Path) {
    let mut openssl = exec::command("openssl", home);
    openssl
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens"])
        .args(["-keyout", "signing.key", "-out", "signing.pem"])
        .current_dir(home);
    exec::run(&mut openssl).succeeds();
}

/// Image in the format of skopeo's `dir:`.
fn write_image(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
    let config = config.to_string();
    let hash: String = Sha256::digest(&config)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(),
            "digest": format!("sha256:{hash}"),
        },
        "layers": [],
    });
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(folder.join(hash), config).unwrap();
}

/// Token service of the distribution project's specification: the holder of the password gets all that it asks for.
#[derive(Clone)]
struct TokenService {
    authorization: Arc<String>,
    folder: Arc<PathBuf>,
}

impl Handler for TokenService {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let given = request.headers().get(AUTHORIZATION);
        let is_known = given.is_some_and(|value| value.as_bytes() == self.authorization.as_bytes());
        let (status, body) = if is_known {
            let token = self.token(request.uri().query().unwrap_or_default());
            (StatusCode::OK, json!({"token": token, "expires_in": 300}))
        } else {
            let error = json!({"code": "UNAUTHORIZED", "message": "authentication required"});
            (StatusCode::UNAUTHORIZED, json!({"errors": [error]}))
        };
        let body = Full::new(Bytes::from(body.to_string()));
        let response = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        response.body(body).unwrap()
    }
}

impl TokenService {
    fn token(&self, query: &str) -> String {
        let access: Vec<Value> = query.split('&').filter_map(access).collect();
        let certificate = fs::read_to_string(self.folder.join("signing.pem")).unwrap();
        let certificate: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
        let claims = json!({
            "iss": "corp", "sub": "me", "aud": "corp", "nbf": 0, "iat": 0, "exp": 4_000_000_000_u64, "jti": "1",
            "access": access,
        });
        let signed = [header, claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        format!("{signed}.{}", self.signature(&signed))
    }

    fn signature(&self, signed: &str) -> String {
        let mut openssl = exec::command("sh", &self.folder);
        openssl
            .args(["-c", "openssl dgst -sha256 -sign signing.key | base64 -w0"])
            .current_dir(&*self.folder);
        let signature = exec::run_with_input(&mut openssl, signed).succeeds().stdout;
        URL_SAFE_NO_PAD.encode(STANDARD.decode(signature.trim()).unwrap())
    }
}

/// Access that a parameter `scope=repository:NAME:ACTIONS` asks for.
fn access(parameter: &str) -> Option<Value> {
    let scope = parameter.strip_prefix("scope=")?;
    let scope = scope
        .replace("%3A", ":")
        .replace("%2F", "/")
        .replace("%2C", ",")
        .replace("%2A", "*");
    let [kind, name, actions] = scope.splitn(3, ':').collect::<Vec<_>>().try_into().ok()?;
    Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
}

const HOST: &str = "LOCALHOST";
