//! Cloudsmith: "OpenID Connect".

use std::sync::Arc;

use hyper::Method;
use serde_json::json;

use super::{Answer, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    if !request.is(&Method::POST, "/openid/corp/") {
        return Answer::json(404, &json!({ "detail": "Not found." }));
    }
    match exchange(state, request) {
        Ok(token) => Answer::json(201, &json!({ "token": token })),
        Err(detail) => Answer::json(401, &json!({ "detail": detail })),
    }
}

fn exchange(state: &Arc<State>, request: &Received) -> Result<String, String> {
    let document = request.json()?;
    if document.as_object().map(serde_json::Map::len) != Some(2) || document["service_slug"] != "ci" {
        return Err("the service account is unknown".to_owned());
    }
    state.verify(document["oidc_token"].as_str().unwrap_or_default(), &["cloudsmith"])?;
    Ok(state.mint().0)
}
