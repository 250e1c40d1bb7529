//! Runs a program that prints a token: no shell, a clean environment, empty stdin, a timeout.
//!
//! [`output`] reads its stdout. The end of its stderr becomes part of the error, after [`redact`] has cut secrets out.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use zeroize::Zeroizing;

use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::source::{output, redact};
use crate::registry::Command;

/// Runs the program once and reads the token.
///
/// # Errors
/// [`FetchError`] if it cannot be started, fails, takes too long, or prints something other than a token.
pub(super) async fn run(command: &Command) -> Result<FetchedToken, FetchError> {
    let printed = print(command).await?;
    output::read(&printed.stdout, &command.output, command.ttl).map_err(|reason| {
        let program = command.program();
        error(format!("the output of `{program}` has no token: {reason}"), &printed)
    })
}

/// Runs the program once and reads a JSON document from its stdout.
///
/// # Errors
/// As [`run`]; the message repeats nothing of the document.
pub(super) async fn read_json<T: DeserializeOwned>(command: &Command) -> Result<T, FetchError> {
    let printed = print(command).await?;
    serde_json::from_slice(&printed.stdout).map_err(|_| {
        let program = command.program();
        error(format!("the output of `{program}` is not the expected JSON"), &printed)
    })
}

async fn print(command: &Command) -> Result<Printed, FetchError> {
    let program = command.program();
    let child = prepared(command)
        .spawn()
        .map_err(|error| FetchError::new(format!("cannot start `{program}`: {error}")))?;
    let mut printed = Printed::default();
    let ended = tokio::time::timeout(command.timeout, Running::new(child).finish(&mut printed)).await;
    let failed = |message| error(message, &printed);
    match ended {
        Err(_) => {
            let limit = humantime::format_duration(command.timeout);
            Err(failed(format!("`{program}` did not end within {limit} and was killed")))
        }
        Ok(Err(error)) => Err(failed(format!("`{program}` was lost: {error}"))),
        Ok(Ok(status)) if !status.success() => Err(failed(format!("`{program}` failed: {status}"))),
        Ok(Ok(_)) if printed.stdout.len() >= MAX_PRINTED => {
            Err(failed(format!("`{program}` printed more than {MAX_PRINTED} bytes")))
        }
        Ok(Ok(_)) => Ok(printed),
    }
}

fn error(message: String, printed: &Printed) -> FetchError {
    let output = redact::tail(&printed.stderr, &printed.stdout, MAX_KEPT);
    FetchError {
        output: (!output.is_empty()).then_some(output),
        ..FetchError::new(message)
    }
}

fn prepared(command: &Command) -> tokio::process::Command {
    let mut words = command.command.iter();
    let mut prepared = tokio::process::Command::new(words.next().map_or("", String::as_str));
    let passed = PASSED_VARIABLES
        .iter()
        .copied()
        .chain(command.environment.iter().map(String::as_str));
    prepared
        .args(words)
        .env_clear()
        .envs(passed.filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    prepared
}

#[derive(Default)]
struct Printed {
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
}

/// A running program. Its drop kills the program and all that it has started.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Self { child, group }
    }

    async fn finish(mut self, printed: &mut Printed) -> std::io::Result<ExitStatus> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let reading = async {
            tokio::join!(
                read(stdout, &mut printed.stdout, Keep::First),
                read(stderr, &mut printed.stderr, Keep::Last)
            );
        };
        let mut reading = std::pin::pin!(reading);
        let status = tokio::select! {
            () = reading.as_mut() => self.child.wait().await,
            status = self.child.wait() => {
                // A helper that it left behind may keep the pipes open forever.
                let _ = tokio::time::timeout(PIPE_DRAIN_TIMEOUT, reading).await;
                status
            }
        };
        // gcloud and op leave helpers behind on purpose; these live on.
        self.group = None;
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

enum Keep {
    First,
    Last,
}

