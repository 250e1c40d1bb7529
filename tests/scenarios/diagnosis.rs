//! Failures of a registry: the true reason, in the answer to the client, `add-registry`, `verify`, `show`, `doctor` and one
//! line of the log.

use std::net::TcpListener;
use std::path::PathBuf;

use regauth_shared::exit_code::FAILED;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::faulty_server::{Fault, FaultyServer};
use regauth_tests::poll;
use regauth_tests::strict_server::StrictServer;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-registry";

/// Registry that fails, and what regauth is to say about it.
struct Case {
    name: &'static str,
    url: String,
    ca: PathBuf,
    /// The `regauth-error` code.
    code: &'static str,
    /// The cause's name for programs.
    cause: &'static str,
    /// A part of the reason.
    says: &'static str,
    /// A part of the next step.
    fix: &'static str,
}

/// Adds each registry, uses it, and compares all places where its failure is shown.
fn check(daemon: &Daemon, cases: &[Case]) {
    for case in cases {
        let location = ["--kind", "generic", "--scope", &case.url];
        let refused = daemon.try_add(case.name, &location, &Scheme::bearer(), &case.ca, TOKEN);
        assert_eq!(refused.exit, i32::from(FAILED), "{}", refused.output.report());
        assert_shown(case, "add-registry", &refused.output.report());
        let location = [&location[..], &["--no-verify"]].concat();
        let added = daemon.try_add(case.name, &location, &Scheme::bearer(), &case.ca, TOKEN);
        added.succeeds();
        for _ in 0..2 {
            let answer = Curl::new().behind(daemon).get(&case.url);
            assert_eq!(
                (answer.header("regauth-error"), answer.status / 100),
                (Some(case.code), 5),
                "{}",
                case.name
            );
            let body = answer.body();
            assert!(
                body.contains(case.says) && body.to_lowercase().contains(&case.fix.to_lowercase()),
                "{}: {body}",
                case.name
            );
        }
        let shown = daemon.ctl(&["show", case.name]).succeeds().json;
        assert_eq!(shown["last-failure"]["cause"], case.cause, "{}: {shown}", case.name);
        assert_shown(case, "show", &shown["last-failure"].to_string());
        let verified = daemon.ctl(&["verify", case.name]);
        let verdict = &verified.json["registries"][0];
        assert_eq!(verdict["cause"], case.cause, "{}: {verdict}", case.name);
        assert_shown(case, "verify", &verdict.to_string());
        let log = daemon.log();
        let of_registry = format!("registry={}", case.name);
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("could not serve a request") && line.contains(&of_registry))
            .collect();
        assert!(
            lines.len() == 1 && lines[0].contains("INFO") && lines[0].contains(case.says),
            "{}: {lines:#?}",
            case.name
        );
    }
    let diagnosis = User::new(daemon).ctl(&["doctor"]).fails();
    for case in cases {
        let start = diagnosis.stdout.find(&format!("broken: {}: ", case.name)).unwrap();
        let finding: Vec<&str> = diagnosis.stdout[start..].lines().take(3).collect();
        assert_shown(case, "doctor", &finding.join("\n"));
    }
}

#[track_caller]
fn assert_shown(case: &Case, place: &str, text: &str) {
    assert!(
        text.contains(case.says) && text.contains(case.fix),
        "{place} of {}: {text}",
        case.name
    );
}

#[test]
fn each_certificate_that_is_refused_has_its_own_reason() {
    let table = [
        ("expired", Fault::Expired, "certificate-expired", "has expired", "clock"),
        (
            "early",
            Fault::NotYetValid,
            "certificate-not-yet-valid",
            "is not valid yet",
            "clock",
        ),
        (
            "renamed",
            Fault::OtherName,
            "certificate-for-other-name",
            "for another name",
            "the certificate's name in the URL",
        ),
        (
            "stranger",
            Fault::UnknownIssuer,
            "certificate-untrusted",
            "no trusted authority signed",
            "--ca-file",
        ),
        (
            "authority",
            Fault::IsAuthority,
            "certificate-is-authority",
            "CA:TRUE",
            "basicConstraints=critical,CA:FALSE",
        ),
        (
            "nameless",
            Fault::WithoutNames,
            "certificate-old-form",
            "without subjectAltName",
            "subjectAltName=DNS:NAME",
        ),
    ];
    check_faults(&table, "upstream-untrusted");
}

