//! Tests of the reader: every key, every problem with its line, hostile texts.

use super::*;
use crate::import::generated::Generator;

fn problems(text: &str) -> String {
    read(text, "regauth.toml").unwrap_err().message
}

#[test]
fn reads_every_key() {
    let text = r#"
        format = 1
        [registries.corp]
        preset = "azure"
        kind = "cargo"
        index = "sparse+https://corp.example/index/"
        scopes = ["https://corp.example/"]
        source = { exchange = "azure", tenant = "t", client-id = "c", identity = "device" }
        programs = ["cargo"]
        rejected-by = [401]
        read-ahead = false
        ca-file = "certificates/corp.pem"
        [registries.images]
        kind = "oci"
        scopes = ["https://images.example/v2/"]
        token-service = "https://auth.example/token"
    "#;
    let read = read(text, "regauth.toml").unwrap();
    let corp = &read[0];
    assert_eq!(
        corp.source.as_deref(),
        Some("azure:tenant=t,client-id=c,identity=device")
    );
    assert_eq!(
        (corp.scheme.as_deref(), corp.username.as_deref()),
        (Some("basic"), Some("PAT"))
    );
    assert_eq!((corp.read_ahead, corp.programs.len()), (Some(false), 1));
    assert_eq!(corp.rejected_by, [401]);
    assert_eq!(corp.ca_file.as_deref(), Some("certificates/corp.pem"));
    assert_eq!((&corp.token_service, read.len()), (&None, 2));
    assert_eq!(read[1].token_service.as_deref(), Some("https://auth.example/token"));
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = "colour = 1\n[registries.corp]\nidnex = 'x'\nscopes = 'x'\ntoken = 's3cret'\n\n[registries.'a b']\n";
    let message = problems(text);
    for line in [
        "regauth.toml:1:1: unknown key",
        "regauth.toml:3:1: unknown key; did you mean `index`?",
        "regauth.toml:4:10: `scopes` is a list of texts",
        "regauth.toml:5:1: a shared file has no token",
        "regauth.toml:7:",
    ] {
        assert!(message.contains(line), "{line}\n{message}");
    }
    assert!(!message.contains("s3cret"), "{message}");
    assert!(problems("[registries.corp\n").contains("regauth.toml:1:"));
}

#[test]
fn a_newer_format_is_refused_with_its_line_and_nothing_else_is_read() {
    let message = problems("# head\nformat = 2\n[registries.corp]\nmystery = 1\n");
    assert!(message.contains("regauth.toml:2:10: a newer release"), "{message}");
    assert!(!message.contains("unknown"), "{message}");
    assert!(problems("format = 'x'\n").contains("`format` is 1"));
}

#[test]
fn a_source_that_reads_the_machine_or_runs_something_is_refused() {
    for source in [
        "'env:TOKEN'",
        "'file:/etc/passwd'",
        "{ command = ['sh', '-c', 'x'] }",
        "{ exchange = 'jfrog', host = 'h', provider = 'p', identity = 'file:/x' }",
        "{ exchange = 'jfrog', host = 'h', provider = 'p', identity = { command = ['x'] } }",
        "'github-app:client-id=c,private-key=env:KEY'",
        "{ exchange = 'jfrog', host = 'h,identity=env:X' }",
        "1",
    ] {
        let text = format!("[registries.corp]\nindex = 'sparse+https://x/'\nsource = {source}\n");
        assert!(problems(&text).contains("regauth.toml:3:10"), "{source}");
    }
    let key = "[registries.corp]\nwrites = 'allow'\nclient-key = '/k'\ncredential-of = 'other'\n";
    let message = problems(key);
    assert_eq!(message.lines().count(), 4, "{message}");
}

/// Any text gives definitions or problems with lines, and no message has a value.
#[test]
fn hostile_texts_give_problems_and_never_show_a_value() {
    let pieces = [
        "[registries.corp]\n",
        "[registries",
        ".'a.b'",
        "]\n",
        "index = ",
        "scopes = [",
        "'c4nary'",
        "\"c4nary\\u202e\"",
        ", ",
        "]",
        "source = {",
        " exchange = ",
        "}",
        "\n",
        "ca-file = ",
        "'../c4nary'",
        "format = ",
        "2",
        "-1",
        "1e9",
        "read-ahead = ",
        "rejected-by = [401, ",
        "true",
        "token = ",
        "# c4nary\n",
        "\u{0}",
        "\u{feff}",
        "=",
        "\r\n",
        "registries = 1\n",
        "preset = 'c4nary'\n",
    ];
    let mut generator = Generator::new(7);
    for _ in 0..5000 {
        let text = generator.text(&pieces, 24);
        let Err(error) = read(&text, "regauth.toml") else {
            continue;
        };
        assert!(!error.message.contains("c4nary"), "{text:?}\n{}", error.message);
        let mut lines = error.message.lines().skip(1);
        assert!(
            lines.all(|line| line.starts_with("regauth.toml:")),
            "{text:?}\n{}",
            error.message
        );
    }
}

#[test]
fn a_ca_file_lies_beside_the_file() {
    for path in [
        "/etc/ca.pem",
        "../ca.pem",
        "a/../../ca.pem",
        "",
        ".",
        "a//b",
        "~/ca.pem/..",
    ] {
        let text = format!("[registries.corp]\nca-file = '{path}'\n");
        assert!(problems(&text).contains("regauth.toml:2:11"), "{path}");
    }
}
