//! URLs that only an index names: the person is asked about them after the token.

use std::process::Child;

use super::Terminal;
use crate::peer::{Home, golden};

/// Starts `add-registry` and types the token.
fn add(home: &Home, flags: &[&str]) -> (Terminal, Child) {
    let mut terminal = Terminal::open();
    let add = [
        "add-registry",
        "corp",
        "--no-verify",
        "--index",
        "sparse+https://corp.example/index/",
    ];
    let child = terminal.run(home, &[&add[..], flags].concat());
    terminal.read_until("Token for corp");
    terminal.wait_until_echo_is_off();
    terminal.type_in("s3cret-token\r");
    (terminal, child)
}

/// Runs `add-registry`, whose answer offers a URL of the index, and types the token. Returns the rest of the output and the
/// requests.
fn add_with_offer(flags: &[&str], answers: &[String], typed: Option<&str>) -> (String, Vec<String>) {
    let (home, peer) = Home::answering(&[&[golden("response/add-registry-offers")], answers].concat());
    let (mut terminal, mut child) = add(&home, flags);
    let mut seen = String::new();
    if let Some(answer) = typed {
        seen += &terminal.read_until("Send the token there as well? (y/N) ");
        terminal.type_in(answer);
    }
    seen += &terminal.read_until("For cargo");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
    (seen, peer.requests())
}

#[test]
fn asks_before_the_token_goes_where_only_the_index_says() {
    let (seen, requests) = add_with_offer(&[], &[golden("response/show")], Some("y\r"));
    assert!(
        seen.contains(
            "The index of corp names more URLs on its host:\r\n  https://corp.example/crates/  downloads\r\n"
        ),
        "{seen}"
    );
    assert!(!seen.contains("note: "), "{seen}");
    assert!(requests[0].contains(r#""offer-locations":true"#), "{requests:?}");
    // The token that was just typed permits it.
    assert_eq!(
        requests[1],
        golden("request/add-scope").replace("cdn.example", "corp.example")
    );
}

#[test]
fn a_no_leaves_the_urls_of_the_index_out_and_names_the_command_that_adds_them() {
    for (flags, typed) in [
        (&[][..], Some("n\r")),
        (&[], Some("\r")),
        (&["--no-index-scopes"], None),
    ] {
        let (seen, requests) = add_with_offer(flags, &[], typed);
        let seen = seen.replace("\r\n", " ");
        assert!(
            seen.contains("`regauthctl add-scope corp https://corp.example/crates/`"),
            "{flags:?}: {seen}"
        );
        assert_eq!(requests.len(), 1, "{flags:?}: {requests:?}");
        assert!(requests[0].contains(r#""offer-locations":true"#), "{requests:?}");
    }
}

#[test]
fn a_scope_that_the_daemon_refuses_becomes_a_note() {
    let (seen, requests) = add_with_offer(&[], &[golden("error/presence-needed")], Some("y\r"));
    for said in [
        "Added corp",
        "this change needs the token of `corp` again",
        "regauthctl add-scope corp",
    ] {
        assert!(seen.replace("\r\n", " ").contains(said), "{said}: {seen}");
    }
    assert_eq!(requests.len(), 2);
}

#[test]
fn yes_and_json_and_scripts_take_what_the_index_names_without_a_question() {
    for flags in [&["--yes"][..], &["--json"]] {
        let (home, peer) = Home::answering(&[golden("response/add-registry")]);
        let (_terminal, mut child) = add(&home, flags);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{flags:?}");
        assert!(!peer.requests()[0].contains("offer-locations"), "{flags:?}");
    }
}