#[test]
fn each_tls_handshake_that_fails_has_its_own_reason() {
    let table = [
        (
            "plain",
            Fault::PlainHttp,
            "not-tls",
            "does not speak TLS",
            "port in the URL",
        ),
        (
            "old-tls",
            Fault::OldTls,
            "no-common-tls",
            "no TLS version or cipher in common",
            "TLS 1.3",
        ),
        (
            "old-ciphers",
            Fault::OldCiphers,
            "no-common-tls",
            "no TLS version or cipher in common",
            "TLS 1.3",
        ),
        (
            "mutual",
            Fault::DemandsClientCertificate,
            "client-certificate-wanted",
            "wants a client certificate",
            "client-cert",
        ),
        (
            "mutual-old",
            Fault::DemandsClientCertificateOldTls,
            "client-certificate-wanted",
            "wants a client certificate",
            "client-cert",
        ),
    ];
    check_faults(&table, "upstream-untrusted");
}

/// Checks servers with a fault; each row has a name, the fault, and the cause, reason and next step that are expected.
fn check_faults(table: &[(&'static str, Fault, &'static str, &'static str, &'static str)], code: &'static str) {
    let daemon = Daemon::builder().log_level("info").start();
    let servers: Vec<FaultyServer> = table.iter().map(|row| FaultyServer::start(row.1)).collect();
    let cases = table
        .iter()
        .zip(&servers)
        .map(|((name, _, cause, says, fix), server)| Case {
            name,
            url: server.url("/"),
            ca: server.ca().to_owned(),
            code,
            cause,
            says,
            fix,
        });
    check(&daemon, &cases.collect::<Vec<_>>());
}

