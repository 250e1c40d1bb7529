//! Tests of the differences between configurations.

use super::*;
use crate::config::Config;

fn registries(body: &str) -> Registries {
    let text = format!("[registries.corp]\nindex = \"sparse+https://corp.example/index/\"\n{body}");
    Config::read(&text).unwrap().registries
}

fn widening(before: &str, after: &str) -> Vec<(String, bool)> {
    let changes = changes(&registries(before), &registries(after));
    let key = |change: RegistryChange| (change.shown.key.unwrap_or_default(), change.shown.widens.is_some());
    changes.into_iter().map(key).collect()
}

#[test]
fn a_change_widens_if_a_token_goes_further_or_may_do_more() {
    let scopes = |paths: &[&str]| {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| format!("'https://corp.example/{path}'"))
            .collect();
        format!("scopes = [{}]", paths.join(", "))
    };
    let cases = [
        (scopes(&["a/"]), scopes(&["a/", "b/"]), "scopes", true),
        (scopes(&["a/"]), scopes(&[""]), "scopes", true),
        (scopes(&["a/", "b/"]), scopes(&["a/b/"]), "scopes", false),
        (String::new(), "scheme = 'raw'".to_owned(), "scheme", false),
        (String::new(), "scheme = 'X-Key: {token}'".to_owned(), "scheme", true),
        (String::new(), "ca-file = '/ca.pem'".to_owned(), "ca-file", true),
        ("ca-file = '/ca.pem'".to_owned(), String::new(), "ca-file", false),
        (String::new(), "source = 'env:X'".to_owned(), "source", true),
        ("source = 'env:X'".to_owned(), String::new(), "source", false),
        (String::new(), "writes = 'allow'".to_owned(), "writes", true),
        ("writes = 'allow'".to_owned(), String::new(), "writes", false),
        (String::new(), "programs = ['cargo']".to_owned(), "programs", false),
        ("programs = ['cargo']".to_owned(), String::new(), "programs", true),
        (String::new(), "kind = 'generic'".to_owned(), "kind", true),
        (String::new(), "rejected-by = [401]".to_owned(), "rejected-by", false),
        (String::new(), "read-ahead = false".to_owned(), "read-ahead", false),
    ];
    for (before, after, key, widens) in cases {
        let expected = vec![(key.to_owned(), widens)];
        assert_eq!(widening(&before, &after), expected, "{before} -> {after}");
    }
    assert_eq!(widening("", ""), []);
}

#[test]
fn an_index_or_a_token_service_on_another_host_widens() {
    let read = |text: &str| Config::read(&format!("[registries.corp]\n{text}")).unwrap().registries;
    let scopes = "scopes = ['https://corp.example/v2/']";
    for (key, before, after, widens) in [
        ("index", "", "index = 'sparse+https://corp.example/v2/i/'", false),
        ("index", "", "index = 'sparse+https://other.example/'", true),
        ("index", "index = 'sparse+https://other.example/'", "", false),
        ("token-service", "", "token-service = 'https://auth.example/t'", true),
        ("token-service", "token-service = 'https://auth.example/t'", "", false),
    ] {
        let kind = if key == "index" { "cargo" } else { "oci" };
        let [before, after] = [before, after].map(|line| read(&format!("kind = '{kind}'\n{scopes}\n{line}\n")));
        let changes = changes(&before, &after);
        assert_eq!(changes[0].shown.key.as_deref(), Some(key));
        assert_eq!(changes[0].shown.widens.is_some(), widens, "{changes:?}");
    }
}

#[test]
fn a_new_registry_names_each_of_its_keys_that_widens() {
    for (body, expected) in [
        ("", vec![("", false)]),
        ("index = 'sparse+https://x.example/i/'", vec![("", false)]),
        (
            "index = 'sparse+https://other.example/'",
            vec![("", false), ("index", true)],
        ),
        ("source = 'file:/x'", vec![("", true), ("source", true)]),
        (
            "source = { command = ['sh', '-c', 'x'] }",
            vec![("", true), ("source", true)],
        ),
        ("credential-of = 'corp'", vec![("", true), ("credential-of", true)]),
        (
            "kind = 'oci'\ntoken-service = 'https://auth.example/'",
            vec![("", false), ("token-service", true)],
        ),
        (
            "writes = 'allow'\nca-file = '/x.pem'",
            vec![("", false), ("writes", true), ("ca-file", true)],
        ),
        ("programs = ['cargo']\nread-ahead = false", vec![("", false)]),
    ] {
        let added = format!("[registries.x]\nscopes = ['https://x.example/']\n{body}");
        assert_eq!(widening("", &added), expected_keys(&expected), "{body}");
    }
}

