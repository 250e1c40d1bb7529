//! The command line: global flags, verbs and usage errors.
//!
//! No error repeats a value: a misplaced value may be a token.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use crate::client::Client;
use crate::commands::{
    add_registry, add_scope, allow, audit, completions, confirm, deny, doctor, edit, env, explain, export, forward,
    grant, grants, import, list, log, login, logout, logs, man, metrics, overview, reload, remove_registry, revoke,
    rotate, run as run_command, service, set, setup, show, status, stop, store, top, uninstall, unlock, upstream,
    verify, watch,
};
use crate::output::{self, Report};
use crate::{completion, connect, error, setup as clients};

/// Add registries to a running regauthd and rotate their tokens
///
/// regauthd is a local proxy that adds registries' credentials to the requests of cargo, git and other build tools, so
/// that none of them holds a token. regauthctl configures it while it runs.
#[derive(Parser)]
#[command(name = "regauthctl", version = env!("REGAUTH_VERSION"), after_help = EXIT_CODES)]
#[command(override_usage = "regauthctl [OPTIONS] <COMMAND>")]
struct Cli {
    /// Folder of all files of regauth [default: REGAUTH_HOME, or the platform's own folders]
    #[arg(long, global = true, value_name = "DIR", display_order = LAST)]
    home: Option<PathBuf>,

    /// Use the machine's daemon, which obeys root and the group regauth, instead of your own
    #[arg(long, global = true, display_order = LAST)]
    system: bool,

    /// Print one JSON document; verbs that follow events print one a line
    #[arg(long, global = true, display_order = LAST)]
    json: bool,

    /// Without one, a person gets an overview, and a script the usage.
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Daemon(Box<DaemonVerb>),
    #[command(flatten)]
    Standalone(StandaloneVerb),
}

/// Verbs that need neither a daemon nor a folder.
#[derive(Subcommand)]
enum StandaloneVerb {
    Forward(forward::Arguments),
    Explain(explain::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Verbs that need the daemon or its folders.
#[derive(Subcommand)]
enum DaemonVerb {
    #[command(visible_alias = "add")]
    AddRegistry(Box<add_registry::Arguments>),
    AddScope(add_scope::Arguments),
    Confirm(confirm::Arguments),
    Set(set::Arguments),
    #[command(alias = "config")]
    Edit(edit::Arguments),
    Export(export::Arguments),
    #[command(visible_alias = "rm", aliases = ["remove", "delete"])]
    RemoveRegistry(remove_registry::Arguments),
    Import(import::Arguments),
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    #[command(aliases = ["info", "get"])]
    Show(show::Arguments),
    Login(login::Arguments),
    Logout(logout::Arguments),
    Rotate(rotate::Arguments),
    Verify(verify::Arguments),
    Allow(allow::Arguments),
    Deny(deny::Arguments),
    Setup(setup::Arguments),
    Env(env::Arguments),
    #[command(alias = "exec")]
    Run(run_command::Arguments),
    #[command(aliases = ["check", "diagnose"])]
    Doctor(doctor::Arguments),
    Grant(grant::Arguments),
    Grants(grants::Arguments),
    Revoke(revoke::Arguments),
    #[command(alias = "ps")]
    Status(status::Arguments),
    Watch(watch::Arguments),
    Top(top::Arguments),
    Audit(Box<audit::Arguments>),
    Metrics(metrics::Arguments),
    Store(store::Arguments),
    Unlock(unlock::Arguments),
    Upstream(upstream::Arguments),
    Reload(reload::Arguments),
    Log(log::Arguments),
    Logs(logs::Arguments),
    Service(service::Arguments),
    Stop(stop::Arguments),
    Uninstall(uninstall::Arguments),
}

/// Display order of the global flags: after a verb's own.
const LAST: usize = 100;

const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Registries",
        &[
            "add-registry",
            "add-scope",
            "confirm",
            "import",
            "export",
            "set",
            "edit",
            "remove-registry",
            "list",
            "show",
        ],
    ),
    ("Tokens", &["login", "logout", "rotate", "verify"]),
    ("Writes", &["allow", "deny"]),
    ("Clients", &["setup", "env", "run", "doctor", "explain"]),
    ("Other clients", &["grant", "grants", "revoke", "forward"]),
    ("What happens", &["watch", "audit", "metrics"]),
    (
        "The daemon",
        &[
            "status",
            "top",
            "store",
            "upstream",
            "logs",
            "log",
            "unlock",
            "reload",
            "stop",
            "service",
            "uninstall",
        ],
    ),
    ("For packagers", &["completions", "man"]),
];

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 daemon not reachable, 4 the registry rejected the token, 5 the store is locked \
or missing, 6 not found, 7 exists already, 8 refused.

