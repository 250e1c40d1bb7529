//! Real Squid as a company's proxy: with Basic authentication, a limit on ports, TLS to the proxy, TLS interception.
//!
//! It resolves names from a hosts file of its own, so that only the proxy knows them. Its log has the head of every request
//! as soon as it arrives.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::auth_gate;
use crate::certificates::{Authority, Certificate};
use crate::exec;
use crate::poll;
use crate::process::Process;

/// Builder of a [`Squid`].
#[derive(Debug, Default)]
pub struct Builder {
    hosts: String,
    login: Option<(String, String)>,
    certificate: Option<Certificate>,
    interception: Option<(Authority, Authority)>,
    rules: String,
}

impl Builder {
    /// Resolves a name to 127.0.0.1.
    pub fn host(mut self, name: &str) -> Self {
        self.hosts += &format!("127.0.0.1 {name}\n");
        self
    }

    /// Requires Basic authentication.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Refuses CONNECT to all ports but 443, as the configuration that Squid comes with.
    pub fn only_ssl_ports(mut self) -> Self {
        self.rules += "acl SSL_ports port 443\nhttp_access deny CONNECT !SSL_ports\n";
        self
    }

    /// Speaks TLS with its clients.
    pub fn tls(mut self, certificate: &Certificate) -> Self {
        self.certificate = Some(certificate.clone());
        self
    }

    /// Terminates the TLS of every tunnel with certificates of `company`, and trusts `origins` for the origins.
    pub fn intercepts_tls(mut self, company: &Authority, origins: &Authority) -> Self {
        self.interception = Some((company.clone(), origins.clone()));
        self
    }

    /// Starts Squid and waits until it accepts connections.
    ///
    /// # Panics
    /// When Squid rejects the configuration; the message has its output.
    pub fn start(self) -> Squid {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let folder = self.folder(port);
            let mut squid = Squid {
                process: spawn(folder.path(), port),
                port,
                tls: self.certificate.is_some(),
                folder,
            };
            let ready = poll::within(poll::TIMEOUT, || {
                let accepts = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                (squid.process.exited().is_some() || accepts()).then_some(())
            });
            ready.unwrap_or_else(|| panic!("Squid does not start:\n{}", squid.log()));
            if squid.process.exited().is_none() {
                return squid;
            }
            assert!(squid.log().contains("Address already in use"), "{}", squid.log());
        }
        panic!("no port stays free");
    }

    /// Folder with all files, which belongs to the user that runs Squid.
    fn folder(&self, port: u16) -> TempDir {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        fs::write(path.join("hosts"), &self.hosts).unwrap();
        if let Some((user, password)) = &self.login {
            fs::write(path.join("users"), auth_gate::htpasswd(user, password)).unwrap();
        }
        if let Some(certificate) = &self.certificate {
            fs::copy(certificate.chain_file(), path.join("proxy.pem")).unwrap();
            fs::copy(certificate.key_file(), path.join("proxy.key")).unwrap();
        }
        if let Some((company, origins)) = &self.interception {
            fs::write(path.join("company.pem"), company.certificate_and_key()).unwrap();
            fs::copy(origins.file(), path.join("origins.pem")).unwrap();
        }
        fs::write(path.join("squid.conf"), self.configuration(path, port)).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
            for file in files.chain([path.to_owned()]) {
                chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        if self.interception.is_some() {
            let mut prepare = command(path, CERTIFICATE_GENERATOR);
            prepare
                .arg("-c")
                .arg("-s")
                .arg(path.join("certificates"))
                .args(["-M", "4MB"]);
            exec::run(&mut prepare).succeeds();
        }
        folder
    }

    fn configuration(&self, folder: &Path, port: u16) -> String {
        let folder = folder.display();
        let bump = self.interception.as_ref().map_or_else(String::new, |_| {
            format!("ssl-bump tls-cert={folder}/company.pem generate-host-certificates=on")
        });
        let listener = match &self.certificate {
            Some(_) => format!("https_port 127.0.0.1:{port} tls-cert={folder}/proxy.pem tls-key={folder}/proxy.key"),
            None => format!("http_port 127.0.0.1:{port}"),
        };
        let interception = self.interception.as_ref().map_or_else(String::new, |_| {
            format!(
                "ssl_bump bump all\ntls_outgoing_options cafile={folder}/origins.pem\n\
                 sslcrtd_program {CERTIFICATE_GENERATOR} -s {folder}/certificates -M 4MB\nsslcrtd_children 1\n"
            )
        });
        let authentication = self.login.as_ref().map_or("http_access allow all\n".to_owned(), |_| {
            format!(
                "auth_param basic program {AUTHENTICATOR} {folder}/users\nauth_param basic children 1\n\
                 acl users proxy_auth REQUIRED\nhttp_access allow users\nhttp_access deny all\n"
            )
        });
        format!(
            "{listener} {bump}\nhosts_file {folder}/hosts\npid_filename {folder}/squid.pid\ncoredump_dir {folder}\n\
             cache deny all\ncache_log {folder}/cache.log\naccess_log none\ndebug_options ALL,1 11,2\n\
             shutdown_lifetime 0 seconds\nforwarded_for delete\npinger_enable off\nnetdb_filename none\n\
             {interception}{}{authentication}",
            self.rules
        )
    }
}

