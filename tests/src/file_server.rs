//! Folder behind nginx: every request needs a password, and PUT writes a file. Repositories of Maven, RubyGems, Composer, Go
//! and apt are such folders.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::auth_gate::{AuthGate, Scheme};
use crate::certificates::Authority;
use crate::daemon::Daemon;
use crate::exec::{self, Output};
use crate::nginx::{self, Nginx};
use crate::process::Process;

/// Running server. [`FileServer::nginx`] has its requests.
#[derive(Debug)]
pub struct FileServer {
    /// nginx, which serves the folder.
    pub nginx: Nginx,
    authority: Authority,
    scheme: Scheme,
    password: String,
    folder: TempDir,
    _backend: Option<Process>,
}

impl FileServer {
    /// Starts a server with an empty folder for this user.
    pub fn start(user: &str, password: &str) -> Self {
        Self::with(user, password, None)
    }

    /// Starts a server whose requests this CGI program answers. It gets `HOME` in its environment, the served folder.
    pub fn with_program(user: &str, password: &str, program: &str) -> Self {
        Self::with(user, password, Some(program))
    }

    fn with(user: &str, password: &str, program: Option<&str>) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Corp Root"));
        let scheme = Scheme::basic(user);
        let gate = AuthGate::new(scheme.clone(), &folder.path().join("gate"));
        gate.accept(&[password]);
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let backend = program.map(|program| start_backend(folder.path(), program));
        let content = match program {
            Some(_) => cgi_directives(folder.path()),
            None => format!("root {}; dav_methods PUT; create_full_put_path on;", root.display()),
        };
        let builder: nginx::Builder = Nginx::builder(&authority.issue(&["localhost"]))
            .http(&gate.http_directives())
            .server(&gate.server_directives());
        let nginx = builder
            .location("/", &format!("{} {content}", gate.location_directives()))
            .start();
        Self {
            nginx,
            authority,
            scheme,
            password: password.to_owned(),
            folder,
            _backend: backend,
        }
    }

    /// Adds the server to the daemon as the registry `corp` of this kind, for all its paths.
    ///
    /// # Panics
    /// When `regauthctl` fails; the message has its output.
    pub fn add_to(&self, daemon: &Daemon, kind: &str) {
        let location = ["--kind", kind, "--scope", &self.nginx.url("/")];
        daemon
            .try_add("corp", &location, &self.scheme, &self.ca(), &self.password)
            .succeeds();
    }

    /// Path of a served file, which need not exist.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    /// Writes a served file, with its folders.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Runs a shell script in the served folder, which must succeed.
    pub fn run(&self, script: &str) -> Output {
        let mut shell = exec::command("sh", self.folder.path());
        exec::run(shell.args(["-euc", script]).current_dir(self.path(""))).succeeds()
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Asserts that a request for a path that ends in `path` succeeded, with the password.
    ///
    /// # Panics
    /// When there is none; the message has all requests.
    pub fn assert_served(&self, path: &str) {
        let expected = self.scheme.value(&self.password);
        let requests = self.nginx.requests();
        let is_served = requests.iter().any(|request| {
            let uri = request.uri.split('?').next().unwrap_or_default();
            uri.ends_with(path) && request.status < 300 && request.authorization() == Some(&expected)
        });
        assert!(is_served, "{path}: {requests:?}");
    }

    /// Number of requests that write.
    pub fn writes(&self) -> usize {
        let requests = self.nginx.requests();
        let is_write = |method: &str| matches!(method, "PUT" | "POST" | "DELETE");
        requests.iter().filter(|request| is_write(&request.method)).count()
    }
}

fn start_backend(home: &Path, program: &str) -> Process {
    exec::write_program(&home.join("program"), program);
    let socket = home.join("fcgi.sock");
    let mut fcgiwrap = exec::command("fcgiwrap", home);
    fcgiwrap.args(["-f", "-s"]).arg(format!("unix:{}", socket.display()));
    let mut process = Process::spawn("fcgiwrap", &mut fcgiwrap, &home.join("fcgiwrap.log"));
    process.wait_until("its socket", || socket.exists().then_some(()));
    process
}

fn cgi_directives(home: &Path) -> String {
    let home = home.display();
    format!(
        "fastcgi_pass unix:{home}/fcgi.sock; fastcgi_param SCRIPT_FILENAME {home}/program; fastcgi_param HOME {home}/root;
         fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string; fastcgi_param SERVER_NAME localhost;
         fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
         fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER $remote_user;
         fastcgi_param SERVER_PORT $server_port; fastcgi_param SERVER_PROTOCOL $server_protocol;
         fastcgi_param HTTPS on; fastcgi_param REMOTE_ADDR $remote_addr;
         fastcgi_pass_request_headers on;"
    )
}
