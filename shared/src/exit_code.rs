//! Exit codes of `regauthctl`, for scripts.

/// Success.
pub const DONE: u8 = 0;
/// Failure without a code of its own.
pub const FAILED: u8 = 1;
/// Wrong flags or values.
pub const USAGE: u8 = 2;
/// No daemon answers on the control socket.
pub const UNREACHABLE: u8 = 3;
/// The registry rejected the token.
pub const TOKEN_REJECTED: u8 = 4;
/// The store is locked or missing.
pub const STORE: u8 = 5;
/// No such registry or grant.
pub const NOT_FOUND: u8 = 6;
/// The registry exists already, or another one covers the scope.
pub const EXISTS: u8 = 7;
/// Refused for safety, or only a person may do it.
pub const REFUSED: u8 = 8;
