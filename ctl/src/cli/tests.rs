//! Tests of the verbs, their examples and the flags.

use clap::Command;

use super::help::GROUPS;
use super::*;

#[test]
fn clap_accepts_the_definition() {
    command().debug_assert();
}

#[test]
fn lists_every_verb_in_exactly_one_group() {
    let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
    grouped.sort_unstable();
    let command = Cli::command();
    let mut verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    verbs.sort_unstable();
    assert_eq!(grouped, verbs);
}

#[test]
fn parses_every_example_of_the_help() {
    for verb in Cli::command().get_subcommands() {
        let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            examples.lines().all(|line| line.len() <= 80),
            "{} wraps",
            verb.get_name()
        );
        let examples = examples.replace("\\\n", "");
        let lines: Vec<_> = examples.lines().filter(|line| line.contains("regauthctl")).collect();
        assert!(!lines.is_empty(), "{} has no examples", verb.get_name());
        for line in lines {
            let line = line.split(" | ").last().unwrap().split(" > ").next().unwrap();
            let Some(line) = line.trim_start().strip_prefix("regauthctl") else {
                continue;
            };
            let line = format!("regauthctl{line}");
            let arguments = line.split_whitespace().map(OsString::from).collect();
            assert!(parse(arguments).is_ok(), "{line}");
        }
    }
}

#[test]
fn a_shell_and_direnv_are_set_up_as_the_shell() {
    for name in ["bash", "zsh", "fish", "direnv"] {
        let arguments = ["regauthctl", "setup", name].map(OsString::from).to_vec();
        assert!(parse(arguments).is_ok(), "{name}");
    }
}

#[test]
fn parses_every_example_for_ci() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/ci");
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut keys = text.lines().filter(|line| line.trim_start().starts_with("key: "));
        assert!(
            keys.all(|key| key.ends_with(env!("CARGO_PKG_VERSION"))),
            "a cache key of an older release"
        );
        let text = text
            .replace("\\\n", "")
            .replace('"', "")
            .replace("$CORP_INDEX", "sparse+https://x/");
        // A job behind a gateway runs no regauthctl.
        let Some(start) = text.find("regauthctl run") else {
            continue;
        };
        let line = text[start..].lines().next().unwrap();
        let parsed = parse(line.split_whitespace().map(OsString::from).collect());
        assert!(parsed.is_ok(), "{line}");
    }
}

#[test]
fn ignores_flags_of_a_wrapped_command() {
    let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert!(has_flag(&line("regauthctl rotate corp --token=x"), "--token"));
    assert!(!has_flag(&line("regauthctl rotate corp --token-stdin"), "--token"));
    assert!(!has_flag(&line("regauthctl run -- x --token y"), "--token"));
    let add = line("regauthctl add-registry a --source-command x --token y");
    assert!(!has_flag(&add, "--token"));
}
