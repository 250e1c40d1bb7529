//! `regauthctl run`: runs a command with the environment set, behind the running daemon or an ephemeral one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use regauth_shared::index::AUTH_REQUIRED;
use regauth_shared::paths::Folders;
use regauth_shared::response::RegistryAdded;
use regauth_shared::{ErrorBody, ErrorKind, Request, Secret, request, secret_variables};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::add_registry::readable;
use super::git_index;
use super::offered_locations::Decision;
use super::run_flags::{RegistryFlags, RegistryList, TokenOrigin};
use crate::client::Client;
use crate::client_files;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::environment::{self, Variable};
use crate::ephemeral_daemon::EphemeralDaemon;
use crate::forward::{Forwarder, GrantSource};
use crate::output::{self, Report};
use crate::program::{PROVIDER, on_path, sibling};
use crate::{error, reexec, token};

/// Run one command with the proxy set up for it
///
/// For CI jobs and containers. With --registry, the command gets a private regauthd: on a free port, below a temporary
/// folder, its secrets in memory. The command's environment makes cargo, git, pip, uv, npm and curl use this daemon;
/// the variables that hold tokens are removed. The daemon ends with the command. The exit code is the command's. Flags
/// after a --registry belong to that registry.
///
/// The token also goes to the folders that only the index names, on its own host. Nobody is asked about them.
///
/// With --source, the job needs no secret: the daemon mints tokens from the job's identity. The variables that give the
/// identity are not in the command's environment. A hostile command may still read them from the job's shell.
///
/// Without --registry the command uses the running daemon. A grant for it in HTTPS_PROXY stays, and Java uses it too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    registries: RegistryList,

    /// Do not verify the tokens with their registries first
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
  regauthctl run --registry corp=sparse+https://corp.example/index/ \\
      --source jfrog:host=corp.example,provider=github -- cargo build --locked
  regauthctl run --registry forge=https://git.example/team/ --kind git \\
      --token-env FORGE_TOKEN -- git clone https://git.example/team/plans.git";

impl Arguments {
    /// True if the command gets a daemon of its own, which needs no home folder.
    pub(crate) fn needs_ephemeral_daemon(&self) -> bool {
        !self.registries.0.is_empty()
    }
}

/// Runs the command behind the running daemon.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let info = DaemonInfo::fetch(client, folders)?;
    client_files::write(&info)?;
    let mut variables = environment(&info);
    if let Some(grant) = environment::grant_of_caller(&info) {
        variables.extend(java_options_with_grant(&info, grant));
    }
    run_command(&arguments.command, variables).map(Report::silent)
}

/// Runs the command behind a daemon of its own.
pub(crate) fn run_with_ephemeral_daemon(arguments: &Arguments) -> Result<Report, ErrorBody> {
    let RegistryList(registries) = &arguments.registries;
    let SecretVariables { tokens, identities } = SecretVariables::of(registries);
    let secrets = reexec::take_secrets(&tokens, &identities)?;
    let of_sources: Vec<(&String, &Secret)> = secrets.iter().filter(|(name, _)| identities.contains(*name)).collect();
    let removed: Vec<OsString> = tokens
        .iter()
        .map(OsString::from)
        .chain([reexec::pipe_variable()])
        .collect();
    let daemon = EphemeralDaemon::start(&removed, &of_sources)?;
    let client = daemon.client();
    for registry in registries {
        add_registry(&client, registry, &secrets, !arguments.no_verify)?;
    }
    let info = DaemonInfo::fetch(&client, &daemon.folders)?;
    let mut variables = environment(&info);
    variables.extend(environment::registry_variables(&info));
    variables.extend(environment::publishing_placeholders(&info));
    variables.push((reexec::pipe_variable().to_string_lossy().into_owned(), None));
    let exit_code = run_command(&arguments.command, variables);
    drop(daemon);
    exit_code.map(Report::silent)
}

/// Environment variables with secrets, which are taken out of this process's environment.
struct SecretVariables {
    /// Tokens, which must be set.
    tokens: Vec<String>,
    /// Secrets that sources name, and identities of CI systems, as far as they are set. The daemon gets them.
    identities: Vec<String>,
}

impl SecretVariables {
    fn of(registries: &[RegistryFlags]) -> Self {
        let (mut tokens, mut identities) = (Vec::new(), Vec::new());
        for registry in registries {
            match &registry.token {
                TokenOrigin::Variable(variable) => tokens.push(variable.clone()),
                TokenOrigin::Source(source) => {
                    identities.extend(secret_variables::OF_CI_SYSTEMS.map(str::to_owned));
                    identities.extend(secret_variables::named_in(source).map(str::to_owned));
                }
            }
        }
        identities.sort_unstable();
        identities.dedup();
        Self { tokens, identities }
    }
}

