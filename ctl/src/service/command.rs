//! Commands that a plan runs, with errors that quote the command and its stderr.

use std::io;
use std::process::{Command, Output, Stdio};

use regauth_shared::ErrorBody;

use crate::error;

/// Runs a command and returns its stdout.
///
/// # Errors
/// The command is missing or fails; the error quotes its stderr.
pub(super) fn output_of(command: &[&str]) -> Result<String, ErrorBody> {
    let command = to_words(command);
    let output = check(&command, to_command(&command).output())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command.
///
/// # Errors
/// As [`output_of`].
pub(super) fn run(command: &[String]) -> Result<(), ErrorBody> {
    check(command, to_command(command).output()).map(drop)
}

/// Runs `producer | consumer` without a shell. The secret in the pipe is visible to no other process.
///
/// # Errors
/// One of the commands is missing or fails.
pub(super) fn pipe(producer: &[String], consumer: &[String]) -> Result<(), ErrorBody> {
    let started = to_command(producer)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = started.map_err(|error| cannot_run(producer, &error))?;
    let stdin = child.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let consumed = to_command(consumer).stdin(stdin).output();
    let status = child.wait().map_err(|error| cannot_run(producer, &error))?;
    check(consumer, consumed)?;
    if status.success() {
        return Ok(());
    }
    Err(error::failed(format!("`{}` failed: {status}", producer.join(" "))))
}

/// Copies the words of a command.
pub(super) fn to_words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn check(command: &[String], output: io::Result<Output>) -> Result<Output, ErrorBody> {
    let output = output.map_err(|error| cannot_run(command, &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let why = match stderr.trim() {
        "" => output.status.to_string(),
        stderr => stderr.to_owned(),
    };
    Err(error::failed(format!("`{}` failed: {why}", command.join(" "))))
}

fn cannot_run(command: &[String], error: &io::Error) -> ErrorBody {
    let program = command.first().map_or("", String::as_str);
    error::failed(format!("cannot run {program}: {error}"))
}

fn to_command(words: &[String]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).stdin(Stdio::null());
    command
}
