//! Gets the identity that a CI system or a cluster has for its jobs: from a variable, a file, or the system's own service.

use std::path::Path;

use http::header::{self, HeaderName, HeaderValue};
use regauth_shared::Secret;
use serde::Deserialize;
use serde_json::json;

use super::Wanted;
use super::platform::{KUBERNETES_TOKEN, Platform};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::environment::Environment;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::source::{FetchError, file};

/// Gets the identity.
///
/// # Errors
/// [`FetchError`] if the job has none, with the setting that it lacks.
pub(super) async fn fetch(
    platform: Platform,
    wanted: Wanted<'_>,
    environment: &Environment,
    client: &TokenClient,
) -> Result<Secret, FetchError> {
    let secret = || match platform.secret_variable() {
        Some(name) => environment.secret(name).map_err(|_| platform.lacking()),
        None => Err(platform.lacking()),
    };
    let Wanted { audience, host } = wanted;
    let job = Job {
        platform,
        host,
        environment,
        client,
    };
    match platform {
        Platform::GithubActions => job.ask_github(&secret()?, audience).await,
        Platform::Buildkite => job.ask_buildkite(&secret()?, audience).await,
        Platform::AzurePipelines => job.ask_azure(&secret()?).await,
        Platform::Kubernetes => file::read_secret(Path::new(KUBERNETES_TOKEN))
            .await
            .map_err(|_| platform.lacking()),
        Platform::Gitlab | Platform::Circleci | Platform::Bitbucket => secret(),
    }
}

/// A job, and what it needs to ask its system.
struct Job<'a> {
    platform: Platform,
    /// Host of one's own that may be asked besides the platform's.
    host: Option<&'a str>,
    environment: &'a Environment,
    client: &'a TokenClient,
}

impl Job<'_> {
    /// GitHub: "Security hardening with OpenID Connect", section "Requesting the JWT using environment variables".
    async fn ask_github(&self, request_token: &Secret, audience: Option<&str>) -> Result<Secret, FetchError> {
        let url = self.endpoint("ACTIONS_ID_TOKEN_REQUEST_URL")?;
        let url = match audience {
            Some(audience) => url.with_query([("audience", audience)]),
            None => url,
        };
        let accept = HeaderValue::from_static("application/json; api-version=2.0");
        let request = ServiceRequest::get(&url)
            .bearer(request_token)
            .header(header::ACCEPT, accept);
        self.read(request).await
    }

    /// Buildkite's agent API, as `buildkite-agent oidc request-token` uses it.
    async fn ask_buildkite(&self, agent_token: &Secret, audience: Option<&str>) -> Result<Secret, FetchError> {
        let job = self.variable("BUILDKITE_JOB_ID")?;
        let endpoint = match self.environment.text("BUILDKITE_AGENT_ENDPOINT") {
            Some(_) => self.endpoint("BUILDKITE_AGENT_ENDPOINT")?,
            None => BUILDKITE_ENDPOINT.parse().map_err(|_| self.platform.lacking())?,
        };
        let body = audience.map_or_else(|| json!({}), |audience| json!({ "audience": audience }));
        let request = ServiceRequest::post_json(&endpoint.join(["jobs", &job, "oidc", "tokens"]), &body);
        let authorization = format!("Token {}", agent_token.expose());
        self.read(request.secret_header(header::AUTHORIZATION, &authorization, agent_token))
            .await
    }

    /// Azure DevOps REST API 7.1, "Oidctoken - Create". The audience is always `api://AzureADTokenExchange`.
    async fn ask_azure(&self, access_token: &Secret) -> Result<Secret, FetchError> {
        let url = self
            .endpoint("SYSTEM_OIDCREQUESTURI")?
            .with_query([("api-version", "7.1")]);
        let connection = self.environment.text("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID");
        let url = match &connection {
            Some(connection) => url.with_query([("serviceConnectionId", connection.as_str())]),
            None => url,
        };
        // Azure DevOps answers an expired token with a login page otherwise.
        let no_login_page = (
            HeaderName::from_static("x-tfs-fedauthredirect"),
            HeaderValue::from_static("Suppress"),
        );
        let request = ServiceRequest::post_json(&url, &json!({})).bearer(access_token);
        self.read(request.header(no_login_page.0, no_login_page.1)).await
    }

    async fn read(&self, request: ServiceRequest) -> Result<Secret, FetchError> {
        let answer = self.client.send(request).await?;
        let given: Given = answer.json()?;
        answer.token(&given.token)
    }

    /// URL in a variable. It gets a token of the job, so its host is one of the platform's, or the configured one.
    fn endpoint(&self, variable: &str) -> Result<Endpoint, FetchError> {
        let text = self.variable(variable)?;
        let endpoint: Endpoint = text
            .parse()
            .map_err(|error| FetchError::new(format!("{variable}: {error}")))?;
        let host = endpoint.host();
        let is_expected = match self.host {
            Some(expected) => expected == host,
            None => is_among(self.platform.hosts(), &endpoint),
        };
        if is_expected {
            return Ok(endpoint);
        }
        let owner = self.host.unwrap_or_else(|| self.platform.name());
        Err(FetchError::new(format!(
            "{variable} leads to {host} instead of {owner}, so it was not sent the token of the job"
        ))
        .hint(format!(
            "if {host} is a CI system of your own, add identity-host={host} to the source"
        )))
    }

    fn variable(&self, name: &str) -> Result<String, FetchError> {
        self.environment.text(name).ok_or_else(|| self.platform.lacking())
    }
}

/// True if a URL leads, over TLS and to the usual port, to one of these domains or a host below one.
fn is_among(domains: &[&str], endpoint: &Endpoint) -> bool {
    let url = endpoint.url();
    let host = url.host_str().unwrap_or_default();
    let is_within = |domain: &&str| {
        let below = host.strip_suffix(domain);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    };
    url.scheme() == "https" && url.port().is_none() && domains.iter().any(is_within)
}

/// Answer with an identity.
#[derive(Deserialize)]
struct Given {
    #[serde(alias = "value", alias = "oidcToken")]
    token: String,
}

const BUILDKITE_ENDPOINT: &str = "https://agent.buildkite.com/v3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_job_goes_to_hosts_of_its_platform_only() {
        for (platform, url, is_expected) in [
            (
                Platform::GithubActions,
                "https://run-actions-1.actions.githubusercontent.com/x",
                true,
            ),
            (
                Platform::GithubActions,
                "https://pipelines.actions.githubusercontent.com:443/x",
                true,
            ),
            (Platform::GithubActions, "https://actions.corp.ghe.com/x", true),
            (Platform::GithubActions, "https://raw.githubusercontent.com/x", false),
            (
                Platform::GithubActions,
                "https://actions.githubusercontent.com.example/x",
                false,
            ),
            (
                Platform::GithubActions,
                "https://xactions.githubusercontent.com/x",
                false,
            ),
            (
                Platform::GithubActions,
                "https://pipelines.actions.githubusercontent.com:8443/x",
                false,
            ),
            (Platform::GithubActions, "http://127.0.0.1/x", false),
            (Platform::Buildkite, "https://agent.buildkite.com/v3", true),
            (Platform::Buildkite, "https://buildkite.com.example/", false),
            (Platform::AzurePipelines, "https://dev.azure.com/corp/x", true),
            (Platform::AzurePipelines, "https://corp.visualstudio.com/x", true),
            (Platform::AzurePipelines, "https://example.com/dev.azure.com", false),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(is_among(platform.hosts(), &endpoint), is_expected, "{url}");
        }
    }
}
