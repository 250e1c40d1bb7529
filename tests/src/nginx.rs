//! Real nginx as one HTTPS origin: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, and a log of what it saw. The socket is bound
//! here, on a free port, and handed over: no port is ever lost to somebody else between choosing and binding.

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

/// What an nginx is to be.
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
    /// Clients will call it by this name; an IP address is also listened on. Default: `localhost` on 127.0.0.1.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Speaks HTTP/1.1 only.
    pub fn http1_only(mut self) -> Self {
        self.http2 = false;
        self
    }

    /// Serves with this many processes. Default: one, which keeps its log in order.
    pub fn workers(mut self, number: usize) -> Self {
        self.workers = number;
        self
    }

    /// Directives for the `http` block.
    pub fn http(mut self, directives: &str) -> Self {
        self.http += directives;
        self
    }

    /// Directives for the `server` block.
    pub fn server(mut self, directives: &str) -> Self {
        self.server += directives;
        self
    }

    /// A `location`, with its directives.
    pub fn location(self, place: &str, directives: &str) -> Self {
        self.server(&format!("location {place} {{ {directives} }}\n"))
    }

    /// Passes everything on to the server behind this Unix socket, which is told what clients call it.
    pub fn proxy_to(self, socket: &Path) -> Self {
        let told = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;";
        self.location("/", &format!("proxy_pass http://unix:{}:; {told}", socket.display()))
    }

    /// Logs this request header, too.
    pub fn log_header(mut self, name: &str) -> Self {
        self.logged.push(name.to_ascii_lowercase());
        self
    }

    /// Starts it; from then on connections are served.
    ///
    /// # Panics
    /// With nginx's own words when it does not like the configuration.
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
  access_log access.log seen;
{http}  server {{
    listen {address} ssl {http2};
    ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
{server}  }}
}}
"
        )
    }

    fn log_format(&self) -> String {
        let headers = LOGGED.iter().copied().chain(self.logged.iter().map(String::as_str));
        let headers: Vec<String> = headers
            .map(|name| format!(r#""{name}":"${}""#, variable(name)))
            .collect();
        format!(
            r#"log_format seen escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,"host":"$http_host","protocol":"$server_protocol","received":$request_length,"headers":{{{}}}}}';"#,
            headers.join(",")
        )
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    host: String,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// An nginx with this certificate, called `localhost`.
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

    /// `https://localhost:PORT` and `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// Every request that has ended, in the order they ended.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a request that satisfies `wanted` is in the log; it gets there when its answer has been sent.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for_request(&self, wanted: impl Fn(&LoggedRequest) -> bool) -> LoggedRequest {
        poll::wait_for("a request that nginx should have seen", || {
            self.requests().into_iter().find(&wanted)
        })
    }

    /// Stops it and starts nothing in its place: connections are refused from now on.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Its error log.
    pub fn log_file(&self) -> PathBuf {
        self.process.log_file().to_owned()
    }
}

/// One request as nginx saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedRequest {
    /// The method.
    pub method: String,
    /// Path and query as they were sent.
    pub uri: String,
    /// The answer's status.
    pub status: u16,
    /// The `Host` or `:authority`.
    pub host: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The request's bytes with its headers and body.
    pub received: u64,
    headers: Map<String, Value>,
}

impl LoggedRequest {
    /// A logged header's value. The usual ones are logged; others by [`Builder::log_header`].
    ///
    /// # Panics
    /// When that header is not logged.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let value = self
            .headers
            .get(&name)
            .unwrap_or_else(|| panic!("nginx does not log {name}"));
        value.as_str().filter(|value| !value.is_empty())
    }

    /// The `Authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

/// nginx takes over listening sockets that the variable NGINX names; it was made for upgrades of the binary.
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

const LOGGED: &[&str] = &[
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
