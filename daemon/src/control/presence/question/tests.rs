//! Tests of the questions' texts.

use super::*;

fn check(line: &str, expected: &str) {
    let request = Request::from_line(&format!(r#"{{"v":1,{line}}}"#)).unwrap();
    let question = Question::about(&request).unwrap();
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
            request.guarded().is_some() && Question::about(&request).is_some(),
            "{line}"
        );
    }
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
fn a_long_list_says_how_much_it_leaves_out_and_a_long_url_shows_both_ends() {
    check(
        r#""method":"add-scope","name":"corp","scopes":["https://a/","https://b/","https://c/","https://d/","https://evil/"]"#,
        "Send the token of corp to https://a/, https://b/, https://c/, https://d/ AND 1 MORE as well?",
    );
    let host = format!("https://corp.example.{}.evil.example", "a".repeat(60).repeat(2));
    let long = url(&format!("{host}/{}/end", "x".repeat(500)));
    assert!(
        long.len() < 300 && long.starts_with(&host) && long.ends_with("/end"),
        "{long}"
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
        assert_eq!(Question::about(&request).unwrap().purpose(), expected);
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
