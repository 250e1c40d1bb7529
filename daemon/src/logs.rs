//! Where logs go, in which form, and how much of them: decided at the start, the last also at run time.
//!
//! To the journal with its fields where standard error leads there (systemd.exec(5), JOURNAL_STREAM), else to standard
//! error, as text or JSON. No secret is ever in them, at any level: the types of secrets redact themselves.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How much is logged, changeable.
#[derive(Clone, Debug, Default)]
pub struct Logs(Option<Handle<Targets, Registry>>);

impl Logs {
    /// Starts logging what `filter` says: a level, or levels of single targets (`info,h2=debug`). Without a format, logs go to the
    /// journal where there is one.
    ///
    /// # Errors
    /// When the filter makes no sense.
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

    /// What is logged now.
    pub fn level(&self) -> Option<String> {
        self.0.as_ref()?.with_current(ToString::to_string).ok()
    }

    /// Logs this much from now on. False when these logs are not ours to change.
    pub fn set(&self, level: regauth_shared::request::LogLevel) -> bool {
        let (Some(handle), Ok(filter)) = (&self.0, level.as_str().parse::<Targets>()) else {
            return false;
        };
        handle.reload(filter).is_ok()
    }
}

/// Libraries warn of what a peer sends, for each frame of it: that is for who looks for a fault, and no way for a client
/// to fill a disk.
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
        // It would be told on standard error, with a panic where that is a file on a full disk.
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
