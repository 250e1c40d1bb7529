//! One exhaustive match: every request has its verb.

use regauth_shared::frame::Answer;
use regauth_shared::{ErrorBody, Request};
use serde::Serialize;

use super::registrar::Registrar;
use super::{add, grants, life, moving, remove, rotate, scopes, show, verify, writes};

/// Carries out one line of the protocol and gives the line to answer.
pub(crate) async fn dispatch(registrar: &Registrar, line: &str) -> String {
    match Request::from_line(line) {
        Ok(request) => carry_out(registrar, request).await,
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn carry_out(registrar: &Registrar, request: Request) -> String {
    match request {
        Request::AddRegistry(request) => answer(add::add_registry(registrar, *request).await),
        Request::RemoveRegistry(request) => answer(remove::remove_registry(registrar, request).await),
        Request::AddScope(request) => answer(scopes::add_scope(registrar, &request).await),
        Request::List(_) => answer(Ok(show::list(registrar))),
        Request::Show(request) => answer(show::show(registrar, &request)),
        Request::Rotate(request) => answer(rotate::rotate(registrar, request).await),
        Request::Verify(request) => answer(verify::verify(registrar, request).await),
        Request::Allow(request) => answer(writes::allow(registrar, request)),
        Request::Deny(request) => answer(writes::deny(registrar, request)),
        Request::Grant(request) => answer(grants::grant(registrar, request).await),
        Request::Grants(_) => answer(Ok(grants::grants(registrar))),
        Request::Revoke(request) => answer(grants::revoke(registrar, request).await),
        Request::Status(_) => answer(Ok(show::status(registrar).await)),
        Request::Reload(_) => answer(life::reload(registrar).await),
        Request::Unlock(request) => answer(life::unlock(registrar, request).await),
        Request::Store(_) => answer(Ok(moving::store(registrar).await)),
        Request::StoreMove(request) => answer(moving::store_move(registrar, request).await),
        Request::CompareToken(request) => answer(verify::holds(registrar, &request)),
        Request::Log(request) => answer(life::log(registrar, &request)),
        Request::Stop(_) => answer(Ok(life::stop(registrar))),
    }
}

fn answer<T: Serialize>(result: Result<T, ErrorBody>) -> String {
    // Every answer has a JSON form: texts, numbers, lists of them.
    serde_json::to_string(&Answer::from(result)).unwrap_or_default()
}
