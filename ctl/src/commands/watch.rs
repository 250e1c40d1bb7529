//! `regauthctl watch`.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind as IoErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use regauth_shared::event::Event;
use regauth_shared::response::Watching;
use regauth_shared::{ErrorBody, ErrorKind, Request, exit_code};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Client, Lines};
use crate::commands::event_text;
use crate::error;
use crate::event_flags::EventFlags;
use crate::output::{self, Report};

/// Follow requests, refusals and changes as they happen
///
/// One line for each: time (UTC), registry, program, method, status, duration, bytes and path. No line holds a token or a
/// query. Goes on when the daemon is restarted. A reader that is too slow loses lines, and is told how many.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    events: EventFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl watch
  regauthctl watch --registry corp --op write
  regauthctl watch --program curl --json
  regauthctl watch --refused";

/// Follows events until stdout is closed.
pub(crate) fn run(arguments: &Arguments, json: bool, client: &Client) -> Result<Report, ErrorBody> {
    let request = Request::Watch(arguments.events.to_watch());
    let mut lines = client.stream::<Watching>(&request)?;
    loop {
        if follow(&mut lines, json)? == End::Reader {
            return Ok(Report::silent(exit_code::DONE));
        }
        output::print_to_stderr("note: regauthd ended; waiting for the next one\n");
        let Some(next) = reconnect(client, &request)? else {
            return Ok(Report::silent(exit_code::DONE));
        };
        lines = next;
        output::print_to_stderr("note: regauthd is back\n");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The reader of our output has left.
    Reader,
    /// The daemon has ended.
    Daemon,
}

/// Prints events until the daemon or the reader ends. Lines that come together are written together.
fn follow(lines: &mut Lines, json: bool) -> Result<End, ErrorBody> {
    // Not `Stdout`, which writes each line at once.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let mut output = BufWriter::with_capacity(BATCH, File::from(stdout.map_err(error::io("cannot use stdout"))?));
    loop {
        if !lines.has_line() {
            if let Err(error) = output.flush() {
                return end_of_output(error);
            }
            if wait(Some(lines.as_fd()), None)? == Woken::ByReader {
                return Ok(End::Reader);
            }
        }
        let Some(line) = lines.next_line()? else {
            return Ok(End::Daemon);
        };
        let text = if json {
            line
        } else {
            // A newer daemon may send events that this release does not know.
            match serde_json::from_str::<Event>(&line) {
                Ok(event) => event_text::line(&event, width()),
                Err(_) => continue,
            }
        };
        if let Err(error) = output::write_line(&mut output, &text) {
            return end_of_output(error);
        }
    }
}

fn end_of_output(error: io::Error) -> Result<End, ErrorBody> {
    match error.kind() {
        IoErrorKind::BrokenPipe => Ok(End::Reader),
        _ => Err(error::io("cannot write to stdout")(error)),
    }
}

/// Connects to the next daemon, however long that takes; `None` if the reader leaves first.
fn reconnect(client: &Client, request: &Request) -> Result<Option<Lines>, ErrorBody> {
    loop {
        match client.stream::<Watching>(request) {
            Ok(lines) => return Ok(Some(lines)),
            Err(error) if error.kind != ErrorKind::Unreachable => return Err(error),
            Err(_) => {}
        }
        if wait(None, Some(RETRY_INTERVAL))? == Woken::ByReader {
            return Ok(None);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Input has come, or the time is over.
    ByInput,
    /// The reader of our output has left.
    ByReader,
}

/// Waits for input, for the end of our output's reader, or for a time.
fn wait(input: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> Result<Woken, ErrorBody> {
    let stdout = io::stdout();
    // A pipe without a reader reports an error, which needs no flag.
    let mut watched = vec![PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    watched.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(error::io("cannot wait for events")(errno.into())),
    }
    let has_left = watched
        .first()
        .is_some_and(|output| output.revents().intersects(PollFlags::ERR | PollFlags::NVAL));
    Ok(if has_left { Woken::ByReader } else { Woken::ByInput })
}

/// Columns of the terminal; [`WIDEST`] without one.
fn width() -> usize {
    output::width().map_or(WIDEST, usize::from).clamp(NARROWEST, WIDEST)
}

/// Bytes of lines that are written together.
const BATCH: usize = 64 * 1024;
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const NARROWEST: usize = 80;
const WIDEST: usize = 200;
