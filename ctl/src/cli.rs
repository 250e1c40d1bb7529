//! The command line: global flags, verbs and usage errors.
//!
//! No error repeats a value: a misplaced value may be a token.

mod help;
mod registry_hints;
mod usage_error;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use self::help::command;
use self::registry_hints::PartialLine;
use self::usage_error::finish_unparsed;
use crate::client::Client;
use crate::commands::{
    add_registry, add_scope, allow, audit, completions, confirm, deny, doctor, edit, env, explain, export, forward,
    grant, grants, import, list, log, login, logout, logs, man, metrics, overview, reload, remove_registry, revoke,
    rotate, run as run_command, service, set, setup, show, status, stop, store, top, uninstall, unlock, upstream,
    verify, watch,
};
use crate::output::{self, Report};
use crate::{completion, connect, error, own_commands, setup as clients};

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
    match parse(arguments.clone()) {
        Ok(cli) if cli.verb.is_none() && !json && !io::stdout().is_terminal() => finish_without_verb(),
        Ok(cli) => {
            own_commands::set_flags(cli.home.as_deref(), cli.system);
            output::finish(execute(cli), json)
        }
        Err(error) => finish_unparsed(error, &PartialLine::parse(&arguments), json),
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
    let client = if json { client } else { client.at_terminal() };
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

/// Names of the verbs that need the daemon or its folders.
#[cfg(test)]
pub(crate) fn verbs_of_the_daemon() -> Vec<String> {
    let command = DaemonVerb::augment_subcommands(clap::Command::new("regauthctl"));
    command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect()
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

#[cfg(test)]
mod tests;