fn add_registry(
    client: &Client,
    registry: &RegistryFlags,
    secrets: &BTreeMap<String, Secret>,
    verify: bool,
) -> Result<(), ErrorBody> {
    let (token, source) = match &registry.token {
        TokenOrigin::Variable(variable) => (secrets.get(variable).map(|token| unwrapped(token, registry)), None),
        TokenOrigin::Source(source) => (None, Some(source.clone())),
    };
    let url = registry.url.clone();
    let (index, scopes) = if registry.has_index() {
        (Some(url), registry.scopes.clone())
    } else {
        (None, [&[url], &registry.scopes[..]].concat())
    };
    let ca_file = registry.ca_file.as_deref().map(readable).transpose()?;
    let added = client.call::<RegistryAdded>(&Request::AddRegistry(Box::new(request::AddRegistry {
        name: registry.name.clone(),
        index,
        scopes,
        kind: registry.kind.clone(),
        scheme: registry.scheme.clone(),
        username: registry.username.clone(),
        writes: registry.writes.clone(),
        programs: Vec::new(),
        rejected_by: Vec::new(),
        token_service: None,
        ca_file,
        source,
        source_command: None,
        credential_of: None,
        token: token.clone(),
        proof: None,
        offer_locations: false,
        read_ahead: None,
        untrusted: false,
        verify,
    })));
    let mut added = added.map_err(|error| not_started(error, registry))?;
    git_index::complete(&mut added.answer, Decision::Cover, client, token);
    // The environment gives cargo a placeholder, so this note needs no action.
    let notes = added.answer.notes.iter().filter(|note| *note != AUTH_REQUIRED).cloned();
    output::print_to_stderr(&output::notes(&notes.collect::<Vec<_>>()));
    Ok(())
}

/// The token in the value of a variable, which may hold what people paste around a token. A value that is no token then stays
/// as it is, and the daemon says what is wrong with it.
fn unwrapped(value: &Secret, registry: &RegistryFlags) -> Secret {
    let default = if registry.username.is_some() { "basic" } else { "bearer" };
    let scheme = registry.scheme.as_deref().unwrap_or(default);
    token::parse_pasted(value.expose(), scheme).unwrap_or_else(|_| value.clone())
}

/// Error of a registry that the command cannot use.
fn not_started(error: ErrorBody, registry: &RegistryFlags) -> ErrorBody {
    let hint = match (error.kind, &registry.token, error.hint.as_deref()) {
        (ErrorKind::TokenRejected, TokenOrigin::Variable(variable), _) => format!(
            "the command was not started; check the token in {variable}, --scheme and --username of `{}`",
            registry.name
        ),
        (ErrorKind::TokenRejected, TokenOrigin::Source(_), _) => format!(
            "the command was not started; check --source, --scheme and --username of `{}`",
            registry.name
        ),
        (_, _, Some(hint)) => format!("the command was not started; {hint}"),
        (_, _, None) => "the command was not started".to_owned(),
    };
    ErrorBody {
        hint: Some(hint),
        ..error
    }
}

/// Environment of the command: the clients' variables, and a `PATH` in which cargo finds the credential provider.
fn environment(info: &DaemonInfo) -> Vec<Variable> {
    company::warn_of_replaced_variables(info);
    let mut variables = environment::caller_variables(info);
    if on_path(PROVIDER).is_none()
        && let Some(folder) = sibling(PROVIDER).as_deref().and_then(Path::parent)
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

/// `JAVA_TOOL_OPTIONS` with a forwarder in this process: Java cannot show a grant. Without a forwarder, a note says so.
fn java_options_with_grant(info: &DaemonInfo, grant: String) -> Option<Variable> {
    let current = |name: &str| std::env::var(name).ok();
    match Forwarder::start(GrantSource::Url(grant), 0) {
        Ok(forwarder) => environment::java_options(&forwarder.url(), Path::new(&info.bundle), current),
        Err(error) => {
            output::print_to_stderr(&format!("note: Java will not use the grant: {}\n", error.message));
            None
        }
    }
}

/// Runs the command to its end, forwards signals to it, and returns its exit code.
pub(super) fn run_command(command: &[OsString], variables: Vec<Variable>) -> Result<u8, ErrorBody> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| error::usage("there is no command"))?;
    // Before the command starts, so that no signal is lost in between.
    let signals = SignalsInfo::<WithOrigin>::new(FORWARDED_SIGNALS).map_err(error::io("cannot handle signals"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    match command.spawn() {
        Ok(child) => wait(child, signals).map_err(error::io("cannot wait for the command")),
        Err(why) => Ok(spawn_failure(program, &why)),
    }
}

/// Waits for the command while a thread forwards signals.
///
/// The child is reaped only after the thread has ended: until then no other process can get its id.
fn wait(mut child: Child, mut signals: SignalsInfo<WithOrigin>) -> std::io::Result<u8> {
    let id = Pid::from_child(&child);
    let handle = signals.handle();
    let forwarder = std::thread::spawn(move || {
        for origin in signals.forever() {
            // A signal from the kernel is the terminal's, which sends it to the command as well.
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
    let _ = forwarder.join();
    Ok(exit_code(child.wait()?))
}

/// Exit code as shells report it: the command's, or 128 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)
}

/// Prints why the command did not start. Exit code 127 or 126, as env(1) has it.
fn spawn_failure(program: &OsStr, why: &std::io::Error) -> u8 {
    let program = program.to_string_lossy();
    output::print_error(&error::failed(format!("cannot run {program}: {why}")));
    if why.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    }
}

const FORWARDED_SIGNALS: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