fn expected_keys(keys: &[(&str, bool)]) -> Vec<(String, bool)> {
    keys.iter().map(|(key, widens)| ((*key).to_owned(), *widens)).collect()
}

#[test]
fn a_setting_changes_to_another_value_only_if_the_value_differs_also_in_what_is_never_shown() {
    let changed = |text: &str| changed_settings(&Config::default(), &Config::read(text).unwrap());
    let trust = |audience: &str| {
        format!(
            "clients = 'gateway'\n[[trust]]\nissuer = 'https://token.example'\naudience = '{audience}'\n\
             jwks = 'https://token.example/keys'\nmatch = {{ repository = 'corp/a' }}\nregistries = ['corp']\n"
        )
    };
    let upstream = |login: &str| format!("[upstream]\nproxy = 'http://{login}@proxy.example:3128'");
    let grants = |file: &str| format!("signed-grants = {{ key = '/k.pem', revoked = '/{file}' }}");
    for (one, other) in [
        (trust("a"), trust("b")),
        (upstream("me:one"), upstream("me:two")),
        (grants("a"), grants("b")),
        ("presence = 'always'".to_owned(), "presence = 'never'".to_owned()),
        ("ca-file = '/a'".to_owned(), "ca-file = '/b'".to_owned()),
    ] {
        let keys = |text: &str| changed(text).iter().map(|change| change.key).collect::<Vec<_>>();
        assert!(!keys(&one).is_empty(), "{one}");
        assert_eq!(keys(&one), keys(&other));
        assert_eq!(changed(&one), changed(&one));
        assert_ne!(changed(&one), changed(&other), "{one}");
    }
}

#[test]
fn each_changed_setting_is_named_and_the_recorded_store_is_not() {
    let changed = |text: &str| {
        let changes = changed_settings(&Config::default(), &Config::read(text).unwrap());
        changes.iter().map(|change| change.key).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("store = 'vault'", vec![]),
        ("presence = 'never'", vec!["presence"]),
        ("ca-file = '/ca.pem'\nnotify = false", vec!["ca-file", "notify"]),
        ("[upstream]\nproxy = 'http://proxy.example:3128'", vec!["[upstream]"]),
        ("[registries.corp]\nscopes = ['https://corp.example/']", vec![]),
    ] {
        assert_eq!(changed(text), expected, "{text}");
    }
}

#[test]
fn a_command_that_changes_is_shown_without_its_arguments_and_compared_with_them() {
    let exchange = "exchange = 'jfrog', host = 'j.example', provider = 'p'";
    let identity = |word: &str| format!("{{ {exchange}, identity = {{ command = ['mint', '{word}'] }} }}");
    let command = |word: &str| format!("{{ command = ['mint', '{word}'] }}");
    for source in [&command as &dyn Fn(&str) -> String, &identity] {
        let change_to = |word: &str| {
            let [before, after] = ["s3cret", word].map(|word| registries(&format!("source = {}", source(word))));
            changes(&before, &after)
        };
        let text = format!("{:?}", change_to("s3cr3t"));
        assert!(
            text.contains("command:mint") && text.contains("with other arguments"),
            "{text}"
        );
        assert!(!text.contains("s3cr"), "{text}");
        assert_eq!(change_to("s3cr3t"), change_to("s3cr3t"));
        assert_ne!(change_to("s3cr3t"), change_to("other"));
        assert_eq!(change_to("s3cret"), []);
    }
}

#[test]
fn a_new_registry_is_another_one_if_any_key_of_it_differs() {
    let new = |body: &str| {
        let text = format!("[registries.x]\nscopes = ['https://x.example/']\n{body}");
        changes(&Registries::new(), &Config::read(&text).unwrap().registries)
    };
    assert_eq!(new("programs = ['cargo']"), new("programs = ['cargo']"));
    assert_ne!(new("programs = ['cargo']"), new("programs = ['git']"));
}
