//! Validators of an entry, and conditional requests (RFC 9110, section 13). Pure.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};

/// ETag of an answer, or its date if it has none: what cargo keeps and sends back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validator {
    Tag(HeaderValue),
    Date(HeaderValue),
}

impl Validator {
    /// Validator of an answer.
    pub(super) fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let tag = headers.get(ETAG).cloned().map(Self::Tag);
        tag.or_else(|| headers.get(LAST_MODIFIED).cloned().map(Self::Date))
    }

    /// Validator of a conditional request. If-None-Match takes precedence.
    pub(super) fn of_request(headers: &HeaderMap) -> Option<Self> {
        let tag = headers.get(IF_NONE_MATCH).cloned().map(Self::Tag);
        tag.or_else(|| headers.get(IF_MODIFIED_SINCE).cloned().map(Self::Date))
    }

    /// True if an answer has exactly this validator.
    pub(super) fn is_of(&self, answer: &HeaderMap) -> bool {
        let (name, value) = match self {
            Self::Tag(tag) => (ETAG, tag),
            Self::Date(date) => (LAST_MODIFIED, date),
        };
        answer.get(name) == Some(value)
    }

    /// Copy that holds no buffer of its answer. `None` if it has more than `max_size` bytes.
    pub(super) fn copy(&self, max_size: usize) -> Option<Self> {
        let copy = |value: &HeaderValue| {
            let bytes = Some(value.as_bytes()).filter(|bytes| bytes.len() <= max_size)?;
            HeaderValue::from_bytes(bytes).ok()
        };
        match self {
            Self::Tag(tag) => copy(tag).map(Self::Tag),
            Self::Date(date) => copy(date).map(Self::Date),
        }
    }

    /// Makes a request conditional.
    pub(super) fn attach(&self, headers: &mut HeaderMap) {
        match self {
            Self::Tag(tag) => headers.insert(IF_NONE_MATCH, tag.clone()),
            Self::Date(date) => headers.insert(IF_MODIFIED_SINCE, date.clone()),
        };
    }
}

/// Headers of a request without its condition.
pub(super) fn unconditional(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in CONDITIONS {
        headers.remove(name);
    }
    headers
}

/// Removes the headers that describe a body from those of a 304.
pub(super) fn without_body(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE] {
        headers.remove(name);
    }
}

const CONDITIONS: [HeaderName; 2] = [IF_NONE_MATCH, IF_MODIFIED_SINCE];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_an_equal_validator_is_unmodified() {
        let answer = headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, "Sat, 28 Nov 2026 18:00:00 GMT")]);
        for (name, value, is_equal) in [
            (IF_NONE_MATCH, "\"a\"", true),
            (IF_NONE_MATCH, "W/\"a\"", false),
            (IF_NONE_MATCH, "\"a\", \"b\"", false),
            (IF_NONE_MATCH, "*", false),
            (IF_MODIFIED_SINCE, "Sat, 28 Nov 2026 18:00:00 GMT", true),
            (IF_MODIFIED_SINCE, "Sat, 28 Nov 2026 19:00:00 GMT", false),
        ] {
            let request = headers(&[(name, value)]);
            let validator = Validator::of_request(&request).unwrap();
            assert_eq!(validator.is_of(&answer), is_equal, "{value}");
        }
        let both = headers(&[
            (IF_MODIFIED_SINCE, "Sat, 28 Nov 2026 18:00:00 GMT"),
            (IF_NONE_MATCH, "\"b\""),
        ]);
        assert!(!Validator::of_request(&both).unwrap().is_of(&answer));
        assert!(Validator::of_request(&unconditional(&both)).is_none());
    }
}
