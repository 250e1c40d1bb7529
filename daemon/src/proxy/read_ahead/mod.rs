//! Index entries that are asked for before cargo asks for them.
//!
//! cargo resolves dependencies a layer at a time: it asks a sparse index for some entries, waits for all of them, and asks
//! for the entries that they name. Over a long link, each layer costs a round trip. This module reads the entries that
//! pass, asks the registry for those that follow, and has them at hand when cargo asks.
//!
//! ```text
//! request ─▶ serve ─┬─ asked ahead? ─▶ wait for that answer, compare validators ─▶ client
//!                   └─ otherwise ─▶ registry ─▶ client
//!                                      └ copy ─▶ entry ─▶ walk, memory ─▶ questions ─▶ ask ─▶ registry
//! ```
//!
//! [`entry`] and [`walk`] are pure: the entry names dependencies, the walk follows them as cargo does. [`memory`] keeps the
//! names that cargo has asked for, so that the next walk need not wait for the entries. [`readings`] has the answers.
//!
//! # Bounds
//!
//! - Questions are made only below the index of a cargo registry, for cargo, while it reads, with its headers, and only if
//!   the client itself may make them: scope, grant and circuit breaker are checked each time.
//! - An answer belongs to one client and one generation of the credential, is given once, and lives for [`MAX_AGE`]. A new
//!   cargo process, which begins with `config.json`, gets none from before. A write to the registry drops all.
//! - The answer is the registry's, byte for byte. A conditional request gets 304 if the validators are equal.
//! - Requests in flight, answers and bytes are limited. An answer that says no, an error and a slow registry end it for a
//!   minute.
//! - Nothing is written to disk. The memory has names and validators, no content.

mod crate_name;
pub mod entry;
pub mod walk;

mod memory;
mod validator;

mod readings;

mod ask;
mod serve;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use crate_name::CrateName;
pub(crate) use serve::{Reader, WriteGuard};

use crate::host::Origin;
use crate::registry::{Index, Kind, Registry};
use readings::Readings;

/// Index of a registry, and what its clients are reading.
pub(crate) struct ReadAhead {
    origin: Origin,
    is_plain: bool,
    /// Path of the index, with a slash at its end.
    path: String,
    /// URL of the index, as entries of other registries spell it.
    url: String,
    readings: Mutex<Readings>,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadAhead({})", self.path)
    }
}

impl ReadAhead {
    /// `None` for a registry without a sparse index of cargo, and for one whose configuration turns it off.
    pub(crate) fn of(registry: &Registry) -> Option<Self> {
        let Some(Index::Sparse(url)) = &registry.index else {
            return None;
        };
        if registry.kind != Kind::Cargo || !registry.read_ahead {
            return None;
        }
        let scope = registry.index.as_ref()?.scope().ok()?;
        Some(Self {
            origin: scope.origin,
            is_plain: scope.plain,
            path: url.path().to_owned(),
            url: url.to_string(),
            readings: Mutex::default(),
        })
    }

    /// Ends all readings and drops their answers.
    pub(crate) fn forget_answers(&self) {
        self.lock().end_all();
    }

    /// Is this the URL of the index, with or without `sparse+`?
    fn is_own_url(&self, url: &str) -> bool {
        url.strip_prefix("sparse+").unwrap_or(url) == self.url
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest time from a question to the use of its answer.
const MAX_AGE: Duration = Duration::from_secs(5);
/// A client that has asked for no entry for so long is no longer reading.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// An answer that takes longer means that the registry is busy.
const SLOW_ANSWER: Duration = Duration::from_secs(2);
/// Time after which a slow answer is given up.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(30);
/// Time without questions after an answer that says no, an error or a slow answer.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest index file, as it is sent and unpacked. That of the crate with the most releases has 2 MB.
const MAX_FILE_SIZE: usize = 2 * 1024 * 1024;
const MAX_UNPACKED_SIZE: usize = 8 * 1024 * 1024;
