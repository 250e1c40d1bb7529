//! URLs that some products have beside a registry's scope, for a scope that gives the same answer to everybody.

use http::{Response, StatusCode};
use hyper::body::Incoming;
use regauth_shared::response::VerdictResult;
use serde::Deserialize;
use url::Url;

use super::request::read_json;
use super::{ProbeResult, Prober};
use crate::credential::header::CredentialHeader;
use crate::policy::Rejections;
use crate::registry::{Kind, Registry};

/// Condition under which another URL shows that the token was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// The answer names a user.
    NamesUser,
    /// The answer without the token is 401, and the one with it is not.
    NeedsToken,
}

/// npm's `whoami`, and the present user in the APIs of GitLab (`username`), Gitea and GitHub (`login`). Some npm
/// registries answer a request without a valid token with an empty name instead of 401.
#[derive(Deserialize)]
struct WhoAmI {
    #[serde(alias = "login")]
    username: String,
}

impl Prober<'_> {
    /// Asks URLs that some products have. Only a positive answer counts, because others do not have them, or want another
    /// kind of token there. The token goes to URLs in scope only.
    pub(super) async fn ask_elsewhere(&self, registry: &Registry, header: &CredentialHeader) -> Option<ProbeResult> {
        let questions: &[(&str, Question)] = match registry.kind {
            Kind::Npm => &[("-/ping", Question::NeedsToken), ("", Question::NeedsToken)],
            Kind::Git | Kind::Generic => &[
                ("api/v4/user", Question::NamesUser),
                ("api/v1/user", Question::NamesUser),
                ("user", Question::NamesUser),
            ],
            // Maven's repository managers have this file or answer 404; they ask for the login first.
            Kind::Maven => &[("archetype-catalog.xml", Question::NeedsToken)],
            // The GOPROXY protocol's question about a checksum database.
            Kind::Go => &[("sumdb/sum.golang.org/supported", Question::NeedsToken)],
            Kind::Apt => &[
                ("dists/", Question::NeedsToken),
                ("dists/stable/InRelease", Question::NeedsToken),
            ],
            Kind::Pypi | Kind::Cargo | Kind::Oci | Kind::Rubygems | Kind::Composer | Kind::Nuget => &[],
        };
        let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
        for (path, question) in questions {
            let url = scope.join(path).ok().filter(|url| registry.covers_url(url));
            // Host-wide APIs are at the root.
            let is_asked = *question == Question::NeedsToken || scope.path() == "/";
            let Some(url) = url.filter(|_| is_asked) else {
                continue;
            };
            let prober = Prober { url: &url, ..*self };
            if let Some(accepted) = prober.question(*question, header, &registry.rejected_by).await {
                return Some(accepted);
            }
        }
        None
    }

    async fn question(
        &self,
        question: Question,
        header: &CredentialHeader,
        rejections: &Rejections,
    ) -> Option<ProbeResult> {
        let answer = self.get(Some(header)).await.ok()?;
        let (url, status) = (self.url, answer.status());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || rejections.contains(status) {
            return None;
        }
        let detail = match question {
            Question::NamesUser if status.is_success() && names_a_user(answer).await => {
                format!("GET {url} named the token's user")
            }
            Question::NeedsToken if self.get(None).await.ok()?.status() == StatusCode::UNAUTHORIZED => {
                format!(
                    "GET {url} answered 401 without the token and {} with it",
                    status.as_u16()
                )
            }
            Question::NamesUser | Question::NeedsToken => return None,
        };
        Some(ProbeResult::new(VerdictResult::Accepted, detail))
    }
}

/// True if the answer is JSON that names a user.
pub(super) async fn names_a_user(answer: Response<Incoming>) -> bool {
    let answer: Option<WhoAmI> = read_json(answer).await;
    answer.is_some_and(|answer| !answer.username.is_empty())
}
