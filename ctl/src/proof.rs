//! Requests that send a token to more places: a person permits them with the token itself.
//!
//! The daemon decides whether a request is one. Only then is the person asked.

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};
use serde::de::DeserializeOwned;

use crate::client::{Client, Reply};
use crate::output::print_to_stderr;
use crate::prompt;
use crate::token::{TokenFlags, TokenPrompt};

/// Sends a request. If the daemon needs the token of `owner` for it, asks for the token at the terminal and sends the request
/// again. A token from stdin or the environment is sent at once.
///
/// # Errors
/// Those of the daemon: `presence-needed` where nobody can be asked.
pub(crate) fn call<T: DeserializeOwned>(
    client: &Client,
    mut request: Request,
    token: &TokenFlags,
    owner: &RegistryName,
) -> Result<Reply<T>, ErrorBody> {
    let prompt = || {
        let show = Request::Show(ByName { name: owner.clone() });
        Ok(TokenPrompt {
            text: format!("Present token of {owner}: "),
            scheme: client.call::<RegistryView>(&show)?.answer.scheme,
        })
    };
    if token.is_given() {
        give(&mut request, token.read(prompt)?);
        return client.call(&request);
    }
    match client.call(&request) {
        Err(error) if error.kind == ErrorKind::PresenceNeeded && prompt::is_interactive() => {
            print_to_stderr(&format!("{}\n", error.message));
            give(&mut request, token.read(prompt)?);
            client.call(&request)
        }
        answered => answered,
    }
}

fn give(request: &mut Request, token: Secret) {
    let proof = match request {
        Request::AddRegistry(request) => &mut request.proof,
        Request::AddScope(request) => &mut request.proof,
        Request::Confirm(request) => &mut request.proof,
        _ => return,
    };
    *proof = Some(token);
}