#[test]
fn each_connection_that_gives_no_answer_has_its_own_reason() {
    let daemon = Daemon::builder().log_level("info").start();
    let closes = FaultyServer::start(Fault::ClosesAfterRequest);
    let cut = FaultyServer::start(Fault::ClosesInHandshake);
    let authority = Authority::new("Corp Root");
    let garbage = StrictServer::answering(&authority, "220 smtp.corp.example ESMTP\r\n\r\n");
    let many: String = (0..4000)
        .map(|number| format!("x-{number}: {}\r\n", "x".repeat(100)))
        .collect();
    let talkative = StrictServer::answering(
        &authority,
        &format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n"),
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let case = |name, url: String, ca: PathBuf, cause, says, fix| Case {
        name,
        url,
        ca,
        code: "upstream-unreachable",
        cause,
        says,
        fix,
    };
    let cases = [
        case(
            "refused",
            format!("https://localhost:{free}/"),
            authority.file(),
            "refused",
            "refuses connections",
            "whether the server is up",
        ),
        case(
            "cut",
            cut.url("/"),
            cut.ca().to_owned(),
            "closed-in-handshake",
            "closed the connection during the TLS handshake",
            "port in the URL",
        ),
        case(
            "closes",
            closes.url("/"),
            closes.ca().to_owned(),
            "closed",
            "closed the connection without an answer",
            "ask its operators",
        ),
        case(
            "garbage",
            format!("https://{}/", garbage.authority()),
            authority.file(),
            "not-http",
            "is not valid HTTP",
            "port in the URL",
        ),
        case(
            "talkative",
            format!("https://{}/", talkative.authority()),
            authority.file(),
            "head-too-large",
            "more headers than regauth accepts",
            "send fewer",
        ),
    ];
    check(&daemon, &cases);
}

#[test]
fn a_name_without_an_address_is_named_as_such() {
    let daemon = Daemon::start();
    let location = ["--scope", "https://no-such-host.invalid/"];
    let refused = daemon.try_add(
        "ghost",
        &location,
        &Scheme::bearer(),
        &Authority::new("Any").file(),
        TOKEN,
    );
    assert_eq!(refused.exit, i32::from(FAILED), "{}", refused.output.report());
    let report = refused.output.report();
    // Without any name server, nobody can tell.
    assert!(
        report.contains("has no address") || report.contains("no name server answers"),
        "{report}"
    );
}

#[test]
fn a_client_certificate_that_the_registry_refuses_is_named_as_such() {
    let server = FaultyServer::start(Fault::DemandsClientCertificate);
    let old = FaultyServer::start(Fault::DemandsClientCertificateOldTls);
    let wrong = Authority::new("Another Root").issue(&["me"]);
    let section = |name: &str, server: &FaultyServer| {
        format!(
            "[registries.{name}]\nscopes = [\"{}\"]\nca-file = \"{}\"\nclient-cert = \"{}\"\nclient-key = \"{}\"\n\
             source = \"env:CORP_TOKEN\"\n",
            server.url("/"),
            server.ca().display(),
            wrong.chain_file().display(),
            wrong.key_file().display()
        )
    };
    let daemon = Daemon::builder()
        .config(&(section("new", &server) + &section("old", &old)))
        .env("CORP_TOKEN", TOKEN)
        .start();
    for server in [&server, &old] {
        let answer = Curl::new().behind(&daemon).get(&server.url("/"));
        assert_eq!(answer.header("regauth-error"), Some("upstream-untrusted"));
        assert!(
            answer.body().contains("refuses the registry's client certificate"),
            "{}",
            answer.body()
        );
    }
}

#[test]
fn a_registry_that_answers_again_has_no_failure_any_more() {
    let server = FaultyServer::start(Fault::None);
    let daemon = Daemon::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let url = format!("https://localhost:{port}/");
    let location = ["--kind", "generic", "--scope", &url, "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), server.ca(), TOKEN)
        .succeeds();
    assert_eq!(Curl::new().behind(&daemon).get(&url).status, 502);
    assert_eq!(daemon.ctl(&["show", "corp"]).json["last-failure"]["cause"], "refused");
    // The name's addresses, as the system has them, tell where it was tried.
    let listed = User::new(&daemon).ctl(&["list"]).succeeds();
    listed
        .says(&format!("corp: localhost:{port} ("))
        .says("127.0.0.1")
        .says(") refuses connections");
    let log = daemon.log();
    assert!(log.contains("addresses=\"") && log.contains("127.0.0.1"), "{log}");
    let status = daemon.ctl(&["status"]).json;
    let problem = status["problems"][0]["message"].as_str().unwrap();
    assert!(problem.contains(&format!("localhost:{port}")), "{problem}");
    assert!(
        problem.ends_with("it has not worked since the daemon started"),
        "{problem}"
    );
    let config = daemon.home().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let moved = text.replace(&url, &server.url("/"));
    std::fs::write(&config, moved).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    daemon
        .ctl_with_input(&["confirm", "corp", "--token-stdin"], TOKEN)
        .succeeds();
    assert_eq!(Curl::new().behind(&daemon).get(&server.url("/")).status, 200);
    let shown = daemon.ctl(&["show", "corp"]).json;
    assert!(
        shown["last-failure"].is_null() && shown["last-worked"].is_string(),
        "{shown}"
    );
    assert_eq!(shown["past-failure"]["cause"], "refused");
    assert_eq!(daemon.log().matches("registry answers again").count(), 1);
    assert!(daemon.ctl(&["status"]).json["problems"].is_null());
}

/// The text about a certificate that is an authority's tells to have it issued again as a server's: that one works.
#[test]
fn a_self_signed_certificate_that_is_no_authority_works_as_ca_file() {
    let server = FaultyServer::start(Fault::SelfSigned);
    let daemon = Daemon::start();
    let location = ["--kind", "generic", "--scope", &server.url("/")];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), server.ca(), TOKEN);
    added.succeeds();
    assert_eq!(Curl::new().behind(&daemon).get(&server.url("/")).status, 200);
}

#[test]
fn a_tunnel_that_fails_gives_its_reason_and_a_line_of_the_log() {
    let daemon = Daemon::builder().log_level("info").start();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connect = format!("CONNECT {gone} HTTP/1.1\r\n\r\n");
    for _ in 0..2 {
        let answer = regauth_tests::proxy_client::ProxyClient::new(&daemon).exchange(&connect);
        assert!(answer.contains("refuses connections"), "{answer}");
    }
    let log = daemon.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("could not serve a request"))
        .collect();
    assert!(lines.len() == 1 && lines[0].contains(&gone.to_string()), "{lines:#?}");
}

#[test]
fn a_source_that_fails_is_logged_with_its_registry() {
    let daemon = Daemon::builder().log_level("info").start();
    let arguments = [
        "add-registry",
        "failing",
        "--kind",
        "generic",
        "--scope",
        "https://localhost:1/",
        "--no-verify",
    ];
    let source = ["--source-command", "false"];
    daemon.ctl(&[&arguments[..], &source].concat()).succeeds();
    let line = poll::wait_for("the failure", || {
        let log = daemon.log();
        log.lines()
            .find(|line| line.contains("token fetch failed"))
            .map(str::to_owned)
    });
    assert!(line.contains("registry=failing"), "{line}");
}
