//! Classification of a request as read or write, by the registry's kind.
//!
//! Every request that is not known to be a read is a write. Writes are closed until a person opens them (invariant 5).

use http::Method;

use crate::policy::{lfs, package_requests, token_scope};
use crate::registry::Kind;

/// Effect of a request on the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Changes nothing.
    Read,
    /// Publishes, yanks, pushes or changes owners, or may do so. Also hands out a token with which the client may do so.
    Write,
}

/// Operation of a request, as far as its head tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classification {
    /// The head tells it.
    Known(Operation),
    /// The request is a read if its body [is one](BodyFormat::is_read), and otherwise a write.
    ByBody(BodyFormat),
}

/// Format of a body that tells reads from writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// Git LFS's batch request.
    LfsBatch,
    /// Form for an OAuth2 token endpoint of a container registry.
    TokenForm,
}

/// The parts of a request that its classification depends on.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path.
    pub path: &'a str,
    /// Query, without its question mark.
    pub query: Option<&'a str>,
    /// Value of Content-Type, if there is exactly one.
    pub content_type: Option<&'a [u8]>,
    /// True if a body follows.
    pub has_body: bool,
}

impl Classification {
    /// Classifies a request to a registry of this kind.
    pub fn of(kind: Kind, head: &RequestHead<'_>) -> Self {
        if head.query.is_some_and(token_scope::asks_for_write) {
            return Self::Known(Operation::Write);
        }
        let reads = match *head.method {
            // The first request of a push is a GET (gitprotocol-http, "Smart Clients").
            Method::GET | Method::HEAD | Method::OPTIONS => {
                !announces_push(head) && !has_form(head) && !package_requests::hands_out_credential(head.path)
            }
            // Every POST of a container registry's API begins an upload.
            Method::POST if kind == Kind::Oci => false,
            Method::POST => match deciding_format(head) {
                Some(format) => return Self::ByBody(format),
                None => is_fetch(head) || is_audit(kind, head.path) || package_requests::is_composer_report(kind, head),
            },
            _ => false,
        };
        Self::Known(if reads { Operation::Read } else { Operation::Write })
    }
}

impl BodyFormat {
    /// Is a request with this body a read?
    pub fn is_read(self, body: &[u8]) -> bool {
        match self {
            Self::LfsBatch => lfs::is_download(body),
            Self::TokenForm => std::str::from_utf8(body).is_ok_and(token_scope::is_reading_form),
        }
    }
}

/// Does this GET begin a push? Any kind of registry may have a git repository beside it.
fn announces_push(head: &RequestHead<'_>) -> bool {
    head.path.ends_with("/info/refs") && head.query.is_some_and(may_name_receive_pack)
}

/// Does the query contain `receive-pack`, or an escape that could spell it? Servers decode parameters, and separate
/// them at `&` or `;`.
fn may_name_receive_pack(query: &str) -> bool {
    query.contains('%') || query.to_ascii_lowercase().contains("receive-pack")
}

/// Does a GET have a form as its body? Some frameworks read parameters from it, and nobody has looked at them.
fn has_form(head: &RequestHead<'_>) -> bool {
    let is_form = |content_type: &[u8]| {
        let content_type = content_type.to_ascii_lowercase();
        content_type.starts_with(token_scope::FORM_CONTENT_TYPE) || content_type.starts_with(b"multipart/")
    };
    head.has_body && head.content_type.is_some_and(is_form)
}

/// Format of a POST's body, if it tells reads from writes. A path that a web API could give to a file is none.
fn deciding_format(head: &RequestHead<'_>) -> Option<BodyFormat> {
    let content_type = head.content_type?;
    if is_file_of_web_api(head.path) {
        None
    } else if lfs::is_batch_path(head.path) && lfs::is_utf8_media_type(content_type) {
        Some(BodyFormat::LfsBatch)
    } else if token_scope::is_token_form(head.path, content_type) {
        Some(BodyFormat::TokenForm)
    } else {
        None
    }
}

/// Is this POST a fetch, a clone or an archive? It is recognised by path and content type, on any server:
/// `POST …/contents/git-upload-pack` of a git host's API creates a file of that name, but not with git's content type
/// (gitprotocol-http, "Smart Service git-upload-pack").
fn is_fetch(head: &RequestHead<'_>) -> bool {
    FETCHES
        .iter()
        .any(|(path, content_type)| head.path.ends_with(path) && head.content_type == Some(*content_type))
}

/// Is this POST a report of npm, pnpm or yarn about the installed packages?
fn is_audit(kind: Kind, path: &str) -> bool {
    matches!(kind, Kind::Npm | Kind::Generic)
        && AUDITS.iter().any(|audit| path.ends_with(audit))
        && !is_file_of_web_api(path)
}

/// Could a POST to this path create a file? In the API of Gitea and Forgejo it does, and the file may have any name:
/// `/api/v1/repos/OWNER/REPOSITORY/contents/NAME`.
fn is_file_of_web_api(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.any(|segment| segment == "api") && segments.any(|segment| segment == "contents")
}

const FETCHES: [(&str, &[u8]); 2] = [
    ("/git-upload-pack", b"application/x-git-upload-pack-request"),
    ("/git-upload-archive", b"application/x-git-upload-archive-request"),
];
/// The last one is that of yarn 1.
const AUDITS: [&str; 3] = [
    "/-/npm/v1/security/advisories/bulk",
    "/-/npm/v1/security/audits/quick",
    "/-/npm/v1/security/audits",
];

#[cfg(test)]
pub(super) mod tests;
