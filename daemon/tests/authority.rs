//! Tests of our certificates with real verifiers: the installed openssl, curl, git, Python and Node.
//!
//! A thief of the store could sign each rogue leaf with the intermediate's key. As a control, the same client must
//! accept a leaf for the same names under an authority without constraints. Otherwise a mistake of the test could be
//! the reason for the refusal. The unit tests cover webpki with more names; Java was tested by hand.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy recognises only functions marked #[test] as tests, not the functions that they call"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use regauth_shared::secret::Secret;
use regauthd::authority::{Authority, Certificates, bundle};
use regauthd::host::Host;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

#[test]
fn every_client_accepts_the_authoritys_own_host() {
    for name in ["corp.example", "xn--bcher-kva.example", "localhost", "127.0.0.1"] {
        let host: Host = name.parse().unwrap();
        let (authority, _) = Authority::create(&host).unwrap();
        let root = authority.certificates().root.clone();
        let (system, _) = bundle::system_roots();
        let trusted = bundle::compose(&system, std::iter::once((&host, root.as_str())));
        let server = TestServer::serve(Arc::new(authority).server_config().unwrap(), &trusted);
        for client in ALL {
            server.connect(*client, name).unwrap();
        }
    }
}

#[test]
fn no_client_accepts_a_stolen_key_for_another_host() {
    for (ours, rogue, asked) in [
        ("corp.example", "evil.example", "evil.example"),
        ("corp.example", "*.evil.example", "www.evil.example"),
        ("corp.example", "notcorp.example", "notcorp.example"),
        ("corp.example", "www.corp.example", "www.corp.example"),
        ("corp.example", "*.corp.example", "www.corp.example"),
        ("www.corp.example", "*.corp.example", "other.corp.example"),
        ("corp.example", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "evil.example", "evil.example"),
        ("::1", "127.0.0.1", "127.0.0.1"),
        ("::1", "localhost", "localhost"),
    ] {
        let leaf = Leaf {
            common_name: "rogue leaf",
            alternative_name: Some(rogue),
        };
        check_refused(ALL, ours, &leaf, asked);
    }
}

/// Some clients still match the common name if there is no alternative name.
#[test]
fn no_client_accepts_a_stolen_key_for_another_common_name() {
    let leaf = Leaf {
        common_name: "evil.example",
        alternative_name: None,
    };
    for ours in ["corp.example", "192.0.2.1"] {
        check_refused(&[openssl, curl, git], ours, &leaf, "evil.example");
    }
}

fn check_refused(clients: &[Client], ours: &str, leaf: &Leaf<'_>, asked: &str) {
    let (authority, key) = Authority::create(&ours.parse().unwrap()).unwrap();
    let stolen = steal(authority.certificates(), &key);
    let rogue = leaf.serve(authority.certificates(), &stolen);

    let (certificates, key) = without_constraints();
    let control = leaf.serve(&certificates, &steal(&certificates, &key));

    for client in clients {
        let refusal = rogue.connect(*client, asked);
        assert!(
            refusal.is_err(),
            "{client:?} accepts {asked} from the authority for {ours}"
        );
        if let Err(report) = control.connect(*client, asked) {
            panic!("{client:?} refuses {asked} for another reason than constraints: {report}");
        }
    }
}

/// Leaf of an attacker, valid in every other respect.
struct Leaf<'a> {
    common_name: &'a str,
    alternative_name: Option<&'a str>,
}

impl Leaf<'_> {
    fn serve(&self, certificates: &Certificates, issuer: &Issuer<'_, KeyPair>) -> TestServer {
        let key = KeyPair::generate().unwrap();
        let mut parameters = named(self.common_name);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.subject_alt_names = self.alternative_name.map(alternative_name).into_iter().collect();
        let leaf = parameters.signed_by(&key, issuer).unwrap();
        let intermediate = CertificateDer::from_pem_slice(certificates.intermediate.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.into(), intermediate],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TestServer::serve(Arc::new(config), &certificates.root)
    }
}

fn alternative_name(text: &str) -> SanType {
    match text.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(text.try_into().unwrap()),
    }
}

/// Issuer of an attacker: the key from the store, and the intermediate, which every client receives.
fn steal(certificates: &Certificates, key: &Secret) -> Issuer<'static, KeyPair> {
    let key = KeyPair::try_from(STANDARD.decode(key.expose()).unwrap()).unwrap();
    Issuer::from_ca_cert_pem(&certificates.intermediate, key).unwrap()
}

