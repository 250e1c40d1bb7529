//! Requests of package managers whose method misleads: a GET that hands out a credential, a POST that reads.

use crate::policy::operation::RequestHead;
use crate::policy::token_scope::FORM_CONTENT_TYPE;
use crate::registry::Kind;

/// Does a GET of this path answer with a credential that outlives the request? Its holder writes without the proxy.
///
/// RubyGems: "API key" of the RubyGems.org API. Artifactory: "Get API Key", "Get User Encrypted Password" and
/// "Configuring npm" of its REST API.
pub(super) fn hands_out_credential(path: &str) -> bool {
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let without_format = FORMATS.iter().find_map(|format| path.strip_suffix(format));
    let path = without_format.unwrap_or(&path);
    CREDENTIALS.iter().any(|credential| path.ends_with(credential))
}

/// Is this POST one of Composer's that changes no package: the count of downloads ("notify-batch"), or the names of
/// packages whose security advisories it asks for?
pub(super) fn is_composer_report(kind: Kind, head: &RequestHead<'_>) -> bool {
    let has_type = |expected: &[u8]| {
        head.content_type
            .is_some_and(|given| given.eq_ignore_ascii_case(expected))
    };
    kind == Kind::Composer
        && (head.path.ends_with("/downloads/") && has_type(b"application/json")
            || head.path.trim_end_matches('/').ends_with("/security-advisories") && has_type(FORM_CONTENT_TYPE))
}

