//! Removes secrets from this process's environment by executing itself again.
//!
//! `/proc/PID/environ` shows the initial environment of a process to root and to the user's debuggers, as long as the
//! process runs; unsetting a variable does not change it. So the program executes itself without the variables that
//! hold secrets, and passes the secrets through a pipe.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use regauth_shared::{ErrorBody, Secret};
use rustix::io::FdFlags;
use secrecy::zeroize::Zeroizing;

use crate::error;

/// Returns the secrets in the environment variables `required`, and in those of `optional` that are set, by variable, from
/// a process whose environment has none of them. The first call does not return: it executes the program again, and the
/// call in the new process returns.
///
/// # Errors
/// A variable is not set or holds no secret, or the program cannot be executed again.
pub(crate) fn take_secrets(required: &[String], optional: &[String]) -> Result<BTreeMap<String, Secret>, ErrorBody> {
    if let Some(descriptor) = std::env::var_os(PIPE_VARIABLE) {
        return receive_secrets(&descriptor, required);
    }
    let is_set = |name: &&String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let variables: Vec<&String> = required.iter().chain(optional.iter().filter(is_set)).collect();
    if variables.is_empty() {
        return Ok(BTreeMap::new());
    }
    Err(execute_again(&variables)?)
}

/// Environment variable with the pipe's descriptor. Child processes must not inherit it.
pub(crate) fn pipe_variable() -> OsString {
    PIPE_VARIABLE.into()
}

/// Executes the program again. Returns only if that fails, with the error of `execve`.
fn execute_again(variables: &[&String]) -> Result<ErrorBody, ErrorBody> {
    let lines = secret_lines(variables)?;
    let io_error = || error::io("cannot pass the secrets to a new regauthctl process");
    let (reader, mut writer) = std::io::pipe().map_err(io_error())?;
    writer.write_all(lines.as_bytes()).map_err(io_error())?;
    drop(writer);
    // Without close-on-exec, the new process inherits the reader.
    rustix::io::fcntl_setfd(&reader, FdFlags::empty()).map_err(|errno| io_error()(errno.into()))?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe().map_err(io_error())?);
    command.arg0(arguments.next().unwrap_or_else(|| "regauthctl".into()));
    command
        .args(arguments)
        .env(PIPE_VARIABLE, reader.as_raw_fd().to_string());
    for variable in variables {
        command.env_remove(variable);
    }
    Ok(io_error()(command.exec()))
}

/// Reads the secrets from their variables, `NAME=SECRET` a line. The buffer never grows, so no copy of a secret stays
/// behind.
fn secret_lines(variables: &[&String]) -> Result<Zeroizing<String>, ErrorBody> {
    let mut lines = Zeroizing::new(String::with_capacity(PIPE_CAPACITY));
    for variable in variables {
        let secret = secret_in(OsStr::new(variable))?;
        if lines.len() + variable.len() + secret.expose().len() + 2 > PIPE_CAPACITY {
            return Err(error::usage(format!(
                "the secrets in the environment variables are longer than {PIPE_CAPACITY} bytes together"
            )));
        }
        for part in [variable, "=", secret.expose(), "\n"] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}

fn secret_in(variable: &OsStr) -> Result<Secret, ErrorBody> {
    // The error does not repeat the name: with `--token-env "$TOKEN"` it would be the token.
    let value = std::env::var_os(variable).ok_or_else(|| {
        error::usage("an environment variable that --token-env names is not set")
            .hint("give the name of the variable, not its value, and export it: --token-env CORP_TOKEN")
    })?;
    let text = value.into_string().map(Zeroizing::new);
    let text = text.map_err(|_| error::usage("an environment variable that --token-env names is not UTF-8"))?;
    // A private key in PEM has several lines, and a secret has one.
    let is_key = text.starts_with("-----BEGIN ");
    let line = is_key.then(|| Zeroizing::new(text.trim().replace(['\r', '\n'], " ")));
    Secret::parse(line.as_ref().unwrap_or(&text)).map_err(|invalid| error::usage(invalid.to_string()))
}

fn receive_secrets(descriptor: &OsStr, required: &[String]) -> Result<BTreeMap<String, Secret>, ErrorBody> {
    let invalid = || {
        error::failed(format!("the pipe in {PIPE_VARIABLE} does not have the secrets"))
            .hint(format!("unset {PIPE_VARIABLE} and try again"))
    };
    let descriptor: RawFd = descriptor
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(invalid)?;
    if descriptor <= 2 {
        return Err(invalid());
    }
    #[expect(unsafe_code, reason = "no safe function takes over an inherited descriptor")]
    // SAFETY: this is the pipe that `execute_again` left open across exec, and nothing else owns it at this point.
    let pipe = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut lines = Zeroizing::new(String::with_capacity(PIPE_CAPACITY));
    let read = File::from(pipe).take(PIPE_CAPACITY as u64).read_to_string(&mut lines);
    read.map_err(|_| invalid())?;
    let mut secrets = BTreeMap::new();
    for line in lines.lines() {
        let (name, secret) = line.split_once('=').ok_or_else(invalid)?;
        secrets.insert(name.to_owned(), Secret::parse(secret).map_err(|_| invalid())?);
    }
    if required.iter().all(|name| secrets.contains_key(name)) {
        Ok(secrets)
    } else {
        Err(invalid())
    }
}

/// Set only between the two executions.
const PIPE_VARIABLE: &str = "REGAUTH_HANDOVER";
/// A pipe on Linux takes this many bytes before anybody reads; one on an old macOS takes half of them.
const PIPE_CAPACITY: usize = 32 * 1024;