/// Reads to the end, so that the program never blocks, and keeps a part.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Zeroizing<Vec<u8>>, keep: Keep) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = Zeroizing::new([0; 4096]);
    // Reserved at the start: a buffer that grows leaves copies behind.
    kept.reserve_exact(MAX_PRINTED + chunk.len());
    while let Ok(length @ 1..) = pipe.read(chunk.as_mut()).await {
        let fresh = chunk.get(..length).unwrap_or_default();
        match keep {
            Keep::First => {
                let room = MAX_PRINTED.saturating_sub(kept.len());
                kept.extend(fresh.iter().take(room));
            }
            Keep::Last => {
                kept.extend_from_slice(fresh);
                let surplus = kept.len().saturating_sub(MAX_PRINTED);
                kept.drain(..surplus);
            }
        }
    }
}

/// Variables of the daemon's environment that every program gets: paths and settings, language, and the proxy of a
/// company's network.
const PASSED_VARIABLES: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
];

const MAX_PRINTED: usize = 64 * 1024;
const MAX_KEPT: usize = 2 * 1024;
const PIPE_DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::registry::Output;

    fn shell(script: &str) -> Command {
        Command {
            command: ["sh", "-c", script].map(str::to_owned).into(),
            output: Output::Raw,
            ttl: None,
            timeout: Duration::from_secs(10),
            environment: Vec::new(),
            preset: None,
        }
    }

    async fn fails(script: &str) -> FetchError {
        run(&shell(script)).await.unwrap_err()
    }

    #[tokio::test]
    async fn one_line_is_the_token() {
        assert_eq!(run(&shell("echo tok-1")).await.unwrap().secret.expose(), "tok-1");
        assert_eq!(run(&shell("printf tok-2")).await.unwrap().secret.expose(), "tok-2");
    }

    #[tokio::test]
    async fn an_error_does_not_repeat_the_output() {
        for (script, message) in [
            ("echo canary-1; echo canary-2", "several lines"),
            ("exit 0", "the token is empty"),
            ("echo canary; exit 3", "`sh` failed: exit status: 3"),
            ("kill -9 $$", "`sh` failed: signal: 9"),
            ("head -c 100000 /dev/zero", "more than 65536 bytes"),
            ("printf 'canary\\377'", "not text"),
        ] {
            let error = fails(script).await;
            assert!(error.message.contains(message), "{script}: {error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        let missing = Command {
            command: vec!["/nowhere/aws".to_owned(), "canary".to_owned()],
            ..shell("")
        };
        let error = run(&missing).await.unwrap_err();
        assert!(error.message.starts_with("cannot start `/nowhere/aws`: "), "{error:?}");
    }

    #[tokio::test]
    async fn keeps_the_end_of_stderr_and_cuts_the_output_out_of_it() {
        let error = fails("seq 10000 >&2; echo s3cret; echo 'oh no: s3cret is over' >&2; exit 1").await;
        let output = error.output.unwrap();
        assert!(output.ends_with("9999\n10000\noh no: … is over"), "{output}");
        assert!(output.len() <= 2048);
    }

    #[tokio::test]
    async fn a_timeout_kills_the_program_and_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
        let hanging = Command {
            timeout: Duration::from_millis(500),
            ..shell(&script)
        };
        let begin = Instant::now();
        let error = run(&hanging).await.unwrap_err();
        assert!(error.message.contains("did not end within 500ms"), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
        for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            while !state().is_empty() && !state().contains(") Z ") {
                assert!(begin.elapsed() < Duration::from_secs(10), "{pid} is alive: {}", state());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_helper_that_keeps_the_pipe_open_delays_nothing() {
        let begin = Instant::now();
        assert_eq!(run(&shell("sleep 30 & echo tok")).await.unwrap().secret.expose(), "tok");
        assert!(begin.elapsed() < Duration::from_secs(8));
    }

    #[tokio::test]
    async fn passes_only_named_variables() {
        // Cargo sets these for every test.
        let named = Command {
            environment: vec!["CARGO_PKG_NAME".to_owned(), "NOT_SET_ANYWHERE".to_owned()],
            ..shell("echo ${CARGO_PKG_NAME-unset}:${CARGO_PKG_VERSION-unset}:${PATH:+path}:$PWD")
        };
        assert_eq!(run(&named).await.unwrap().secret.expose(), "regauthd:unset:path:/");
    }
}
