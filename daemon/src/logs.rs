//! Logging: destination, format and level. The level can change at run time.
//!
//! If standard error is connected to the systemd journal (systemd.exec(5), JOURNAL_STREAM), log lines go to the journal
//! with their fields. Otherwise they go to standard error as text or JSON. No log line holds a secret at any level: the
//! types of secrets redact themselves.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// Format of log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Handle of the log level.
#[derive(Clone, Debug, Default)]
pub struct Logs(Option<Handle<Targets, Registry>>);

impl Logs {
    /// Starts logging. `filter` is a level, or levels by target (`info,h2=debug`). Without a format, log lines go to
    /// the systemd journal if there is one.
    ///
    /// # Errors
    /// A filter that cannot be parsed.
    pub fn start(filter: &str, format: Option<Format>) -> Result<Self, ParseError> {
        let (filter, handle) = reload::Layer::new(filter.parse::<Targets>()?);
        let lines = match journal().filter(|_| format.is_none()) {
            Some(journal) => journal,
            None => lines(format.unwrap_or(Format::Text)),
        };
        let lines = lines.with_filter(dynamic_filter_fn(|event, _| is_ours(event) || is_for_developers()));
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self(Some(handle)))
    }

    /// Current filter.
    pub fn level(&self) -> Option<String> {
        self.0.as_ref()?.with_current(ToString::to_string).ok()
    }

    /// Changes the level. Returns false if logging was not started by [`Logs::start`].
    pub fn set(&self, level: regauth_shared::request::LogLevel) -> bool {
        let (Some(handle), Ok(filter)) = (&self.0, level.as_str().parse::<Targets>()) else {
            return false;
        };
        handle.reload(filter).is_ok()
    }
}

/// Only our own events are logged at usual levels. Libraries warn about every bad frame of a peer, and a client could
/// fill the disk that way.
fn is_ours(event: &Metadata<'_>) -> bool {
    event.target().starts_with("regauth")
}

fn is_for_developers() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;

fn lines(format: Format) -> Lines<Filtered> {
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        // Such an error goes to standard error, and panics if that is a file on a full disk.
        .log_internal_errors(false);
    match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    }
}

#[cfg(target_os = "linux")]
fn journal() -> Option<Lines<Filtered>> {
    use tracing_journald::{Priority, PriorityMappings};
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let ours = rustix::fs::fstat(io::stderr()).ok()?;
    if stream != format!("{}:{}", ours.st_dev, ours.st_ino) {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    let levels = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = layer
        .with_syslog_identifier("regauthd".to_owned())
        .with_priority_mappings(levels);
    Some(layer.with_field_prefix(Some("REGAUTH".to_owned())).boxed())
}

#[cfg(not(target_os = "linux"))]
fn journal() -> Option<Lines<Filtered>> {
    None
}
