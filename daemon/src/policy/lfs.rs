//! Git LFS's batch requests: their body tells downloads from uploads.
//!
//! The format is git-lfs's ("Git LFS Batch API").

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Is a request to this path Git LFS's batch request?
pub fn is_batch_path(path: &str) -> bool {
    path.ends_with("/objects/batch")
}

/// Is this the media type of Git LFS, with or without parameters?
pub fn is_media_type(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';');
    let essence = content_type
        .get(..end.unwrap_or(content_type.len()))
        .unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Is this the media type of Git LFS in UTF-8? JSON has no other encoding, but a server may obey another name.
pub(super) fn is_utf8_media_type(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(is_media_type) && parts.all(|part| part.eq_ignore_ascii_case(b"charset=utf-8"))
}

/// Is this body a batch request for downloads, in every reading?
///
/// A body with a field that the format lacks, with a field twice, or with anything after its end is none: another server
/// could read something else in it.
pub(super) fn is_download(body: &[u8]) -> bool {
    serde_json::from_slice::<Batch>(body).is_ok_and(|batch| batch.operation == "download")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only the names of the other fields matter")]
struct Batch {
    operation: String,
    objects: IgnoredAny,
    transfers: Option<IgnoredAny>,
    #[serde(rename = "ref")]
    reference: Option<IgnoredAny>,
    hash_algo: Option<IgnoredAny>,
}

/// Media type of requests and answers.
pub const MEDIA_TYPE: &[u8] = b"application/vnd.git-lfs+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_format_is_a_download() {
        for body in [
            r#"{"operation":"download","objects":[{"oid":"ab","size":3}]}"#,
            r#"{"operation":"download","objects":[],"transfers":["basic"],"ref":{"name":"refs/heads/main"},"hash_algo":"sha256"}"#,
            " {\"objects\":[],\n\"operation\":\"d\\u006fwnload\"} ",
        ] {
            assert!(is_download(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"operation":"upload","objects":[]}"#,
            r#"{"operation":"Download","objects":[]}"#,
            r#"{"operation":"download"}"#,
            r#"{"operation":"download","operation":"upload","objects":[]}"#,
            r#"{"operation":"download","Operation":"upload","objects":[]}"#,
            r#"{"operation":"download","objects":[]}{"operation":"upload","objects":[]}"#,
            r#"{"operation":"download","objects":[],"content":"YQ=="}"#,
            r#"[{"operation":"download","objects":[]}]"#,
            "operation=download",
        ] {
            assert!(!is_download(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn the_media_type_may_have_parameters() {
        for name in [
            "application/vnd.git-lfs+json",
            "Application/Vnd.Git-LFS+json ; charset=utf-8",
        ] {
            assert!(
                is_media_type(name.as_bytes()) && is_utf8_media_type(name.as_bytes()),
                "{name}"
            );
        }
        let other = b"application/vnd.git-lfs+json; charset=utf-7";
        assert!(is_media_type(other) && !is_utf8_media_type(other));
        for name in ["", "application/json", "application/vnd.git-lfs+json, text/plain"] {
            assert!(!is_media_type(name.as_bytes()), "{name}");
        }
    }
}
