//! Readings of a path, to detect paths that servers interpret differently.
//!
//! A server may decode `%2e`, `%2f` and `%5c`, treat `\` as `/`, drop empty and dot segments, drop dots and blanks at the
//! end of a segment, replace look-alikes of ASCII characters, or cut a path at `;` or at an encoded `?`. If one of these
//! interpretations belongs to another registry or means another operation, the request is refused and not normalised:
//! otherwise a guess about the server would decide where the credential goes. A path with `..` is always refused. The
//! result of `x%2fy/../..` depends on the order of decoding and resolving, so no single interpretation covers the others.
//!
//! Some spellings are equal for every server: `%40` and `@`, `%2B` and `+`, `%20` and a blank (RFC 3986, section 6.2.2).
//! [`Readings::literal`] removes these differences.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use percent_encoding::percent_decode;

/// Reason to refuse a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// The path does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A segment is `..` in some spelling.
    #[error("a segment of the path is `..`, as it is or encoded")]
    Climbs,
    /// A `%` is not followed by two hexadecimal digits, or the path contains a backslash.
    #[error("the path contains `%` without two hexadecimal digits, or a backslash")]
    InvalidEscape,
    /// The path is not UTF-8, or contains a control character or a look-alike of a slash, dot or other special character.
    #[error("the path is not UTF-8, or contains a control character or a look-alike of a slash or dot")]
    InvalidCharacter,
    /// The path is encoded too often, or has too many interpretations.
    #[error("the path is encoded too often")]
    TooManyReadings,
    /// The interpretations belong to different scopes.
    #[error("servers can interpret the path in different ways, which belong to different scopes")]
    DifferentScopes,
}

/// A path in its literal form, and the interpretations of lenient servers.
#[derive(Debug, PartialEq, Eq)]
pub struct Readings<'a> {
    literal: Cow<'a, str>,
    lenient: Vec<String>,
}

impl Readings<'_> {
    /// The path with every escape decoded that has the same meaning for all servers. Escapes of `/`, `\`, `.`, `;`, `%`,
    /// `?` and `#` stay, with digits in upper case.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Interpretations of lenient servers. None for a path that all servers interpret literally.
    pub fn lenient(&self) -> impl Iterator<Item = &str> {
        self.lenient.iter().map(String::as_str)
    }

    /// Interpretations of lenient servers, or the literal form if they have none of their own.
    pub fn lenient_or_literal(&self) -> impl Iterator<Item = &str> {
        let literal = self.lenient.is_empty().then_some(&*self.literal);
        literal.into_iter().chain(self.lenient())
    }

    /// Returns true if all servers interpret the path literally.
    pub fn is_plain(&self) -> bool {
        self.lenient.iter().all(|reading| *reading == self.literal)
    }
}

/// Readings of a request's path.
///
/// A lenient server decodes until nothing changes, treats backslashes as slashes, cuts path parameters, drops empty and dot
/// segments, and drops dots and blanks at the end of a segment. The order of cutting and decoding makes a difference if
/// a parameter contains an encoded slash, or the path an encoded `?` or `#`. Each order then has a reading of its own.
///
/// # Errors
/// [`PathProblem`] if no interpretation is safe.
///
/// # Examples
/// ```
/// use regauthd::policy::path::{PathProblem, readings};
///
/// assert!(readings("/api/cargo/index")?.is_plain());
/// assert_eq!(readings("/root/dev/%2Bf/")?.literal(), "/root/dev/+f/");
/// assert!(readings("/api//cargo/%2e/index;v=1")?.lenient().eq(["/api/cargo/index"]));
/// assert_eq!(readings("/api/%2e%2e/admin"), Err(PathProblem::Climbs));
/// # Ok::<(), PathProblem>(())
/// ```
pub fn readings(path: &str) -> Result<Readings<'_>, PathProblem> {
    if !path.starts_with('/') {
        return Err(PathProblem::NotAbsolute);
    }
    if is_plain(path) {
        return Ok(Readings {
            literal: Cow::Borrowed(path),
            lenient: Vec::new(),
        });
    }
    let literal = Cow::Owned(literal(path)?);
    let mut lenient = Vec::new();
    collect_lenient(path.as_bytes().to_vec(), 0, &mut lenient)?;
    lenient.sort_unstable();
    lenient.dedup();
    Ok(Readings { literal, lenient })
}

/// Detects the usual case without allocation: ASCII without an escape, backslash, parameter, empty or dot segment, or dot
/// or blank at the end of a segment.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    let is_plain = path.bytes().all(|byte| {
        let starts_special_segment = previous == b'/' && matches!(byte, b'/' | b'.');
        let ends_special_segment = byte == b'/' && is_dropped_at_end(previous);
        previous = byte;
        !starts_special_segment
            && !ends_special_segment
            && !matches!(byte, b'%' | b'\\' | b';')
            && byte.is_ascii()
            && !byte.is_ascii_control()
    });
    is_plain && !is_dropped_at_end(previous)
}

/// Windows drops these at the end of a name.
fn is_dropped_at_end(byte: u8) -> bool {
    matches!(byte, b'.' | b' ')
}

