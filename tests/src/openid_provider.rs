//! OpenID provider: the certified oidc-provider. It issues identities as GitHub Actions does, with real signatures, and is
//! an OAuth 2.0 server. A registry accepts its tokens for exactly their life.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth_gate::{AuthGate, replace};
use crate::curl::Curl;
use crate::exec;
use crate::process::Process;
use crate::programs::tool;

/// Running provider.
#[derive(Debug)]
pub struct OpenidProvider {
    issuer: String,
    keys: Vec<Value>,
    state: PathBuf,
    _folder: TempDir,
    process: Process,
}

impl OpenidProvider {
    /// Starts a provider whose access tokens this gate accepts.
    pub fn start(gate: &AuthGate) -> Self {
        let folder = TempDir::new().unwrap();
        let state = folder.path().join("state.json");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openid_provider.mjs");
        let mut node = exec::command("node", folder.path());
        node.arg(script)
            .args([&tool("npm/node_modules"), &state, &gate.accepted()]);
        fs::create_dir_all(gate.accepted()).unwrap();
        let mut process = Process::spawn("oidc-provider", &mut node, &folder.path().join("provider.log"));
        process.wait_until("its address", || state.exists().then_some(()));
        let document: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
        Self {
            issuer: document["issuer"].as_str().unwrap().to_owned(),
            keys: document["keys"].as_array().unwrap().clone(),
            state,
            _folder: folder,
            process,
        }
    }

    /// Issuer of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `HOST:PORT` of the issuer.
    pub fn host(&self) -> &str {
        self.issuer.trim_start_matches("http://")
    }

    /// Public keys as JSON Web Keys.
    pub fn keys(&self) -> &[Value] {
        &self.keys
    }

    /// URL of the OAuth 2.0 token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// Environment of a GitHub Actions job with `permissions: id-token: write`.
    pub fn github_job(&self) -> [(&'static str, String); 3] {
        [
            ("GITHUB_ACTIONS", "true".to_owned()),
            (
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                format!("{}/actions/id?api-version=2.0", self.issuer),
            ),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", JOB_TOKEN.to_owned()),
        ]
    }

    /// Issues an identity for an audience.
    pub fn identity(&self, audience: &str) -> String {
        let url = format!("{}/actions/id?api-version=2.0&audience={audience}", self.issuer);
        let authorization = format!("Authorization: Bearer {JOB_TOKEN}");
        let accept = "Accept: application/json; api-version=2.0";
        let answer = Curl::new().with(&["-H", &authorization, "-H", accept]).get(&url);
        let document: Value = serde_json::from_str(&answer.body()).unwrap();
        document["value"]
            .as_str()
            .unwrap_or_else(|| panic!("{document}"))
            .to_owned()
    }

    /// Confirms the device flow with this code, as a person does on the provider's page.
    pub fn confirm(&self, user_code: &str) {
        let answer = Curl::new().get(&format!("{}/confirm?user_code={user_code}", self.issuer));
        assert_eq!(answer.status, 204, "{}", answer.body());
    }

    /// Device authorization endpoint.
    pub fn device_url(&self) -> String {
        format!("{}/device/auth", self.issuer)
    }

    /// Sets the life of the tokens that it issues from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.set(&json!({ "lifetime": lifetime.as_secs() }));
    }

    /// URL of its public keys.
    pub fn keys_url(&self) -> String {
        format!("{}/jwks", self.issuer)
    }

    /// Number of requests for its public keys so far, also while it is down.
    pub fn key_requests(&self) -> usize {
        self.process.log().lines().filter(|line| *line == "GET /jwks").count()
    }

    /// Sets the life of the identities that it issues from now on.
    pub fn set_identity_lifetime(&self, lifetime: Duration) {
        self.set(&json!({ "identityLifetime": lifetime.as_secs() }));
    }

    /// Replaces its key by one with this id, which is `k1` at first. Identities last an hour from now on.
    pub fn use_key(&self, id: &str) {
        self.set(&json!({ "key": id, "identityLifetime": 3600 }));
    }

    /// Answers every request with 503 from now on.
    pub fn take_down(&self) {
        self.set(&json!({ "down": true }));
    }

    /// Answers again, with tokens of an hour.
    pub fn bring_up(&self) {
        self.set(&json!({}));
    }

    fn set(&self, settings: &Value) {
        replace(
            &self.state.with_extension("json.settings"),
            settings.to_string().as_bytes(),
        );
    }
}

/// Token with which a job asks for its identity.
pub const JOB_TOKEN: &str = "token-of-the-job";
/// Client that may get tokens by client credentials and by token exchange.
pub const CLIENT: &str = "ci";
/// Its secret, with characters that Basic authentication has to encode.
pub const CLIENT_SECRET: &str = "pass/word+of=the ci";
/// Client of the device flow, without a secret.
pub const PERSON: &str = "person";
