//! Classification of a request as read or write, by the registry's kind.
//!
//! Every request that is not known to be a read is a write. Writes are closed until a person opens them (invariant 5).

use http::Method;

use crate::registry::Kind;

/// Effect of a request on the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Changes nothing.
    Read,
    /// Publishes, yanks, pushes or changes owners, or may do so.
    Write,
}

impl Operation {
    /// Operation of a request to a registry of this kind. `content` is the value of Content-Type.
    pub fn of(kind: Kind, method: &Method, path: &str, query: Option<&str>, content: Option<&[u8]>) -> Self {
        let reads = match *method {
            // The first request of a push is a GET (gitprotocol-http, "Smart Clients").
            Method::GET | Method::HEAD | Method::OPTIONS => !announces_push(kind, path, query),
            Method::POST => is_reading_post(kind, path, content),
            _ => false,
        };
        if reads { Self::Read } else { Self::Write }
    }
}

/// Does this GET begin a push? A cargo registry may have a git index, so both kinds are checked.
fn announces_push(kind: Kind, path: &str, query: Option<&str>) -> bool {
    let uses_git = matches!(kind, Kind::Cargo | Kind::Git);
    uses_git && path.ends_with("/info/refs") && query.is_some_and(may_name_receive_pack)
}

/// Does the query contain `receive-pack`, or an escape that could spell it? Servers decode parameters, and separate
/// them at `&` or `;`.
fn may_name_receive_pack(query: &str) -> bool {
    query.contains('%') || query.to_ascii_lowercase().contains("receive-pack")
}

/// Is this POST a read? A fetch is recognised by path and content type: `POST …/contents/git-upload-pack` of a git
/// host's API creates a file of that name, but not with git's content type (gitprotocol-http, "Smart Service
/// git-upload-pack").
///
/// Git LFS's batch request (`…/info/lfs/objects/batch`) is a write, though downloads begin with one. Only its body
/// tells downloads from uploads, and GitLab, Gitea and Forgejo answer both with the Authorization that they received.
fn is_reading_post(kind: Kind, path: &str, content: Option<&[u8]>) -> bool {
    match kind {
        Kind::Cargo | Kind::Git => path.ends_with("/git-upload-pack") && content == Some(FETCH_CONTENT_TYPE),
        Kind::Npm => {
            path.ends_with("/-/npm/v1/security/audits/quick") || path.ends_with("/-/npm/v1/security/advisories/bulk")
        }
        Kind::Pypi | Kind::Generic => false,
    }
}

const FETCH_CONTENT_TYPE: &[u8] = b"application/x-git-upload-pack-request";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, method: &str, target: &str, operation: Operation) {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(
            Operation::of(kind, &method, path, query, Some(FETCH_CONTENT_TYPE)),
            operation,
            "{kind:?} {method} {target}"
        );
    }

    #[test]
    fn a_file_named_git_upload_pack_is_not_a_fetch() {
        for content in [
            None,
            Some(&b"application/json"[..]),
            Some(b""),
            Some(b"text/plain, application/x-git"),
        ] {
            for path in ["/api/v1/repos/me/r/contents/git-upload-pack", "/r.git/git-upload-pack"] {
                let operation = Operation::of(Kind::Git, &Method::POST, path, None, content);
                assert_eq!(operation, Operation::Write, "{path} {content:?}");
            }
        }
    }

    #[test]
    fn cargo_writes_are_publish_yank_unyank_and_owners() {
        use Operation::{Read, Write};
        for (method, target, operation) in [
            ("GET", "/index/config.json", Read),
            ("HEAD", "/index/se/rd/serde", Read),
            ("GET", "/api/v1/crates?q=x", Read),
            ("GET", "/api/v1/crates/x/owners", Read),
            ("GET", "/api/v1/crates/x/1.0.0/download", Read),
            ("PUT", "/api/v1/crates/new", Write),
            ("DELETE", "/api/v1/crates/x/1.0.0/yank", Write),
            ("PUT", "/api/v1/crates/x/1.0.0/unyank", Write),
            ("PUT", "/api/v1/crates/x/owners", Write),
            ("DELETE", "/api/v1/crates/x/owners", Write),
            ("POST", "/api/v1/crates/new", Write),
            ("PROPFIND", "/", Write),
        ] {
            check(Kind::Cargo, method, target, operation);
        }
    }

    #[test]
    fn git_writes_are_receive_pack() {
        use Operation::{Read, Write};
        for kind in [Kind::Git, Kind::Cargo] {
            check(kind, "GET", "/r.git/info/refs?service=git-upload-pack", Read);
            check(kind, "POST", "/r.git/git-upload-pack", Read);
            check(kind, "GET", "/r.git/info/refs?service=git-receive-pack", Write);
            check(kind, "GET", "/r.git/info/refs?a=b&service=git-receive-pack", Write);
            check(kind, "GET", "/r.git/info/refs?service=git-receive%2dpack", Write);
            check(kind, "GET", "/r.git/info/refs?a;service=git-receive-pack", Write);
            check(
                kind,
                "GET",
                "/r.git/info/refs?service=git-upload-pack&service=git-receive-pack",
                Write,
            );
            check(kind, "POST", "/r.git/git-receive-pack", Write);
        }
    }

    /// Requests of git-lfs: <https://github.com/git-lfs/git-lfs/tree/main/docs/api>.
    #[test]
    fn lfs_reads_are_downloads() {
        use Operation::{Read, Write};
        for kind in [Kind::Git, Kind::Cargo] {
            check(kind, "GET", "/r.git/info/lfs/objects/0123abcd", Read);
            check(kind, "GET", "/r.git/gitlab-lfs/objects/0123abcd", Read);
            check(kind, "GET", "/r.git/info/lfs/locks?path=a", Read);
            check(kind, "POST", "/r.git/info/lfs/objects/batch", Write);
            check(kind, "PUT", "/r.git/info/lfs/objects/0123abcd", Write);
            check(kind, "PUT", "/r.git/gitlab-lfs/objects/0123abcd/12", Write);
            check(kind, "POST", "/r.git/info/lfs/verify", Write);
            check(kind, "POST", "/r.git/info/lfs/locks", Write);
            check(kind, "POST", "/r.git/info/lfs/locks/verify", Write);
            check(kind, "POST", "/r.git/info/lfs/locks/7/unlock", Write);
        }
    }

    #[test]
    fn other_kinds_write_by_method() {
        use Operation::{Read, Write};
        check(Kind::Generic, "POST", "/r.git/git-upload-pack", Write);
        check(Kind::Pypi, "POST", "/legacy/", Write);
        check(Kind::Npm, "PUT", "/left-pad", Write);
        check(Kind::Npm, "POST", "/-/npm/v1/security/advisories/bulk", Read);
        check(Kind::Generic, "OPTIONS", "/", Read);
    }

    proptest::proptest! {
        #[test]
        fn unknown_methods_are_writes(
            method in "PUT|DELETE|PATCH|MKCOL|MOVE|PROPPATCH|[A-Z]{1,8}",
            path in "/[a-z./-]{0,30}(/git-upload-pack|/info/refs)?",
        ) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let known = [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST];
            proptest::prop_assume!(!known.contains(&method));
            for kind in [Kind::Cargo, Kind::Git, Kind::Pypi, Kind::Npm, Kind::Generic] {
                let operation = Operation::of(kind, &method, &path, None, Some(FETCH_CONTENT_TYPE));
                proptest::prop_assert_eq!(operation, Operation::Write);
            }
        }
    }
}
