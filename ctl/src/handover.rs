//! Keeps tokens out of our own environment. `/proc/PID/environ` shows what a process was started with, to root and to
//! whoever may trace it, for as long as it runs; so we start ourselves anew without the variables that hold tokens, and
//! hand the tokens over in a pipe.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use regauth_shared::{ErrorBody, Secret};
use rustix::io::FdFlags;
use secrecy::zeroize::Zeroizing;

use crate::error;

/// The tokens of these variables, in this order; none of them is in our environment when this returns. Until it
/// returns, this may be the second time that the program runs.
///
/// # Errors
/// A variable is not set, or is not a token; the program cannot be started again.
pub(crate) fn tokens(variables: &[OsString]) -> Result<Vec<Secret>, ErrorBody> {
    if variables.is_empty() {
        return Ok(Vec::new());
    }
    match std::env::var_os(MARK) {
        Some(number) => received(&number, variables.len()),
        None => Err(start_anew(variables)?),
    }
}

/// The variable that must not reach the command.
pub(crate) fn mark() -> OsString {
    MARK.into()
}

fn start_anew(variables: &[OsString]) -> Result<ErrorBody, ErrorBody> {
    let mut lines = Zeroizing::new(String::with_capacity(MOST));
    for variable in variables {
        lines.push_str(token(variable)?.expose());
        lines.push('\n');
    }
    if lines.len() > MOST {
        return Err(error::usage("the tokens are too long to be handed over"));
    }
    let cannot = || error::io("cannot hand the tokens over");
    let (reader, mut writer) = std::io::pipe().map_err(cannot())?;
    writer.write_all(lines.as_bytes()).map_err(cannot())?;
    drop(writer);
    rustix::io::fcntl_setfd(&reader, FdFlags::empty()).map_err(|errno| cannot()(errno.into()))?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe().map_err(cannot())?);
    again.arg0(arguments.next().unwrap_or_else(|| "regauthctl".into()));
    again.args(arguments).env(MARK, reader.as_raw_fd().to_string());
    for variable in variables {
        again.env_remove(variable);
    }
    Ok(cannot()(again.exec()))
}

fn token(variable: &OsString) -> Result<Secret, ErrorBody> {
    // The name is not repeated: whoever writes `--token-env "$TOKEN"` has given the token for a name.
    let value = std::env::var_os(variable).ok_or_else(|| {
        error::usage("an environment variable that --token-env names is not set")
            .hint("give the variable's name, not its value, and export it: --token-env CORP_TOKEN")
    })?;
    let text = value.into_string().map(Zeroizing::new);
    let text = text.map_err(|_| error::usage("what an environment variable of --token-env holds is not text"))?;
    Secret::parse(&text).map_err(|invalid| error::usage(invalid.to_string()))
}

fn received(number: &OsString, expected: usize) -> Result<Vec<Secret>, ErrorBody> {
    let amiss = || error::failed("the tokens did not arrive");
    let number: RawFd = number
        .to_str()
        .and_then(|number| number.parse().ok())
        .ok_or_else(amiss)?;
    if number <= 2 {
        return Err(amiss());
    }
    #[expect(unsafe_code, reason = "no safe call takes over a descriptor that was inherited")]
    // SAFETY: this is the pipe that `start_anew` left open across exec, and at this point nothing else owns it.
    let pipe = unsafe { OwnedFd::from_raw_fd(number) };
    let mut lines = Zeroizing::new(String::with_capacity(MOST));
    let bounded = File::from(pipe).take(MOST as u64).read_to_string(&mut lines);
    bounded.map_err(|_| amiss())?;
    let tokens = lines.lines().map(Secret::parse);
    let tokens: Vec<Secret> = tokens.collect::<Result<_, _>>().map_err(|_| amiss())?;
    if tokens.len() == expected {
        Ok(tokens)
    } else {
        Err(amiss())
    }
}

const MARK: &str = "REGAUTH_HANDOVER";
/// A pipe takes this much before anybody reads, on Linux; half of it on an old macOS.
const MOST: usize = 32 * 1024;
