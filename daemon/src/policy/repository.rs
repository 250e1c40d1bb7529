//! Access to repositories that a request to a container registry needs. Pure.
//!
//! The paths are those of the OCI distribution specification, "Endpoints". The grammar of scopes is that of the distribution
//! project, "Token Scope Documentation".

use http::Method;
use url::form_urlencoded;

/// Path of the API's root, such as `/v2/` or `/artifactory/api/docker/images/v2/`.
pub(crate) fn api_root(path: &str) -> &str {
    match path.find(API) {
        Some(at) => path.get(..at + API.len()).unwrap_or(API),
        None => path.strip_suffix("/v2").map_or(API, |_| path),
    }
}

/// Scopes of the token that a request needs: to pull for GET and HEAD, also to push for any other. A path beyond the
/// specification needs none.
///
/// A blob can be mounted from another repository, if the registry covers that one too: `covers` gets a path there.
pub(crate) fn needed_scopes(
    method: &Method,
    path: &str,
    query: Option<&str>,
    covers: impl Fn(&str) -> bool,
) -> Vec<String> {
    let root = api_root(path);
    let rest = path.strip_prefix(root).unwrap_or_default().trim_end_matches('/');
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if rest == "_catalog" && is_read {
        return vec!["registry:catalog:*".to_owned()];
    }
    let Some(name) = repository(rest) else {
        return Vec::new();
    };
    let actions = match *method {
        _ if is_read => "pull",
        Method::DELETE => "pull,push,delete",
        _ => "pull,push",
    };
    let mut scopes = vec![format!("repository:{name}:{actions}")];
    if *method == Method::POST {
        let from = mounted_from(query).filter(|from| *from != name && covers(&format!("{root}{from}/")));
        scopes.extend(from.map(|from| format!("repository:{from}:pull")));
    }
    scopes
}

/// Name of the repository in a path below the API's root.
fn repository(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').collect();
    let name = match segments.as_slice() {
        [name @ .., "blobs", "uploads", _]
        | [name @ .., "blobs", "uploads"]
        | [name @ .., "tags", "list"]
        | [name @ .., "manifests" | "blobs" | "referrers", _] => name.join("/"),
        _ => return None,
    };
    is_name(&name).then_some(name)
}

/// Repository that a blob is mounted from, if the request asks for that once.
fn mounted_from(query: Option<&str>) -> Option<String> {
    let pairs = form_urlencoded::parse(query?.as_bytes());
    let mut names = pairs
        .filter(|(name, _)| name == "from")
        .map(|(_, value)| value.into_owned());
    let name = names.next().filter(|name| is_name(name))?;
    names.next().is_none().then_some(name)
}

/// True if a text is a repository's name. Colons, commas and spaces would say something else in a scope.
fn is_name(text: &str) -> bool {
    text.split('/').all(|part| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        part.bytes().all(known) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
    })
}

const API: &str = "/v2/";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, expected: &[&str]) {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let scopes = needed_scopes(&method, path, query, |path| !path.contains("/other/"));
        assert_eq!(scopes, expected, "{method} {target}");
    }

    #[test]
    fn reading_needs_pull() {
        for target in [
            "/v2/team/app/manifests/1.0",
            "/v2/team/app/manifests/sha256:0123",
            "/v2/team/app/blobs/sha256:0123",
            "/v2/team/app/tags/list?n=10",
            "/v2/team/app/referrers/sha256:0123",
            "/v2/team/app/blobs/uploads/0-1-2",
            "/artifactory/api/docker/images/v2/team/app/tags/list",
        ] {
            check("GET", target, &["repository:team/app:pull"]);
            check("HEAD", target, &["repository:team/app:pull"]);
        }
        check(
            "GET",
            "/v2/a/manifests/b/manifests/latest",
            &["repository:a/manifests/b:pull"],
        );
        check("GET", "/v2/_catalog?n=10", &["registry:catalog:*"]);
    }

    #[test]
    fn writing_needs_push_and_deleting_delete() {
        for (method, target, actions) in [
            ("POST", "/v2/app/blobs/uploads/", "pull,push"),
            ("POST", "/v2/app/blobs/uploads/?digest=sha256:0", "pull,push"),
            ("PATCH", "/v2/app/blobs/uploads/0-1-2?_state=x", "pull,push"),
            ("PUT", "/v2/app/manifests/1.0", "pull,push"),
            ("DELETE", "/v2/app/manifests/sha256:0", "pull,push,delete"),
            ("MKCOL", "/v2/app/manifests/1.0", "pull,push"),
        ] {
            check(method, target, &[&format!("repository:app:{actions}")]);
        }
    }

    #[test]
    fn a_mount_needs_pull_from_a_repository_that_is_covered() {
        let push = "repository:app:pull,push";
        let target = |from: &str| format!("/v2/app/blobs/uploads/?mount=sha256:0&from={from}");
        check("POST", &target("team%2Fbase"), &[push, "repository:team/base:pull"]);
        check("POST", &target("app"), &[push]);
        check("POST", &target("other"), &[push]);
        check("POST", &target("x%3Apush,y"), &[push]);
        check("POST", &target("a&from=b"), &[push]);
        check("GET", &target("team/base"), &["repository:app:pull"]);
    }

    #[test]
    fn other_paths_need_no_access() {
        for target in [
            "/v2/",
            "/v2",
            "/v2/token",
            "/v2/x:pull,push/manifests/1",
            "/v2/a%2Fb/manifests/1",
            "/v2/a%20b/manifests/1",
            "/v2/../a/manifests/1",
            "/v2//manifests/1",
            "/v2/manifests/1",
            "/api/v1/app/manifests/1",
        ] {
            check("GET", target, &[]);
        }
    }

    #[test]
    fn the_root_of_the_api_ends_with_v2() {
        for (path, root) in [
            ("/v2/", "/v2/"),
            ("/v2", "/v2"),
            ("/v2/v2/manifests/1", "/v2/"),
            (
                "/artifactory/api/docker/x/v2/a/tags/list",
                "/artifactory/api/docker/x/v2/",
            ),
            ("/elsewhere", "/v2/"),
        ] {
            assert_eq!(api_root(path), root, "{path}");
        }
    }

    proptest::proptest! {
        /// No path or query of a client adds a scope or an action.
        #[test]
        fn a_scope_has_three_parts_and_known_actions(
            method in "GET|HEAD|POST|PUT|PATCH|DELETE",
            path in "/v2/[a-z:,%20 /]{0,20}(/manifests/|/blobs/uploads/|/tags/list)[a-z:,]{0,10}",
            from in "[a-z:,%/ ]{0,20}",
        ) {
            let method: Method = method.parse().unwrap();
            let query = format!("mount=sha256:0&from={from}");
            for scope in needed_scopes(&method, &path, Some(&query), |_| true) {
                let parts: Vec<&str> = scope.split(':').collect();
                let is_known = matches!(parts.as_slice(), ["repository", _, "pull" | "pull,push" | "pull,push,delete"]);
                proptest::prop_assert!(is_known && !scope.contains(' '), "{}", scope);
            }
        }
    }
}
