//! The loop: keys, polls and signals change the model, and each change is drawn.

use std::fs::File;
use std::io;
use std::io::IsTerminal;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use regauth_shared::{ErrorBody, exit_code};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use time::OffsetDateTime;

use super::keys::{self, Effect};
use super::model::Model;
use super::poller::Poller;
use super::screen::Screen;
use super::view::{self, Theme};
use crate::client::Client;
use crate::error;
use crate::output::Report;

/// Shows the view until a key or a signal ends it.
///
/// # Errors
/// Standard output is no terminal, or the terminal cannot be used.
pub(crate) fn run(client: &Client, interval: Duration) -> Result<Report, ErrorBody> {
    if !io::stdout().is_terminal() {
        return Err(error::usage("top draws on a terminal, and the output is none")
            .hint("print one frame: regauthctl top --once; one JSON object: regauthctl top --json"));
    }
    let signals = Signals::catch().map_err(error::io("cannot handle signals"))?;
    let poller = Poller::start(client.clone(), interval)?;
    let keyboard = keyboard().map_err(error::io("cannot read keys from the terminal"))?;
    let screen = Screen::open().map_err(error::io("cannot use the terminal"))?;
    let ended = Top {
        model: Model::default(),
        theme: Theme::from_environment(),
        poller,
        screen,
        keyboard,
    }
    .run(&signals);
    signals.end_as_usual();
    match ended {
        // The terminal was closed.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Report::silent(exit_code::DONE)),
        Err(error) => Err(error::io("cannot draw on the terminal")(error)),
        Ok(()) => Ok(Report::silent(exit_code::DONE)),
    }
}

/// Standard input, or the terminal itself if standard input is none.
fn keyboard() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        stdin.as_fd().try_clone_to_owned()
    } else {
        File::open("/dev/tty").map(OwnedFd::from)
    }
}

struct Top {
    model: Model,
    theme: Theme,
    poller: Poller,
    screen: Screen,
    /// Terminal that keys come from, as crossterm chooses it.
    keyboard: OwnedFd,
}

impl Top {
    /// Runs until the end. Drops the screen, which gives the terminal back.
    fn run(mut self, signals: &Signals) -> io::Result<()> {
        let mut drawn = None::<Instant>;
        while !signals.caught() {
            let mut is_changed = drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW_INTERVAL);
            for poll in self.poller.polls() {
                self.model.take(poll);
                is_changed = true;
            }
            self.wait_for_input(if is_changed { Duration::ZERO } else { INPUT_TIMEOUT })?;
            if event::poll(Duration::ZERO)? {
                match self.handle(&event::read()?) {
                    Effect::Draw => {}
                    Effect::Clear => self.screen.clear()?,
                    Effect::Quit => return Ok(()),
                }
                is_changed = true;
            }
            if is_changed {
                self.draw()?;
                drawn = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Waits for a key, at most for `time`. crossterm would read from a closed terminal for ever.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when the terminal was closed.
    fn wait_for_input(&self, time: Duration) -> io::Result<()> {
        let mut keyboard = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match rustix::event::poll(&mut keyboard, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let closed = PollFlags::HUP | PollFlags::ERR;
        if keyboard.iter().any(|keyboard| keyboard.revents().intersects(closed)) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn handle(&mut self, event: &Event) -> Effect {
        let Event::Key(key) = event else {
            // A resized terminal has another size at the next frame.
            return Effect::Draw;
        };
        if key.kind == KeyEventKind::Release {
            return Effect::Draw;
        }
        let effect = keys::press(&mut self.model, *key);
        self.poller.ask_for(self.model.query());
        effect
    }

    fn draw(&mut self) -> io::Result<()> {
        let (model, theme) = (&self.model, &self.theme);
        let now = OffsetDateTime::now_utc();
        self.screen.draw(|frame| view::draw(frame, model, theme, now))
    }
}

/// Signals that end `top`, after it has given the terminal back.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn catch() -> io::Result<Self> {
        let caught = Arc::new(AtomicUsize::new(0));
        for (number, signal) in ENDING.into_iter().enumerate() {
            signal_hook::flag::register_usize(signal, Arc::clone(&caught), number + 1)?;
        }
        Ok(Self(caught))
    }

    fn caught(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Ends the process by the caught signal, as a shell expects; returns if there was none.
    fn end_as_usual(&self) {
        let number = self.0.load(Ordering::Relaxed);
        if let Some(signal) = number.checked_sub(1).and_then(|index| ENDING.get(index)) {
            let _ = signal_hook::low_level::emulate_default_handler(*signal);
        }
    }
}

const ENDING: [i32; 3] = [SIGTERM, SIGINT, SIGHUP];
/// Longest wait for a key, before polls and signals are looked at.
const INPUT_TIMEOUT: Duration = Duration::from_millis(100);
/// Time between two frames without a change: countdowns show seconds.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);
