//! `regauthd`: arguments, process hygiene, logs, runtime, daemon, exit code; nothing else.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use regauthd::config::listen_address;
use regauthd::credential::source::environment::Environment;
use regauthd::credential::store::StoreKind;
use regauthd::credential::store::vault::new_identity;
use regauthd::inherited_sockets::InheritedSockets;
use regauthd::logs::{Format, Logs};
use regauthd::{Daemon, Options, process};

/// Attaches registry credentials to the requests of cargo, git and other build tools, for the registries you configured
/// and for nothing else.
///
/// Runs in the foreground, as systemd and launchd want it. `regauthctl` adds registries and rotates tokens while it runs.
#[derive(Debug, Parser)]
#[command(name = "regauthd", version, after_help = EXAMPLES)]
struct Arguments {
    /// Keep all files below this folder
    #[arg(long, value_name = "DIR", env = "REGAUTH_HOME")]
    home: Option<PathBuf>,
    /// Read this file instead of config.toml in the configuration folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of where config.toml says; port 0 picks a free one. A socket that a service manager passes
    /// goes before both
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Threads that carry connections [default: half the cores, at most 8]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// What keeps the secrets, where config.toml does not record it yet
    #[arg(long, value_name = "KIND")]
    store: Option<Store>,
    /// Keep nothing: secrets in memory, no configuration written
    #[arg(long)]
    ephemeral: bool,
    /// How much is logged: error, warn, info, debug or trace; `regauthctl log` changes it later
    #[arg(
        long,
        value_name = "LEVEL",
        env = "REGAUTH_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    log: String,
    /// Log to standard error in this form [default: to the journal under systemd, else text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<LogFormat>,
    /// End when standard input ends, and remove --home: a daemon that cannot outlive what started it
    #[arg(long, requires_all = ["ephemeral", "home"])]
    until_eof: bool,
    /// Print a new key for a vault and do nothing else: for `systemd-creds encrypt --name=vault-identity`
    #[arg(long)]
    new_vault_identity: bool,
    /// Print the manual page: for packagers
    #[arg(long, hide = true)]
    man_page: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    /// Secret Service on Linux, Keychain on macOS
    Keychain,
    /// An encrypted file
    Vault,
    /// Gone when the daemon ends
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One object a line
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
    let throw_away = arguments.home.clone().filter(|_| arguments.until_eof);
    process::harden();
    if arguments.new_vault_identity {
        return print(new_identity().as_bytes());
    }
    if arguments.man_page {
        return print(&man_page());
    }
    let served = serve(arguments);
    if let Some(home) = throw_away {
        let _ = std::fs::remove_dir_all(home);
    }
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not a matter of log levels: whoever started it has to know.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn man_page() -> Vec<u8> {
    let mut page = Vec::new();
    // Nothing can go wrong while writing to memory.
    let _ = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    page
}

fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let logs = Logs::start(&arguments.log, arguments.log_format.map(Format::from))?;
    let mut options = Options {
        home: arguments.home,
        config: arguments.config,
        listen: arguments.listen,
        workers: arguments.workers.map(usize::from),
        store: arguments.store.map(StoreKind::from),
        ephemeral: arguments.ephemeral,
        environment: Environment::default(),
        until_eof: arguments.until_eof,
        logs,
    };
    take_environment(&mut options);
    run(options, InheritedSockets::take()?)
}

#[expect(unsafe_code, reason = "the environment can be changed safely here and nowhere later")]
fn take_environment(options: &mut Options) {
    let variables = regauthd::daemon::variables(options);
    // SAFETY: `main` has started no thread yet.
    options.environment = unsafe { Environment::take(variables) };
}

fn run(options: Options, passed: InheritedSockets) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let until_eof = options.until_eof;
    let served = runtime.block_on(async {
        let daemon = Daemon::start(options, passed).await?;
        if until_eof {
            let stop = daemon.stop();
            process::at_end_of_input(move || stop.cancel());
        }
        anyhow::Ok(daemon.run().await?)
    });
    // A store that waits for a person must not keep the process.
    runtime.shutdown_background();
    served
}

/// Freed memory is wiped: a token leaves no copy behind in a buffer of a parser, a codec or a header map.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const EXAMPLES: &str = "\
Examples:
  regauthd                                  start with the usual folders
  regauthd --listen 127.0.0.1:0             on a free port; `regauthctl status` tells which
  regauthd --home /tmp/try --store vault    all files below one folder

Sockets that a service manager passes (systemd: FileDescriptorName=proxy and control; launchd: Proxy and Control) are
used instead of our own, and survive a restart.";
