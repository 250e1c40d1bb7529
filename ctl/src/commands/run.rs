//! `regauthctl run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use regauth_shared::index::AUTH_REQUIRED;
use regauth_shared::paths::Folders;
use regauth_shared::response::RegistryAdded;
use regauth_shared::{ErrorBody, Request, Secret, request};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::add_registry::readable;
use super::git_index;
use super::run_registries::{Described, Registries};
use crate::client::Client;
use crate::environment::{self, Variable};
use crate::facts::Facts;
use crate::output::{self, Report};
use crate::private::Private;
use crate::program::{PROVIDER, beside_us, on_path};
use crate::{error, reexec};

/// Run one command with everything set, behind a daemon of its own
///
/// For CI jobs and containers. With --registry, a private regauthd serves just this command: on a free port, below a
/// temporary folder, its secrets in memory. The command's environment makes cargo, git, pip, uv, npm and curl use it; the
/// variables that hold tokens are taken out. When the command ends, so does everything else; the exit code is the
/// command's. The flags after a --registry are about that registry.
///
/// Without --registry the command uses the daemon that runs already.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    registries: Registries,

    /// Do not ask the registries about their tokens first
    #[arg(long)]
    no_verify: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl run -- cargo build
  regauthctl run --registry corp=sparse+https://corp.example/index/ \\
      --scheme basic --username ci@corp.example --token-env CORP_TOKEN \\
      -- cargo build --locked
  regauthctl run --registry forge=https://git.example/team/ --kind git \\
      --token-env FORGE_TOKEN -- git clone https://git.example/team/plans.git";

impl Arguments {
    /// Whether the command gets a daemon of its own, which needs no home.
    pub(crate) fn is_private(&self) -> bool {
        !self.registries.0.is_empty()
    }
}

/// Runs the command behind the daemon that there is.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let facts = Facts::gather(client, folders)?;
    perform(&arguments.command, variables(&facts)).map(Report::silent)
}

/// Runs the command behind a daemon of its own.
pub(crate) fn privately(arguments: &Arguments) -> Result<Report, ErrorBody> {
    let Registries(registries) = &arguments.registries;
    let holding: Vec<OsString> = registries
        .iter()
        .map(|registry| registry.token_env.clone().into())
        .collect();
    let tokens = reexec::take_tokens(&holding)?;
    let private = Private::start(&[&holding[..], &[reexec::pipe_variable()]].concat())?;
    let client = private.client();
    for (registry, token) in registries.iter().zip(tokens) {
        add(&client, registry, token, !arguments.no_verify)?;
    }
    let facts = Facts::gather(&client, &private.folders)?;
    let mut variables = variables(&facts);
    variables.extend(environment::registry_variables(&facts));
    variables.push((reexec::pipe_variable().to_string_lossy().into_owned(), None));
    let exit_code = perform(&arguments.command, variables);
    drop(private);
    exit_code.map(Report::silent)
}

fn add(client: &Client, registry: &Described, token: Secret, verify: bool) -> Result<(), ErrorBody> {
    let place = registry.place.clone();
    let (index, scopes) = if registry.has_index() {
        (Some(place), registry.scopes.clone())
    } else {
        (None, [&[place], &registry.scopes[..]].concat())
    };
    let ca_file = registry.ca_file.as_deref().map(readable).transpose()?;
    let mut added = client.ask::<RegistryAdded>(&Request::AddRegistry(Box::new(request::AddRegistry {
        name: registry.name.clone(),
        index,
        scopes,
        kind: registry.kind.clone(),
        scheme: registry.scheme.clone(),
        username: registry.username.clone(),
        writes: registry.writes.clone(),
        ca_file,
        source: None,
        source_command: None,
        credential_of: None,
        token: Some(token),
        verify,
    })))?;
    git_index::complete(&mut added.answer, client);
    // A placeholder is taken care of.
    let notes = added.answer.notes.iter().filter(|note| *note != AUTH_REQUIRED).cloned();
    output::print_to_stderr(&output::notes(&notes.collect::<Vec<_>>()));
    Ok(())
}

/// The environment that everything needs, and a `PATH` on which cargo finds the credential provider.
fn variables(facts: &Facts) -> Vec<Variable> {
    let mut variables = environment::caller_variables(facts);
    if on_path(PROVIDER).is_none()
        && let Some(folder) = beside_us(PROVIDER).as_deref().and_then(Path::parent)
    {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).chain([folder.to_owned()]).collect();
        let joined = std::env::join_paths(folders)
            .ok()
            .and_then(|path| path.into_string().ok());
        variables.extend(joined.map(|path| ("PATH".to_owned(), Some(path))));
    }
    variables
}

/// Runs the command to its end, with signals passed on, and gives its exit code.
fn perform(command: &[OsString], variables: Vec<Variable>) -> Result<u8, ErrorBody> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| error::usage("there is no command"))?;
    // Before the command runs: a signal that comes in between must find it.
    let signals = SignalsInfo::<WithOrigin>::new(PASSED_ON).map_err(error::io("cannot handle signals"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    match command.spawn() {
        Ok(child) => ended(child, signals).map_err(error::io("cannot wait for the command")),
        Err(why) => Ok(not_started(program, &why)),
    }
}

/// The child is not reaped while signals are passed on: its process id stays its own.
fn ended(mut child: Child, mut signals: SignalsInfo<WithOrigin>) -> std::io::Result<u8> {
    let id = Pid::from_child(&child);
    let handle = signals.handle();
    let passing_on = std::thread::spawn(move || {
        for origin in signals.forever() {
            // The terminal has sent it to the command as well.
            if origin.cause != Cause::Kernel
                && let Some(signal) = Signal::from_named_raw(origin.signal)
            {
                let _ = kill_process(id, signal);
            }
        }
    });
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
    handle.close();
    let _ = passing_on.join();
    Ok(code(child.wait()?))
}

/// As shells say it: the exit code, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)
}

/// 127 and 126, as env(1) has it.
fn not_started(program: &OsStr, why: &std::io::Error) -> u8 {
    let program = program.to_string_lossy();
    output::complain(&error::failed(format!("cannot run {program}: {why}")));
    if why.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    }
}

const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
