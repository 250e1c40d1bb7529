//! Tests of the classification: requests of each kind of client, as reads or writes.

use super::*;

/// All but container registries, which read by GET and HEAD only.
const KINDS: [Kind; 11] = [
    Kind::Cargo,
    Kind::Git,
    Kind::Pypi,
    Kind::Npm,
    Kind::Maven,
    Kind::Go,
    Kind::Rubygems,
    Kind::Composer,
    Kind::Nuget,
    Kind::Apt,
    Kind::Generic,
];
const FETCH: &str = "application/x-git-upload-pack-request";
const LFS: &str = "application/vnd.git-lfs+json; charset=utf-8";

pub(in crate::policy) fn classify(kind: Kind, method: &str, target: &str, content_type: &str) -> Classification {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let head = RequestHead {
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        path,
        query,
        content_type: Some(content_type.as_bytes()).filter(|text| !text.is_empty()),
        has_body: !content_type.is_empty(),
    };
    Classification::of(kind, &head)
}

fn check(kind: Kind, method: &str, target: &str, operation: Operation) {
    check_with(kind, method, target, FETCH, Classification::Known(operation));
}

fn check_with(kind: Kind, method: &str, target: &str, content_type: &str, expected: Classification) {
    let classified = classify(kind, method, target, content_type);
    assert_eq!(classified, expected, "{kind:?} {method} {target} {content_type}");
}