fn spawn(folder: &Path, port: u16) -> Process {
    let mut squid = command(folder, "squid");
    // The name is that of its shared memory, which must not be another Squid's.
    squid
        .args(["-N", "-n", &format!("regauth{port}"), "-f"])
        .arg(folder.join("squid.conf"));
    Process::spawn("squid", &mut squid, &folder.join("log"))
}

/// Command as a user that is not root: Squid refuses to run as root.
fn command(folder: &Path, program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = exec::as_user(NOBODY, folder);
        command.arg(program);
        command
    } else {
        exec::command(program, folder)
    }
}

/// A port that is free now. Squid cannot take a socket, nor choose a port.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// Running Squid.
#[derive(Debug)]
pub struct Squid {
    process: Process,
    port: u16,
    tls: bool,
    folder: TempDir,
}

impl Squid {
    /// Builder of a proxy in the clear that needs no password.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// URL without a user.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// URL with a user and a password.
    pub fn url_with_login(&self, user: &str, password: &str) -> String {
        self.url().replace("://", &format!("://{user}:{password}@"))
    }

    /// `HOST:PORT` as messages show it.
    pub fn address(&self) -> String {
        let host = if self.tls { "localhost" } else { "127.0.0.1" };
        format!("{host}:{}", self.port)
    }

    /// Log with the heads of all requests.
    pub fn log(&self) -> String {
        let heads = fs::read_to_string(self.folder.path().join("cache.log")).unwrap_or_default();
        self.process.log() + &heads
    }

    /// Waits until a request with this line has arrived.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`]; the message has the log.
    pub fn wait_for_request(&self, line: &str) {
        let arrived = poll::within(poll::TIMEOUT, || self.was_asked(line).then_some(()));
        arrived.unwrap_or_else(|| panic!("Squid was not asked `{line}`:\n{}", self.log()));
    }

    /// True if a request with this line has arrived, such as `CONNECT host:443 HTTP/1.1`.
    pub fn was_asked(&self, line: &str) -> bool {
        self.log().lines().any(|logged| logged.trim_end() == line)
    }

    /// Ends Squid.
    pub fn stop(&mut self) {
        self.process.stop();
    }
}

const NOBODY: u32 = 65534;
const PORT_ATTEMPTS: usize = 5;
const AUTHENTICATOR: &str = "/usr/lib/squid/basic_ncsa_auth";
const CERTIFICATE_GENERATOR: &str = "/usr/lib/squid/security_file_certgen";
