//! Wrong command lines: names, URLs, flags, values, tokens.

use regauth_shared::exit_code::{EXISTS, NOT_FOUND, USAGE};

use super::{Fixture, TOKEN, words};

#[test]
fn an_invalid_registry_url_is_a_usage_error_with_the_fix() {
    let fixture = Fixture::start();
    let add = words("add-registry new --token-stdin");
    for (url, says) in INVALID_SCOPES {
        let sparse = format!("sparse+{url}");
        fixture.refuses_with(TOKEN, &[&add[..], &["--scope", url]].concat(), USAGE, says);
        fixture.refuses_with(TOKEN, &[&add[..], &["--index", url]].concat(), USAGE, "--index: ");
        fixture.refuses_with(TOKEN, &[&add[..], &["--index", &sparse]].concat(), USAGE, "--index: ");
    }
}

#[test]
fn an_invalid_registry_name_is_a_usage_error() {
    let fixture = Fixture::start();
    let long = "x".repeat(65);
    for name in ["a..b", "a.", "a b", "../x", "-x", "_x", "", "ä", &long] {
        let add = words("add-registry --token-stdin --scope https://a.example/ --");
        fixture.refuses_with(TOKEN, &[&add[..], &[name]].concat(), USAGE, "a registry name is");
    }
}

#[test]
fn a_wrong_flag_or_value_of_add_registry_is_a_usage_error() {
    let fixture = Fixture::start();
    for (flags, says) in [
        (&["--scheme", "digest"][..], "basic, bearer, raw"),
        (&["--scheme", "basic"], "needs a user name"),
        (&["--scheme", "bearer", "--username", "me"], "only the basic scheme"),
        (&["--scheme", "basic", "--username", "a:b"], "colon"),
        (&["--scheme", "Host: {token}"], "cannot carry a credential"),
        (&["--scheme", "X-Key: token"], "no {token}"),
        (&["--kind", "perl"], "possible values"),
        (&["--writes", "perhaps"], "possible values"),
        (&["--ca-file", "/nowhere.pem"], "cannot read /nowhere.pem"),
        (&["--ca-file", "/"], "is a folder"),
        (&["--token", TOKEN], "--token-stdin"),
        (&["--token=sentinel-in-the-wrong-location"], "--token-stdin"),
        (&["--no-verfy"], "--no-verify"),
        (&[TOKEN], "unexpected argument"),
    ] {
        let add = words("add-registry new --scope https://a.example/ --token-stdin");
        fixture.refuses_with(TOKEN, &[&add[..], flags].concat(), USAGE, says);
    }
    let token_for_a_name = format!("add-registry new --scope https://a.example/ --token-env {TOKEN}");
    fixture.refuses(&token_for_a_name, USAGE, "give the variable's name, not its value");
}

#[test]
fn an_invalid_command_line_is_a_usage_error() {
    let fixture = Fixture::start();
    let home = fixture.home().display().to_string();
    let show_at_home = format!("--home {home} show");
    let hint_at_home = format!("the only registry is corp: regauthctl --home {home} show corp");
    for (line, says) in [
        ("add-registry new --token-stdin", "--index"),
        ("add-registry", "NAME"),
        ("rotate corp", "--token-stdin"),
        ("rotate corp sentinel-in-the-wrong-location", "unexpected argument"),
        ("rotate corp --token-stdin --token-env HOME", "cannot be used with"),
        ("show", "the only registry is corp: regauthctl show corp"),
        (&show_at_home, &hint_at_home),
        ("allow corp --for soon", "a number with a unit"),
        ("allow corp --for 0s", "a number with a unit"),
        ("allow corp --for 48h", "24 hours"),
        ("allow corp --for 2d", "24 hours"),
        ("lst", "list"),
        ("list --colour", "unexpected argument"),
        ("unlock --set-passphrase", "--passphrase-stdin"),
        ("--home", "a value is required"),
    ] {
        fixture.refuses(line, USAGE, says);
    }
}

#[test]
fn an_invalid_token_is_a_usage_error_and_the_old_one_stays() {
    let fixture = Fixture::start();
    let long = "x".repeat(20_000);
    for (token, says) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("sentinel-in-the-wrong-location\nanother", "several lines"),
        ("\"sentinel-in-the-wrong-location \"", "blanks"),
        ("sentinel-in-the-wrong-location\u{e9}", "printable ASCII"),
        ("sentinel-in-the-wrong-location\0", "control character"),
        (&long, "16 KiB"),
    ] {
        let rotate = words("rotate corp --token-stdin --no-verify");
        fixture.refuses_with(token, &rotate, USAGE, says);
        let add = words("add-registry new --scope https://a.example/ --token-stdin --no-verify");
        fixture.refuses_with(token, &add, USAGE, says);
    }
}

#[test]
fn an_unknown_registry_is_not_found_and_the_known_ones_are_listed() {
    let fixture = Fixture::start();
    for line in [
        "show nobody",
        "remove-registry nobody",
        "rotate nobody --token-stdin",
        "verify nobody",
        "allow nobody --for 5m",
        "deny nobody",
    ] {
        fixture.refuses(line, NOT_FOUND, "there are: corp");
    }
}

#[test]
fn a_taken_name_or_scope_is_refused() {
    let fixture = Fixture::start();
    let add = "add-registry corp --token-stdin --scope https://a.example/";
    fixture.refuses(add, EXISTS, "regauthctl login corp");
    let add = format!(
        "add-registry new --token-stdin --scope {}",
        fixture.registry.url("/corp")
    );
    fixture.refuses(&add, EXISTS, "`corp` covers");
}

/// Invalid registry URLs and a part of the message for each.
const INVALID_SCOPES: &[(&str, &str)] = &[
    ("ssh://git@corp.example/x/", "https"),
    ("git@corp.example:x", "https://host/path/"),
    ("http://corp.example/x/", "only https"),
    (
        "https://me:sentinel-in-the-wrong-location@a.example/",
        "user name or password",
    ),
    (
        "https://sentinel-in-the-wrong-location@a.example/",
        "user name or password",
    ),
    ("https://a.example/?token=sentinel-in-the-wrong-location", "query"),
    ("https://corp.example/x/#part", "fragment"),
    ("https://corp.example/x/../y/", "more than one way"),
    ("https://corp.example/%2e%2e/", "more than one way"),
    ("https://corp.example//x/", "more than one way"),
    ("https://corp.example:0/", "https://host/path/"),
    ("https://corp.example:99999/", "https://host/path/"),
    ("https://*.corp.example/", "https://host/path/"),
    ("https://", "https://host/path/"),
    ("ftp://corp.example/", "https://host/path/"),
    ("corp.example/x", "https://host/path/"),
    (TOKEN, "https://host/path/"),
    ("", "https://host/path/"),
];
