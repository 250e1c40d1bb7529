//! The other proxies, each set up as well as it can be, as far as they are at hand.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_tests::exec as client;
use regauth_tests::process::Process;

use crate::contender::Contender;
use crate::origin::{self, Origin};
use crate::tools;

/// A proxy that is not ours.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    program: PathBuf,
    launch: fn(&Place<'_>) -> Contender,
}

/// All that is needed to start one.
struct Place<'a> {
    program: &'a Path,
    origin: &'a Origin,
    folder: &'a Path,
}

impl Peer {
    /// The hudsucker program, which is built from source.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn hudsucker() -> anyhow::Result<Self> {
        Ok(Self {
            program: tools::hudsucker()?,
            launch: hudsucker,
        })
    }

    /// mitmproxy, when it is installed.
    pub(crate) fn mitmproxy() -> Option<Self> {
        Some(Self {
            program: installed("mitmdump")?,
            launch: mitmproxy,
        })
    }

    /// Squid, when it is installed.
    pub(crate) fn squid() -> Option<Self> {
        Some(Self {
            program: installed("squid")?,
            launch: squid,
        })
    }

    /// Starts it.
    pub(crate) fn start(&self, origin: &Origin, folder: &Path) -> Contender {
        (self.launch)(&Place {
            program: &self.program,
            origin,
            folder,
        })
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let found = tools::in_path(program);
    if found.is_none() {
        eprintln!("{program} is not installed: left out");
    }
    found
}

/// TLS by rustls with aws-lc-rs, HTTP/2 on both sides, leaves cached.
fn hudsucker(place: &Place<'_>) -> Contender {
    let roots = place.folder.join("hudsucker.pem");
    let log = place.folder.join("hudsucker.log");
    // An address of one that has ended would be found in its log.
    let _ = fs::remove_file(&log);
    let mut command = client::command(place.program, place.folder);
    command
        .args([origin::HOST, &authorization()])
        .args([&place.origin.roots(), &roots]);
    let mut process = Process::spawn(HUDSUCKER, &mut command, &log);
    let address: SocketAddr = process.wait_until("its address", || {
        let said = fs::read_to_string(&log).ok()?;
        said.lines()
            .find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
    });
    Contender::peer(HUDSUCKER, format!("http://{address}"), roots, process)
}

/// With the add-on that people have for this purpose.
fn mitmproxy(place: &Place<'_>) -> Contender {
    let folder = place.folder.join(MITMPROXY);
    fs::create_dir_all(&folder).unwrap();
    let addon = folder.join("attach.py");
    let attach = format!(
        "def request(flow):\n    flow.request.headers['Authorization'] = '{}'\n",
        authorization()
    );
    fs::write(&addon, attach).unwrap();
    let port = free_port();
    let setting = |name: &str, value: &Path| format!("{name}={}", value.display());
    let mut command = client::command(place.program, &folder);
    command
        .args(["--quiet", "--mode", &format!("regular@127.0.0.1:{port}")])
        .args(["--allow-hosts", &format!("^{}:", origin::HOST.replace('.', r"\."))])
        .arg("--scripts")
        .arg(&addon)
        .args(["--set", &setting("confdir", &folder)])
        .args([
            "--set",
            &setting("ssl_verify_upstream_trusted_ca", &place.origin.roots()),
        ]);
    let process = Process::spawn(MITMPROXY, &mut command, &folder.join("log"));
    listening(MITMPROXY, port, folder.join("mitmproxy-ca-cert.pem"), process)
}

/// With ssl-bump for the registry's host and splice for all others, and no cache.
fn squid(place: &Place<'_>) -> Contender {
    let folder = place.folder.join(SQUID);
    fs::create_dir_all(&folder).unwrap();
    let [certificate, key] = ["ca.pem", "ca.key"].map(|name| folder.join(name));
    let mut openssl = client::command("openssl", &folder);
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
    client::run(&mut openssl).succeeds();
    let minter = place.program.with_file_name("../lib/squid/security_file_certgen");
    let mut database = Command::new(&minter);
    database
        .args(["-c", "-s"])
        .arg(folder.join("leaves"))
        .args(["-M", "4MB"]);
    if !folder.join("leaves").exists() {
        client::run(&mut database).succeeds();
    }
    let port = free_port();
    let configuration = folder.join("squid.conf");
    fs::write(
        &configuration,
        squid_configuration(&folder, &minter, &place.origin.roots(), port),
    )
    .unwrap();
    if rustix::process::geteuid().is_root() {
        // As root it becomes somebody else, to whom all this must belong.
        let reachable = fs::Permissions::from_mode(0o711);
        fs::set_permissions(place.folder, reachable).unwrap();
        let mut chown = client::command("chown", &folder);
        client::run(chown.args(["-R", USER]).arg(&folder)).succeeds();
    }
    let mut command = client::command(place.program, &folder);
    command.args(["--foreground", "-f"]).arg(&configuration);
    let process = Process::spawn(SQUID, &mut command, &folder.join("log"));
    listening(SQUID, port, certificate, process).without_h2()
}

fn squid_configuration(folder: &Path, minter: &Path, roots: &Path, port: u16) -> String {
    let [folder, minter, roots] = [folder, minter, roots].map(Path::display);
    let value = authorization();
    let host = origin::HOST;
    format!(
        "http_port 127.0.0.1:{port} ssl-bump tls-cert={folder}/ca.pem tls-key={folder}/ca.key \
         generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
         sslcrtd_program {minter} -s {folder}/leaves -M 4MB\n\
         acl hello at_step SslBump1\nacl registry ssl::server_name {host}\n\
         ssl_bump peek hello\nssl_bump bump registry\nssl_bump splice all\n\
         tls_outgoing_options cafile={roots}\n\
         request_header_access Authorization deny all\nrequest_header_add Authorization \"{value}\" all\n\
         http_access allow all\ncache deny all\naccess_log none\ncache_log {folder}/cache.log\n\
         pid_filename {folder}/squid.pid\ncoredump_dir {folder}\nshutdown_lifetime 1 seconds\n\
         cache_effective_user {USER}\nmax_filedescriptors 16384\n"
    )
}

fn listening(name: &str, port: u16, roots: PathBuf, mut process: Process) -> Contender {
    process.wait_until("its port", || {
        (TcpStream::connect(("127.0.0.1", port)).is_ok() && roots.exists()).then_some(())
    });
    Contender::peer(name, format!("http://127.0.0.1:{port}"), roots, process)
}

/// For programs that can neither pick a port and say so nor take over a socket.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn authorization() -> String {
    format!("Bearer {}0", origin::TOKEN)
}

/// The columns of peers.
pub(crate) const NAMES: &[&str] = &[HUDSUCKER, MITMPROXY, SQUID];

const HUDSUCKER: &str = "hudsucker";
const MITMPROXY: &str = "mitmproxy";
const SQUID: &str = "squid";
/// Who Squid is when root starts it.
const USER: &str = "nobody";
