//! Workload identity: clients that show a token of an OpenID provider instead of a grant. CI jobs, Kubernetes pods and SPIFFE
//! workloads have such tokens.
//!
//! A token is verified offline, with keys that were read before ([`key_source`]). The algorithm, the keys and their place
//! come from the configuration, never from the token. Then the claims decide which trust rules ([`rule`]) fit, and what
//! the bearer may do is the sum of them. No state is shared between daemons.

mod glob;
mod key_source;
mod keys;
pub(crate) mod rule;
mod token;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use regauth_shared::RegistryName;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

pub(crate) use self::glob::Glob;
pub(crate) use self::key_source::KeySource;
pub(crate) use self::token::is_token;
use crate::deadline::Deadline;
use crate::policy::Operation;
use crate::proxy::upstream::Trust;
use crate::workload::rule::TrustRule;
use crate::workload::token::{Algorithm, Claims, UnverifiedToken, is_printable};

/// Claims of a token of our own: of this type, and signed by the holder of this Ed25519 key.
pub(crate) fn own_token(token: &[u8], type_name: &str, public_key: &[u8]) -> Option<Value> {
    let token = UnverifiedToken::parse_any(token)?;
    let is_ours = token.has_type(type_name)
        && token.algorithm == Algorithm::EdDsa
        && UnparsedPublicKey::new(&ED25519, public_key)
            .verify(token.signed, &token.signature)
            .is_ok();
    is_ours.then(|| token.claims.into_object())
}

/// Trust rules in service. The control side replaces the set as a whole.
#[derive(Debug, Default)]
pub(crate) struct WorkloadTrust(Vec<Arc<RuleInService>>);

#[derive(Debug)]
struct RuleInService {
    terms: TrustRule,
    keys: Arc<KeySource>,
    /// Reason why the roots of the rule's `ca-file` could not be read.
    roots_problem: Option<String>,
    /// Cancelled when the rule leaves the configuration.
    withdrawn: CancellationToken,
}

impl WorkloadTrust {
    /// Set with these rules. Rules and key sources of the previous set that are still of use go on, and the bearers of the
    /// others lose what those opened. `read_roots` gives the roots that vouch for the host of a rule's keys. Keys that came by
    /// other roots are fetched again.
    pub(crate) fn replace(
        &self,
        rules: &[TrustRule],
        read_roots: impl Fn(&TrustRule) -> Result<Trust, String>,
        start: impl Fn(&TrustRule, Trust) -> KeySource,
    ) -> Self {
        let mut next: Vec<Arc<RuleInService>> = Vec::new();
        for terms in rules {
            let roots = read_roots(terms);
            let has_same_keys = |other: &&Arc<RuleInService>| {
                let is_of_roots = |roots| other.keys.is_of_roots(roots);
                (&other.terms.keys, &other.terms.ca_file) == (&terms.keys, &terms.ca_file)
                    // A file that is half written takes nothing away.
                    && roots.as_ref().map_or(true, is_of_roots)
            };
            let running = next.iter().chain(&self.0).find(has_same_keys);
            let running = running.map(|rule| Arc::clone(&rule.keys));
            let roots_problem = roots.as_ref().err().cloned();
            let keys = running.unwrap_or_else(|| Arc::new(start(terms, roots.unwrap_or_else(|_| Trust::nobody()))));
            let same = self.0.iter().find(|other| other.terms == *terms);
            next.push(Arc::new(RuleInService {
                terms: terms.clone(),
                keys,
                roots_problem,
                withdrawn: same.map_or_else(CancellationToken::new, |rule| rule.withdrawn.clone()),
            }));
        }
        let is_gone = |rule: &&Arc<RuleInService>| !next.iter().any(|other| other.terms == rule.terms);
        self.0.iter().filter(is_gone).for_each(|rule| rule.withdrawn.cancel());
        Self(next)
    }

    /// True if no token is accepted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rules with the reasons why their roots or their keys cannot be read.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&TrustRule, Vec<String>)> {
        self.0.iter().map(|rule| {
            let problems = rule.roots_problem.clone().into_iter().chain(rule.keys.problem());
            (&rule.terms, problems.collect())
        })
    }

    /// Reasons why the roots of rules could not be read, each with its issuer.
    pub(crate) fn roots_problems(&self) -> impl Iterator<Item = (&str, &str)> {
        (self.0.iter()).filter_map(|rule| Some((rule.terms.issuer.as_str(), rule.roots_problem.as_deref()?)))
    }

    /// Verifies a token and finds what it opens.
    ///
    /// # Errors
    /// [`Rejection`]. It says more than `Invalid` only of a token that an issuer has signed.
    pub(crate) async fn authenticate(&self, token: &[u8]) -> Result<Workload, Rejection> {
        let token = UnverifiedToken::parse(token).ok_or(Rejection::Invalid)?;
        let issuer = token.claims.text("iss").ok_or(Rejection::Invalid)?;
        let mut signed_for = Vec::new();
        let mut verdicts: Vec<(&Arc<KeySource>, bool)> = Vec::new();
        for rule in &self.0 {
            if rule.terms.issuer != issuer || !token.claims.is_for(&rule.terms.audience) {
                continue;
            }
            let known = verdicts.iter().find(|(keys, _)| Arc::ptr_eq(keys, &rule.keys));
            let is_signed = match known {
                Some((_, is_signed)) => *is_signed,
                None => {
                    let is_signed = rule.keys.verify(&token).await;
                    verdicts.push((&rule.keys, is_signed));
                    is_signed
                }
            };
            if is_signed {
                signed_for.push(rule);
            }
        }
        if signed_for.is_empty() {
            return Err(Rejection::Invalid);
        }
        let deadline = deadline(&token.claims, OffsetDateTime::now_utc())?;
        let subject = token.claims.text("sub").ok_or(Rejection::Invalid)?;
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || !is_printable(subject) {
            return Err(Rejection::Invalid);
        }
        signed_for.retain(|rule| rule.terms.fits(&token.claims));
        if signed_for.is_empty() {
            return Err(Rejection::NoRule);
        }
        Ok(Workload {
            identity: Identity {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                repository: repository(&token.claims),
            },
            rules: signed_for.into_iter().cloned().collect(),
            deadline,
        })
    }
}

