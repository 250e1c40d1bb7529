//! Trust rules of the configuration, put in service at the start and at each reload.

use std::sync::Arc;

use regauth_shared::response::Problem;

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::RegistryRoutes;
use crate::credential::source::token_client::TokenClient;
use crate::proxy::upstream::Trust;
use crate::workload::KeySource;
use crate::workload::rule::TrustRule;

/// Puts the trust rules of a configuration in service, and logs what is wrong with them. Returns a note for each `ca-file` that
/// could not be read.
pub(in crate::control) fn apply(controller: &Controller, config: &Config) -> Vec<String> {
    let trust = &controller.proxy.trust;
    let next = trust.load().replace(
        &config.trust,
        |rule| read_roots(controller, rule),
        |rule, roots| start(controller, rule, roots),
    );
    trust.store(Arc::new(next));
    for rule in &config.trust {
        if let Some(warning) = warning(rule) {
            tracing::warn!(issuer = rule.issuer, audience = rule.audience, "{warning}");
        }
    }
    let trust = trust.load();
    let problems = trust.roots_problems();
    problems
        .map(|(issuer, error)| format!("the keys of {issuer}: {error}"))
        .collect()
}

/// Problems of the trust rules, for `status`.
pub(in crate::control) fn problems(controller: &Controller, registries: &RegistryRoutes) -> Vec<Problem> {
    let trust = controller.proxy.trust.load();
    let mut problems = Vec::new();
    for (rule, errors) in trust.rules() {
        let issuer = &rule.issuer;
        let mut add = |message: String, hint: &str| {
            let hint = hint.to_owned();
            problems.push(Problem { message, hint });
        };
        for error in errors {
            add(
                format!("the keys of {issuer}: {error}"),
                "correct `jwks` or `ca-file` of the trust rule, then `regauthctl reload`; the keys are asked for again by \
                 themselves",
            );
        }
        if let Some(warning) = warning(rule) {
            add(
                format!("{issuer}: {warning}"),
                "add claims that only your workloads have to `match` of the trust rule, then `regauthctl reload`",
            );
        }
        for name in rule.registries.iter().filter(|name| !registries.contains_key(*name)) {
            add(
                format!("the trust rule for {issuer} opens the registry `{name}`, which does not exist"),
                "add it with `regauthctl add-registry`, or correct `registries` of the rule, then `regauthctl reload`",
            );
        }
    }
    problems
}

/// Warning about a rule that fits more tokens than its author may have meant.
fn warning(rule: &TrustRule) -> Option<&'static str> {
    if rule.fits_everything() {
        return Some(EVERYTHING);
    }
    rule.fits_strangers().then_some(STRANGERS)
}

/// Roots of the system and of the rule's `ca-file`, as they are now.
fn read_roots(controller: &Controller, rule: &TrustRule) -> Result<Trust, String> {
    let roots = controller.system_roots.load();
    let read = roots.trust.with_roots(rule.ca_file.as_deref(), None);
    read.map_err(|error| {
        tracing::warn!(issuer = rule.issuer, %error, "could not read the `ca-file` of a trust rule");
        format!("`ca-file` of the trust rule: {error}; roots that were read before stay in service")
    })
}

fn start(controller: &Controller, rule: &TrustRule, roots: Trust) -> KeySource {
    let client = TokenClient::new(&controller.proxy.dialer.for_registries(), roots.clone())
        .needing_tls(controller.proxy.served.is_guarded());
    let (watcher, tasks) = (&controller.file_watcher, &controller.refreshers);
    KeySource::start(rule.keys.clone(), client, roots, watcher, tasks)
}

const EVERYTHING: &str = "a trust rule without patterns accepts every token of its issuer for its audience";
const STRANGERS: &str = "a trust rule whose patterns name no owner, such as a repository, accepts tokens of strangers";
