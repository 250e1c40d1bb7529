//! What a person finds who asks for help.

use crate::peer::{Home, command, run};

const VERBS: [&str; 15] = [
    "add-registry",
    "remove-registry",
    "list",
    "show",
    "rotate",
    "verify",
    "allow",
    "deny",
    "grant",
    "grants",
    "revoke",
    "status",
    "unlock",
    "reload",
    "stop",
];

#[test]
fn every_verb_has_examples_in_its_help() {
    for verb in VERBS {
        for arguments in [[verb, "--help"], [verb, "-h"], ["help", verb]] {
            let run = Home::empty().run(&arguments);
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
            assert!(run.stdout.contains("\nExamples:\n  "), "{arguments:?}: {}", run.stdout);
            assert!(run.stdout.ends_with('\n'), "{arguments:?}");
        }
    }
}

#[test]
fn the_first_page_names_every_verb() {
    let run = Home::empty().run(&["--help"]);
    for verb in VERBS {
        assert!(run.stdout.contains(&format!("\n  {verb} ")), "{verb}");
    }
}

#[test]
fn the_version_needs_no_daemon_and_no_home() {
    let run = run(command::<&str, &str>(&["--version"], []), b"");
    assert_eq!(run.stdout, format!("regauthctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run.code, Some(0));
}

#[test]
fn nothing_at_all_is_a_usage_error_that_helps() {
    let run = Home::empty().run(&[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("add-registry"), "{run:?}");
}

#[test]
fn a_mistyped_line_is_an_error_in_the_usual_form() {
    for (arguments, message) in [
        (&["lst"][..], "error: unrecognized subcommand 'lst'\nhint: "),
        (
            &["show"],
            "error: the following required arguments were not provided: <NAME>\nhint: usage: ",
        ),
        (
            &["verify", "--fro"],
            "error: unexpected argument '--fro' found\nhint: usage: ",
        ),
        (
            &["add-registry", "corp"],
            "error: the following required arguments were not provided: <--index",
        ),
    ] {
        let run = Home::empty().run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(run.stderr.starts_with(message), "{run:?}");
        let json = Home::empty().run(&[arguments, &["--json"]].concat());
        assert_eq!((json.code, json.stderr.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(
            json.stdout.starts_with(r#"{"err":{"kind":"invalid","message":""#),
            "{json:?}"
        );
    }
}