`regauthctl help VERB` describes a verb.";

/// Runs the command line and returns the exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> u8 {
    if completion::complete(&arguments, Cli::command) {
        return exit_code::DONE;
    }
    // Before clap parses the line: usage errors are printed as JSON too.
    let json = has_flag(&arguments, "--json");
    if has_flag(&arguments, "--token") {
        return output::finish(Err(token_in_arguments()), json);
    }
    match parse(arguments) {
        Ok(cli) if cli.verb.is_none() && !json && !io::stdout().is_terminal() => finish_without_verb(),
        Ok(cli) => output::finish(execute(cli), json),
        Err(error) => finish_unparsed(error, json),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

fn execute(cli: Cli) -> Result<Report, ErrorBody> {
    let verb = match cli.verb {
        Some(Verb::Standalone(StandaloneVerb::Completions(arguments))) => return completions::run(&arguments),
        Some(Verb::Standalone(StandaloneVerb::Man(arguments))) => return man::run(&arguments, Cli::command()),
        Some(Verb::Standalone(StandaloneVerb::Forward(arguments))) => return forward::run(&arguments, cli.json),
        Some(Verb::Standalone(StandaloneVerb::Explain(arguments))) => return explain::run(&arguments),
        Some(Verb::Daemon(verb)) => *verb,
        None => return show_overview(cli.home.as_deref(), cli.system),
    };
    if let DaemonVerb::Run(arguments) = &verb
        && arguments.needs_ephemeral_daemon()
    {
        return run_command::run_with_ephemeral_daemon(arguments);
    }
    carry_out(verb, cli.home.as_deref(), cli.json, cli.system)
}

fn carry_out(verb: DaemonVerb, home: Option<&Path>, json: bool, system: bool) -> Result<Report, ErrorBody> {
    let folders = connect::folders(home)?;
    let client = client(system, &folders, &verb)?;
    let daemon_folders = daemon_folders(&client, &folders);
    let updated = |report: Report| report.with_lines(&clients::refresh(&folders, &client));
    match verb {
        DaemonVerb::AddRegistry(arguments) => add_registry::run(*arguments, &client, &daemon_folders).map(updated),
        DaemonVerb::AddScope(arguments) => add_scope::run(arguments, &client).map(updated),
        DaemonVerb::Confirm(arguments) => confirm::run(arguments, &client),
        DaemonVerb::Export(arguments) => export::run(arguments, &client),
        DaemonVerb::Set(arguments) => set::run(arguments, &client).map(updated),
        DaemonVerb::Edit(arguments) => edit::run(&arguments, &client, &daemon_folders).map(updated),
        DaemonVerb::RemoveRegistry(arguments) => remove_registry::run(arguments, &client, &daemon_folders).map(updated),
        DaemonVerb::Import(arguments) => import::run(&arguments, &client, &folders),
        DaemonVerb::List(arguments) => list::run(arguments, &client),
        DaemonVerb::Show(arguments) => show::run(arguments, &client),
        DaemonVerb::Login(arguments) => login::run(arguments, &client),
        DaemonVerb::Logout(arguments) => logout::run(arguments, &client),
        DaemonVerb::Rotate(arguments) => rotate::run(arguments, &client),
        DaemonVerb::Verify(arguments) => verify::run(arguments, &client),
        DaemonVerb::Allow(arguments) => allow::run(arguments, &client),
        DaemonVerb::Deny(arguments) => deny::run(arguments, &client),
        DaemonVerb::Setup(arguments) => setup::run(&arguments, &client, &folders),
        DaemonVerb::Env(arguments) => env::run(arguments, &client, &folders),
        DaemonVerb::Run(arguments) => run_command::run(&arguments, &client, &folders),
        DaemonVerb::Doctor(arguments) => doctor::run(&arguments, &client, &folders),
        DaemonVerb::Grant(arguments) => grant::run(arguments, &client, &folders),
        DaemonVerb::Grants(arguments) => grants::run(arguments, &client),
        DaemonVerb::Revoke(arguments) => revoke::run(arguments, &client),
        DaemonVerb::Status(arguments) => status::run(arguments, &client),
        DaemonVerb::Watch(arguments) => watch::run(&arguments, json, &client),
        DaemonVerb::Top(arguments) => top::run(&arguments, json, &client),
        DaemonVerb::Audit(arguments) => audit::run(*arguments, &client, &daemon_folders),
        DaemonVerb::Metrics(arguments) => metrics::run(arguments, &client),
        DaemonVerb::Store(arguments) => store::run(arguments, &client),
        DaemonVerb::Unlock(arguments) => unlock::run(arguments, &client),
        DaemonVerb::Upstream(arguments) => upstream::run(arguments, &client),
        DaemonVerb::Reload(arguments) => reload::run(arguments, &client),
        DaemonVerb::Service(arguments) => service::run(&arguments, system, &client, &folders),
        DaemonVerb::Log(arguments) => log::run(arguments, &client),
        DaemonVerb::Logs(arguments) => logs::run(&arguments, json, system, &client, &folders),
        DaemonVerb::Stop(arguments) => stop::run(arguments, &client, &folders),
        DaemonVerb::Uninstall(arguments) => uninstall::run(&arguments, &client, &folders),
    }
}

fn show_overview(home: Option<&Path>, system: bool) -> Result<Report, ErrorBody> {
    let folders = connect::folders(home)?;
    let client = if system {
        connect::system_daemon()
    } else {
        connect::user_daemon(&folders)
    };
    overview::run(&client, &folders)
}

/// Folders of the daemon that is asked.
fn daemon_folders(client: &Client, user: &Folders) -> Folders {
    if client.is_of_system() {
        Folders::of_the_system()
    } else {
        user.clone()
    }
}

/// Client of the daemon that the verb needs. `--system` excludes the verbs that configure a user's clients: the
/// machine's daemon serves nobody without a grant.
fn client(system: bool, folders: &Folders, verb: &DaemonVerb) -> Result<Client, ErrorBody> {
    if !system {
        return Ok(connect::user_daemon(folders));
    }
    match verb {
        DaemonVerb::Uninstall(_) => Err(
            error::refused("the machine's daemon is a service, and has set up no client")
                .hint("sudo regauthctl service uninstall --system"),
        ),
        DaemonVerb::Setup(_) | DaemonVerb::Env(_) | DaemonVerb::Run(_) | DaemonVerb::Doctor(_) => Err(error::refused(
            "the machine's daemon serves only clients with a grant, so it cannot configure yours",
        )
        .hint(
            "`regauthctl --system grant` prints the proxy to use, and `regauthctl --system status` the bundle to trust",
        )),
        _ => Ok(connect::system_daemon()),
    }
}

/// Command line with its verbs in groups: clap has one heading for all of them.
fn command() -> Command {
    let command = Cli::command();
    let heading = *command.get_styles().get_header();
    let width = output::width().map_or(WIDTH_WITHOUT_TERMINAL, usize::from);
    let mut verbs = String::new();
    for (group, names) in GROUPS {
        verbs += &format!("{heading}{group}:{heading:#}\n");
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let about = output::fill(&about, width, VERB_COLUMN, VERB_COLUMN);
            verbs += &format!("  {:<15}  {about}\n", verb.get_name());
        }
        verbs += "\n";
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}{heading}Options:{heading:#}\n{{options}}{{after-help}}"
    ))
}

