use super::*;

fn rules(variables: &[(&str, &str)]) -> Result<ProxyRules, InvalidProxySetting> {
    let value = |name: &str| {
        let mut found = variables.iter().filter(|(variable, _)| *variable == name);
        found.next().map(|(_, value)| value.into())
    };
    ProxyRules::new(&UpstreamSettings::default(), ([127, 0, 0, 1], 9001).into(), value)
}

fn settings(url: &str) -> UpstreamSettings {
    UpstreamSettings {
        proxy: Some(ProxyUrl::from_file(url).unwrap()),
        no_proxy: None,
    }
}

fn selected(rules: &ProxyRules, url: &str) -> String {
    let (scheme, host) = url.split_once("://").unwrap();
    let proxy = rules.select(scheme == "http", &host.parse().unwrap());
    proxy.map_or_else(|| "direct".to_owned(), ToString::to_string)
}

#[test]
fn the_variables_apply_as_they_do_for_curl() {
    let all = ("ALL_PROXY", "http://all:1");
    for (variables, url, expected) in [
        (
            &[("https_proxy", "http://p:1")][..],
            "https://x",
            "http://p:1 (set by https_proxy)",
        ),
        (&[("https_proxy", "http://p:1")], "http://x", "direct"),
        (
            &[("HTTPS_PROXY", "http://p:1")],
            "https://x",
            "http://p:1 (set by HTTPS_PROXY)",
        ),
        (
            &[("http_proxy", "http://p:1")],
            "http://x",
            "http://p:1 (set by http_proxy)",
        ),
        (&[("http_proxy", "http://p:1")], "https://x", "direct"),
        (&[("HTTP_PROXY", "http://p:1")], "http://x", "direct"),
        (
            &[("HTTPS_PROXY", ""), all],
            "https://x",
            "http://all:1 (set by ALL_PROXY)",
        ),
        (
            &[("https_proxy", ""), ("HTTPS_PROXY", "q:2"), all],
            "https://x",
            "http://q:2 (set by HTTPS_PROXY)",
        ),
        (
            &[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:2")],
            "https://x",
            "http://a:1 (set by https_proxy)",
        ),
        (&[all], "http://x", "http://all:1 (set by ALL_PROXY)"),
        (
            &[("all_proxy", "socks5h://s"), all],
            "http://x",
            "socks5h://s:1080 (set by all_proxy)",
        ),
        (
            &[("https_proxy", "http://127.0.0.1:9001"), all],
            "https://x",
            "http://all:1 (set by ALL_PROXY)",
        ),
    ] {
        assert_eq!(
            selected(&rules(variables).unwrap(), url),
            expected,
            "{variables:?} {url}"
        );
    }
}

#[test]
fn loopback_is_never_proxied() {
    let rules = rules(&[("ALL_PROXY", "http://all:1")]).unwrap();
    for host in [
        "localhost",
        "x.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(selected(&rules, &format!("http://{host}")), "direct", "{host}");
        assert_eq!(selected(&rules, &format!("https://{host}")), "direct", "{host}");
    }
    for host in ["localhost.corp", "10.0.0.1", "128.0.0.1"] {
        assert_ne!(selected(&rules, &format!("http://{host}")), "direct", "{host}");
    }
}

#[test]
fn every_form_of_no_proxy_matches() {
    for (no_proxy, host, direct) in [
        ("corp.example", "corp.example", true),
        ("corp.example", "a.corp.example", true),
        ("corp.example", "acorp.example", false),
        (".corp.example", "a.corp.example", true),
        (".corp.example", "corp.example", true),
        ("*.corp.example", "a.b.corp.example", true),
        ("*.corp.example", "corp.exampl", false),
        ("CORP.example.", "a.corp.EXAMPLE", true),
        ("*", "anything", true),
        ("a, b c", "b", true),
        ("a, b c", "c", true),
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.1.2.3", false),
        ("10.1.2.3", "10.1.2.3", true),
        ("[fd00::1]", "[fd00::1]", true),
        ("fd00::/8", "[fd00::1]", true),
        ("corp.example:443", "corp.example", false),
        ("", "corp.example", false),
    ] {
        let rules = rules(&[("ALL_PROXY", "http://all:1"), ("no_proxy", no_proxy)]).unwrap();
        let selected = selected(&rules, &format!("https://{host}"));
        assert_eq!(selected == "direct", direct, "{no_proxy}: {host}");
    }
}

#[test]
fn a_variable_that_cannot_be_read_is_named_and_not_repeated() {
    for (name, value) in [
        ("https_proxy", "ftp://me:canary@proxy:1"),
        ("ALL_PROXY", "socks4://canary:1"),
        ("http_proxy", "http://canary canary"),
    ] {
        let error = rules(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("canary"), "{error}");
    }
}

#[test]
fn the_file_overrides_the_environment_and_may_not_name_us() {
    let listen = ([127, 0, 0, 1], 9001).into();
    let environment = |_: &str| Some("ftp://unreadable".into());
    let rules = ProxyRules::new(&settings("http://file:1"), listen, environment).unwrap();
    assert_eq!(selected(&rules, "https://x"), "http://file:1 (set by config.toml)");
    assert_eq!(rules.proxies().len(), 1);
    let own = ProxyRules::new(&settings("http://localhost:9001"), listen, environment);
    assert_eq!(own.unwrap_err(), InvalidProxySetting::OwnListener);
}

#[test]
fn the_login_becomes_basic_authentication() {
    let rules = rules(&[("https_proxy", "http://Aladdin:open%20sesame@p:1")]).unwrap();
    let proxy = rules.select(false, &"x".parse().unwrap()).unwrap();
    let login = proxy.login().unwrap();
    let value = login.authorization.as_ref().unwrap();
    assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(value.is_sensitive());
    assert!(!format!("{proxy:?}").contains("QWxh"));
}

#[test]
fn a_user_in_the_file_waits_for_the_password_of_the_store() {
    let listen = "127.0.0.1:9001".parse().unwrap();
    let authorization = |stored: Option<&str>| {
        let rules = ProxyRules::new(&settings("http://me@file:1"), listen, |_| None).unwrap();
        let proxy = rules.select(false, &"x".parse().unwrap()).unwrap();
        assert_eq!(proxy.login().err(), Some(ProxyProblem::PasswordLocked));
        proxy.set_stored(stored.map(|url| ProxyUrl::from_file(url).unwrap()).as_ref());
        proxy.login().unwrap().authorization.clone()
    };
    let expected = |login: &str| format!("Basic {}", STANDARD.encode(login));
    for (stored, login) in [
        (Some("http://me:word@file:1"), "me:word"),
        // The password of another proxy or user never goes to this one.
        (Some("http://me:word@other:1"), "me:"),
        (Some("http://you:word@file:1"), "me:"),
        (None, "me:"),
    ] {
        assert_eq!(authorization(stored).unwrap(), expected(login), "{stored:?}");
    }
}
