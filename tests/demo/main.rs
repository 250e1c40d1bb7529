//! `cargo demo`: cargo builds from a private registry without holding the token, on loopback, in one command.
//!
//! This file creates the sandbox, runs the walkthrough and removes the sandbox after success, failure, a signal or a
//! panic. Next in the walk: `walkthrough.rs`, the eight steps. The other files are the fixtures that the steps use.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

mod walkthrough;

mod command;
mod daemon;
mod leak_report;
mod leak_scan;
mod programs;
mod project;
mod registry;
mod request_checks;
mod sandbox;
mod terminal;
mod tokens;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let terminal = Terminal::stdout();
    match run(terminal).await {
        Ok(code) => code,
        Err(error) => {
            // Printing fails when stdout is a closed pipe. The exit code still reports the failure.
            let _ = terminal.failure(&error, "");
            ExitCode::FAILURE
        }
    }
}

async fn run(terminal: Terminal) -> anyhow::Result<ExitCode> {
    let interruption = interruption()?;
    let mut sandbox = Sandbox::create(terminal)?;
    let folder = sandbox.folder().to_path_buf();
    let outcome = tokio::select! {
        result = walkthrough::run(&mut sandbox) => Outcome::Finished(result),
        code = interruption => Outcome::Interrupted(code),
    };
    let log = sandbox.log_tail();
    drop(sandbox);
    let code = match outcome {
        Outcome::Finished(Ok(())) => ExitCode::SUCCESS,
        Outcome::Finished(Err(error)) => {
            terminal.failure(&error, &log)?;
            ExitCode::FAILURE
        }
        Outcome::Interrupted(code) => {
            terminal.paragraph("Interrupted.")?;
            ExitCode::from(code)
        }
    };
    anyhow::ensure!(!folder.exists(), "cannot remove {}", folder.display());
    terminal.paragraph("Cleaned up: every process has exited and the temporary folder is removed.")?;
    Ok(code)
}

enum Outcome {
    Finished(anyhow::Result<()>),
    Interrupted(u8),
}

/// Resolves at SIGINT, SIGTERM or SIGHUP with the exit code that shells use for it (128 + signal number).
///
/// The handlers are installed before this function returns, so before there is anything to clean up.
fn interruption() -> std::io::Result<impl Future<Output = u8>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let number = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        128 + u8::try_from(number.as_raw_value()).unwrap_or(0)
    })
}