/// Column in which the descriptions of verbs begin.
const VERB_COLUMN: usize = 19;
/// As clap has it.
const WIDTH_WITHOUT_TERMINAL: usize = 100;

/// True if a flag is given, as `--flag` or `--flag=value`, before the words of a wrapped command.
fn has_flag(arguments: &[OsString], flag: &str) -> bool {
    let is_ours = |argument: &&OsString| *argument != "--" && *argument != "--source-command";
    arguments.iter().skip(1).take_while(is_ours).any(|argument| {
        let rest = argument.as_encoded_bytes().strip_prefix(flag.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    })
}

fn token_in_arguments() -> ErrorBody {
    error::usage("tokens in arguments are visible to every process; use --token-stdin")
        .hint("this token was visible just now; if others use this machine, replace it at the registry")
}

/// Prints the help to stderr for a script that gave neither a verb nor `--json`, and returns the exit code of a usage error.
fn finish_without_verb() -> u8 {
    output::print_to_stderr(&format!("{}\n", command().render_help().to_string().trim_end()));
    exit_code::USAGE
}

/// Prints the help, the version or a usage error, and returns the exit code.
fn finish_unparsed(mut clap: clap::Error, json: bool) -> u8 {
    match clap.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => {
            output::print(&output::help(&clap.render()), exit_code::DONE)
        }
        ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::print_to_stderr(&output::help(&clap.render()));
            exit_code::USAGE
        }
        _ => {
            if let Some(error) = known_by_another_name(&clap) {
                return output::finish(Err(error), json);
            }
            remove_values(&mut clap);
            output::finish(Err(usage_error(&clap.render().to_string())), json)
        }
    }
}

