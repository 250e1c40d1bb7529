//! The command line: global flags, the verbs, and what is said about a line that makes no sense.
//!
//! No error repeats a value: what stands in the wrong place may be a token.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use crate::client::Client;
use crate::commands::{
    add_registry, add_scope, allow, completions, deny, doctor, env, grant, grants, import, list, log, man, reload,
    remove_registry, revoke, rotate, run as run_command, service, setup, show, status, stop, store, unlock, verify,
};
use crate::output::{self, Report};
use crate::{completion, error, setup as clients};

/// Add registries to a running regauthd and rotate their tokens
///
/// regauthd is a local proxy that attaches registries' credentials to the requests of cargo, git and other build tools,
/// so that none of them holds a token. regauthctl tells it which registries there are, while it runs.
#[derive(Parser)]
#[command(name = "regauthctl", version, color = clap::ColorChoice::Never, after_help = EXIT_CODES)]
struct Cli {
    /// The folder below which regauth keeps everything [default: REGAUTH_HOME, or the platform's own folders]
    #[arg(long, global = true, value_name = "DIR", display_order = LAST)]
    home: Option<PathBuf>,

    /// Ask the machine's daemon, which root and the group regauth command, instead of your own
    #[arg(long, global = true, display_order = LAST)]
    system: bool,

    /// Print one JSON document
    #[arg(long, global = true, display_order = LAST)]
    json: bool,

    #[command(subcommand)]
    verb: Any,
}

#[derive(Subcommand)]
enum Any {
    #[command(flatten)]
    Asking(Box<Verb>),
    #[command(flatten)]
    Alone(Alone),
}

/// What needs neither a daemon nor a folder.
#[derive(Subcommand)]
enum Alone {
    Completions(completions::Arguments),
    Man(man::Arguments),
}

#[derive(Subcommand)]
enum Verb {
    AddRegistry(Box<add_registry::Arguments>),
    AddScope(add_scope::Arguments),
    RemoveRegistry(remove_registry::Arguments),
    Import(import::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
    Rotate(rotate::Arguments),
    Verify(verify::Arguments),
    Allow(allow::Arguments),
    Deny(deny::Arguments),
    Setup(setup::Arguments),
    Env(env::Arguments),
    Run(run_command::Arguments),
    Doctor(doctor::Arguments),
    Grant(grant::Arguments),
    Grants(grants::Arguments),
    Revoke(revoke::Arguments),
    Status(status::Arguments),
    Store(store::Arguments),
    Unlock(unlock::Arguments),
    Reload(reload::Arguments),
    Log(log::Arguments),
    Service(service::Arguments),
    Stop(stop::Arguments),
}

/// After a verb's own flags.
const LAST: usize = 100;

const GROUPS: [(&str, &[&str]); 7] = [
    (
        "Registries",
        &["add-registry", "add-scope", "import", "remove-registry", "list", "show"],
    ),
    ("Tokens", &["rotate", "verify"]),
    ("Writes", &["allow", "deny"]),
    ("Clients", &["setup", "env", "run", "doctor"]),
    ("Other clients", &["grant", "grants", "revoke"]),
    (
        "The daemon",
        &["status", "store", "unlock", "reload", "log", "stop", "service"],
    ),
    ("For packagers", &["completions", "man"]),
];

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 daemon not reachable, 4 the registry rejected the token, 5 the store is locked \
or missing, 6 not found, 7 exists already, 8 refused.

`regauthctl help VERB` says more about a verb.";

/// Does what the arguments say; the exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> u8 {
    if completion::answer(&arguments, Cli::command) {
        return exit_code::DONE;
    }
    // Known before the line is understood, since what is wrong with it has to be said in the right form.
    let json = has_flag(&arguments, "--json");
    if has_flag(&arguments, "--token") {
        return output::conclude(Err(token_in_arguments()), json);
    }
    match parse(arguments) {
        Ok(cli) => output::conclude(execute(cli), json),
        Err(error) => conclude_early(error, json),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

fn execute(cli: Cli) -> Result<Report, ErrorBody> {
    let verb = match cli.verb {
        Any::Alone(Alone::Completions(arguments)) => return completions::run(&arguments),
        Any::Alone(Alone::Man(arguments)) => return man::run(&arguments, Cli::command()),
        Any::Asking(verb) => *verb,
    };
    if let Verb::Run(arguments) = &verb
        && arguments.is_private()
    {
        return run_command::privately(arguments);
    }
    let folders = Folders::resolve(cli.home.as_deref(), |name| std::env::var_os(name))
        .map_err(|error| error::usage(error.to_string()))?;
    let client = client(cli.system, &folders, &verb)?;
    match verb {
        Verb::AddRegistry(arguments) => {
            add_registry::run(*arguments, &client).map(|report| report.and(&clients::refresh(&folders, &client)))
        }
        Verb::AddScope(arguments) => {
            add_scope::run(arguments, &client).map(|report| report.and(&clients::refresh(&folders, &client)))
        }
        Verb::RemoveRegistry(arguments) => {
            remove_registry::run(arguments, &client).map(|report| report.and(&clients::refresh(&folders, &client)))
        }
        Verb::Import(arguments) => import::run(&arguments, &client, &folders),
        Verb::List(arguments) => list::run(arguments, &client),
        Verb::Show(arguments) => show::run(arguments, &client),
        Verb::Rotate(arguments) => rotate::run(arguments, &client),
        Verb::Verify(arguments) => verify::run(arguments, &client),
        Verb::Allow(arguments) => allow::run(arguments, &client),
        Verb::Deny(arguments) => deny::run(arguments, &client),
        Verb::Setup(arguments) => setup::run(arguments, &client, &folders),
        Verb::Env(arguments) => env::run(arguments, &client, &folders),
        Verb::Run(arguments) => run_command::run(&arguments, &client, &folders),
        Verb::Doctor(arguments) => doctor::run(&arguments, &client, &folders),
        Verb::Grant(arguments) => grant::run(arguments, &client),
        Verb::Grants(arguments) => grants::run(arguments, &client),
        Verb::Revoke(arguments) => revoke::run(arguments, &client),
        Verb::Status(arguments) => status::run(arguments, &client),
        Verb::Store(arguments) => store::run(arguments, &client),
        Verb::Unlock(arguments) => unlock::run(arguments, &client),
        Verb::Reload(arguments) => reload::run(arguments, &client),
        Verb::Service(arguments) => service::run(&arguments, cli.system, &client, &folders),
        Verb::Log(arguments) => log::run(arguments, &client),
        Verb::Stop(arguments) => stop::run(arguments, &client),
    }
}

/// Whom the verb asks. The machine's daemon serves nobody as its own user, so there is nothing to set up for it.
fn client(system: bool, folders: &Folders, verb: &Verb) -> Result<Client, ErrorBody> {
    if !system {
        return Ok(Client::new(folders));
    }
    match verb {
        Verb::Setup(_) | Verb::Env(_) | Verb::Run(_) | Verb::Doctor(_) => Err(error::refused(
            "the machine's daemon serves those who have a grant, and knows nobody's configuration",
        )
        .hint(
            "`regauthctl --system grant` prints the proxy to use, and `regauthctl --system status` the bundle to trust",
        )),
        _ => Ok(Client::new(&Folders::of_the_system()).of_the_system()),
    }
}

/// clap has one heading for all verbs, and so many under one are a wall.
fn command() -> Command {
    let command = Cli::command();
    let mut verbs = String::new();
    for (group, names) in GROUPS {
        verbs += &format!("{group}:\n");
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            verbs += &format!("  {:<15}  {about}\n", verb.get_name());
        }
        verbs += "\n";
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}{{after-help}}"
    ))
}