/// Authority like ours, but without constraints.
fn without_constraints() -> (Certificates, Secret) {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = certifying("control root", 1);
    let intermediate = certifying("control intermediate", 0);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let certificate = intermediate.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let certificates = Certificates {
        root: root_certificate.pem(),
        intermediate: certificate.pem(),
    };
    (
        certificates,
        Secret::parse(&STANDARD.encode(key.serialized_der())).unwrap(),
    )
}

fn certifying(name: &str, path_length: u8) -> CertificateParams {
    let mut parameters = named(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// Local web server with a given certificate, and the file of roots that its clients trust.
struct TestServer {
    port: u16,
    trusted: PathBuf,
    _folder: TempDir,
}

impl TestServer {
    fn serve(config: Arc<ServerConfig>, trusted: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca-bundle.pem");
        std::fs::write(&file, trusted).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that rejects the certificate closes the connection; its exit status is the result.
                let _ = answer(stream.unwrap(), Arc::clone(&config));
            }
        });
        Self {
            port,
            trusted: file,
            _folder: folder,
        }
    }

    /// Runs a client against the server. Returns its command and output, as an error if it failed.
    fn connect(&self, client: Client, host: &str) -> Result<String, String> {
        let mut command = client(host, self.port, &self.trusted);
        for variable in [
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            command.env_remove(variable);
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{:?} is needed for this test: {error}", command.get_program()));
        let printed = [output.stdout, output.stderr].concat();
        let report = format!("{command:?}: {}", String::from_utf8_lossy(&printed));
        if output.status.success() {
            Ok(report)
        } else {
            Err(report)
        }
    }
}

/// Answers one request. `git ls-remote` accepts the answer as a repository, and the other clients accept any answer.
fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let body = match request.starts_with(b"GET /x/HEAD ") {
        true => "ref: refs/heads/main\n".to_owned(),
        false => format!("{}\trefs/heads/main\n", "1".repeat(40)),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Command of a client for a host, a local port and a file of trusted roots.
type Client = fn(&str, u16, &Path) -> Command;

const ALL: &[Client] = &[openssl, curl, git, python, node];

fn openssl(host: &str, port: u16, trusted: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-brief", "-verify_return_error", "-x509_strict"]);
    command.arg("-connect").arg(format!("127.0.0.1:{port}"));
    command.arg("-CAfile").arg(trusted);
    match host.parse::<IpAddr>() {
        Ok(_) => command.args(["-noservername", "-verify_ip", host]),
        Err(_) => command.args(["-servername", host, "-verify_hostname", host]),
    };
    command
}

fn curl(host: &str, port: u16, trusted: &Path) -> Command {
    let mut command = Command::new("curl");
    command.args([
        "-q",
        "--silent",
        "--show-error",
        "--http1.1",
        "--noproxy",
        "*",
        "--max-time",
        "20",
    ]);
    command.arg("--cacert").arg(trusted);
    command.args(["--connect-to", &format!("{host}:{port}:127.0.0.1:{port}")]);
    command.arg(format!("https://{host}:{port}/"));
    command
}

fn git(host: &str, port: u16, trusted: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0").env("NO_PROXY", "*");
    // Takes precedence over `http.sslCAInfo`, and over the same variable in the environment of the test.
    command.env("GIT_SSL_CAINFO", trusted);
    command.args(["-c", "http.version=HTTP/1.1"]);
    command.args(["-c", &format!("http.curloptResolve={host}:{port}:127.0.0.1")]);
    command.args(["ls-remote", &format!("https://{host}:{port}/x")]);
    command
}

fn python(host: &str, port: u16, trusted: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, host, &port.to_string()]).arg(trusted);
    command
}

fn node(host: &str, port: u16, trusted: &Path) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_EXTRA_CA_CERTS", trusted);
    command.args(["-e", NODE, host, &port.to_string()]);
    command
}

/// Sets the two flags that are the default from Python 3.13 on.
const PYTHON: &str = r"
import socket, ssl, sys
host, port, trusted = sys.argv[1:]
context = ssl.create_default_context(cafile=trusted)
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
with socket.create_connection(('127.0.0.1', int(port)), timeout=20) as connection:
    with context.wrap_socket(connection, server_hostname=host) as tls:
        print(tls.version())
";

const NODE: &str = r"
const [host, port] = process.argv.slice(1);
const servername = require('net').isIP(host) ? undefined : host;
const socket = require('tls').connect({ host: '127.0.0.1', port, servername }, () => {
    console.log(socket.getProtocol());
    socket.end();
});
socket.on('error', (error) => {
    console.error(error.code, error.message);
    process.exit(1);
});
";
