//! Runs a program that prints a token: no shell, a clean environment, nothing on stdin, an end when its time is over.
//!
//! What it prints is read by [`output`]; the end of what it says on stderr is kept for a person, by way of [`redact`].

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use zeroize::Zeroizing;

use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::source::{output, redact};
use crate::registry::Command;

/// Runs it once and reads the token.
///
/// # Errors
/// [`FetchError`] when it cannot be started, fails, takes too long, or prints something else than a token.
pub(super) async fn run(command: &Command) -> Result<FetchedToken, FetchError> {
    let program = command.program();
    let child = prepared(command)
        .spawn()
        .map_err(|error| FetchError::new(format!("cannot start `{program}`: {error}")))?;
    let mut said = Said::default();
    let ended = tokio::time::timeout(command.timeout, Running::new(child).finish(&mut said)).await;
    let failed = |message| failure(message, &said);
    match ended {
        Err(_) => {
            let limit = humantime::format_duration(command.timeout);
            Err(failed(format!("`{program}` did not end within {limit} and was killed")))
        }
        Ok(Err(error)) => Err(failed(format!("`{program}` was lost: {error}"))),
        Ok(Ok(status)) if !status.success() => Err(failed(format!("`{program}` failed: {status}"))),
        Ok(Ok(_)) if said.stdout.len() >= MOST_PRINTED => {
            Err(failed(format!("`{program}` printed more than {MOST_PRINTED} bytes")))
        }
        Ok(Ok(_)) => output::read(&said.stdout, &command.output, command.ttl)
            .map_err(|reason| failed(format!("what `{program}` printed is of no use: {reason}"))),
    }
}

fn failure(message: String, said: &Said) -> FetchError {
    let output = redact::tail(&said.stderr, &said.stdout, MOST_KEPT);
    FetchError {
        message,
        output: (!output.is_empty()).then_some(output),
    }
}

fn prepared(command: &Command) -> tokio::process::Command {
    let mut words = command.command.iter();
    let mut prepared = tokio::process::Command::new(words.next().map_or("", String::as_str));
    let passed = PASSED
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
struct Said {
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
}

/// A program under way; whatever ends the wait for it ends it and all that it has started.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Self { child, group }
    }

    async fn finish(mut self, said: &mut Said) -> std::io::Result<ExitStatus> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let reading = async {
            tokio::join!(
                read(stdout, &mut said.stdout, Keep::First),
                read(stderr, &mut said.stderr, Keep::Last)
            );
        };
        let mut reading = std::pin::pin!(reading);
        let status = tokio::select! {
            () = reading.as_mut() => self.child.wait().await,
            status = self.child.wait() => {
                // A helper that it left behind may keep the pipes open for ever.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
        };
        // What it left behind on purpose may live on: gcloud and op have such helpers.
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

/// Reads to the end, so that the program is never stuck, and keeps a part.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Zeroizing<Vec<u8>>, keep: Keep) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = Zeroizing::new([0; 4096]);
    // Room from the start: a buffer that grows leaves copies behind.
    kept.reserve_exact(MOST_PRINTED + chunk.len());
    while let Ok(length @ 1..) = pipe.read(chunk.as_mut()).await {
        let fresh = chunk.get(..length).unwrap_or_default();
        match keep {
            Keep::First => {
                let room = MOST_PRINTED.saturating_sub(kept.len());
                kept.extend(fresh.iter().take(room));
            }
            Keep::Last => {
                kept.extend_from_slice(fresh);
                let surplus = kept.len().saturating_sub(MOST_PRINTED);
                kept.drain(..surplus);
            }
        }
    }
}

/// What a program gets of our environment besides what the configuration names: where it finds itself and its settings,
/// how it speaks, and the way out of a company's network.
const PASSED: [&str; 24] = [
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

const MOST_PRINTED: usize = 64 * 1024;
const MOST_KEPT: usize = 2 * 1024;
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    async fn what_goes_wrong_is_said_without_what_was_printed() {
        for (script, message) in [
            ("echo canary-1; echo canary-2", "several lines"),
            ("exit 0", "the token is empty"),
            ("echo canary; exit 3", "`sh` failed: exit status: 3"),
            ("kill -9 $$", "`sh` failed: signal: 9"),
            ("head -c 100000 /dev/zero", "more than 65536 bytes"),
            ("printf 'canary\\377'", "not text"),
        ] {
            let failure = fails(script).await;
            assert!(failure.message.contains(message), "{script}: {failure:?}");
            assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        }
        let missing = Command {
            command: vec!["/nowhere/aws".to_owned(), "canary".to_owned()],
            ..shell("")
        };
        let failure = run(&missing).await.unwrap_err();
        assert!(
            failure.message.starts_with("cannot start `/nowhere/aws`: "),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn the_end_of_stderr_is_kept_and_what_was_printed_is_cut_out_of_it() {
        let failure = fails("seq 10000 >&2; echo s3cret; echo 'oh no: s3cret is over' >&2; exit 1").await;
        let output = failure.output.unwrap();
        assert!(output.ends_with("9999\n10000\noh no: … is over"), "{output}");
        assert!(output.len() <= 2048);
    }

    #[tokio::test]
    async fn its_time_ends_it_and_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
        let hanging = Command {
            timeout: Duration::from_millis(500),
            ..shell(&script)
        };
        let begin = Instant::now();
        let failure = run(&hanging).await.unwrap_err();
        assert!(failure.message.contains("did not end within 500ms"), "{failure:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
        for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            while !state().is_empty() && !state().contains(") Z ") {
                assert!(begin.elapsed() < Duration::from_secs(10), "{pid} lives: {}", state());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_helper_that_keeps_the_pipe_open_does_not_hold_it_up() {
        let begin = Instant::now();
        assert_eq!(run(&shell("sleep 30 & echo tok")).await.unwrap().secret.expose(), "tok");
        assert!(begin.elapsed() < Duration::from_secs(8));
    }

    #[tokio::test]
    async fn its_environment_is_clean_but_for_what_is_named() {
        // Cargo sets these for every test.
        let named = Command {
            environment: vec!["CARGO_PKG_NAME".to_owned(), "NOT_SET_ANYWHERE".to_owned()],
            ..shell("echo ${CARGO_PKG_NAME-unset}:${CARGO_PKG_VERSION-unset}:${PATH:+path}:$PWD")
        };
        assert_eq!(run(&named).await.unwrap().secret.expose(), "regauthd:unset:path:/");
    }
}
