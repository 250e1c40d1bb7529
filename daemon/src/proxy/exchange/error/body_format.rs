//! Format of an error response's body: text for people, JSON for programs that print their registry's JSON only.

use http::Uri;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use crate::policy::token_scope;

/// Format of an error response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// Text for people.
    Text,
    /// JSON for programs that read a registry's errors.
    Json,
    /// JSON for npm, which prints the reason phrase as well.
    Npm,
}

impl BodyFormat {
    /// Format for a request. npm accepts any type but prints only JSON; a header of its own names it. Clients of container
    /// registries name no type, and have paths of their own and token requests.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let accepts = |value: &HeaderValue| {
            JSON_MEDIA_TYPES
                .iter()
                .any(|json| memmem::find(value.as_bytes(), json).is_some())
        };
        let is_oci = uri.path().contains("/v2/") || uri.query().is_some_and(token_scope::names_resource);
        if headers.contains_key(NPM_COMMAND) {
            Self::Npm
        } else if is_oci || headers.get_all(ACCEPT).iter().any(accepts) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// Value of Content-Type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json | Self::Npm => "application/json",
        }
    }
}

/// Media types that cargo, npm and git-lfs accept.
const JSON_MEDIA_TYPES: [&[u8]; 2] = [b"application/json", b"application/vnd.git-lfs+json"];
const NPM_COMMAND: HeaderName = HeaderName::from_static("npm-command");
