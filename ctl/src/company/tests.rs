//! Tests of the proxy and the roots of a company.

use super::*;

#[test]
fn a_proxy_is_compared_and_shown_without_its_login() {
    for (url, shown) in [
        ("http://proxy.corp:3128", "http://proxy.corp:3128"),
        ("http://me:p@ss@PROXY.corp:3128/", "http://proxy.corp:3128"),
        ("proxy.corp:3128", "http://proxy.corp:3128"),
        ("socks5h://u@10.0.0.1:1080", "socks5h://10.0.0.1:1080"),
    ] {
        assert_eq!(without_login(url), shown);
        assert!(!format!("{:?}", CompanySetting::proxy("x", url)).contains('@'));
    }
}

#[test]
fn the_remedy_of_a_proxy_follows_from_what_regauthd_has() {
    let (old, carry_over) = ("http://p.corp:3128", "regauthctl setup pip --carry-over");
    let missing = |configured: Option<&str>, used: &[&str]| {
        let info = DaemonInfo {
            configured_proxy: configured.map(str::to_owned),
            upstream_proxies: used.iter().map(ToString::to_string).collect(),
            ..DaemonInfo::sample()
        };
        let missing = CompanySetting::proxy("pip.conf", old).missing(&info, Some(carry_over))?;
        Some((missing.is_broken, missing.remedy))
    };
    assert_eq!(missing(None, &[]), Some((true, carry_over.to_owned())));
    let (is_broken, remedy) = missing(Some(old), &[]).unwrap();
    assert!(is_broken && remedy.starts_with("restart regauthd: "), "{remedy}");
    let (is_broken, remedy) = missing(Some(old), &["http://other:1"]).unwrap();
    assert!(is_broken && remedy.starts_with("restart regauthd: "), "{remedy}");
    for (configured, used) in [(Some("http://other:1"), &[][..]), (None, &["http://other:1"][..])] {
        let (is_broken, remedy) = missing(configured, used).unwrap();
        assert!(
            !is_broken && remedy.contains("regauthctl upstream http://p.corp:3128"),
            "{remedy}"
        );
    }
    assert_eq!(missing(Some(old), &[old]), None);
}

#[test]
fn a_proxy_of_this_machine_that_does_not_run_is_never_carried_over() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let live = format!("http://{}", listener.local_addr().unwrap());
    for (url, is_dead) in [
        // No server listens on port 1.
        ("http://127.0.0.1:1", true),
        ("me:pass@LOCALHOST:1/", true),
        (&*live, false),
        ("http://proxy.corp:1", false),
    ] {
        assert_eq!(is_dead_proxy(url), is_dead, "{url}");
    }
    let setting = CompanySetting::proxy("HTTPS_PROXY", "http://127.0.0.1:1");
    assert!(setting.is_dead() && !CompanySetting::proxy("HTTPS_PROXY", &live).is_dead());
    let missing = |carry_over| setting.missing(&DaemonInfo::sample(), carry_over).unwrap();
    assert!(missing(None).remedy.starts_with("unset HTTPS_PROXY; or start"));
    let in_file = missing(Some("CARRY"));
    assert!(!in_file.is_broken && in_file.remedy.starts_with("nothing, if it is out of use"));
}

#[test]
fn no_remedy_carries_over_what_carry_over_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("corp.pem");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let file = file.to_str().unwrap();
    let remedy = |setting: CompanySetting, roots: Option<&str>| {
        let info = DaemonInfo {
            company_roots: roots.map(str::to_owned),
            ..DaemonInfo::sample()
        };
        setting.missing(&info, Some("CARRY")).unwrap().remedy
    };
    assert_eq!(remedy(CompanySetting::ca_file("x", file), None), "CARRY");
    assert_eq!(
        remedy(CompanySetting::ca_file("x", file), Some(file)),
        "regauthctl reload"
    );
    let appended = remedy(CompanySetting::ca_file("x", file), Some("/other.pem"));
    assert!(
        appended.contains("append") && appended.contains("/other.pem"),
        "{appended}"
    );
    let java = remedy(CompanySetting::java_trust_store("x", "/x.jks"), None);
    assert!(java.contains("keytool") && !java.contains("CARRY"), "{java}");
}

#[test]
fn certificates_are_compared_without_their_line_breaks() {
    let one = "# root\n-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
    let same = "-----BEGIN CERTIFICATE-----\r\nAAAABBBB\r\n-----END CERTIFICATE-----";
    let cut = "-----BEGIN CERTIFICATE-----\nCCCC";
    assert_eq!(certificates(one), certificates(same));
    assert!(certificates(cut).is_empty() && certificates("").is_empty());
}

#[test]
fn each_value_of_the_environment_is_listed_once() {
    let current = |name: &str| match name {
        "HTTPS_PROXY" | "https_proxy" => Some("http://proxy.corp:3128".to_owned()),
        "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS" => Some("/etc/corp.pem".to_owned()),
        "PIP_CERT" => Some(String::new()),
        "JAVA_TOOL_OPTIONS" => Some("-Xmx1g -Dhttps.proxyHost=java.corp -Djavax.net.ssl.trustStore=/x.jks".to_owned()),
        _ => None,
    };
    let places: Vec<_> = of_environment(current)
        .into_iter()
        .map(|setting| setting.place)
        .collect();
    assert_eq!(
        places,
        ["HTTPS_PROXY", "SSL_CERT_FILE", "JAVA_TOOL_OPTIONS", "JAVA_TOOL_OPTIONS"]
    );
}
