//! Google: security token service, IAM credentials, and the token endpoint for credentials files.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::github_app::app_keys;
use super::identity::verified_claims;
use super::{Answer, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    let answer = match (request.method == Method::POST, request.path.as_str()) {
        (true, "/v1/token") => federate(state, request),
        (true, "/v1/projects/-/serviceAccounts/ci@corp.iam.gserviceaccount.com:generateAccessToken") => {
            impersonate(state, request)
        }
        (true, "/token") => refresh(state, request),
        _ => Err((
            404,
            json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": "no such method" } }),
        )),
    };
    answer.unwrap_or_else(|(status, document)| Answer::json(status, &document))
}

type Refused = (u16, Value);

fn invalid(description: impl ToString) -> Refused {
    (
        400,
        json!({ "error": "invalid_grant", "error_description": description.to_string() }),
    )
}

fn federate(state: &Arc<State>, request: &Received) -> Result<Answer, Refused> {
    let document = request.json().map_err(invalid)?;
    let audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/corp";
    for (field, expected) in [
        ("audience", audience),
        ("grantType", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requestedTokenType", "urn:ietf:params:oauth:token-type:access_token"),
        ("subjectTokenType", "urn:ietf:params:oauth:token-type:jwt"),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
    ] {
        if document[field] != expected {
            return Err(invalid(format!("{field} is not {expected}")));
        }
    }
    let expected = format!("https:{audience}");
    let identity = document["subjectToken"].as_str().unwrap_or_default();
    state.verify(identity, &[&expected]).map_err(invalid)?;
    let (token, seconds) = state.mint();
    Ok(Answer::json(
        200,
        &json!({
            "access_token": token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": seconds,
        }),
    ))
}

fn impersonate(state: &Arc<State>, request: &Received) -> Result<Answer, Refused> {
    let denied = |message: &str| {
        (
            403,
            json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": message } }),
        )
    };
    let federated = request.bearer().to_owned();
    if !state.minted.lock().unwrap().contains(&federated) {
        return Err(denied("the federated token is unknown"));
    }
    let document = request.json().map_err(|message| denied(&message))?;
    if document != json!({ "scope": ["https://www.googleapis.com/auth/cloud-platform"] }) {
        return Err(denied("the scope is wrong"));
    }
    state.gate.reject(&federated);
    let (token, _) = state.mint();
    Ok(Answer::json(
        200,
        &json!({ "accessToken": token, "expireTime": end_in(state.lifetime()) }),
    ))
}

/// Credentials files: a person's refresh token, or an assertion that the service account's key has signed.
fn refresh(state: &Arc<State>, request: &Received) -> Result<Answer, Refused> {
    let form = request.form().map_err(invalid)?;
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "refresh_token" => {
            let login = [field("client_id"), field("client_secret"), field("refresh_token")];
            if login != ["gcloud", "secret-of-gcloud", "refresh-token-of-me"] {
                return Err(invalid("Token has been expired or revoked."));
            }
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let claims = verified_claims(field("assertion"), &app_keys()).map_err(invalid)?;
            let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            if claims["iss"] != "ci@corp.iam.gserviceaccount.com" || life > 3600 {
                return Err(invalid("Invalid JWT"));
            }
            let audience = claims["aud"].as_str().unwrap();
            if !audience.ends_with("/token") || claims["scope"] != "https://www.googleapis.com/auth/cloud-platform" {
                return Err(invalid("Invalid JWT: audience or scope"));
            }
        }
        _ => return Err(invalid("unsupported grant_type")),
    }
    let (token, seconds) = state.mint();
    Ok(Answer::json(
        200,
        &json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" }),
    ))
}

/// Time at which a token ends that is given now.
pub(super) fn end_in(lifetime: Duration) -> String {
    (OffsetDateTime::now_utc() + lifetime).format(&Rfc3339).unwrap()
}
