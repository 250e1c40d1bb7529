//! Output of each answer: text, JSON and the exit code.

use std::process::Stdio;

use regauth_shared::frame::MAX_LINE;

use crate::peer::{Home, golden, run};

const VERBS: [(&str, &[&str]); 16] = [
    ("remove-registry", &["remove-registry", "corp"]),
    ("logout", &["logout", "corp", "--yes"]),
    ("list", &["list"]),
    ("show", &["show", "corp"]),
    ("verify", &["verify", "corp"]),
    ("allow", &["allow", "corp", "--for", "5m"]),
    ("deny", &["deny", "corp"]),
    ("grant", &["grant", "--registry", "corp", "--write", "--for", "1h"]),
    ("grants", &["grants"]),
    ("revoke", &["revoke", "3f9a1c2e"]),
    ("status", &["status"]),
    ("reload", &["reload"]),
    ("unlock", &["unlock", "--passphrase-stdin"]),
    ("store", &["store"]),
    ("store-move", &["store", "move", "vault", "--passphrase-stdin"]),
    ("stop", &["stop"]),
];

/// Answers to what a verb asks first: `remove-registry` looks at the registry.
fn before(verb: &str) -> Vec<String> {
    match verb {
        "remove-registry" => vec![golden("response/show")],
        _ => Vec::new(),
    }
}

