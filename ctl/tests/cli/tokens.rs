//! Sources of a token, and outputs that never contain it.

use crate::peer::{Home, Run, golden, run};

const CANARY: &str = "CANARY-s3cret";

#[test]
fn sends_a_token_from_stdin() {
    let (home, peer) = Home::answering(&[golden("response/rotate")]);
    let run = home.run_with_stdin(&["rotate", "corp", "--token-stdin"], b"s3cret-token\r\n");
    assert_eq!(
        run.stdout,
        "Rotated corp to generation 4; the registry accepts the token.\n"
    );
    assert_eq!(peer.requests(), [golden("request/rotate")]);
}

#[test]
fn a_rejected_token_that_is_a_header_is_named_and_not_repeated() {
    let (home, peer) = Home::answering(&[golden("response/show"), golden("error/token-rejected")]);
    let run = home.run_with_stdin(&["rotate", "corp", "--token-stdin"], b"Basic bWU6czNjcmV0");
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(
        run.stderr
            .contains("the value of a `Basic` header, with a user name and the token in base64: give the token alone"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("bWU6"), "{run:?}");
    assert_eq!(peer.requests().len(), 2);
}

#[test]
fn sends_a_token_from_an_environment_variable() {
    let (home, peer) = Home::answering(&[golden("response/rotate")]);
    let mut command = home.command(&["rotate", "corp", "--token-env", "CORP_TOKEN"]);
    command.env("CORP_TOKEN", "s3cret-token");
    assert_eq!(run(command, b"").code, Some(0));
    assert_eq!(peer.requests(), [golden("request/rotate")]);
}

#[test]
fn rotates_an_external_token_without_a_prompt() {
    let (home, peer) = Home::answering(&[golden("response/show-minted"), golden("response/rotate-minted")]);
    let run = home.run(&["rotate", "minted"]);
    assert_eq!(
        run.stdout,
        "Rotated minted to generation 8; the registry accepts the token.\n\
         note: the token comes from command:mint-token, which was asked again\n"
    );
    assert_eq!(
        peer.requests(),
        [
            golden("request/show").replace("corp", "minted"),
            golden("request/rotate-least")
        ]
    );
}

#[test]
fn sends_the_flags_of_a_token_source() {
    let (home, peer) = Home::answering(&[golden("response/add-registry"), golden("response/add-registry")]);
    let command = [
        "add-registry",
        "minted",
        "--scope",
        "https://x.example/",
        "--source-json",
        "/token",
        "--source-expires",
        "/expires",
        "--source-ttl",
        "11h",
        "--source-timeout",
        "5s",
        "--source-env",
        "AWS_PROFILE",
        "--source-command",
        "mint-token",
        "--token",
        "x",
        "--json",
    ];
    assert_eq!(home.run(&command).code, Some(0));
    let shared = [
        "add-registry",
        "other",
        "--scope",
        "https://y.example/",
        "--credential-of",
        "minted",
    ];
    assert_eq!(home.run(&shared).code, Some(0));
    let requests = ["request/add-registry-minted", "request/add-registry-shared"].map(golden);
    assert_eq!(peer.requests(), requests);
    for clash in ["--source=file:/x", "--credential-of=a"] {
        assert_eq!(
            Home::empty()
                .run(&[&["add-registry", "a", clash], &command[2..]].concat())
                .code,
            Some(2)
        );
    }
}

#[test]
fn sends_every_flag_of_add_registry() {
    let (home, peer) = Home::answering(&[golden("response/add-registry")]);
    let ca_file = home.path().join("root.pem");
    std::fs::write(&ca_file, "").unwrap();
    let mut arguments = vec![
        "add-registry",
        "corp",
        "--index",
        "sparse+https://corp.example/api/cargo/index/",
    ];
    arguments.extend([
        "--scope",
        "https://corp.example/api/cargo/",
        "--kind",
        "cargo",
        "--scheme",
        "basic",
    ]);
    arguments.extend([
        "--username",
        "me@corp.example",
        "--writes",
        "deny",
        "--ca-file",
        "root.pem",
    ]);
    arguments.extend(["--program", "cargo", "--program", "/usr/bin/git"]);
    arguments.extend(["--rejected-by", "401", "--no-verify", "--token-stdin"]);
    let mut command = home.command(&arguments);
    command.current_dir(home.path());
    assert_eq!(run(command, b"s3cret-token").code, Some(0));
    let expected = golden("request/add-registry").replace("/etc/corp-root.pem", ca_file.to_str().unwrap());
    assert_eq!(peer.requests(), [expected]);
}

#[test]
fn omits_flags_that_are_not_given() {
    let (home, peer) = Home::answering(&[golden("response/add-registry")]);
    let arguments = ["add-registry", "corp", "--scope", "https://x.example/", "--token-stdin"];
    home.run_with_stdin(&arguments, b"s3cret-token");
    let scope = r#""name":"corp","scopes":["https://x.example/"]"#;
    assert_eq!(
        peer.requests(),
        [golden("request/add-registry-least").replace(r#""name":"corp""#, scope)]
    );
}

#[test]
fn completes_missing_flags_from_a_preset_and_adds_its_hint_to_a_rejection() {
    let (home, peer) = Home::answering(&[golden("response/add-registry"), golden("error/token-rejected")]);
    let index = "sparse+https://pkgs.dev.azure.com/me/_packaging/crates/Cargo/index/";
    let arguments = [
        "add-registry",
        "corp",
        "--preset",
        "azure",
        "--index",
        index,
        "--token-stdin",
    ];
    assert_eq!(home.run_with_stdin(&arguments, b"s3cret-token").code, Some(0));
    let run = home.run_with_stdin(&arguments, b"s3cret-token");
    assert!(run.stderr.contains("Packaging (read)"), "{run:?}");
    for request in peer.requests() {
        assert!(request.contains(r#""scheme":"basic","username":"PAT""#), "{request}");
    }
    let elsewhere = [
        "add-registry",
        "corp",
        "--preset",
        "azure",
        "--index",
        "sparse+https://x/",
        "--token-stdin",
    ];
    let run = Home::empty().run_with_stdin(&elsewhere, b"s3cret-token");
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr
            .contains("Azure Artifacts has its index at sparse+https://pkgs.dev"),
        "{run:?}"
    );
}

#[test]
fn prints_the_settings_for_cargo_after_add_registry() {
    let (home, _peer) = Home::answering(&[golden("response/add-registry")]);
    let run = add(&home, b"s3cret-token");
    for line in [
        "Added corp; the registry accepts the token.",
        "note: the index downloads from cdn.example, which gets no token",
        r#"proxy = "http://127.0.0.1:9001""#,
        r#"cainfo = "/home/me/.local/state/regauth/ca-bundle.pem""#,
        "git-fetch-with-cli = true",
        "[registries.corp]",
        r#"index = "sparse+https://corp.example/api/cargo/index/""#,
    ] {
        assert!(run.stdout.lines().any(|printed| printed == line), "{line}: {run:?}");
    }
}

#[test]
fn prints_the_settings_for_git_after_add_registry() {
    let answer = golden("response/add-registry").replace(r#""kind":"cargo""#, r#""kind":"git""#);
    let (home, _peer) = Home::answering(&[answer]);
    let run = add(&home, b"s3cret-token");
    assert!(
        run.stdout.contains(r#"[http "https://corp.example/api/cargo/"]"#),
        "{run:?}"
    );
    assert!(!run.stdout.contains("config.toml"), "{run:?}");
}

#[test]
fn rejects_malformed_tokens_before_it_connects() {
    for (stdin, message) in [
        (&b""[..], "the token is empty"),
        (b"  \n", "the token is empty"),
        (b"CANARY-s3cret\nsecond", "the token has several lines"),
        (b"\"CANARY-s3cret \"", "begins or ends with blanks"),
        (b"CANARY-s3cret\x07", "control character"),
        (b"CANARY-s3cret\xff", "not text"),
        (&[b'x'; 100_000], "longer than 16 KiB"),
    ] {
        // There is no daemon: a connection attempt would exit with 3.
        let run = add(&Home::empty(), stdin);
        assert_eq!(run.code, Some(2), "{message}: {run:?}");
        assert!(run.stderr.contains(message), "{message}: {run:?}");
        assert_silent(&run);
    }
}

#[test]
fn rejects_a_token_in_the_arguments_and_does_not_repeat_it() {
    let attached = format!("--token={CANARY}");
    for arguments in [
        &["rotate", "corp", "--token", CANARY][..],
        &["rotate", "corp", &attached],
        &["--token", CANARY, "rotate", "corp"],
        &["add-registry", &attached],
        &["list", &attached, "--json"],
    ] {
        let run = Home::empty().run(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}");
        let output = format!("{}{}", run.stdout, run.stderr);
        assert!(
            output.contains("tokens in arguments are visible to every process; use --token-stdin"),
            "{run:?}"
        );
        assert_silent(&run);
    }
}

#[test]
fn does_not_repeat_a_misplaced_token() {
    let attached = format!("--token-stdin={CANARY}");
    let mistyped = format!("--tokn={CANARY}");
    for arguments in [
        &["rotate", "corp", CANARY][..],
        &["rotate", "corp", &attached],
        &["rotate", "corp", &mistyped],
        &["rotate", "corp", "--token-env", CANARY],
        &["allow", "corp", "--for", CANARY],
    ] {
        for json in [&[][..], &["--json"]] {
            let run = Home::empty().run(&[arguments, json].concat());
            assert_eq!(run.code, Some(2), "{arguments:?}");
            assert_silent(&run);
        }
    }
}

#[test]
fn names_the_token_flags_without_a_terminal() {
    let (home, _peer) = Home::answering(&[golden("response/show")]);
    let run = home.run(&["rotate", "corp"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("--token-stdin") && run.stderr.contains("--token-env"),
        "{run:?}"
    );
}

#[test]
fn rejects_an_unreadable_ca_file() {
    for (file, message) in [("/nowhere/x.pem", "cannot read /nowhere/x.pem"), ("/", "/ is a folder")] {
        let arguments = [
            "add-registry",
            "corp",
            "--scope",
            "https://x.example/",
            "--ca-file",
            file,
        ];
        let run = Home::empty().run(&[&arguments[..], &["--token-stdin"]].concat());
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains(message), "{run:?}");
    }
}

#[test]
fn sends_unlock_without_a_passphrase_if_there_is_no_terminal() {
    let (home, peer) = Home::answering(&[golden("error/store-locked")]);
    assert_eq!(home.run(&["unlock"]).code, Some(5));
    assert_eq!(peer.requests(), [golden("request/unlock-least")]);
}

fn add(home: &Home, stdin: &[u8]) -> Run {
    let arguments = [
        "add-registry",
        "corp",
        "--scope",
        "https://corp.example/",
        "--token-stdin",
    ];
    home.run_with_stdin(&arguments, stdin)
}

fn assert_silent(run: &Run) {
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("CANARY"), "{run:?}");
}
