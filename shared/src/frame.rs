//! Framing of the control protocol: one JSON message per line (JSON Lines), of bounded length.

use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

/// Longest line that either side accepts, in bytes. The reader refuses a longer one before it allocates memory for it.
pub const MAX_LINE: usize = 256 * 1024;

/// Envelope of every answer: `{"ok":{…}}` or `{"err":{…}}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// Result of a request that the daemon carried out.
    Ok(T),
    /// Reason for not carrying it out.
    Err(ErrorBody),
}

impl<T> From<Result<T, ErrorBody>> for Answer<T> {
    fn from(result: Result<T, ErrorBody>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(error) => Self::Err(error),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, ErrorBody> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Ok(answer) => Ok(answer),
            Answer::Err(error) => Err(error),
        }
    }
}
