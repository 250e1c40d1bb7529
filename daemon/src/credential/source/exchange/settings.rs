//! Keys of an exchange and their values, as a person writes them. A value is never a secret; that of [`Key::secret`] is
//! a [`SecretReference`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::secret_reference::SecretReference;

/// Key of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// Example of a value, in quotes.
    pub(crate) example: &'static str,
    /// True if its value is a [`SecretReference`].
    pub(crate) is_secret: bool,
}

impl Key {
    /// A key with an example of its value.
    pub(crate) const fn new(name: &'static str, example: &'static str) -> Self {
        Self {
            name,
            example,
            is_secret: false,
        }
    }

    /// A key whose value is a [`SecretReference`].
    pub(crate) const fn secret(name: &'static str, example: &'static str) -> Self {
        Self {
            name,
            example,
            is_secret: true,
        }
    }
}

/// Values of an exchange's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    exchange: &'static str,
    values: BTreeMap<&'static str, Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    text: String,
    is_secret: bool,
}

impl Settings {
    /// No values yet, for the exchange of this name.
    pub(crate) fn new(exchange: &'static str) -> Self {
        Self {
            exchange,
            values: BTreeMap::new(),
        }
    }

    /// Name of the exchange.
    pub(crate) fn exchange(&self) -> &'static str {
        self.exchange
    }

    /// Keys and values in the order of the keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, value)| (*key, value.text.as_str()))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it is empty or has a control character.
    pub(crate) fn set(&mut self, key: &Key, value: &str) -> Result<(), InvalidSetting> {
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(InvalidSetting::new(
                key.name,
                "it must not be empty and must not have control characters",
            ));
        }
        let setting = Setting {
            text: value.to_owned(),
            is_secret: key.is_secret,
        };
        self.values.insert(key.name, setting);
        Ok(())
    }

    /// Value of a key, if there is one.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|setting| setting.text.as_str())
    }

    /// Value of a key, or a default.
    pub(super) fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or(default).to_owned()
    }

    /// Value of a key, if there is one.
    pub(super) fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    /// Value of a key that must be set.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it is missing.
    pub(super) fn required(&self, key: &Key) -> Result<String, InvalidSetting> {
        self.owned(key.name).ok_or_else(|| self.missing(key))
    }

    /// Error of a key that must be set and is not.
    pub(super) fn missing(&self, key: &Key) -> InvalidSetting {
        InvalidSetting {
            key: key.name,
            reason: format!("`{}` needs {}, such as {}", self.exchange, key.name, key.example),
            is_missing: true,
        }
    }

    /// Parsed value of a key, if there is one.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it cannot be parsed.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Result<Option<T>, InvalidSetting> {
        let parsed = self.text(key).map(T::from_str).transpose();
        parsed.map_err(|reason| InvalidSetting::new(key, reason))
    }

    /// Parsed value of a key that must be set.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it is missing or cannot be parsed.
    pub(super) fn required_parsed<T: FromStr<Err: fmt::Display>>(&self, key: &Key) -> Result<T, InvalidSetting> {
        self.parsed(key.name)?.ok_or_else(|| self.missing(key))
    }

    /// Endpoint of a key, or a default one.
    ///
    /// # Errors
    /// [`InvalidSetting`] if one of them is no endpoint.
    pub(super) fn endpoint(&self, key: &'static str, default: &str) -> Result<Endpoint, InvalidSetting> {
        let parsed = self.text(key).unwrap_or(default).parse();
        parsed.map_err(|reason| InvalidSetting::new(key, reason))
    }

    /// Value of a key that is one of these, the first by default.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it is another.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Result<T, InvalidSetting> {
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = match self.text(key) {
            Some(text) => choices.iter().find(|(name, _)| *name == text),
            None => choices.first(),
        };
        let unknown = || InvalidSetting::new(key, format!("it is one of {}", names()));
        found.map(|(_, choice)| *choice).ok_or_else(unknown)
    }

    /// References to secrets among the values.
    pub(super) fn secret_references(&self) -> impl Iterator<Item = SecretReference> {
        let secrets = self.values.values().filter(|setting| setting.is_secret);
        secrets.filter_map(|setting| setting.text.parse().ok())
    }
}

/// A key is missing, or its value cannot be used. The value is not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The key.
    pub(crate) key: &'static str,
    /// The reason.
    pub(crate) reason: String,
    /// True if the key has no value.
    pub(crate) is_missing: bool,
}

impl InvalidSetting {
    /// Value of a key that cannot be used.
    pub(crate) fn new(key: &'static str, reason: impl fmt::Display) -> Self {
        Self {
            key,
            reason: reason.to_string(),
            is_missing: false,
        }
    }
}

impl std::error::Error for InvalidSetting {}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_missing {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.key, self.reason),
        }
    }
}
