//! CI systems and clusters that give their jobs a signed identity: how each is recognised, and what a job lacks.

use std::path::Path;

use crate::credential::source::FetchError;
use crate::credential::source::environment::Environment;

/// CI system or cluster with an identity for its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// GitHub Actions.
    GithubActions,
    /// GitLab CI.
    Gitlab,
    /// `CircleCI`.
    Circleci,
    /// Buildkite.
    Buildkite,
    /// Bitbucket Pipelines.
    Bitbucket,
    /// Azure Pipelines.
    AzurePipelines,
    /// Kubernetes: the projected token of the pod's service account.
    Kubernetes,
}

impl Platform {
    /// All platforms.
    pub(super) const ALL: [Self; 7] = [
        Self::GithubActions,
        Self::Gitlab,
        Self::Circleci,
        Self::Buildkite,
        Self::Bitbucket,
        Self::AzurePipelines,
        Self::Kubernetes,
    ];

    /// Platform of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.name() == name)
    }

    /// Name in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GithubActions => "github-actions",
            Self::Gitlab => "gitlab",
            Self::Circleci => "circleci",
            Self::Buildkite => "buildkite",
            Self::Bitbucket => "bitbucket",
            Self::AzurePipelines => "azure-pipelines",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// CI system that the daemon runs in.
    ///
    /// A pod's token is never found by itself: the API server of the cluster accepts it, so a person decides who gets it.
    ///
    /// # Errors
    /// [`FetchError`] if it is none of them.
    pub(super) fn find(environment: &Environment) -> Result<Self, FetchError> {
        let is_here = |platform: &Self| platform.is_here(environment);
        let hint = match Path::new(KUBERNETES_TOKEN).exists() {
            true => {
                "mount a token for the service's audience and name its file: identity=file:/PATH; identity=kubernetes \
                 sends the pod's own token, which the cluster's API server accepts too"
            }
            false => "name one: identity=file:/PATH or identity=env:VARIABLE",
        };
        Self::ALL.into_iter().find(is_here).ok_or_else(|| {
            FetchError::new("no identity was found: this is not a job of a CI system that regauth knows").hint(hint)
        })
    }

    fn is_here(self, environment: &Environment) -> bool {
        match self {
            // Each sets these variables in every job, also in one without an identity.
            Self::GithubActions => environment.has("GITHUB_ACTIONS"),
            Self::Gitlab => environment.has("GITLAB_CI"),
            Self::Circleci => environment.has("CIRCLECI"),
            Self::Buildkite => environment.has("BUILDKITE"),
            Self::Bitbucket => environment.has("BITBUCKET_BUILD_NUMBER"),
            Self::AzurePipelines => environment.has("TF_BUILD"),
            Self::Kubernetes => false,
        }
    }

    /// Ends of the names of the hosts that give this platform's identities.
    pub(super) fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::GithubActions => &["actions.githubusercontent.com", "ghe.com"],
            Self::Buildkite => &["buildkite.com"],
            Self::AzurePipelines => &["dev.azure.com", "visualstudio.com"],
            Self::Gitlab | Self::Circleci | Self::Bitbucket | Self::Kubernetes => &[],
        }
    }

    /// Environment variable with a secret: the identity, or the token that it is asked for with.
    pub(super) fn secret_variable(self) -> Option<&'static str> {
        match self {
            Self::GithubActions => Some("ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
            Self::Gitlab => Some("REGAUTH_ID_TOKEN"),
            Self::Circleci => Some("CIRCLE_OIDC_TOKEN_V2"),
            Self::Buildkite => Some("BUILDKITE_AGENT_ACCESS_TOKEN"),
            Self::Bitbucket => Some("BITBUCKET_STEP_OIDC_TOKEN"),
            Self::AzurePipelines => Some("SYSTEM_ACCESSTOKEN"),
            Self::Kubernetes => None,
        }
    }

    /// Error of a job that gets no identity, with the setting that it lacks.
    pub(super) fn lacking(self) -> FetchError {
        let (message, hint) = match self {
            Self::GithubActions => (
                "the job may not ask GitHub for an identity",
                "give it `permissions: id-token: write` in the workflow",
            ),
            Self::Gitlab => (
                "the job has no REGAUTH_ID_TOKEN",
                "give it `id_tokens: { REGAUTH_ID_TOKEN: { aud: … } }`, or name another variable: identity=env:VARIABLE",
            ),
            Self::Circleci => (
                "the job has no CIRCLE_OIDC_TOKEN_V2",
                "a job has it if it uses at least one context",
            ),
            Self::Buildkite => (
                "the job has no BUILDKITE_AGENT_ACCESS_TOKEN and BUILDKITE_JOB_ID",
                "pass both variables on to the container that the command runs in",
            ),
            Self::Bitbucket => (
                "the step has no BITBUCKET_STEP_OIDC_TOKEN",
                "give the step `oidc: true`",
            ),
            Self::AzurePipelines => (
                "the step has no SYSTEM_ACCESSTOKEN and SYSTEM_OIDCREQUESTURI",
                "give it `env: { SYSTEM_ACCESSTOKEN: $(System.AccessToken) }`",
            ),
            Self::Kubernetes => (
                "the pod has no token of its service account",
                "mount one: `volumes: projected: serviceAccountToken`, and name its file: identity=file:/PATH",
            ),
        };
        FetchError::new(message).hint(hint)
    }
}

/// Names of all platforms, for messages.
pub(super) const NAMES: &str = "github-actions, gitlab, kubernetes, circleci, buildkite, bitbucket, azure-pipelines";

/// Token that Kubernetes mounts into each pod. Its audience is the cluster's own, which Vault and JFrog can be set to.
pub(super) const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[cfg(test)]
mod tests {
    use regauth_shared::secret_variables;

    use super::*;

    #[test]
    fn every_secret_variable_is_taken_out_of_the_environment() {
        let of_platforms: Vec<_> = Platform::ALL
            .iter()
            .filter_map(|platform| platform.secret_variable())
            .collect();
        assert_eq!(of_platforms, secret_variables::OF_CI_SYSTEMS);
    }
}
