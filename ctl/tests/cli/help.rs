//! Help, version, completion scripts and manual pages.

use std::path::Path;

use serde_json::Value;

use crate::peer::{Home, command, golden, run};

/// Verbs that the help lists, each at the beginning of a line before the options.
fn verbs() -> Vec<String> {
    let help = Home::empty().run(&["--help"]).stdout;
    let (verbs, _) = help.split_once("\nOptions:").unwrap();
    let names = verbs
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<_> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    assert!(names.iter().any(|name| name == "add-registry"), "{help}");
    names
}

/// Names of the manual pages in a folder: of verbs, and of their own verbs.
fn pages(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some(name.strip_prefix("regauthctl-")?.strip_suffix(".1")?.to_owned()))
        .collect()
}

#[test]
fn shows_examples_in_the_help_of_every_verb() {
    for verb in verbs() {
        let verb = verb.as_str();
        for arguments in [[verb, "--help"], [verb, "-h"], ["help", verb]] {
            let run = Home::empty().run(&arguments);
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
            assert!(run.stdout.contains("\nExamples:\n  "), "{arguments:?}: {}", run.stdout);
            assert!(run.stdout.ends_with('\n'), "{arguments:?}");
        }
    }
}

#[test]
fn prints_the_version_without_daemon_and_home() {
    let run = run(command::<&str, &str>(&["--version"], []), b"");
    assert_eq!(run.stdout, format!("regauthctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run.code, Some(0));
}

#[test]
fn prints_the_help_without_arguments() {
    let run = Home::empty().run(&[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("add-registry"), "{run:?}");
}

#[test]
fn prints_usage_errors_with_a_hint() {
    for (arguments, message) in [
        (&["lst"][..], "error: unrecognized subcommand 'lst'\nhint: "),
        (
            &["test"],
            "error: there is no verb `test`\nhint: `regauthctl verify` asks the registries",
        ),
        (
            &["undo"],
            "error: there is no verb `undo`\nhint: `regauthctl setup CLIENT --undo`",
        ),
        (
            &["setup", "java"],
            "error: java has a setup for each build tool: `regauthctl setup maven`",
        ),
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
            "error: a registry needs a NAME and --index or --scope",
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

#[test]
fn completes_the_names_of_registries() {
    let (home, _peer) = Home::answering(&[golden("response/list")]);
    let mut ask = home.command(&["--", "regauthctl", "rotate", ""]);
    ask.env("REGAUTH_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_IFS", "\n");
    let answer = run(ask, b"");
    assert!(answer.stdout.lines().any(|line| line == "corp"), "{answer:?}");
}

#[test]
fn prints_a_script_for_every_shell_and_a_page_for_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(command::<&str, &str>(&["completions", shell], []), b"").stdout;
        assert!(script.contains("REGAUTH_COMPLETE"), "{shell}: {script}");
    }
    let page = run(command::<&str, &str>(&["man"], []), b"").stdout;
    assert!(page.contains(".TH regauthctl 1") && page.contains("rotate"), "{page}");
    let home = Home::empty();
    let folder = home.path().join("man");
    home.run(&["man", "--folder", folder.to_str().unwrap()]);
    for verb in verbs() {
        let page = std::fs::read_to_string(folder.join(format!("regauthctl-{verb}.1"))).unwrap();
        assert!(page.contains("Examples"), "{verb}");
    }
}

#[test]
fn lists_every_verb_in_the_help() {
    let home = Home::empty();
    home.run(&["man", "--folder", home.path().join("man").to_str().unwrap()]);
    let (pages, verbs) = (pages(&home.path().join("man")), verbs());
    assert!(pages.len() >= verbs.len(), "{pages:?}");
    for page in pages {
        let is_of = |verb: &String| page == *verb || page.starts_with(&format!("{verb}-"));
        assert!(verbs.iter().any(is_of), "{page} has a page and is not in the help");
    }
}

#[path = "../../../packaging/version.rs"]
#[expect(dead_code, reason = "the build script uses the rest")]
mod version;

#[test]
fn the_version_has_the_commit_and_its_date_where_they_are_known() {
    let commit = "1a2b3c4d5e6f7890".repeat(3);
    let archived = format!("{commit} 1795824000\n");
    assert_eq!(
        version::parse_archived(&archived),
        Some((commit.clone(), Some(1_795_824_000)))
    );
    assert_eq!(version::parse_archived("$Format:%H %ct$\n"), None);
    assert_eq!(
        version::text("0.1.0", &commit, Some(1_795_824_000)),
        "0.1.0 (1a2b3c4d5e6f 2026-11-28)"
    );
    assert_eq!(version::text("0.1.0", "", None), "0.1.0");
    assert_eq!(version::text("0.1.0", "$(reboot)", None), "0.1.0");
    for (time, date) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (1_709_164_800, "2024-02-29"),
        (4_102_444_799, "2099-12-31"),
    ] {
        assert_eq!(version::date(time), date);
    }
}

#[test]
fn a_verb_without_its_registry_lists_the_registries_that_there_are() {
    for (verb, answer, hint) in [
        ("login", golden("response/list"), "one of corp, "),
        (
            "logout",
            with_registries(&["corp"]),
            "the only registry is corp: regauthctl logout corp",
        ),
        ("rotate", with_registries(&[]), "`regauthctl add-registry` adds one"),
    ] {
        let (home, peer) = Home::answering(&[answer]);
        let run = home.run(&[verb]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(hint), "{verb}: {run:?}");
        assert_eq!(peer.requests(), [golden("request/list")]);
    }
    let run = Home::empty().run(&["login"]);
    assert!(run.stderr.contains("usage: regauthctl login"), "{run:?}");
}

#[test]
fn names_the_flag_for_a_word_that_a_verb_does_not_take() {
    for (words, hint) in [
        (&["grant", "corp"], "regauthctl grant --registry corp\n"),
        (&["grant", "s3cret-token"], "regauthctl grant --registry NAME\n"),
    ] {
        let (home, peer) = Home::answering(&[with_registries(&["corp"])]);
        let run = home.run(words);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.ends_with(hint), "{run:?}");
        assert!(!run.stderr.contains("s3cret"), "{run:?}");
        peer.requests();
    }
    let run = Home::empty().run(&["setup", "cargo", "git"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("`regauthctl setup --all`"), "{run:?}");
}

/// Answer to `list` with registries of these names.
fn with_registries(names: &[&str]) -> String {
    let answer: Value = serde_json::from_str(&golden("response/list")).unwrap();
    let corp = answer.pointer("/ok/registries/0").unwrap().to_string();
    let named = |name: &&str| corp.replace(r#""name":"corp""#, &format!(r#""name":"{name}""#));
    let registries: Vec<_> = names.iter().map(named).collect();
    format!(r#"{{"ok":{{"registries":[{}]}}}}"#, registries.join(","))
}
