//! Constructors for errors that start in this crate, in the protocol's form: a kind, a message, a hint.

use std::fmt::Display;
use std::io;

use regauth_shared::{ErrorBody, ErrorKind};

/// Error for wrong flags or values; exit code 2.
pub(crate) fn usage(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Invalid, message)
}

/// Error for a request that regauth refuses by design; exit code 8.
pub(crate) fn refused(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Refused, message)
}

/// Error for a daemon that does not answer; exit code 3.
pub(crate) fn unreachable(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Unreachable, message)
}

/// Error for an operation that failed unexpectedly; exit code 1.
pub(crate) fn failed(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, message)
}

/// Converts an I/O error; `context` says what was attempted, such as `cannot read FILE`. Exit code 1.
pub(crate) fn io(context: impl Display) -> impl FnOnce(io::Error) -> ErrorBody {
    move |error| failed(format!("{context}: {error}"))
}