#[test]
fn sends_the_request_and_prints_the_answer_as_json_for_every_verb() {
    for (verb, arguments) in VERBS {
        let answer = golden(&format!("response/{verb}"));
        let (home, peer) = Home::answering(&[before(verb), vec![answer.clone()]].concat());
        let run = home.run_with_stdin(&[arguments, &["--json"]].concat(), b"correct horse battery staple\n");
        let body = answer.strip_prefix(r#"{"ok":"#).unwrap().strip_suffix('}').unwrap();
        assert_eq!(run.stdout, format!("{body}\n"), "{verb}");
        assert_eq!(run.stderr, "", "{verb}");
        assert_eq!(
            peer.requests().last(),
            Some(&golden(&format!("request/{verb}"))),
            "{verb}"
        );
    }
}

#[test]
fn a_file_on_stdout_gets_no_flags_of_this_command() {
    let answer = r#"{"ok":{"registries":[{"name":"corp","toml":"index = \"sparse+https://corp.example/index/\"\n"}]}}"#;
    let (home, _peer) = Home::answering(&[answer.to_owned()]);
    let folder = home.path().to_str().unwrap();
    let run = home.run(&["--home", folder, "export"]);
    let command = "#   regauthctl add-registry --from regauth.toml\n";
    assert!(run.stdout.contains(command), "{run:?}");
}

#[test]
fn prints_the_answer_as_text_for_every_verb() {
    let expected = [
        ("remove-registry", "Removed corp."),
        ("logout", "Logged out of corp"),
        ("list", "NAME"),
        ("show", "https://dl.corp.example:8443/crates/"),
        ("verify", "old     rejected      old.example answered 401"),
        ("allow", "Writes to corp are open until 2026-03-04T05:11:07Z"),
        ("deny", "Writes to corp are closed."),
        ("grant", "http://regauth:Zm9vYmFyYmF6@127.0.0.1:9001\n"),
        ("grants", "77aa00bb  all registries  reads"),
        ("revoke", "Grant 77aa00bb for all registries is revoked."),
        ("status", "regauthd 0.1.0 runs as process 4242"),
        ("reload", "note: `listen` changes at the next start"),
        ("unlock", "The vault is open; 2 registries can be served."),
        ("store", "moving      to the vault, 4 of 9 steps done"),
        ("store-move", "Moved 3 secrets from the keychain to the vault"),
        (
            "stop",
            "regauthd (process 4242) drains 3 connections, for at most 30 s, and ends.",
        ),
    ];
    for ((verb, arguments), (_, text)) in VERBS.into_iter().zip(expected) {
        let answer = golden(&format!("response/{verb}"));
        let (home, _peer) = Home::answering(&[before(verb), vec![answer]].concat());
        let run = home.run_with_stdin(arguments, b"correct horse battery staple");
        assert!(run.stdout.contains(text), "{verb}: {run:?}");
        assert_eq!(run.stderr, "", "{verb}");
    }
}

#[test]
fn aligns_the_columns_of_list() {
    let (home, _peer) = Home::answering(&[golden("response/list")]);
    let run = home.run(&["list"]);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{run:?}");
    let column = lines.first().unwrap().find("HOSTS").unwrap();
    assert!(
        lines
            .iter()
            .skip(1)
            .all(|line| line.get(column - 2..column) == Some("  "))
    );
    assert!(run.stdout.contains("corp.example, dl.corp.example:8443"), "{run:?}");
    assert!(run.stdout.contains("never"), "{run:?}");
}

#[test]
fn shows_the_state_and_the_failure_of_a_source() {
    let (home, _peer) = Home::answering(&[golden("response/show-minted")]);
    let run = home.run(&["show", "minted"]);
    for line in [
        "source       command:mint-token",
        "state        expired",
        "it said      no session",
        "             log in again",
    ] {
        assert!(run.stdout.lines().any(|printed| printed == line), "{line}: {run:?}");
    }
    assert!(
        run.stdout
            .contains("failure      `mint-token` failed: exit status: 1 ("),
        "{run:?}"
    );
}

#[test]
fn shows_problems_with_their_hints_in_status() {
    let (home, _peer) = Home::answering(&[golden("response/status-locked")]);
    let run = home.run(&["status"]);
    assert!(
        run.stdout
            .contains("problem: corp: the registry rejected the token\nhint: regauthctl login corp\n")
    );
    assert_eq!(run.code, Some(0));
}

#[test]
fn maps_every_error_kind_to_its_exit_code() {
    for (kind, code) in [
        ("invalid", 2),
        ("not-found", 6),
        ("exists", 7),
        ("token-rejected", 4),
        ("not-verified", 1),
        ("store-locked", 5),
        ("store-unavailable", 5),
        ("refused", 8),
        ("unsupported-version", 1),
        ("unreachable", 3),
        ("failed", 1),
    ] {
        let answer = golden(&format!("error/{kind}"));
        let (home, _peer) = Home::answering(&[answer.clone(), answer.clone()]);
        let run = home.run(&["show", "corp"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{kind}");
        assert!(run.stderr.starts_with("error: "), "{kind}: {}", run.stderr);
        assert_eq!(
            run.stderr.contains("\nhint: "),
            answer.contains("hint"),
            "{kind}: {}",
            run.stderr
        );
        let run = home.run(&["show", "corp", "--json"]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(code), ""), "{kind}");
        assert_eq!(run.stdout, format!("{answer}\n"));
    }
}

#[test]
fn prints_errors_of_an_unknown_kind() {
    let answer = r#"{"err":{"kind":"struck-by-lightning","message":"it was bright"}}"#;
    let (home, _peer) = Home::answering(&[answer.to_owned()]);
    let run = home.run(&["stop"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), "error: it was bright\n"));
}

#[test]
fn exits_verify_with_the_worst_verdict() {
    let verdict = |result: &str| format!(r#"{{"name":"a","result":"{result}","detail":"x"}}"#);
    for (results, code) in [
        (vec!["accepted"], 0),
        (vec![], 0),
        (vec!["accepted", "unclear"], 1),
        (vec!["accepted", "public"], 1),
        (vec!["accepted", "perhaps"], 1),
        (vec!["no-token", "unclear"], 5),
        (vec!["unclear", "no-token", "rejected"], 4),
    ] {
        let verdicts: Vec<_> = results.iter().map(|result| verdict(result)).collect();
        let answer = format!(r#"{{"ok":{{"registries":[{}]}}}}"#, verdicts.join(","));
        let (home, _peer) = Home::answering(&[answer]);
        assert_eq!(home.run(&["verify"]).code, Some(code), "{results:?}");
    }
}

#[test]
fn prints_unknown_fields_as_json() {
    let body = r#"{"name":"corp","weather":"fine"}"#;
    let (home, _peer) = Home::answering(&[format!(r#"{{"ok":{body}}}"#)]);
    assert_eq!(home.run(&["deny", "corp", "--json"]).stdout, format!("{body}\n"));
}

#[test]
fn replaces_terminal_escape_sequences_of_a_registry() {
    let answer = r#"{"err":{"kind":"not-verified","message":"corp.example answered \u001b[2J"}}"#;
    let (home, _peer) = Home::answering(&[answer.to_owned()]);
    let run = home.run(&["verify"]);
    assert_eq!(run.stderr, "error: corp.example answered \u{fffd}[2J\n");
}

#[test]
fn rejects_malformed_answers() {
    for answer in ["", "{}", r#"{"ok":{"pid":"x"}}"#, "nonsense", "\u{0}"] {
        let (home, _peer) = Home::answering(&[answer.to_owned()]);
        let run = home.run(&["stop"]);
        assert_eq!(run.code, Some(1), "{answer}");
        assert!(run.stderr.contains("does not understand"), "{answer}: {run:?}");
    }
}

#[test]
fn accepts_answers_up_to_the_length_limit() {
    let answer = |length: usize| {
        let (start, end) = (r#"{"ok":{"name":"corp","x":""#, r#""}}"#);
        format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
    };
    let (home, _peer) = Home::answering(&[answer(MAX_LINE), answer(MAX_LINE + 1)]);
    assert_eq!(home.run(&["deny", "corp"]).code, Some(0));
    let run = home.run(&["deny", "corp"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("longer than"), "{run:?}");
}

#[test]
fn succeeds_when_stdout_is_closed() {
    let (home, _peer) = Home::answering(&[golden("response/list")]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = home.command(&["list"]);
    let child = child
        .stdout(writer)
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn refuses_to_export_into_a_folder_that_does_not_exist() {
    // Without a daemon: an export that asks it first ends with another exit code.
    let home = Home::empty();
    let folder = home.path().join("no such");
    let file = folder.join("regauth.toml").display().to_string();
    let run = home.run(&["export", "-o", &file]);
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(
        run.stderr.contains(&format!("mkdir -p '{}'", folder.display())),
        "{run:?}"
    );
    assert!(!folder.exists());
}

#[test]
fn opens_no_installed_editor_without_a_terminal() {
    let (home, peer) = Home::answering(&[golden("response/status")]);
    let mut command = home.command(&["edit"]);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let run = run(command, b"");
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("an editor needs a terminal"), "{run:?}");
    assert!(run.stderr.contains("`regauthctl set NAME KEY VALUE`"), "{run:?}");
    peer.requests();
}
