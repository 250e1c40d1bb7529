//! Other intercepting proxies, as far as they are installed, each configured for speed.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_tests::exec;
use regauth_tests::process::Process;

use crate::candidate::Candidate;
use crate::haproxy;
use crate::registry::{self, TestRegistry};
use crate::tools;

/// Another proxy that can be started.
#[derive(Clone, Debug)]
pub(crate) struct OtherProxy {
    program: PathBuf,
    launch: fn(&LaunchContext<'_>) -> Candidate,
}

/// Inputs for starting a proxy.
struct LaunchContext<'a> {
    program: &'a Path,
    registry: &'a TestRegistry,
    folder: &'a Path,
}

impl OtherProxy {
    /// Builds the hudsucker program.
    ///
    /// # Errors
    /// The build failed.
    pub(crate) fn hudsucker() -> anyhow::Result<Self> {
        Ok(Self {
            program: tools::hudsucker()?,
            launch: hudsucker,
        })
    }

    /// Finds mitmproxy, if it is installed.
    pub(crate) fn mitmproxy() -> Option<Self> {
        Some(Self {
            program: installed("mitmdump")?,
            launch: mitmproxy,
        })
    }

    /// Finds Squid, if it is installed.
    pub(crate) fn squid() -> Option<Self> {
        Some(Self {
            program: installed("squid")?,
            launch: squid,
        })
    }

    /// Starts the proxy with its files in a folder.
    pub(crate) fn start(&self, registry: &TestRegistry, folder: &Path) -> Candidate {
        (self.launch)(&LaunchContext {
            program: &self.program,
            registry,
            folder,
        })
    }
}

/// Finds a program in `PATH`; says so if it is not there.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let found = tools::find_in_path(program);
    if found.is_none() {
        eprintln!("skipped {program}: not installed");
    }
    found
}

/// Starts the hudsucker program: rustls with aws-lc-rs, HTTP/2 on both sides, cached leaf certificates.
fn hudsucker(context: &LaunchContext<'_>) -> Candidate {
    let roots = context.folder.join("hudsucker.pem");
    let log = context.folder.join("hudsucker.log");
    // Otherwise the code below could read the address of an earlier process from the log.
    let _ = fs::remove_file(&log);
    let mut command = exec::command(context.program, context.folder);
    command
        .args([registry::HOST, &authorization()])
        .args([&context.registry.roots(), &roots]);
    let mut process = Process::spawn(HUDSUCKER, &mut command, &log);
    let address: SocketAddr = process.wait_until("hudsucker's address", || {
        let text = fs::read_to_string(&log).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
    });
    Candidate::other_proxy(HUDSUCKER, format!("http://{address}"), roots, process)
}

/// Starts mitmproxy with an add-on that sets the header.
fn mitmproxy(context: &LaunchContext<'_>) -> Candidate {
    let folder = context.folder.join(MITMPROXY);
    fs::create_dir_all(&folder).unwrap();
    let addon = folder.join("attach.py");
    let attach = format!(
        "def request(flow):\n    flow.request.headers['Authorization'] = '{}'\n",
        authorization()
    );
    fs::write(&addon, attach).unwrap();
    let port = free_port();
    let setting = |name: &str, value: &Path| format!("{name}={}", value.display());
    let mut command = exec::command(context.program, &folder);
    command
        .args(["--quiet", "--mode", &format!("regular@127.0.0.1:{port}")])
        .args(["--allow-hosts", &format!("^{}:", registry::HOST.replace('.', r"\."))])
        .arg("--scripts")
        .arg(&addon)
        .args(["--set", &setting("confdir", &folder)])
        .args([
            "--set",
            &setting("ssl_verify_upstream_trusted_ca", &context.registry.roots()),
        ]);
    let process = Process::spawn(MITMPROXY, &mut command, &folder.join("log"));
    let roots = folder.join("mitmproxy-ca-cert.pem");
    let process = wait_until_listening(port, &roots, process);
    Candidate::other_proxy(MITMPROXY, format!("http://127.0.0.1:{port}"), roots, process)
}

