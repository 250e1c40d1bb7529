//! Checks of each registry, by the daemon: reachability, trust, and whether it accepts its token.

use regauth_shared::Request;
use regauth_shared::request::Verify;
use regauth_shared::response::{CredentialState, RegistryView, Verdict, VerdictResult, Verified};

use super::context::DoctorContext;
use super::finding::Finding;

/// Makes the daemon verify the token of every registry.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    if context.info.registries.is_empty() {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = context.info.registries.iter().filter_map(check_certificates).collect();
    findings.extend(context.info.registries.iter().filter_map(check_binding));
    let verified = context.client.call::<Verified>(&Request::Verify(Verify { name: None }));
    match verified {
        Ok(reply) => {
            let verdicts = reply.answer.registries.iter();
            findings.extend(verdicts.filter_map(|verdict| check_verdict(context, verdict)));
            findings.extend(context.info.registries.iter().filter_map(check_outside_requests));
        }
        Err(error) => findings.push(Finding::new(
            "registries-not-asked",
            error.message,
            "it is not known whether the tokens work",
            error.hint.unwrap_or_else(|| "regauthctl verify".to_owned()),
        )),
    }
    findings
}

fn is_in_closed_store(context: &DoctorContext, verdict: &Verdict) -> bool {
    let mut views = context.info.registries.iter();
    let state = views
        .find(|view| view.name == verdict.name)
        .map(|view| view.credential.state);
    !context.is_store_open() && matches!(state, Some(CredentialState::Locked | CredentialState::Unreadable))
}

fn is_unconfirmed(context: &DoctorContext, verdict: &Verdict) -> bool {
    let mut views = context.info.registries.iter();
    views.any(|view| view.name == verdict.name && !view.changes.is_empty())
}

/// A configuration that goes beyond what the stored token was given for.
fn check_binding(view: &RegistryView) -> Option<Finding> {
    let name = &view.name;
    (!view.changes.is_empty()).then(|| {
        Finding::new(
            "unconfirmed",
            format!("{name} has changed: {}", view.changes.join("; ")),
            "it is not in service: the token was not given for it",
            format!("regauthctl confirm {name}"),
        )
    })
}

fn check_verdict(context: &DoctorContext, verdict: &Verdict) -> Option<Finding> {
    let name = &verdict.name;
    let login = format!("regauthctl login {name}");
    match verdict.result {
        VerdictResult::Accepted => None,
        VerdictResult::Rejected => Some(Finding::new(
            "token-rejected",
            format!("{name}: {}", verdict.detail),
            "every request to it fails; regauthd stops sending the token, so that the account is not locked",
            login,
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
        // The finding about the store, or the changes, has the cause and its remedy.
        VerdictResult::NoToken if is_in_closed_store(context, verdict) || is_unconfirmed(context, verdict) => None,
        VerdictResult::NoToken => Some(Finding::new(
            "token-missing",
            format!("{name} has no token: {}", verdict.detail),
            "requests to it carry no credential",
            verdict.hint.clone().unwrap_or(login),
        )),
        VerdictResult::Inconclusive => inconclusive(context, verdict),
        _ => Some(no_answer(context, verdict)),
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

/// The daemon's own reason for a registry that gave no clear answer: only the daemon knows the way to the registry, such
/// as its corporate proxy.
fn no_answer(context: &DoctorContext, verdict: &Verdict) -> Finding {
    let name = &verdict.name;
    let (code, consequence) = match verdict.cause.as_deref() {
        None => (
            "registry-unclear",
            "regauthd cannot tell whether the registry accepts the token",
        ),
        Some("name-unknown" | "name-server-silent") => ("registry-not-found", NO_REQUEST),
        Some(cause) if is_about_tls(cause) => ("registry-untrusted", "regauthd sends it no request"),
        Some(_) => ("registry-not-reached", NO_REQUEST),
    };
    let hint = verdict.hint.clone();
    let remedy = hint.unwrap_or_else(|| format!("compare the URL with that of `regauthctl show {name}`"));
    let finding = Finding::new(code, format!("{name}: {}", verdict.detail), consequence, remedy);
    let view = context.info.registries.iter().find(|view| view.name == *name);
    let is_in_use = view.is_some_and(|view| view.last_status.is_some_and(|status| (200..400).contains(&status)));
    if verdict.cause.is_none() && is_in_use {
        finding.into_note()
    } else {
        finding
    }
}

fn is_about_tls(cause: &str) -> bool {
    let prefixes = ["certificate", "client-certificate", "not-tls", "no-common-tls", "tls-"];
    prefixes.iter().any(|prefix| cause.starts_with(prefix))
}

/// Notes of the daemon about the registry's certificate files.
fn check_certificates(view: &RegistryView) -> Option<Finding> {
    let trouble = view.trouble.clone()?;
    Some(Finding::new(
        "certificates-unreadable",
        trouble,
        "regauthd uses the certificates that it read before, or sends nothing to the registry after its next start",
        "correct the file, then: regauthctl reload",
    ))
}

const NO_REQUEST: &str = "no request can reach it";
