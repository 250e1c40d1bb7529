//! One message a line (JSON Lines), and how long a line may be.

use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

/// The longest line either side accepts, in bytes; more is refused before it is stored.
pub const MAX_LINE: usize = 256 * 1024;

/// The envelope of every answer: `{"ok":{…}}` or `{"err":{…}}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// The request was carried out.
    Ok(T),
    /// It was not.
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
