use proptest::prelude::*;

use super::record::InvalidRecord;
use super::*;

const CORP: &str = "https://corp.example/cargo/";

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

fn token_use(scopes: &[&str]) -> TokenUse {
    TokenUse {
        scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        scheme: Scheme::Bearer,
        roots: [RootDigest([1; 32])].into(),
        token_service: None,
        writes: Writes::Deny,
    }
}

fn binding(token_use: TokenUse) -> Binding {
    Binding {
        source: "store".to_owned(),
        uses: [(name("corp"), token_use)].into(),
    }
}

fn wider(change: impl Fn(&mut TokenUse)) -> (Vec<String>, Option<TokenUse>) {
    let mut now = token_use(&[CORP]);
    change(&mut now);
    let given = binding(token_use(&[CORP]));
    let corp = name("corp");
    let texts = given.wider(&corp, &now).iter().map(ToString::to_string).collect();
    (texts, given.served(&corp, &now))
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

#[test]
fn a_configuration_that_says_the_same_or_less_is_served_as_it_is() {
    let changes: [fn(&mut TokenUse); 6] = [
        |_| {},
        |now| now.scheme = Scheme::Raw,
        |now| now.scheme = Scheme::parse("basic", Some("me")).unwrap(),
        |now| now.roots.clear(),
        |now| now.scopes = vec![scope("https://corp.example/cargo/index/")],
        |now| now.scopes.push(scope("https://corp.example/cargo/index/")),
    ];
    for change in changes {
        let (texts, served) = wider(change);
        assert_eq!(texts, Vec::<String>::new());
        let mut now = token_use(&[CORP]);
        change(&mut now);
        assert_eq!(served, Some(now));
    }
}

#[test]
fn a_configuration_that_says_more_is_named_and_served_as_before() {
    type Change = fn(&mut TokenUse);
    let changes: [(Change, &str); 7] = [
        (
            |now| now.scopes.push(scope("https://attacker.example/")),
            "it sends its token to https://attacker.example/",
        ),
        (
            |now| now.scopes.push(scope("https://corp.example:8443/cargo/")),
            "it sends its token to https://corp.example:8443/cargo/",
        ),
        (
            |now| now.scopes = vec![scope("https://corp.example/")],
            "it sends its token to https://corp.example/",
        ),
        (
            |now| now.scheme = Scheme::parse("x-key: {token}", None).unwrap(),
            "it sends its token in the header x-key",
        ),
        (
            |now| now.roots.extend([RootDigest([0xAB; 32])]),
            "it trusts the certificate SHA-256 AB:AB:AB:AB:AB:AB:AB:AB… of its ca-file",
        ),
        (|now| now.writes = Writes::Allow, "it opens writes for good"),
        (
            |now| now.token_service = Some("https://attacker.example/token".to_owned()),
            "it sends its token to the token service https://attacker.example/token",
        ),
    ];
    for (change, text) in changes {
        assert_eq!(wider(change), (vec![text.to_owned()], Some(token_use(&[CORP]))));
    }
}

#[test]
fn a_registry_that_shares_the_token_has_a_use_of_its_own() {
    let given = binding(token_use(&[CORP]));
    let copy = name("copy");
    let elsewhere = token_use(&["https://attacker.example/"]);
    assert_eq!(given.wider(&copy, &elsewhere), elsewhere.everything());
    assert_eq!(given.served(&copy, &elsewhere), None);
    // A part of what corp's use covers needs nobody.
    let inside = token_use(&["https://corp.example/cargo/index/"]);
    assert_eq!(given.wider(&copy, &inside), []);
    assert_eq!(given.served(&copy, &inside), Some(inside));
}

#[test]
fn a_registry_without_a_use_of_its_own_is_shown_with_all_that_is_bound() {
    let mut given = binding(token_use(&[CORP]));
    let copy = name("copy");
    let now = TokenUse {
        scheme: Scheme::parse("x-key: {token}", None).unwrap(),
        roots: [RootDigest([0xAB; 32])].into(),
        token_service: Some("https://auth.example/token".to_owned()),
        writes: Writes::Allow,
        ..token_use(&["https://copy.example/"])
    };
    let shown: Vec<String> = given.wider(&copy, &now).iter().map(ToString::to_string).collect();
    let expected = [
        "it sends its token to https://copy.example/",
        "it sends its token in the header x-key",
        "it sends its token to the token service https://auth.example/token",
        "it trusts the certificate SHA-256 AB:AB:AB:AB:AB:AB:AB:AB… of its ca-file",
        "it opens writes for good",
    ];
    assert_eq!(shown, expected);
    given.take_in(&copy, None, &now);
    assert_eq!(given.uses[&copy], now);
}

#[test]
fn a_scope_added_to_a_registry_that_another_use_covers_leaves_its_other_scopes() {
    let mut given = binding(token_use(&[CORP]));
    let copy = name("copy");
    let before = token_use(&["https://corp.example/cargo/index/"]);
    assert_eq!(given.wider(&copy, &before), []);
    let mut after = before.clone();
    after.scopes.push(scope("https://downloads.example/"));
    given.take_in(&copy, Some(&before), &after);
    assert_eq!(given.wider(&copy, &after), []);
}

#[test]
fn a_change_takes_in_its_own_addition_and_no_other() {
    let mut given = binding(token_use(&[CORP]));
    let corp = name("corp");
    let before = token_use(&[CORP, "https://attacker.example/"]);
    let mut after = before.clone();
    after.scopes.push(scope("https://downloads.example/"));
    given.take_in(&corp, Some(&before), &after);
    assert_eq!(
        given.wider(&corp, &after),
        [Wider::Scope(scope("https://attacker.example/"))]
    );
    given.take_in(&corp, None, &after);
    assert_eq!(given.wider(&corp, &after), []);
}

#[test]
fn a_record_reads_back_and_another_text_is_no_record() {
    let mut uses = binding(token_use(&[CORP, "https://corp.example/ä/team%2Fapp/"]));
    let basic = Scheme::parse("basic", Some("jürgen \"x\" \u{1F600}")).unwrap();
    uses.uses.insert(
        name("copy"),
        TokenUse {
            scheme: basic,
            writes: Writes::Allow,
            ..token_use(&[CORP])
        },
    );
    let record = uses.to_record();
    assert!(record.is_ascii(), "{record}");
    assert_eq!(Binding::from_record(&record), Ok(uses));
    for text in [
        "",
        "{}",
        "t0ken",
        &record.replace("\"version\":1", "\"version\":2"),
        &record.replace("bearer", "x"),
    ] {
        assert_eq!(Binding::from_record(text), Err(InvalidRecord), "{text}");
    }
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let hosts = prop_oneof![Just("a.example"), Just("b.example"), Just("a.example:8443")];
    let path = prop::collection::vec(prop_oneof![Just("x"), Just("y"), Just("xy")], 0..3);
    (hosts, path).prop_map(|(host, path)| scope(&format!("https://{host}/{}", path.join("/"))))
}

fn any_use() -> impl Strategy<Value = TokenUse> {
    let other = Scheme::parse("x-key: {token}", None).unwrap();
    let scheme = prop_oneof![Just(Scheme::Bearer), Just(Scheme::Raw), Just(other)];
    let roots = prop::collection::btree_set((0..3_u8).prop_map(|byte| RootDigest([byte; 32])), 0..3);
    let writes = prop_oneof![Just(Writes::Deny), Just(Writes::Allow)];
    let scopes = prop::collection::vec(any_scope(), 1..4);
    let services = prop_oneof![
        Just(None),
        Just(Some("https://a.example/token")),
        Just(Some("https://b.example/token"))
    ];
    let parts = (scopes, scheme, roots, services, writes);
    parts.prop_map(|(scopes, scheme, roots, service, writes)| TokenUse {
        scopes,
        scheme,
        roots,
        token_service: service.map(str::to_owned),
        writes,
    })
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let names = prop_oneof![Just("corp"), Just("copy")].prop_map(name);
    prop::collection::btree_map(names, any_use(), 0..3).prop_map(|uses| Binding {
        source: "store".to_owned(),
        uses,
    })
}

/// True if one use as given has the destination, the header, every root and the writes.
fn was_given(given: &Binding, served: &TokenUse, scope: &Scope) -> bool {
    given.uses.values().any(|given| {
        given.scheme.header() == served.scheme.header()
            && given.scopes.iter().any(|wide| wide.covers(scope))
            && served.roots.iter().all(|root| given.roots.contains(root))
            && (served.token_service.is_none() || served.token_service == given.token_service)
            && (served.writes == Writes::Deny || given.writes == Writes::Allow)
    })
}

proptest! {
    #[test]
    fn nothing_that_was_not_given_is_served(given in any_binding(), now in any_use()) {
        let corp = name("corp");
        let wider = given.wider(&corp, &now);
        let served = given.served(&corp, &now);
        if let Some(served) = &served {
            prop_assert!(!served.scopes.is_empty());
            for scope in &served.scopes {
                prop_assert!(was_given(&given, served, scope), "{served:?}");
                prop_assert!(now.scopes.iter().any(|wide| wide.covers(scope)), "more than the configuration: {served:?}");
            }
        }
        // Nothing is new exactly if everything is served.
        prop_assert_eq!(wider.is_empty(), served.as_ref() == Some(&now));
    }

    #[test]
    fn a_change_that_was_taken_in_is_served_as_it_is(mut given in any_binding(), now in any_use()) {
        let corp = name("corp");
        given.take_in(&corp, None, &now);
        prop_assert_eq!(given.wider(&corp, &now), []);
        prop_assert_eq!(given.served(&corp, &now), Some(now));
    }

    #[test]
    fn a_record_is_read_as_it_was_written(given in any_binding()) {
        prop_assert_eq!(Binding::from_record(&given.to_record()), Ok(given));
    }
}
