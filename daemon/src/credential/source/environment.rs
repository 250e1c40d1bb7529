//! Tokens from the daemon's own environment: taken once, before there is a second thread, and wiped there, so that neither
//! a program we start nor `/proc/PID/environ` shows them.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::fmt;

use regauth_shared::Secret;
use zeroize::Zeroize;

/// What was taken, by variable.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, Result<Secret, Unusable>>);

impl Environment {
    /// Takes these variables out of the environment; those that are not set are left out.
    ///
    /// # Safety
    /// No other thread may run: it could read the environment while it changes.
    #[expect(unsafe_code, reason = "what is done to the environment is for `main` to allow")]
    pub unsafe fn take(names: impl IntoIterator<Item = String>) -> Self {
        let take = |name: String| {
            // SAFETY: the caller runs no other thread.
            let value = unsafe { take_variable(&name) }?;
            Some((name, value))
        };
        Self(names.into_iter().filter_map(take).collect())
    }

    /// The token in a variable.
    ///
    /// # Errors
    /// [`VariableError`] when the variable was not set when the daemon started, or what it held is no token.
    pub fn secret(&self, name: &str) -> Result<Secret, VariableError> {
        match self.0.get(name) {
            Some(Ok(secret)) => Ok(secret.clone()),
            Some(Err(unusable)) => Err(VariableError::Unusable(name.to_owned(), unusable.clone())),
            None => Err(VariableError::NotSet(name.to_owned())),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the environment's own bytes are wiped, which std has no safe way to do"
)]
#[expect(
    clippy::disallowed_methods,
    reason = "nobody else reads the environment: the caller runs no other thread"
)]
unsafe fn take_variable(name: &str) -> Option<Result<Secret, Unusable>> {
    let c_name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero byte; what comes back is null or the value in the environment, likewise.
    let value = unsafe { getenv(c_name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so a value that ends with a zero byte; nobody changes it meanwhile.
    let length = unsafe { CStr::from_ptr(value) }.count_bytes();
    // SAFETY: these are that value's bytes, in memory of this process, and nobody else reads or writes them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.cast::<u8>(), length) };
    let secret = match std::str::from_utf8(bytes) {
        Ok(text) => Secret::parse(text).map_err(|invalid| Unusable(invalid.to_string())),
        Err(_) => Err(Unusable("it is not text".to_owned())),
    };
    bytes.zeroize();
    // SAFETY: no other thread runs.
    unsafe { std::env::remove_var(name) };
    Some(secret)
}

#[expect(unsafe_code, reason = "std only copies values; this is where they are")]
unsafe extern "C" {
    /// getenv(3).
    fn getenv(name: *const c_char) -> *mut c_char;
}

/// Why a variable's value is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// There is no token in a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// It was not there when the daemon started, or nothing named it then.
    #[error(
        "the environment variable {0} was not set, or not named in config.toml, when regauthd started; it is read once, \
         so set it and start regauthd again"
    )]
    NotSet(String),
    /// It held something else.
    #[error("what the environment variable {0} held is no token: {1}")]
    Unusable(String, Unusable),
}
