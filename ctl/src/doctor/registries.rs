//! Each registry: whether it can be found, reached and trusted, and whether it takes its token.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use regauth_shared::Request;
use regauth_shared::request::Verify;
use regauth_shared::response::{RegistryView, Verdict, VerdictResult, Verified};
use url::Url;

use super::{Finding, Patient};

/// Has the daemon ask every registry.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    if patient.facts.registries.is_empty() {
        return Vec::new();
    }
    let verified = patient.client.call::<Verified>(&Request::Verify(Verify { name: None }));
    match verified {
        Ok(reply) => reply
            .answer
            .registries
            .iter()
            .filter_map(|verdict| judge(patient, verdict))
            .collect(),
        Err(error) => vec![Finding::new(
            "registries-not-asked",
            error.message,
            "whether the tokens work is not known",
            error.hint.unwrap_or_else(|| "regauthctl verify".to_owned()),
        )],
    }
}

fn judge(patient: &Patient, verdict: &Verdict) -> Option<Finding> {
    let name = &verdict.name;
    let rotate = format!("regauthctl rotate {name}");
    match verdict.result {
        VerdictResult::Accepted => None,
        VerdictResult::Rejected => Some(Finding::new(
            "token-rejected",
            format!("{name}: {}", verdict.detail),
            "every request to it fails; regauthd stops asking, so that the account is not locked out",
            rotate,
        )),
        VerdictResult::Public => Some(
            Finding::new(
                "registry-public",
                format!("{name}: {}", verdict.detail),
                "a token that has run out shows only when something private is asked for",
                "nothing is to be done; a scope that is closed to strangers would tell more",
            )
            .only_worth_knowing(),
        ),
        VerdictResult::NoToken => Some(Finding::new(
            "token-missing",
            format!("{name} has no token: {}", verdict.detail),
            "requests to it get no credential",
            rotate,
        )),
        _ => {
            let view = patient.facts.registries.iter().find(|view| view.name == *name);
            Some(view.and_then(network).unwrap_or_else(|| unclear(verdict)))
        }
    }
}

fn unclear(verdict: &Verdict) -> Finding {
    let name = &verdict.name;
    Finding::new(
        "registry-unclear",
        format!("{name}: {}", verdict.detail),
        "regauthd cannot tell whether the registry works",
        format!("check the index with `regauthctl show {name}`; a company's own authority is given with --ca-file"),
    )
}

/// Where the way to a registry breaks off, as seen from here.
fn network(view: &RegistryView) -> Option<Finding> {
    let name = &view.name;
    let url = Url::parse(view.scopes.first()?).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let Ok(addresses) = (host.trim_matches(['[', ']']), port).to_socket_addrs() else {
        return Some(Finding::new(
            "registry-not-found",
            format!("{name}: there is no host {host}"),
            "no request can get there",
            "check the name and the network; where only a corporate proxy knows it, set `proxy` below [upstream] in config.toml",
        ));
    };
    let reachable = addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok());
    let silent = Finding::new(
        "registry-not-reached",
        format!("{name}: nothing answers at {host}:{port}"),
        "no request can get there",
        "check whether the registry is up, and the network, VPN and firewall in between",
    );
    (!reachable).then_some(silent)
}

const PATIENCE: Duration = Duration::from_secs(3);
