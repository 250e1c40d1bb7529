//! Checks of each registry: DNS, reachability, trust, and whether it accepts its token.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use regauth_shared::Request;
use regauth_shared::request::Verify;
use regauth_shared::response::{RegistryView, Verdict, VerdictResult, Verified};
use url::Url;

use super::context::DoctorContext;
use super::finding::Finding;

/// Makes the daemon verify the token of every registry.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    if context.info.registries.is_empty() {
        return Vec::new();
    }
    let verified = context.client.call::<Verified>(&Request::Verify(Verify { name: None }));
    match verified {
        Ok(reply) => {
            let verdicts = reply.answer.registries.iter();
            let verdicts = verdicts.filter_map(|verdict| check_verdict(context, verdict));
            let outside = context.info.registries.iter().filter_map(check_outside_requests);
            verdicts.chain(outside).collect()
        }
        Err(error) => vec![Finding::new(
            "registries-not-asked",
            error.message,
            "it is not known whether the tokens work",
            error.hint.unwrap_or_else(|| "regauthctl verify".to_owned()),
        )],
    }
}

fn check_verdict(context: &DoctorContext, verdict: &Verdict) -> Option<Finding> {
    let name = &verdict.name;
    let rotate = format!("regauthctl rotate {name}");
    match verdict.result {
        VerdictResult::Accepted => None,
        VerdictResult::Rejected => Some(Finding::new(
            "token-rejected",
            format!("{name}: {}", verdict.detail),
            "every request to it fails; regauthd stops sending the token, so that the account is not locked",
            rotate,
        )),
        VerdictResult::Public => Some(
            Finding::new(
                "registry-public",
                format!("{name}: {}", verdict.detail),
                "an expired token shows only when a client requests something private",
                "nothing to do; a scope that needs a token would allow a check",
            )
            .into_note(),
        ),
        VerdictResult::NoToken => Some(Finding::new(
            "token-missing",
            format!("{name} has no token: {}", verdict.detail),
            "requests to it carry no credential",
            rotate,
        )),
        VerdictResult::Inconclusive => inconclusive(context, verdict),
        _ => {
            let registries = context.info.registries.iter();
            // Behind a corporate proxy, names and routes are the proxy's: what this process sees says nothing.
            let direct = context.status.upstream_proxies.is_empty();
            let view = registries.filter(|_| direct).find(|view| view.name == *name);
            Some(view.and_then(check_network).unwrap_or_else(|| unclear(verdict)))
        }
    }
}

/// The registry was reached and has no page that tells. Requests that it has accepted do tell.
fn inconclusive(context: &DoctorContext, verdict: &Verdict) -> Option<Finding> {
    let mut views = context.info.registries.iter();
    if views.any(|view| view.name == verdict.name && view.credential.accepted) {
        return None;
    }
    let finding = Finding::new(
        "token-unproven",
        format!("{}: {}", verdict.name, verdict.detail),
        "a token that has ended shows only when a client requests something",
        "nothing to do; the first request that the registry serves shows that the token is good",
    );
    Some(finding.into_note())
}

/// Requests that a scope was missing for.
fn check_outside_requests(view: &RegistryView) -> Option<Finding> {
    let (name, scope) = (&view.name, view.wider_scope.as_deref()?);
    let count = match view.refused_outside {
        0 => return None,
        1 => "1 request".to_owned(),
        many => format!("{many} requests"),
    };
    let finding = Finding::new(
        "outside-scopes",
        format!("{name}: its host answered {count} outside of its scopes with 401, 403 or 404"),
        "they carried no token; archives of an index are sometimes outside of its path",
        format!("regauthctl add-scope {name} {scope}"),
    );
    Some(finding.into_note())
}

fn unclear(verdict: &Verdict) -> Finding {
    let name = &verdict.name;
    Finding::new(
        "registry-unclear",
        format!("{name}: {}", verdict.detail),
        "regauthd cannot tell whether the registry works",
        format!("check the index with `regauthctl show {name}`; for a private certificate authority, give --ca-file"),
    )
}

/// Resolves the registry's host and connects to it from this process, without the daemon.
fn check_network(view: &RegistryView) -> Option<Finding> {
    let name = &view.name;
    let url = Url::parse(view.scopes.first()?).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let Ok(addresses) = (host.trim_matches(['[', ']']), port).to_socket_addrs() else {
        return Some(Finding::new(
            "registry-not-found",
            format!("{name}: the host {host} has no address"),
            "no request can reach it",
            "check the name and the network; if only a proxy can resolve it, set `proxy` in [upstream] in config.toml",
        ));
    };
    let is_reachable = addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok());
    let finding = Finding::new(
        "registry-not-reached",
        format!("{name}: {host}:{port} does not accept a connection"),
        "no request can reach it",
        "check whether the registry is up, then the network, VPN and firewall on the way",
    );
    (!is_reachable).then_some(finding)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
