//! Microsoft Entra ID: client credentials with a federated credential.

use std::sync::Arc;

use hyper::Method;
use serde_json::json;

use super::{Answer, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    if !request.is(&Method::POST, "/corp/oauth2/v2.0/token") {
        return refused("AADSTS90002: Tenant not found.");
    }
    match exchange(state, request) {
        Ok((token, seconds)) => Answer::json(
            200,
            &json!({ "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token }),
        ),
        Err(description) => refused(&format!("AADSTS70021: {description}")),
    }
}

fn exchange(state: &Arc<State>, request: &Received) -> Result<(String, u64), String> {
    let form = request.form()?;
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", "app"),
        ("scope", "499b84ac-1321-427f-aa17-267ca6975798/.default"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    ];
    for (field, value) in expected {
        if form.get(field).map(String::as_str) != Some(value) {
            return Err(format!("{field} is not {value}"));
        }
    }
    if form.len() != 5 {
        return Err("there are other fields".to_owned());
    }
    state.verify(&form["client_assertion"], &["api://AzureADTokenExchange"])?;
    Ok(state.mint())
}

fn refused(description: &str) -> Answer {
    let document = json!({ "error": "invalid_request", "error_description": description, "error_codes": [70021] });
    Answer::json(400, &document)
}
