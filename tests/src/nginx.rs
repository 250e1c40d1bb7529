//! Real nginx as an HTTPS origin with TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, and a JSON access log. The harness binds the
//! socket on a free port and passes it to nginx, so that no other process can take the port in between.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::auth_gate::variable;
use crate::certificates::Certificate;
use crate::exec;
use crate::poll;
use crate::process::Process;

/// Builder of an [`Nginx`].
#[derive(Debug)]
pub struct Builder {
    certificate: Certificate,
    host: String,
    http2: bool,
    workers: usize,
    http: String,
    server: String,
    logged: Vec<String>,
}

impl Builder {
    /// Sets the host in its URLs; it listens on a host that is an IP address. Default: `localhost` on 127.0.0.1.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Disables HTTP/2.
    pub fn http1_only(mut self) -> Self {
        self.http2 = false;
        self
    }

    /// Sets the number of worker processes. Default: one, which keeps the access log in order.
    pub fn workers(mut self, number: usize) -> Self {
        self.workers = number;
        self
    }

    /// Adds directives to the `http` block.
    pub fn http(mut self, directives: &str) -> Self {
        self.http += directives;
        self
    }

    /// Adds directives to the `server` block.
    pub fn server(mut self, directives: &str) -> Self {
        self.server += directives;
        self
    }

    /// Adds a `location` with its directives.
    pub fn location(self, path: &str, directives: &str) -> Self {
        self.server(&format!("location {path} {{ {directives} }}\n"))
    }

    /// Forwards all requests to the server on this Unix socket, with the original `Host`.
    pub fn proxy_to(self, socket: &Path) -> Self {
        let headers = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;";
        self.location("/", &format!("proxy_pass http://unix:{}:; {headers}", socket.display()))
    }

    /// Logs another request header.
    pub fn log_header(mut self, name: &str) -> Self {
        self.logged.push(name.to_ascii_lowercase());
        self
    }

    /// Starts nginx and waits until it serves.
    ///
    /// # Panics
    /// When nginx rejects the configuration; the message has its output.
    pub fn start(self) -> Nginx {
        let address = self.host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let socket = TcpListener::bind((address, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("nginx.conf"), self.configuration(&socket)).unwrap();
        let mut process = Process::spawn(
            "nginx",
            &mut launch(folder.path(), socket),
            &folder.path().join("error.log"),
        );
        let pid_file = folder.path().join("nginx.pid");
        process.wait_until("its pid file", || pid_file.exists().then_some(()));
        let host = if address.is_ipv6() {
            format!("[{}]", self.host)
        } else {
            self.host
        };
        Nginx {
            process,
            host,
            port,
            folder,
        }
    }

    fn configuration(&self, socket: &TcpListener) -> String {
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let address = socket.local_addr().unwrap();
        let http2 = if self.http2 { "http2" } else { "" };
        let [chain, key] = [self.certificate.chain_file(), self.certificate.key_file()];
        let [chain, key] = [chain.display(), key.display()];
        let Self {
            http, server, workers, ..
        } = self;
        let log_format = self.log_format();
        format!(
            "{user} daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi; client_max_body_size 0; server_tokens off; default_type application/octet-stream;
  keepalive_requests 100000; sendfile on;
  {log_format}
  access_log access.log requests;
{http}  server {{
    listen {address} ssl {http2};
    ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
{server}  }}
}}
"
        )
    }

    fn log_format(&self) -> String {
        let headers = LOGGED_HEADERS
            .iter()
            .copied()
            .chain(self.logged.iter().map(String::as_str));
        let headers: Vec<String> = headers
            .map(|name| format!(r#""{name}":"${}""#, variable(name)))
            .collect();
        format!(
            r#"log_format requests escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,"host":"$http_host","protocol":"$server_protocol","received":$request_length,"headers":{{{}}}}}';"#,
            headers.join(",")
        )
    }
}

/// Running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    host: String,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// Builder with this certificate and the host `localhost`.
    pub fn builder(certificate: &Certificate) -> Builder {
        Builder {
            certificate: certificate.clone(),
            host: "localhost".to_owned(),
            http2: true,
            workers: 1,
            http: String::new(),
            server: String::new(),
            logged: Vec::new(),
        }
    }

    /// `localhost:PORT`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `https://localhost:PORT` followed by `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// Completed requests, in order of completion.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a request that satisfies `wanted` is in the log. nginx logs a request when its response is sent.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_request(&self, wanted: impl Fn(&LoggedRequest) -> bool) -> LoggedRequest {
        poll::wait_for("a request in nginx's log", || self.requests().into_iter().find(&wanted))
    }

    /// Stops nginx; its port refuses connections.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Error log.
    pub fn log_file(&self) -> PathBuf {
        self.process.log_file().to_owned()
    }
}

/// Request as nginx logged it.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedRequest {
    /// Method.
    pub method: String,
    /// Path and query as sent.
    pub uri: String,
    /// Status of the response.
    pub status: u16,
    /// `Host` or `:authority`.
    pub host: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// Length of the request with headers and body, in bytes.
    pub received: u64,
    headers: Map<String, Value>,
}

impl LoggedRequest {
    /// Value of a logged header. [`Builder::log_header`] adds headers to the log.
    ///
    /// # Panics
    /// When the header is not logged.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let value = self
            .headers
            .get(&name)
            .unwrap_or_else(|| panic!("nginx does not log {name}"));
        value.as_str().filter(|value| !value.is_empty())
    }

    /// `Authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

/// Passes the listening socket by the variable NGINX, which nginx has for upgrades of its binary.
fn launch(folder: &Path, socket: TcpListener) -> Command {
    let mut command = exec::command("nginx", folder);
    command
        .env("NGINX", "3;")
        .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
        .arg(folder)
        .fd_mappings(vec![FdMapping {
            parent_fd: socket.into(),
            child_fd: 3,
        }])
        .unwrap();
    command
}

const LOGGED_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "user-agent",
    "accept-encoding",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "expect",
    "range",
    "cookie",
    "x-api-key",
];