fn has_flag(arguments: &[OsString], flag: &str) -> bool {
    let ours = |argument: &&OsString| *argument != "--" && *argument != "--source-command";
    let before_a_command = arguments.iter().skip(1).take_while(ours);
    before_a_command.into_iter().any(|argument| {
        let rest = argument.as_encoded_bytes().strip_prefix(flag.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    })
}

fn token_in_arguments() -> ErrorBody {
    error::usage("tokens in arguments are visible to every process; use --token-stdin")
        .hint("that token was visible just now; if others use this machine, have it replaced")
}

/// Help, the version, or what is wrong with the line.
fn conclude_early(mut clap: clap::Error, json: bool) -> u8 {
    match clap.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => output::print(&page(&clap), exit_code::DONE),
        ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::print_to_stderr(&page(&clap));
            exit_code::USAGE
        }
        _ => {
            forget_values(&mut clap);
            output::conclude(Err(in_our_form(&clap.render().to_string())), json)
        }
    }
}

fn page(help: &clap::Error) -> String {
    format!("{}\n", help.render().to_string().trim_end())
}

/// Takes out of clap's error what was typed, but for flags and for choices from a list.
fn forget_values(error: &mut clap::Error) {
    let hidden = || ContextValue::String("…".to_owned());
    match error.kind() {
        ClapErrorKind::ValueValidation | ClapErrorKind::TooManyValues => {
            error.insert(ContextKind::InvalidValue, hidden());
        }
        ClapErrorKind::UnknownArgument => {
            // "to pass … as a value, use '-- …'": no verb takes such a value.
            error.remove(ContextKind::Suggested);
            let typed = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            if !typed.is_some_and(|typed| typed.starts_with('-')) {
                error.insert(ContextKind::InvalidArg, hidden());
            }
        }
        _ => {}
    }
}

/// clap writes paragraphs: what is wrong, tips, the usage.
fn in_our_form(rendered: &str) -> ErrorBody {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n").map(one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let rest: Vec<_> = paragraphs.collect();
    let starting = |start: &str| rest.iter().find_map(|text| text.strip_prefix(start).map(str::to_owned));
    let hint = starting("tip: ").or_else(|| starting("Usage: ").map(|usage| format!("usage: {usage}")));
    error::usage(message).hint(hint.unwrap_or_else(|| "`regauthctl help VERB` says what a verb takes".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_is_in_one_group() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.sort_unstable();
        let command = Cli::command();
        let mut verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        verbs.sort_unstable();
        assert_eq!(grouped, verbs);
    }

    #[test]
    fn every_example_is_understood() {
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
                let line = line.split(" | ").last().unwrap();
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
    fn every_example_for_ci_is_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/ci");
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let mut keys = text.lines().filter(|line| line.trim_start().starts_with("key: "));
            assert!(keys.all(|key| key.ends_with(env!("CARGO_PKG_VERSION"))), "an old cache");
            let text = text
                .replace("\\\n", "")
                .replace('"', "")
                .replace("$CORP_INDEX", "sparse+https://x/");
            let start = text.find("regauthctl run").unwrap();
            let line = text[start..].lines().next().unwrap();
            let parsed = parse(line.split_whitespace().map(OsString::from).collect());
            assert!(parsed.is_ok(), "{line}");
        }
    }

    #[test]
    fn a_flag_of_a_wrapped_command_is_not_ours() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(has_flag(&line("regauthctl rotate corp --token=x"), "--token"));
        assert!(!has_flag(&line("regauthctl rotate corp --token-stdin"), "--token"));
        assert!(!has_flag(&line("regauthctl run -- x --token y"), "--token"));
        let add = line("regauthctl add-registry a --source-command x --token y");
        assert!(!has_flag(&add, "--token"));
    }
}
