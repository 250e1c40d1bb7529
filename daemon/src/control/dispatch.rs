//! One exhaustive match from requests to verbs.

use regauth_shared::frame::Answer;
use regauth_shared::{ErrorBody, Request};
use serde::Serialize;

use crate::control::audit_files::OpenRecord;
use crate::control::controller::Controller;
use crate::control::metrics;
use crate::control::presence::{self, Permission};
use crate::control::server::Peer;
use crate::control::verbs::{
    add_registry, add_scope, change_configuration, check_registry, confirm, device_login, grants, lifecycle, logout,
    migrate, remove_registry, rotate, set_upstream, show, store, traffic, verify, writes,
};
use crate::control::watch::Viewer;

/// Reply to one line of the protocol.
pub(crate) enum Reply {
    /// One line.
    Line(String),
    /// Line after line, to the end of the connection.
    Stream(Viewer),
    /// One line with open files.
    Files(OpenRecord),
}

/// Carries out one line of the protocol.
pub(crate) async fn dispatch(controller: &Controller, peer: &Peer, line: &str) -> Reply {
    let request = match Request::from_line(line) {
        Ok(request) => request,
        Err(error) => return answer::<()>(Err(error)),
    };
    match presence::require(controller, peer, &request).await {
        Ok(permission) => {
            let permission = permission.of(&request);
            carry_out(controller, request, permission).await
        }
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn carry_out(controller: &Controller, request: Request, permission: Permission) -> Reply {
    let presence = permission.presence;
    match request {
        Request::AddRegistry(request) => answer(add_registry::add_registry(controller, *request, presence).await),
        Request::CheckRegistry(request) => answer(check_registry::check_registry(controller, &request, presence).await),
        Request::RemoveRegistry(request) => {
            answer(remove_registry::remove_registry(controller, request, presence).await)
        }
        Request::AddScope(request) => answer(add_scope::add_scope(controller, &request, presence).await),
        Request::Confirm(request) => answer(confirm::confirm(controller, request, presence).await),
        Request::SetRegistry(request) => {
            answer(change_configuration::set_registry(controller, request, permission).await)
        }
        Request::ReplaceConfiguration(request) => {
            answer(change_configuration::replace_configuration(controller, request, permission).await)
        }
        Request::Export(request) => answer(change_configuration::export(controller, &request)),
        Request::List(_) => answer(Ok(show::list(controller).await)),
        Request::Show(request) => answer(show::show(controller, &request).await),
        Request::Rotate(request) => answer(rotate::rotate(controller, request).await),
        Request::DeviceLogin(request) => answer(device_login::begin(controller, request).await),
        Request::DeviceLoginPoll(request) => answer(device_login::poll(controller, request).await),
        Request::Logout(request) => answer(logout::logout(controller, request).await),
        Request::Verify(request) => answer(verify::verify(controller, request).await),
        Request::Allow(request) => answer(writes::allow(controller, request)),
        Request::Deny(request) => answer(writes::deny(controller, request)),
        Request::Grant(request) => answer(grants::grant(controller, request).await),
        Request::Grants(_) => answer(Ok(grants::grants(controller))),
        Request::Revoke(request) => answer(grants::revoke(controller, request).await),
        Request::Status(_) => answer(Ok(show::status(controller).await)),
        Request::Metrics(request) => answer(metrics::answer(controller, &request)),
        Request::Traffic(request) => answer(Ok(traffic::traffic(controller, &request))),
        Request::Watch(request) => match Viewer::admit(controller, request) {
            Ok(viewer) => Reply::Stream(viewer),
            Err(error) => answer::<()>(Err(error)),
        },
        Request::AuditFiles(_) => match OpenRecord::open(controller).await {
            Ok(record) => Reply::Files(record),
            Err(error) => answer::<()>(Err(error)),
        },
        Request::SetUpstream(request) => answer(set_upstream::set_upstream(controller, request).await),
        Request::Reload(request) => answer(lifecycle::check_or_reload(controller, &request, permission).await),
        Request::Unlock(request) => answer(store::unlock(controller, request).await),
        Request::Store(_) => answer(Ok(store::store(controller).await)),
        Request::StoreMove(request) => answer(migrate::store_move(controller, request).await),
        Request::CompareToken(request) => answer(verify::holds(controller, &request).await),
        Request::Log(request) => answer(lifecycle::log(controller, &request)),
        Request::Stop(_) => answer(Ok(lifecycle::stop(controller))),
    }
}

fn answer<T: Serialize>(result: Result<T, ErrorBody>) -> Reply {
    // Serialization cannot fail: answers hold texts, numbers and lists of them.
    Reply::Line(serde_json::to_string(&Answer::from(result)).unwrap_or_default())
}
