//! `regauthctl doctor --gateway`: what a client's machine would run into, without a daemon of its own.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::exec;
use regauth_tests::gateway::Gateway;
use regauth_tests::nginx::Nginx;
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::squid::free_port;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

/// Findings of doctor on a machine without a daemon, by code, with what is said about each.
fn examine(url: &str, root: Option<&Path>, token: Option<&str>) -> (bool, Vec<(String, String)>) {
    let home = TempDir::new().unwrap();
    let mut doctor = exec::command(binary("regauthctl"), home.path());
    doctor.args(["--json", "doctor", "--gateway", url]);
    if let Some(root) = root {
        doctor.arg("--gateway-ca").arg(root);
    }
    if let Some(token) = token {
        doctor.args(["--token-env", "JOB_TOKEN"]).env("JOB_TOKEN", token);
    }
    let output = exec::run(&mut doctor);
    let shown = output.stdout.clone() + &output.stderr;
    assert!(
        token.is_none_or(|token| token.len() < 20 || !shown.contains(token)),
        "{shown}"
    );
    let diagnosis: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = diagnosis["findings"].as_array().unwrap().iter();
    let findings = findings.map(|finding| {
        (
            text(finding, "code"),
            format!("{} {}", text(finding, "what"), text(finding, "mend")),
        )
    });
    assert_eq!(output.status.success(), diagnosis["well"] == true);
    (diagnosis["well"] == true, findings.collect())
}

/// Port of a server that answers everything with a line of HTTP.
fn port_without_tls() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    port
}

#[test]
fn doctor_says_what_a_client_of_a_gateway_would_run_into() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let provider = OpenidProvider::start(registry.gate());
    let gateway = Gateway::start(&format!(
        "[[trust]]\nissuer = \"{}\"\naudience = \"regauth\"\njwks = \"{}\"\nmatch = {{ repository = \"corp/*\" }}\n\
         registries = [\"corp\"]\n",
        provider.issuer(),
        provider.keys_url()
    ));
    gateway.daemon.add("corp", &registry);
    let (url, root) = (format!("https://{}", gateway.address()), gateway.authority.file());
    let good = provider.identity("regauth");
    gateway.daemon.register_secret(&good);
    assert_eq!(examine(&url, Some(&root), Some(&good)), (true, vec![]));
    let grant = gateway.grant(&[]);
    assert_eq!(
        examine(&url, Some(&root), grant.split(['@', ':']).nth(2)),
        (true, vec![])
    );

    let nobody = format!("https://localhost:{}", free_port());
    let plain = format!("https://localhost:{}", port_without_tls());
    let web = Nginx::builder(&gateway.authority.issue(&["localhost"])).start();
    let other = provider.identity("packages");
    for (url, root, token, code, says) in [
        (&*url, Some(&*root), None, "gateway-wants-token", "--token-env"),
        (
            &url,
            Some(&root),
            Some("not-a-grant"),
            "gateway-refuses-grant",
            "regauthctl grant",
        ),
        (
            &url,
            Some(&root),
            Some(&*other),
            "gateway-rejects-token",
            "Show a token of an issuer",
        ),
        (&url, None, Some(&good), "gateway-untrusted", "--gateway-ca"),
        (&url, Some(Path::new("/absent")), None, "gateway-root", "--gateway-ca"),
        (&nobody, Some(&root), None, "gateway-unreachable", "regauthctl status"),
        (
            "https://gateway.invalid:9443",
            Some(&root),
            None,
            "gateway-unknown",
            "name",
        ),
        (&plain, Some(&root), None, "gateway-tls", "listen-tls"),
        (&web.url("/"), Some(&root), None, "gateway-is-another", "listen-tls"),
    ] {
        let (well, findings) = examine(url, root, token);
        assert_eq!(findings.len(), 1, "{code}: {findings:?}");
        let (found, text) = &findings[0];
        assert_eq!((found.as_str(), well), (code, code == "gateway-wants-token"), "{text}");
        assert!(text.contains(says), "{code}: {text}");
    }
}
