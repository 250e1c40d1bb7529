//! JFrog: "Exchange Token for OIDC".

use std::sync::Arc;

use hyper::Method;
use serde_json::json;

use super::{Answer, Fault, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    if !request.is(&Method::POST, "/access/api/v1/oidc/token") {
        return error(404, "NOT_FOUND", "there is no such endpoint");
    }
    match exchange(state, request) {
        Ok(answer) => answer,
        Err(message) => error(401, "UNAUTHORIZED", &message),
    }
}

fn exchange(state: &Arc<State>, request: &Received) -> Result<Answer, String> {
    let document = request.json()?;
    for (field, expected) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("provider_name", "corp"),
    ] {
        if document[field] != expected {
            return Err(format!("{field} is not {expected}"));
        }
    }
    let known = [
        "grant_type",
        "subject_token_type",
        "subject_token",
        "provider_name",
        "provider_type",
        "audience",
        "identity_mapping_name",
        "project_key",
    ];
    if let Some(field) = document
        .as_object()
        .unwrap()
        .keys()
        .find(|field| !known.contains(&field.as_str()))
    {
        return Err(format!("the field {field} is unknown"));
    }
    state.verify(document["subject_token"].as_str().unwrap_or_default(), &["jfrog"])?;
    let (token, seconds) = state.mint();
    let mut answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": "applied-permissions/groups:readers",
        "username": "ci",
    });
    if state.fault() == Some(Fault::Endless) {
        answer.as_object_mut().unwrap().remove("expires_in");
    }
    Ok(Answer::json(200, &answer))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [{ "code": code, "message": message }] }))
}
