//! Tokens from the daemon's own environment.
//!
//! `main` takes them before it starts a thread, and wipes them in place. Neither a program that the daemon starts nor
//! `/proc/PID/environ` shows them.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};

use regauth_shared::Secret;
use zeroize::{Zeroize, Zeroizing};

/// Tokens that were in the environment at the start, by variable.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, Result<Secret, String>>);

impl Environment {
    /// Removes these variables from the environment and keeps their values. Skips those that are not set.
    ///
    /// # Safety
    /// No other thread may run: it could read the environment while it changes.
    #[expect(unsafe_code, reason = "only `main` knows that no other thread runs")]
    pub unsafe fn take(names: impl IntoIterator<Item = String>) -> Self {
        let take = |name: String| {
            // SAFETY: the caller runs no other thread.
            let value = unsafe { take_variable(&name) }?;
            Some((name, value))
        };
        Self(names.into_iter().filter_map(take).collect())
    }

    /// True if the variable is set and not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name) || self.text(name).is_some()
    }

    /// Value of a variable that holds no secret, such as the address of a CI system; `None` if it is not set or empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|text| !text.is_empty())
    }

    /// The token in a variable.
    ///
    /// # Errors
    /// [`VariableError`] if the variable was not set when the daemon started, or its value is no token.
    pub fn secret(&self, name: &str) -> Result<Secret, VariableError> {
        match self.0.get(name) {
            Some(Ok(secret)) => Ok(secret.clone()),
            Some(Err(reason)) => Err(VariableError::Unusable(name.to_owned(), reason.clone())),
            None => Err(VariableError::NotSet(name.to_owned())),
        }
    }
}

#[expect(unsafe_code, reason = "std has no safe way to wipe the bytes of a variable")]
#[expect(
    clippy::disallowed_methods,
    reason = "the caller runs no other thread that could read the environment"
)]
unsafe fn take_variable(name: &str) -> Option<Result<Secret, String>> {
    let c_name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero byte. The result is null or a value that ends with a zero byte.
    let value = unsafe { getenv(c_name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so a value that ends with a zero byte. No other thread changes it.
    let length = unsafe { CStr::from_ptr(value) }.count_bytes();
    // SAFETY: these are the value's bytes in this process, and no other thread reads or writes them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.cast::<u8>(), length) };
    let secret = match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with(PEM_BEGIN) => parse_pem(text),
        Ok(text) => Secret::parse(text).map_err(|invalid| invalid.to_string()),
        Err(_) => Err("it is not text".to_owned()),
    };
    bytes.zeroize();
    // SAFETY: no other thread runs.
    unsafe { std::env::remove_var(name) };
    Some(secret)
}

/// A private key in PEM, kept on one line: a secret has no line endings.
pub(super) fn parse_pem(text: &str) -> Result<Secret, String> {
    let line = Zeroizing::new(text.trim().replace(['\r', '\n'], " "));
    Secret::parse(&line).map_err(|invalid| invalid.to_string())
}

/// Begin of a private key in PEM (RFC 7468).
pub(super) const PEM_BEGIN: &str = "-----BEGIN ";

#[expect(unsafe_code, reason = "std only copies values, and this returns their address")]
unsafe extern "C" {
    /// getenv(3).
    fn getenv(name: *const c_char) -> *mut c_char;
}

/// A variable gave no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// It was not set when the daemon started, or the configuration did not name it then.
    #[error(
        "the environment variable {0} was not set, or not named in config.toml, when regauthd started; it is read once, \
         so set it and start regauthd again"
    )]
    NotSet(String),
    /// Its value is no token; the second text is the reason.
    #[error("the environment variable {0} holds no token: {1}")]
    Unusable(String, String),
}
