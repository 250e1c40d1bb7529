//! Vault: auth methods jwt, kubernetes and approle, kv v2, and an engine with leases. Its namespace is `corp`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::{Answer, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    if request.header("x-vault-namespace") != "corp" {
        return error(404, "no handler for route");
    }
    let post = request.method == Method::POST;
    match (post, request.path.as_str()) {
        (true, "/v1/auth/jwt/login" | "/v1/auth/cluster/login") => log_in(state, request, "jwt"),
        (true, "/v1/auth/approle/login") => log_in(state, request, "secret_id"),
        _ if !state
            .sessions
            .lock()
            .unwrap()
            .contains_key(request.header("x-vault-token")) =>
        {
            error(403, "permission denied")
        }
        (true, "/v1/auth/token/renew-self") => renew_login(state, request),
        (false, "/v1/secret/data/cargo") => kv(state),
        (false, "/v1/database/creds/ci") => lease(state),
        (true, "/v1/sys/leases/renew") => renew_lease(state, request),
        _ => error(404, "no such path"),
    }
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [message] }))
}

fn log_in(state: &Arc<State>, request: &Received, field: &str) -> Answer {
    let Ok(document) = request.json() else {
        return error(400, "failed to parse JSON input");
    };
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    if field == "jwt" {
        if text("role") != "ci" {
            return error(400, "role could not be found");
        }
        if let Err(reason) = state.verify(&text("jwt"), &["vault"]) {
            return error(400, &format!("error validating token: {reason}"));
        }
    } else if [text("role_id"), text("secret_id")] != ["ci", "secret-id-of-ci"] {
        return error(400, "invalid role or secret ID");
    }
    let token = format!("hvs.vault-t0ken-{}", state.next_number());
    state.sessions.lock().unwrap().insert(token.clone(), String::new());
    state.note_secret(&token);
    login(state, &token)
}

/// A login lives four times as long as a lease.
fn login(state: &Arc<State>, token: &str) -> Answer {
    let seconds = state.lifetime().as_secs() * 4;
    Answer::json(
        200,
        &json!({ "auth": { "client_token": token, "lease_duration": seconds, "renewable": true, "policies": ["ci"] } }),
    )
}

fn renew_login(state: &Arc<State>, request: &Received) -> Answer {
    login(state, request.header("x-vault-token"))
}

fn kv(state: &Arc<State>) -> Answer {
    let (token, _) = state.mint();
    let data = json!({ "data": { "token": token }, "metadata": { "version": 1 } });
    Answer::json(
        200,
        &json!({ "lease_id": "", "lease_duration": 0, "renewable": false, "data": data }),
    )
}

fn lease(state: &Arc<State>) -> Answer {
    let (password, seconds) = state.mint();
    let id = format!("database/creds/ci/{}", state.minted.lock().unwrap().len());
    state.sessions.lock().unwrap().insert(id.clone(), password.clone());
    let data = json!({ "username": "v-ci-1", "password": password });
    Answer::json(200, &secret(&id, seconds, &data))
}

/// Renews a lease at most [`MAX_RENEWALS`] times: then its longest lifetime has passed.
fn renew_lease(state: &Arc<State>, request: &Received) -> Answer {
    let document = request.json().unwrap_or_default();
    let id = document["lease_id"].as_str().unwrap_or_default();
    let password = state.sessions.lock().unwrap().get(id).cloned();
    let Some(password) = password else {
        return error(400, "lease not found");
    };
    let renewals = state.leases.fetch_add(1000, Ordering::Relaxed) / 1000 + 1;
    if renewals > MAX_RENEWALS {
        return error(400, "lease is not renewable");
    }
    let lifetime = state.lifetime();
    state.accept(&password, lifetime.max(Duration::from_secs(1)));
    Answer::json(200, &secret(id, lifetime.as_secs(), &Value::Null))
}

fn secret(id: &str, seconds: u64, data: &Value) -> Value {
    json!({ "lease_id": id, "lease_duration": seconds, "renewable": true, "data": data })
}

const MAX_RENEWALS: usize = 2;
