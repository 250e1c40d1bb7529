//! JSON Web Tokens (RFC 7519) in the compact form of RFC 7515: split and parsed, with bounds. Pure.
//!
//! The parser is stricter than the RFCs where issuers need no freedom: a name that occurs twice, padding, critical
//! extensions and unusual types are refused. Keys that a header brings along (`jwk`, `jku`, `x5u`, `x5c`) are never looked
//! at. [`Keys`](super::keys::Keys) verifies the signature.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

/// Token whose signature has not been verified.
pub(super) struct UnverifiedToken<'a> {
    /// Bytes that the signature is over: header and claims, as they were sent.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// Algorithm that the header names.
    pub(super) algorithm: Algorithm,
    /// Key that the header names.
    pub(super) key_id: Option<String>,
    /// Type that the header names.
    type_name: Option<String>,
    /// Claims.
    pub(super) claims: Claims,
}

/// Algorithms of signatures. No other is accepted: none without a signature, and none with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Parses the header `alg`, or that of a key. `Ed25519` is the name in RFC 9864.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// True for a text in the form of a token. Grants have no dots.
pub(crate) fn is_token(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl<'a> UnverifiedToken<'a> {
    /// Parses a token that may prove an identity; `None` if it is malformed.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let token = Self::parse_any(text)?;
        // A logout token or a security event is signed by the same key.
        (token.type_name.is_none() || TYPES.iter().any(|name| token.has_type(name))).then_some(token)
    }

    /// Parses a token of any type; `None` if it is malformed.
    pub(super) fn parse_any(text: &'a [u8]) -> Option<Self> {
        if text.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: UniqueNames = decode(header)?;
        let claims: UniqueNames = decode(claims)?;
        let header = Claims(header.0);
        // Extensions that must be understood: we understand none. `b64` changes what is signed (RFC 7797).
        if header.has("crit") || header.has("b64") || header.is_no_text("typ") || header.is_no_text("kid") {
            return None;
        }
        Some(Self {
            signed: signed.as_bytes(),
            // The lenient reading of base64 would give one signature many forms.
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            algorithm: Algorithm::parse(header.text("alg")?)?,
            key_id: header.text("kid").map(str::to_owned),
            type_name: header.text("typ").map(str::to_owned),
            claims: Claims(claims.0),
        })
    }
}

impl UnverifiedToken<'_> {
    /// True if the header names this type, in any letter case (RFC 7515, section 4.1.9).
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.type_name
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

fn decode(part: &str) -> Option<UniqueNames> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Claims of a token, by name.
#[derive(Debug)]
pub(super) struct Claims(BTreeMap<String, Value>);

impl Claims {
    /// All claims as one object.
    pub(super) fn into_object(self) -> Value {
        Value::Object(self.0.into_iter().collect())
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// True if the token is meant for this audience: a string, or one of an array of strings.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => {
                many.iter().all(Value::is_string) && many.iter().any(|one| one.as_str() == Some(audience))
            }
            _ => false,
        }
    }

    /// A time in whole seconds since 1970 (NumericDate); `None` without the claim.
    ///
    /// # Errors
    /// [`NoTime`] for anything but a number of this and the next millennia.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<i64>, NoTime> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = value
            .as_f64()
            .filter(|seconds| (1.0..LATEST).contains(seconds))
            .ok_or(NoTime)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range fits, and the fraction is meant to go"
        )]
        Ok(Some(seconds as i64))
    }

    /// Texts of a claim that patterns are compared with: a string, a truth value, a number, or the strings of an array.
    /// Texts with control characters are left out.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = match self.0.get(name) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Bool(value)) => vec![value.to_string()],
            Some(Value::Number(number)) => vec![number.to_string()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        texts.into_iter().filter(|text| is_printable(text)).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn is_no_text(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_string())
    }
}

/// A claim that should be a time, and is not.
#[derive(Debug)]
pub(super) struct NoTime;

/// True for a text that a person reads as it is: without control characters, and without characters that are invisible or
/// reorder others (Unicode's "Default_Ignorable_Code_Point", UAX #9). Two subjects that look alike differ.
pub(super) fn is_printable(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || is_invisible(letter))
}

fn is_invisible(letter: char) -> bool {
    INVISIBLE.iter().any(|range| range.contains(&letter))
}

/// JSON object whose names all differ: readers disagree about which of two equal ones counts.
struct UniqueNames(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNamesVisitor)
    }
}

struct UniqueNamesVisitor;

impl<'de> Visitor<'de> for UniqueNamesVisitor {
    type Value = UniqueNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UniqueNames, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(UniqueNames(object))
    }
}

/// Characters without a form of their own.
const INVISIBLE: [RangeInclusive<char>; 19] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
    '\u{2800}'..='\u{2800}',
    '\u{13430}'..='\u{1343f}',
];
/// Longest token. Those of CI systems take one to three KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Types of a token that may prove an identity.
const TYPES: [&str; 3] = ["jwt", "jose", "at+jwt"];
/// First second of the year 10000.
const LATEST: f64 = 253_402_300_800.0;
