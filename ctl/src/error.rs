//! What goes wrong on this side of the socket, in the protocol's own form: a kind, what happened, what to do next.

use std::fmt::Display;
use std::io;

use regauth_shared::{ErrorBody, ErrorKind};

/// Wrong flags or values; exit code 2.
pub(crate) fn usage(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Invalid, message)
}

/// What regauth does not do; exit code 8.
pub(crate) fn refused(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Refused, message)
}

/// No daemon answers; exit code 3.
pub(crate) fn unreachable(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Unreachable, message)
}

/// Something that should have worked did not; exit code 1.
pub(crate) fn failed(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, message)
}

/// The same for a call to the system, with what was being done.
pub(crate) fn io(doing: impl Display) -> impl FnOnce(io::Error) -> ErrorBody {
    move |error| failed(format!("{doing}: {error}"))
}
