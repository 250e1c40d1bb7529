//! A binding as JSON, for the store.

use std::collections::{BTreeMap, BTreeSet};

use regauth_shared::RegistryName;
use serde::{Deserialize, Serialize};

use super::{Binding, RootDigest, TokenUse};
use crate::registry::{Scheme, Writes};

impl Binding {
    /// The record: one line of ASCII, since stores keep one line.
    pub(crate) fn to_record(&self) -> String {
        let uses = self.uses.iter();
        let record = Record {
            version: VERSION,
            source: self.source.clone(),
            uses: uses.map(|(name, token_use)| (name.clone(), token_use.into())).collect(),
        };
        // Serialization cannot fail: a record has texts, numbers and maps of them.
        let json = serde_json::to_string(&record).unwrap_or_default();
        json.chars().map(escape).collect()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`InvalidRecord`] for a text that no release wrote, or a newer one.
    pub(crate) fn from_record(text: &str) -> Result<Self, InvalidRecord> {
        let record: Record = serde_json::from_str(text).map_err(|_| InvalidRecord)?;
        if record.version != VERSION {
            return Err(InvalidRecord);
        }
        let uses = record.uses.into_iter();
        let uses = uses.map(|(name, token_use)| Some((name, token_use.parse()?)));
        Ok(Self {
            source: record.source,
            uses: uses.collect::<Option<_>>().ok_or(InvalidRecord)?,
        })
    }
}

/// A user name or a path may have characters that JSON leaves as they are.
fn escape(character: char) -> String {
    if character.is_ascii() {
        return character.to_string();
    }
    let mut units = [0; 2];
    let units = character.encode_utf16(&mut units).iter();
    units.map(|unit| format!("\\u{unit:04x}")).collect()
}

/// A text that is no record of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of what the token was given for is damaged or of a newer release")]
pub(crate) struct InvalidRecord;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    source: String,
    uses: BTreeMap<RegistryName, RecordedUse>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedUse {
    scopes: Vec<String>,
    scheme: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    roots: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_service: Option<String>,
    writes: String,
}

impl From<&TokenUse> for RecordedUse {
    fn from(token_use: &TokenUse) -> Self {
        Self {
            scopes: token_use.scopes.iter().map(ToString::to_string).collect(),
            scheme: token_use.scheme.to_string(),
            username: token_use.scheme.username().map(str::to_owned),
            roots: token_use.roots.iter().map(|root| hex(&root.0)).collect(),
            token_service: token_use.token_service.clone(),
            writes: token_use.writes.as_str().to_owned(),
        }
    }
}

impl RecordedUse {
    fn parse(&self) -> Option<TokenUse> {
        let scopes = self.scopes.iter().map(|text| text.parse().ok());
        let roots = self.roots.iter().map(|text| parse_digest(text).map(RootDigest));
        Some(TokenUse {
            scopes: scopes.collect::<Option<_>>()?,
            scheme: Scheme::parse(&self.scheme, self.username.as_deref()).ok()?,
            roots: roots.collect::<Option<_>>()?,
            token_service: self.token_service.clone(),
            writes: self.writes.parse::<Writes>().ok()?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let pair = |index: usize| u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..text.len().div_ceil(2)).map(pair).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

const VERSION: u32 = 1;
