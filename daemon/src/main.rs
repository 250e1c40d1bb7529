//! Binary `regauthd`: arguments, process hardening, logs, runtime, daemon, exit code.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use regauthd::authority;
use regauthd::config::listen_address;
use regauthd::credential::source::environment::Environment;
use regauthd::credential::store::StoreKind;
use regauthd::credential::store::vault::new_identity;
use regauthd::host::Host;
use regauthd::inherited_sockets::InheritedSockets;
use regauthd::logs::{Format, Logs};
use regauthd::{Daemon, Options, hand_over, process};

/// Attaches registry credentials to the requests of cargo, git and other build tools, for the registries you configured
/// and for nothing else.
///
/// Runs in the foreground, as systemd and launchd want it. `regauthctl` adds registries and rotates tokens while it
/// runs.
#[derive(Debug, Parser)]
#[command(name = "regauthd", version = env!("REGAUTH_VERSION"), after_help = EXAMPLES)]
struct Arguments {
    /// Keep all files below this folder
    #[arg(long, value_name = "DIR", env = "REGAUTH_HOME")]
    home: Option<PathBuf>,
    /// Read this file instead of config.toml in the configuration folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address instead of the one in config.toml; port 0 picks a free port. A socket from a service
    /// manager takes precedence over both
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Number of threads that serve connections [default: half the cores, at most 8]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// Store for the secrets, if config.toml does not record one yet
    #[arg(long, value_name = "KIND")]
    store: Option<Store>,
    /// Serve these users of the machine, by their ids, beside the user that the daemon runs as. Only root may widen what a
    /// token can do. `sudo regauthctl service install --for USER` sets it up
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    guarded_for: Vec<u32>,
    /// Keep nothing: secrets in memory, no configuration written
    #[arg(long)]
    ephemeral: bool,
    /// Log level: error, warn, info, debug or trace; `regauthctl log` changes it later
    #[arg(
        long,
        value_name = "LEVEL",
        env = "REGAUTH_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    log: String,
    /// Log to standard error in this format [default: to the journal under systemd, else text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Stop at the end of standard input, so that the daemon ends with the process that started it, and remove the files
    /// and folders that the daemon made
    #[arg(long, requires_all = ["ephemeral", "home"])]
    until_eof: bool,
    /// Take this environment variable, which holds a secret that a source will name, out of the daemon's environment
    #[arg(long, value_name = "VAR", hide = true)]
    secret_variable: Vec<String>,
    /// Remove --home too, if nothing else is in it: the process that started the daemon made it for the daemon alone
    #[arg(long, requires = "until_eof", hide = true)]
    home_is_temporary: bool,
    /// Check folders, configuration and port as a start does, and exit: 0 if the daemon can start, else 1
    #[arg(long)]
    check: bool,
    /// Write the registries and tokens of this user to a pipe, for `service install --for`, which runs it
    #[arg(long, hide = true, value_name = "WHAT")]
    hand_over: Option<HandOverOf>,
    /// Print a new key for a vault and exit, for `systemd-creds encrypt --name=vault-identity`
    #[arg(long)]
    new_vault_identity: bool,
    /// Print a new authority for this host and exit: the file HOST.pem for the folder `authorities` of several daemons
    #[arg(long, value_name = "HOST")]
    create_authority: Option<Host>,
    /// Print the manual page, for packagers
    #[arg(long, hide = true)]
    man_page: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    /// Secret Service on Linux, Keychain on macOS
    Keychain,
    /// An encrypted file
    Vault,
    /// Memory, lost when the daemon ends
    Memory,
}

