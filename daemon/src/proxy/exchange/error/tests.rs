use http::Uri;
use http::header::HeaderMap;

use super::*;
use crate::policy::path::PathProblem;

#[test]
fn every_error_has_two_sentences() {
    let name: RegistryName = "corp".parse().unwrap();
    for error in [
        ProxyError::BadRequest,
        ProxyError::Malformed(RequestProblem::Path(PathProblem::NotAbsolute)),
        ProxyError::Malformed(RequestProblem::Path(PathProblem::Climbs)),
        ProxyError::Malformed(RequestProblem::Path(PathProblem::InvalidEscape)),
        ProxyError::Malformed(RequestProblem::Path(PathProblem::InvalidCharacter)),
        ProxyError::Malformed(RequestProblem::Path(PathProblem::TooManyReadings)),
        ProxyError::Malformed(RequestProblem::Path(PathProblem::DifferentScopes)),
        ProxyError::Malformed(RequestProblem::Framing),
        ProxyError::Malformed(RequestProblem::Host),
        ProxyError::Malformed(RequestProblem::LongHead),
        ProxyError::Malformed(RequestProblem::PathOverride),
        ProxyError::Malformed(RequestProblem::OwnPort),
        ProxyError::Malformed(RequestProblem::ActionToken),
        ProxyError::AuthorityMismatch,
        ProxyError::MethodRefused,
        ProxyError::GrantRequired,
        ProxyError::IdentityRejected(Rejection::Invalid),
        ProxyError::IdentityRejected(Rejection::Expired),
        ProxyError::IdentityRejected(Rejection::NotYetValid),
        ProxyError::IdentityRejected(Rejection::NoRule),
        ProxyError::GrantDenied,
        ProxyError::HostDenied,
        ProxyError::Busy,
        ProxyError::WriteDenied(name.clone()),
        ProxyError::ProgramDenied(name.clone()),
        ProxyError::TokenRejected(name.clone()),
        ProxyError::AccessDenied(name.clone()),
        ProxyError::Unconfirmed(name.clone()),
        ProxyError::StoreLocked,
        ProxyError::CredentialUnavailable(name.clone()),
        ProxyError::LoggedOut(name),
        ProxyError::StoreUnavailable,
        ProxyError::AuditUnavailable,
        ProxyError::ClientTimeout,
        ProxyError::from(CorporateProxyError {
            proxy: "http://proxy.corp:3128 (set by config.toml)".to_owned(),
            problem: ProxyProblem::LoginRequired,
        }),
        ProxyError::UpstreamUnsafe,
        ProxyError::UpstreamFraming,
        ProxyError::UpstreamUnreadable,
    ]
    .into_iter()
    .chain(UpstreamFailure::ALL.map(ProxyError::Upstream))
    {
        let text = error.message();
        assert!(text.ends_with(".\n") && text.contains(". "), "{text}");
        assert!(!text.contains("  "), "{text}");
        assert!(error.raw_response().contains(error.code()));
        let command = format!("`regauthctl explain {}`.\n", error.code());
        assert!(error.raw_response().ends_with(&command));
        let anchor = format!("\n### `{}`\n", error.code());
        assert!(
            TROUBLESHOOTING.contains(&anchor),
            "docs/troubleshooting.md has no {}",
            error.code()
        );
        let row = format!("| [`{0}`](docs/troubleshooting.md#{0}) |", error.code());
        assert!(README.contains(&row), "README.md has no row for {}", error.code());
        let reason = error.reason_phrase();
        assert!(reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reason}");
        let response = error.response(BodyFormat::Text);
        assert_eq!(
            response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(),
            reason.as_bytes()
        );
        assert!(
            error
                .raw_response()
                .starts_with(&format!("HTTP/1.1 {} {reason}\r\n", error.status().as_u16()))
        );
    }
}

#[test]
fn each_program_gets_the_format_that_it_reads() {
    for (name, value, format) in [
        ("accept", "*/*", BodyFormat::Text),
        ("accept", "text/html, application/xhtml+xml", BodyFormat::Text),
        ("accept", "application/json", BodyFormat::Json),
        (
            "accept",
            "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8",
            BodyFormat::Json,
        ),
        (
            "accept",
            "application/vnd.git-lfs+json; charset=utf-8",
            BodyFormat::Json,
        ),
        ("npm-command", "publish", BodyFormat::Npm),
    ] {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        assert_eq!(
            BodyFormat::of(&Uri::from_static("/x"), &headers),
            format,
            "{name}: {value}"
        );
    }
    for (target, format) in [
        ("/", BodyFormat::Text),
        ("/v2/team/app/blobs/uploads/", BodyFormat::Json),
        ("/artifactory/api/docker/corp/v2/team/app/manifests/1", BodyFormat::Json),
        (
            "/token?service=corp&scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
            BodyFormat::Json,
        ),
        ("/token?scope=@team", BodyFormat::Text),
    ] {
        let uri = Uri::from_static(target);
        assert_eq!(BodyFormat::of(&uri, &HeaderMap::new()), format, "{target}");
    }
    let error = ProxyError::WriteDenied("corp".parse().unwrap());
    let json: serde_json::Value = serde_json::from_str(&error.json()).unwrap();
    let detailed = &json["errors"][0];
    assert_eq!(detailed["code"], "DENIED");
    for field in [
        &json["error"],
        &detailed["detail"],
        &detailed["message"],
        &json["message"],
    ] {
        assert_eq!(field.as_str().unwrap(), error.message().trim_end());
    }
}

const TROUBLESHOOTING: &str = include_str!("../../../../../docs/troubleshooting.md");
const README: &str = include_str!("../../../../../README.md");