/// Starts Squid without a cache: ssl-bump for the registry's host, splice for all others.
fn squid(context: &LaunchContext<'_>) -> Candidate {
    let folder = context.folder.join(SQUID);
    fs::create_dir_all(&folder).unwrap();
    let [certificate, key] = ["ca.pem", "ca.key"].map(|name| folder.join(name));
    let mut openssl = exec::command("openssl", &folder);
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=squid",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    exec::run(&mut openssl).succeeds();
    let certificate_helper = context.program.with_file_name("../lib/squid/security_file_certgen");
    let mut database = Command::new(&certificate_helper);
    database
        .args(["-c", "-s"])
        .arg(folder.join("leaves"))
        .args(["-M", "4MB"]);
    if !folder.join("leaves").exists() {
        exec::run(&mut database).succeeds();
    }
    let port = free_port();
    let configuration = folder.join("squid.conf");
    fs::write(
        &configuration,
        squid_configuration(&folder, &certificate_helper, &context.registry.roots(), port),
    )
    .unwrap();
    if rustix::process::geteuid().is_root() {
        // Started by root, Squid runs as `nobody`, which must own these files.
        let traversable = fs::Permissions::from_mode(0o711);
        fs::set_permissions(context.folder, traversable).unwrap();
        let mut chown = exec::command("chown", &folder);
        exec::run(chown.args(["-R", SQUID_USER]).arg(&folder)).succeeds();
    }
    let mut command = exec::command(context.program, &folder);
    command.args(["--foreground", "-f"]).arg(&configuration);
    let process = Process::spawn(SQUID, &mut command, &folder.join("log"));
    let process = wait_until_listening(port, &certificate, process);
    Candidate::other_proxy(SQUID, format!("http://127.0.0.1:{port}"), certificate, process).http1_only()
}

fn squid_configuration(folder: &Path, certificate_helper: &Path, roots: &Path, port: u16) -> String {
    let [folder, certificate_helper, roots] = [folder, certificate_helper, roots].map(Path::display);
    let value = authorization();
    let host = registry::HOST;
    format!(
        "http_port 127.0.0.1:{port} ssl-bump tls-cert={folder}/ca.pem tls-key={folder}/ca.key \
         generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
         sslcrtd_program {certificate_helper} -s {folder}/leaves -M 4MB\n\
         acl hello at_step SslBump1\nacl registry ssl::server_name {host}\n\
         ssl_bump peek hello\nssl_bump bump registry\nssl_bump splice all\n\
         tls_outgoing_options cafile={roots}\n\
         request_header_access Authorization deny all\nrequest_header_add Authorization \"{value}\" all\n\
         http_access allow all\ncache deny all\naccess_log none\ncache_log {folder}/cache.log\n\
         pid_filename {folder}/squid.pid\ncoredump_dir {folder}\nshutdown_lifetime 1 seconds\n\
         cache_effective_user {SQUID_USER}\nmax_filedescriptors 16384\n"
    )
}

/// Waits until a proxy listens and its file of roots exists.
pub(crate) fn wait_until_listening(port: u16, roots: &Path, mut process: Process) -> Process {
    process.wait_until("the proxy's port", || {
        (TcpStream::connect(("127.0.0.1", port)).is_ok() && roots.exists()).then_some(())
    });
    process
}

/// Free port, for programs that can neither report a port that they chose nor inherit a socket.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Value of the header that every proxy attaches.
pub(crate) fn authorization() -> String {
    format!("Bearer {}0", registry::TOKEN_PREFIX)
}

/// Names of the other proxies in the table.
pub(crate) const NAMES: &[&str] = &[HUDSUCKER, MITMPROXY, SQUID, haproxy::OVER_H1, haproxy::OVER_H2];

const HUDSUCKER: &str = "hudsucker";
const MITMPROXY: &str = "mitmproxy";
const SQUID: &str = "squid";
/// User of Squid if root starts it.
const SQUID_USER: &str = "nobody";