/// Error for a verb that people know from other programs, with what stands for it here.
fn known_by_another_name(error: &clap::Error) -> Option<ErrorBody> {
    if error.kind() != ClapErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let (name, hint) = OTHER_NAMES.iter().find(|(name, _)| name == verb)?;
    Some(error::usage(format!("there is no verb `{name}`")).hint(*hint))
}

/// Verbs of other programs, and what to do instead.
const OTHER_NAMES: [(&str, &str); 10] = [
    (
        "start",
        "`regauthctl service install` has it started when it is needed; by hand: regauthd",
    ),
    (
        "restart",
        "under systemd: systemctl --user restart regauthd; by hand: `regauthctl stop --wait`, then regauthd",
    ),
    ("install", "`regauthctl service install`, then `regauthctl setup`"),
    (
        "init",
        "`regauthctl add-registry` asks for all it needs; then `regauthctl setup`",
    ),
    (
        "update",
        "your package manager updates regauth; a new token for a registry: `regauthctl rotate NAME`",
    ),
    (
        "upgrade",
        "your package manager updates regauth; `regauthctl service install` then starts the new release",
    ),
    ("version", "regauthctl --version"),
    (
        "token",
        "no command shows a token; `regauthctl show NAME` shows its state, `regauthctl rotate NAME` replaces it",
    ),
    ("unset", "`regauthctl set NAME KEY --unset`"),
    (
        "publish",
        "open writes with `regauthctl allow NAME --for 5m`, then run cargo publish",
    ),
];

/// Removes typed values from clap's error, other than flags and choices from a list.
fn remove_values(error: &mut clap::Error) {
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

/// Converts clap's error, whose paragraphs are the message, tips and the usage.
fn usage_error(rendered: &str) -> ErrorBody {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n").map(one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let rest: Vec<_> = paragraphs.collect();
    let after = |label: &str| rest.iter().find_map(|text| text.strip_prefix(label).map(str::to_owned));
    let hint = after("tip: ").or_else(|| after("Usage: ").map(|usage| format!("usage: {usage}")));
    error::usage(message).hint(hint.unwrap_or_else(|| "`regauthctl help VERB` lists a verb's arguments".to_owned()))
}

#[cfg(test)]
mod tests {
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
}