impl From<Store> for StoreKind {
    fn from(store: Store) -> Self {
        match store {
            Store::Keychain => Self::Keychain,
            Store::Vault => Self::Vault,
            Store::Memory => Self::Memory,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HandOverOf {
    /// With tokens
    Tokens,
    /// Without tokens
    Definitions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Text for people
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::harden();
    if arguments.new_vault_identity {
        return print(new_identity().as_bytes());
    }
    if let Some(what) = arguments.hand_over {
        return hand_over(arguments.home.as_deref(), what);
    }
    if arguments.man_page {
        return print(&man_page());
    }
    if let Some(host) = &arguments.create_authority {
        return match authority::file::create(host) {
            Ok(text) => print(text.as_bytes()),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Printed at every log level, because the person or service manager needs it.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hand_over(home: Option<&Path>, what: HandOverOf) -> ExitCode {
    let write = || -> anyhow::Result<()> {
        // Keychain gives the tokens to this program only, and any program could run it. A Secret Service makes no difference.
        if cfg!(target_os = "macos") {
            anyhow::bail!("--hand-over is for the guarded service, which needs systemd");
        }
        if std::io::stdout().is_terminal() {
            anyhow::bail!("--hand-over writes tokens to a pipe, and standard output is a terminal");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (input, output) = (std::io::stdin().lock(), std::io::stdout());
        let result = runtime.block_on(hand_over::run(home, what == HandOverOf::Tokens, input, output));
        // As in `run`: a call of the store may wait for a person.
        runtime.shutdown_background();
        Ok(result?)
    };
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn man_page() -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    format!("{}\n{SEE_ALSO}", page.trim_end()).into_bytes()
}

fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let check = arguments.check;
    let logs = Logs::start(&arguments.log, arguments.log_format.map(Format::from))?;
    let mut options = Options {
        home: arguments.home,
        config: arguments.config,
        listen: arguments.listen,
        workers: arguments.workers.map(usize::from),
        store: arguments.store.map(StoreKind::from),
        ephemeral: arguments.ephemeral,
        guarded_for: arguments.guarded_for,
        secret_variables: arguments.secret_variable,
        environment: Environment::default(),
        until_eof: arguments.until_eof,
        home_is_temporary: arguments.home_is_temporary,
        logs,
    };
    if check {
        return Ok(regauthd::daemon::check(&options)?);
    }
    take_environment(&mut options);
    run(options, InheritedSockets::take()?)
}

#[expect(
    unsafe_code,
    reason = "the environment can be changed safely only before threads start"
)]
fn take_environment(options: &mut Options) {
    let variables = regauthd::daemon::variables(options);
    // SAFETY: `main` has started no thread yet.
    options.environment = unsafe { Environment::take(variables) };
}

fn run(options: Options, inherited: InheritedSockets) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let until_eof = options.until_eof;
    let result = runtime.block_on(async {
        let daemon = Daemon::start(options, inherited).await?;
        if until_eof {
            let stop = daemon.stop();
            process::at_end_of_input(move || stop.cancel());
        }
        anyhow::Ok(daemon.run().await?)
    });
    // A call of a store may wait for a person; the process does not wait for it.
    runtime.shutdown_background();
    result
}

/// Allocator that zeroizes freed memory, so that no token stays in a buffer of a parser, a codec or a header map.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const SEE_ALSO: &str = "\
.SH FILES
.TP
.I ~/.config/regauth/config.toml
Registries and settings; see
.BR regauth-config (5).
.TP
.I ~/.local/state/regauth/
Bundle, vault, grants and audit record.
.SH ENVIRONMENT
.TP
.B http_proxy, https_proxy, all_proxy, no_proxy
The company's proxy, read as
.BR curl (1)
does, unless config.toml has one.
.TP
.B SSL_CERT_FILE
The roots that registries are verified with, instead of the system's.
.SH SEE ALSO
.BR regauthctl (1),
.BR regauth-config (5)
";

const EXAMPLES: &str = "\
Examples:
  regauthd                                  start with the default folders
  regauthd --listen 127.0.0.1:0             on a free port; `regauthctl status` shows it
  regauthd --home /tmp/try --store vault    all files below one folder
  regauthd --check                          would it start?
  regauthd --create-authority corp.example >corp.example.pem

Sockets from a service manager (systemd: FileDescriptorName=proxy and control; launchd: Proxy and Control) replace the
daemon's own and stay open during a restart.";