const CREDENTIALS: [&str; 4] = [
    "/api/v1/api_key",
    "/api/security/apikey",
    "/api/security/encryptedpassword",
    "/api/npm/auth",
];
const FORMATS: [&str; 4] = [".json", ".yaml", ".yml", ".xml"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::operation::tests::classify;
    use crate::policy::{Classification, Operation};

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    #[track_caller]
    fn check(kind: Kind, requests: &[(&str, &str, &str, Operation)]) {
        for (method, target, content_type, operation) in requests {
            let classified = classify(kind, method, target, content_type);
            assert_eq!(
                classified,
                Classification::Known(*operation),
                "{kind:?} {method} {target}"
            );
        }
    }

    use Operation::{Read, Write};

    /// Maven's repository layout; uploads of Maven, Gradle, Artifactory and Nexus ("Components API").
    #[test]
    fn maven_writes_are_deployments() {
        check(
            Kind::Maven,
            &[
                ("GET", "/com/corp/app/maven-metadata.xml", "", Read),
                ("HEAD", "/com/corp/app/1.0/app-1.0.jar", "", Read),
                ("GET", "/com/corp/app/1.0/app-1.0.pom.sha1", "", Read),
                ("PUT", "/com/corp/app/1.0/app-1.0.jar", "", Write),
                ("PUT", "/libs/app-1.0.jar;build.name=app", "", Write),
                ("DELETE", "/com/corp/app/1.0/", "", Write),
                (
                    "POST",
                    "/service/rest/v1/components?repository=x",
                    "multipart/form-data",
                    Write,
                ),
                ("MKCOL", "/com/corp/", "", Write),
            ],
        );
    }

    /// Go's module reference, "GOPROXY protocol" and "Checksum database"; uploads of Gitea and Artifactory.
    #[test]
    fn go_proxies_are_read_by_get() {
        check(
            Kind::Go,
            &[
                ("GET", "/corp.example/!app/@v/list", "", Read),
                ("GET", "/corp.example/app/@v/v1.0.0.info", "", Read),
                ("GET", "/corp.example/app/@v/v1.0.0.mod", "", Read),
                ("GET", "/corp.example/app/@v/v1.0.0.zip", "", Read),
                ("GET", "/corp.example/app/@latest", "", Read),
                ("GET", "/sumdb/sum.golang.org/lookup/corp.example/app@v1.0.0", "", Read),
                ("PUT", "/upload", "", Write),
                ("PUT", "/corp.example/app/@v/v1.0.0.zip", "", Write),
            ],
        );
    }

    /// RubyGems.org API; "Compact Index API"; Gitea's and GitLab's registries follow them.
    #[test]
    fn rubygems_writes_are_pushes_yanks_owners_and_keys() {
        check(
            Kind::Rubygems,
            &[
                ("GET", "/versions", "", Read),
                ("GET", "/info/treasure", "", Read),
                ("GET", "/specs.4.8.gz", "", Read),
                ("GET", "/quick/Marshal.4.8/treasure-1.0.gemspec.rz", "", Read),
                ("GET", "/gems/treasure-1.0.gem", "", Read),
                ("GET", "/api/v1/dependencies?gems=treasure", "", Read),
                ("GET", "/api/v1/gems/treasure/owners.json", "", Read),
                ("POST", "/api/v1/gems", "application/octet-stream", Write),
                ("DELETE", "/api/v1/gems/yank", FORM, Write),
                ("PUT", "/api/v1/gems/unyank", FORM, Write),
                ("POST", "/api/v1/gems/treasure/owners", FORM, Write),
                ("DELETE", "/api/v1/gems/treasure/owners", FORM, Write),
                ("GET", "/api/v1/api_key", "", Write),
                ("GET", "/api/v1/api_key.json", "", Write),
                ("POST", "/api/v1/api_key", FORM, Write),
            ],
        );
    }

    /// Composer's documentation, "Repositories"; uploads of Gitea and GitLab.
    #[test]
    fn composer_writes_are_uploads() {
        check(
            Kind::Composer,
            &[
                ("GET", "/packages.json", "", Read),
                ("GET", "/p2/corp/treasure.json", "", Read),
                ("GET", "/files/corp/treasure/1.0/treasure.zip", "", Read),
                ("GET", "/search.json?q=treasure", "", Read),
                ("POST", "/downloads/", JSON, Read),
                ("POST", "/api/security-advisories/", FORM, Read),
                ("POST", "/api/security-advisories", FORM, Read),
                ("PUT", "/?version=1.0", "application/zip", Write),
                ("POST", "/api/v4/projects/1/packages/composer", FORM, Write),
                ("POST", "/downloads/", "multipart/form-data", Write),
                ("POST", "/downloads", JSON, Write),
                ("POST", "/api/security-advisories/", JSON, Write),
                ("DELETE", "/corp/treasure/1.0", "", Write),
            ],
        );
        check(Kind::Generic, &[("POST", "/downloads/", JSON, Write)]);
    }

    /// NuGet's "Server API": service index, search, package content, push and delete, symbols.
    #[test]
    fn nuget_writes_are_pushes_deletions_and_relistings() {
        check(
            Kind::Nuget,
            &[
                ("GET", "/v3/index.json", "", Read),
                ("GET", "/v3/registration5-semver1/treasure/index.json", "", Read),
                ("GET", "/v3-flatcontainer/treasure/1.0.0/treasure.1.0.0.nupkg", "", Read),
                ("GET", "/query?q=treasure&skip=0", "", Read),
                ("GET", "/api/v2/FindPackagesById()?id='treasure'", "", Read),
                ("PUT", "/api/v2/package", "multipart/form-data", Write),
                ("PUT", "/api/v2/symbolpackage/", "multipart/form-data", Write),
                ("DELETE", "/api/v2/package/treasure/1.0.0", "", Write),
                ("POST", "/api/v2/package/treasure/1.0.0", "", Write),
                (
                    "POST",
                    "/api/v2/package/create-verification-key/treasure/1.0.0",
                    "",
                    Write,
                ),
            ],
        );
    }

    /// Debian's "Repository format"; uploads of Gitea, Artifactory and Nexus.
    #[test]
    fn apt_writes_are_uploads() {
        check(
            Kind::Apt,
            &[
                ("GET", "/dists/stable/InRelease", "", Read),
                ("GET", "/dists/stable/main/binary-amd64/Packages.xz", "", Read),
                ("GET", "/dists/stable/main/by-hash/SHA256/0123", "", Read),
                ("HEAD", "/pool/main/t/treasure/treasure_1.0_all.deb", "", Read),
                ("PUT", "/pool/stable/main/upload", "", Write),
                ("PUT", "/pool/treasure_1.0_all.deb;deb.distribution=stable", "", Write),
                ("POST", "/repository/apt/", "multipart/form-data", Write),
                ("DELETE", "/pool/stable/main/treasure/1.0/all", "", Write),
            ],
        );
    }

    #[test]
    fn a_credential_is_handed_out_by_no_kind() {
        for kind in Kind::ALL {
            check(
                kind,
                &[
                    ("GET", "/artifactory/api/npm/auth", "", Write),
                    ("GET", "/artifactory/api/security/apiKey", "", Write),
                    ("GET", "/artifactory/api/security/encryptedPassword/", "", Write),
                    ("HEAD", "/gems/api/v1/API_KEY.yaml", "", Write),
                    ("GET", "/artifactory/api/npm/npm/auth/-/auth-1.0.0.tgz", "", Read),
                    ("GET", "/api/v1/api_keys", "", Read),
                ],
            );
        }
    }
}
