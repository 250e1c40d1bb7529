//! `cargo demo`: a private registry, cargo, and a token that cargo never holds; the whole story on loopback.
//!
//! This file sets the stage, lets the story be told, and clears up however it ends: told, failed, interrupted or
//! panicked. The story itself is `story.rs`; the rest of the files are its actors and props.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Stage;
use crate::telling::Telling;

mod story;

mod command;
mod daemon;
mod hunt;
mod places;
mod programs;
mod project;
mod registry;
mod stage;
mod telling;
mod tokens;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let telling = Telling::to_stdout();
    match perform(telling).await {
        Ok(code) => code,
        Err(error) => {
            // Where even the words fail (a closed pipe), the exit code is all there is left to say.
            let _ = telling.failure(&error, "");
            ExitCode::FAILURE
        }
    }
}

async fn perform(telling: Telling) -> anyhow::Result<ExitCode> {
    let interruption = interruption()?;
    let mut stage = Stage::set(telling)?;
    let folder = stage.folder().to_path_buf();
    let ending = tokio::select! {
        told = story::tell(&mut stage) => Ending::Told(told),
        code = interruption => Ending::Interrupted(code),
    };
    let log = stage.log_tail();
    drop(stage);
    let code = match ending {
        Ending::Told(Ok(())) => ExitCode::SUCCESS,
        Ending::Told(Err(error)) => {
            telling.failure(&error, &log)?;
            ExitCode::FAILURE
        }
        Ending::Interrupted(code) => {
            telling.paragraph("Interrupted.")?;
            ExitCode::from(code)
        }
    };
    anyhow::ensure!(!folder.exists(), "{} could not be removed", folder.display());
    telling.paragraph("Cleared up: every process has ended and the folder is gone.")?;
    Ok(code)
}

enum Ending {
    Told(anyhow::Result<()>),
    Interrupted(u8),
}

/// Ends at the first signal that asks for an end, with the exit code that shells expect of it. The handlers are in
/// place when this returns, before there is anything to clear up.
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