/// Decodes the escapes that have the same meaning for all servers.
fn literal(path: &str) -> Result<String, PathProblem> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let Some((&[high, low], after)) = after.split_first_chunk() else {
                    return Err(PathProblem::InvalidEscape);
                };
                let value = hexadecimal(high).zip(hexadecimal(low));
                let value = value.map(|(high, low)| high * 16 + low);
                rest = after;
                match value.ok_or(PathProblem::InvalidEscape)? {
                    value if has_one_meaning(value) => decoded.push(value),
                    _ => decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            b'\\' => return Err(PathProblem::InvalidEscape),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| PathProblem::InvalidCharacter)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Do all servers treat this character and its escape as equal?
fn has_one_meaning(byte: u8) -> bool {
    !byte.is_ascii_control() && !SPECIAL.contains(&byte)
}

/// Adds the readings of a path that has been decoded so many times.
fn collect_lenient(path: Vec<u8>, rounds: usize, readings: &mut Vec<String>) -> Result<(), PathProblem> {
    if path.split(is_slash).any(has_encoded_slash) {
        collect_lenient(without_parameters(&path), rounds, readings)?;
    }
    // A server that leaves encoded slashes may decode a `;` before one, and then cut.
    let decoded = with_decoded_semicolons(&path);
    if decoded.len() < path.len() && decoded.split(is_slash).any(has_encoded_slash) {
        collect_lenient(without_parameters(&decoded), rounds, readings)?;
    }
    // The parser of the request has cut off the query and fragment, so these were encoded.
    if let Some(end) = path.iter().position(|byte| matches!(byte, b'?' | b'#')) {
        collect_lenient(path.get(..end).unwrap_or_default().to_vec(), rounds, readings)?;
    }
    match decode_once(&path)? {
        Some(_) if rounds == MAX_DECODING_ROUNDS => Err(PathProblem::TooManyReadings),
        Some(decoded) => collect_lenient(decoded, rounds + 1, readings),
        None if readings.len() == MAX_READINGS => Err(PathProblem::TooManyReadings),
        None => {
            readings.push(resolve_segments(&fully_decoded(path)?)?);
            Ok(())
        }
    }
}

/// Does decoding the segment's parameter give a slash? A server that cuts before decoding drops more than one that decodes
/// first.
fn has_encoded_slash(segment: &[u8]) -> bool {
    let mut parts = segment.splitn(2, |byte| *byte == b';').skip(1);
    parts.any(|parameter| percent_decode(parameter).any(|byte| is_slash(&byte)))
}

fn with_decoded_semicolons(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match rest {
            [b'3', b'b' | b'B', after @ ..] if byte == b'%' => {
                decoded.push(b';');
                rest = after;
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    let bare = segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
    bare.collect::<Vec<_>>().join(&b'/')
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// One round of percent-decoding; `None` if there is nothing to decode. IIS also decodes `%u002e`, which is refused.
fn decode_once(bytes: &[u8]) -> Result<Option<Vec<u8>>, PathProblem> {
    let is_wide_escape = |window: &[u8]| {
        let digits = window.get(2..).unwrap_or_default();
        matches!(window, [b'%', b'u' | b'U', ..]) && digits.iter().all(u8::is_ascii_hexdigit)
    };
    if bytes.windows(WIDE_ESCAPE_LENGTH).any(is_wide_escape) {
        return Err(PathProblem::InvalidEscape);
    }
    Ok(match Cow::from(percent_decode(bytes)) {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    })
}

/// Text of a decoded path, with look-alikes replaced as by Unicode's compatibility normalisation (NFKC).
fn fully_decoded(path: Vec<u8>) -> Result<String, PathProblem> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(PathProblem::InvalidCharacter);
    }
    let text = String::from_utf8(path).map_err(|_| PathProblem::InvalidCharacter)?;
    if text.is_ascii() {
        return Ok(text);
    }
    let normalised = ComposingNormalizerBorrowed::new_nfkc().normalize(&text);
    let specials = |text: &str| text.bytes().filter(|byte| !has_one_meaning(*byte)).count();
    if text.contains(BEST_FIT_SLASHES) || specials(&normalised) != specials(&text) {
        return Err(PathProblem::InvalidCharacter);
    }
    Ok(normalised.into_owned())
}

fn resolve_segments(path: &str) -> Result<String, PathProblem> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split(['/', '\\']) {
        let bare = segment.split(';').next().unwrap_or_default();
        let name = bare.trim_end_matches(['.', ' ']);
        ends_with_slash = name.is_empty();
        if !name.is_empty() {
            kept.push(name);
        } else if bare.contains("..") {
            return Err(PathProblem::Climbs);
        }
    }
    let trailing = if ends_with_slash && !kept.is_empty() { "/" } else { "" };
    Ok(format!("/{}{trailing}", kept.join("/")))
}

/// Characters that separate, end or climb in a path, and the escape itself.
const SPECIAL: &[u8] = b"/\\.;%?#";
/// Code pages of Windows replace these by a slash or backslash, and NFKC does not.
const BEST_FIT_SLASHES: [char; 6] = ['\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}'];
const WIDE_ESCAPE_LENGTH: usize = "%u002e".len();
/// No client encodes a path so often; `%252525…` would take a round for every two characters.
const MAX_DECODING_ROUNDS: usize = 5;
const MAX_READINGS: usize = 8;

#[cfg(test)]
pub(crate) mod tests;