/// End of the token.
fn deadline(claims: &Claims, now: OffsetDateTime) -> Result<Deadline, Rejection> {
    let seconds = |name| claims.seconds(name).map_err(|_| Rejection::Invalid);
    let (expires, not_before, issued) = (
        seconds("exp")?.ok_or(Rejection::Invalid)?,
        seconds("nbf")?,
        seconds("iat")?,
    );
    let now_seconds = now.unix_timestamp();
    if expires <= now_seconds {
        return Err(Rejection::Expired);
    }
    if [not_before, issued]
        .into_iter()
        .flatten()
        .any(|begin| begin > now_seconds + CLOCK_TOLERANCE)
    {
        return Err(Rejection::NotYetValid);
    }
    let left = Duration::from_secs(expires.abs_diff(now_seconds));
    let end = OffsetDateTime::from_unix_timestamp(expires).map_err(|_| Rejection::Invalid)?;
    Ok(Deadline::at(end, left))
}

/// Repository of a CI job: `repository` of GitHub and Gitea, `project_path` of GitLab.
fn repository(claims: &Claims) -> Option<String> {
    let named = ["repository", "project_path"]
        .into_iter()
        .find_map(|name| claims.text(name));
    named
        .filter(|name| name.len() <= MAX_REPOSITORY_BYTES && is_printable(name))
        .map(str::to_owned)
}

/// Bearer of a verified token.
#[derive(Debug)]
pub(crate) struct Workload {
    /// Identity, for audit, events and limits.
    pub(crate) identity: Identity,
    rules: Vec<Arc<RuleInService>>,
    deadline: Deadline,
}

/// Identity of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Issuer of its token.
    pub(crate) issuer: String,
    /// Subject, unique for the issuer.
    pub(crate) subject: String,
    /// Repository of a CI job.
    pub(crate) repository: Option<String>,
}

impl Identity {
    /// Text that is unique to the identity: all connections with it share limits.
    pub(crate) fn key(&self) -> Arc<str> {
        format!("{} {}", self.issuer, self.subject).into()
    }
}

impl Workload {
    /// True if the token opens this operation on this registry now.
    pub(crate) fn covers(&self, registry: &RegistryName, operation: Operation) -> bool {
        let covers = |rule: &TrustRule| operation == Operation::Read || rule.write;
        self.opening(registry).any(covers)
    }

    /// True if the token opens any operation on this registry now.
    pub(crate) fn covers_registry(&self, registry: &RegistryName) -> bool {
        self.opening(registry).next().is_some()
    }

    fn opening(&self, registry: &RegistryName) -> impl Iterator<Item = &TrustRule> {
        let is_over = self.deadline.has_passed();
        let rules = self
            .rules
            .iter()
            .filter(move |rule| !is_over && !rule.withdrawn.is_cancelled());
        rules
            .map(|rule| &rule.terms)
            .filter(|terms| terms.registries.contains(registry))
    }

    /// Waits until the token has ended, or every rule for it has left the configuration.
    pub(crate) async fn ended(&self) {
        let withdrawn = async {
            for rule in &self.rules {
                rule.withdrawn.cancelled().await;
            }
        };
        tokio::select! {
            () = self.deadline.passed() => {}
            () = withdrawn => {}
        }
    }
}

#[cfg(test)]
impl Workload {
    /// Bearer of an expired token that no rule fits.
    pub(crate) fn without_rules(issuer: &str, subject: &str) -> Self {
        Self {
            identity: Identity {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                repository: Some("corp/plans".to_owned()),
            },
            rules: Vec::new(),
            deadline: Deadline::after(OffsetDateTime::now_utc(), Duration::ZERO),
        }
    }
}

/// Reason why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Malformed, of another issuer, for another audience, or signed by nobody we trust.
    Invalid,
    /// Signed, and expired.
    Expired,
    /// Signed, and valid only later.
    NotYetValid,
    /// Signed and valid, and no trust rule fits its claims.
    NoRule,
}

impl Rejection {
    /// Word for the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::NoRule => "no trust rule fits",
        }
    }
}

/// Seconds that an issuer's clock may be ahead.
const CLOCK_TOLERANCE: i64 = 60;
const MAX_SUBJECT_BYTES: usize = 1024;
const MAX_REPOSITORY_BYTES: usize = 256;

#[cfg(test)]
mod tests;