#[test]
fn a_file_named_like_a_read_is_a_write() {
    let api = "/api/v1/repos/me/r/contents";
    for (path, content_type) in [
        (format!("{api}/git-upload-pack"), ""),
        (format!("{api}/git-upload-pack"), "application/json"),
        (format!("{api}/git-upload-pack"), "text/plain, application/x-git"),
        ("/r.git/git-upload-pack".to_owned(), "application/json"),
        ("/r.git/git-upload-archive".to_owned(), FETCH),
        (format!("{api}/info/lfs/objects/batch"), LFS),
        (format!("{api}/r.git/info/lfs/objects/batch"), LFS),
        (format!("{api}/token"), "application/x-www-form-urlencoded"),
        (format!("{api}/-/npm/v1/security/audits/quick"), "application/json"),
        (
            format!("/git{api}/-/npm/v1/security/advisories/bulk"),
            "application/json",
        ),
    ] {
        for kind in KINDS {
            check_with(
                kind,
                "POST",
                &path,
                content_type,
                Classification::Known(Operation::Write),
            );
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
    for kind in KINDS {
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

#[test]
fn an_archive_is_a_read() {
    let read = Classification::Known(Operation::Read);
    for kind in KINDS {
        check(
            kind,
            "GET",
            "/r.git/info/refs?service=git-upload-archive",
            Operation::Read,
        );
        let content_type = "application/x-git-upload-archive-request";
        check_with(kind, "POST", "/r.git/git-upload-archive", content_type, read);
    }
}

/// Requests of git-lfs: <https://github.com/git-lfs/git-lfs/tree/main/docs/api>.
#[test]
fn lfs_reads_are_downloads() {
    use Operation::{Read, Write};
    for kind in KINDS {
        for (method, target, operation) in [
            ("GET", "/r.git/info/lfs/objects/0123abcd", Read),
            ("GET", "/r.git/gitlab-lfs/objects/0123abcd", Read),
            ("GET", "/r.git/info/lfs/locks?path=a", Read),
            ("PUT", "/r.git/info/lfs/objects/0123abcd", Write),
            ("PUT", "/r.git/gitlab-lfs/objects/0123abcd/12", Write),
            ("POST", "/r.git/info/lfs/verify", Write),
            ("POST", "/r.git/info/lfs/locks", Write),
            ("POST", "/r.git/info/lfs/locks/verify", Write),
            ("POST", "/r.git/info/lfs/locks/7/unlock", Write),
        ] {
            check_with(kind, method, target, LFS, Classification::Known(operation));
        }
        for target in ["/r.git/info/lfs/objects/batch", "/team/r/objects/batch"] {
            let by_body = Classification::ByBody(BodyFormat::LfsBatch);
            check_with(kind, "POST", target, LFS, by_body);
            check_with(kind, "POST", target, "application/json", Classification::Known(Write));
            check_with(kind, "PUT", target, LFS, Classification::Known(Write));
        }
    }
    assert!(BodyFormat::LfsBatch.is_read(br#"{"operation":"download","objects":[]}"#));
    assert!(!BodyFormat::LfsBatch.is_read(br#"{"operation":"upload","objects":[]}"#));
}

/// A token that may push is as good as a push.
#[test]
fn a_request_for_a_token_that_may_push_is_a_write() {
    use Operation::{Read, Write};
    for kind in KINDS {
        for path in ["/token", "/v2/auth", "/jwt/auth", "/service/token", "/"] {
            for (method, query, operation) in [
                ("GET", "service=corp&scope=repository:x:pull", Read),
                ("GET", "scope=registry:catalog:*", Read),
                ("GET", "service=corp&scope=repository%3Ax%3Apull%2Cpush", Write),
                ("HEAD", "scope=repository:x:*", Write),
                ("OPTIONS", "scope=repository:x:delete", Write),
            ] {
                check_with(
                    kind,
                    method,
                    &format!("{path}?{query}"),
                    "",
                    Classification::Known(operation),
                );
            }
        }
        let form = "application/x-www-form-urlencoded";
        let by_body = Classification::ByBody(BodyFormat::TokenForm);
        check_with(kind, "POST", "/oauth2/token", form, by_body);
        check_with(
            kind,
            "POST",
            "/oauth2/token?scope=repository:x:push",
            form,
            Classification::Known(Write),
        );
        // Rails reads parameters from the body of a GET.
        check_with(kind, "GET", "/jwt/auth", form, Classification::Known(Write));
        check_with(kind, "POST", "/projects", form, Classification::Known(Write));
    }
    assert!(BodyFormat::TokenForm.is_read(b"grant_type=password&scope=repository:x:pull"));
    assert!(!BodyFormat::TokenForm.is_read(b"grant_type=password&scope=repository:x:push"));
}

/// Requests of the OCI distribution specification, "Endpoints".
#[test]
fn a_container_registry_is_read_by_get_and_head_only() {
    use Operation::{Read, Write};
    for (method, target, operation) in [
        ("GET", "/v2/", Read),
        ("HEAD", "/v2/app/manifests/1.0", Read),
        ("GET", "/v2/app/blobs/sha256:0", Read),
        ("GET", "/v2/app/blobs/uploads/0-1", Read),
        ("GET", "/v2/app/tags/list", Read),
        ("POST", "/v2/app/blobs/uploads/?mount=sha256:0&from=base", Write),
        ("PATCH", "/v2/app/blobs/uploads/0-1", Write),
        ("PUT", "/v2/app/manifests/1.0", Write),
        ("DELETE", "/v2/app/manifests/sha256:0", Write),
        // With the content type of a fetch.
        ("POST", "/v2/app/manifests/git-upload-pack", Write),
        ("GET", "/v2/token?scope=repository:app:push", Write),
    ] {
        check(Kind::Oci, method, target, operation);
    }
}

#[test]
fn other_kinds_write_by_method() {
    use Operation::{Read, Write};
    check(Kind::Pypi, "POST", "/legacy/", Write);
    check(Kind::Npm, "PUT", "/left-pad", Write);
    check(Kind::Generic, "OPTIONS", "/", Read);
    for audit in ["advisories/bulk", "audits/quick", "audits"] {
        let path = format!("/npm/-/npm/v1/security/{audit}");
        check(Kind::Npm, "POST", &path, Read);
        check(Kind::Generic, "POST", &path, Read);
        check(Kind::Cargo, "POST", &path, Write);
    }
}

proptest::proptest! {
    #[test]
    fn unknown_methods_are_writes(
        method in "PUT|DELETE|PATCH|MKCOL|MOVE|PROPPATCH|[A-Z]{1,8}",
        path in "/[a-z./-]{0,30}(/git-upload-pack|/info/refs|/objects/batch|/token)?",
        content_type in "(application/x-git-upload-pack-request|application/vnd.git-lfs\\+json)?",
    ) {
        let known = ["GET", "HEAD", "OPTIONS", "POST"];
        proptest::prop_assume!(!known.contains(&&*method));
        for kind in KINDS {
            let classified = classify(kind, &method, &path, &content_type);
            proptest::prop_assert_eq!(classified, Classification::Known(Operation::Write));
        }
    }
}
