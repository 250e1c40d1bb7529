//! Registry that accepts only minted tokens, and a job of GitHub Actions with an identity.

use std::fs;

use tempfile::TempDir;

use crate::auth_gate::Scheme;
use crate::cargo::Cargo;
use crate::ctl::Ctl;
use crate::daemon::{Builder, Daemon};
use crate::openid_provider::OpenidProvider;
use crate::registry::Registry;
use crate::token_service::{TokenService, Vendor};

/// A registry that accepts only minted tokens, and the provider of the identities.
#[derive(Debug)]
pub struct Forge {
    /// The registry.
    pub registry: Registry,
    /// Provider in place of GitHub's.
    pub provider: OpenidProvider,
    /// Folder for files of the test.
    pub folder: TempDir,
}

impl Forge {
    /// Starts both. The registry wants its tokens by this scheme.
    pub fn new(scheme: Scheme) -> Self {
        Self::with(Registry::builder(scheme, "no-token-of-a-person").start())
    }

    /// As [`Forge::new`], with this registry.
    pub fn with(registry: Registry) -> Self {
        registry.accept(&[]);
        let provider = OpenidProvider::start(registry.gate());
        Self {
            registry,
            provider,
            folder: TempDir::new().unwrap(),
        }
    }

    /// As [`Forge::new`], for tokens as Bearer.
    pub fn bearer() -> Self {
        Self::new(Scheme::bearer())
    }

    /// Starts a vendor's service, whose tokens the registry accepts.
    pub fn service(&self, vendor: Vendor) -> TokenService {
        TokenService::start(vendor, &self.provider, self.registry.gate(), self.registry.authority())
    }

    /// Daemon in a job of GitHub Actions.
    pub fn daemon(&self) -> Daemon {
        self.job().start()
    }

    /// Builder of such a daemon.
    pub fn job(&self) -> Builder {
        let job = self.provider.github_job();
        job.iter()
            .fold(Daemon::builder(), |builder, (name, value)| builder.env(name, value))
    }

    /// Runs `add-registry`. The source may ask the provider for an identity, as one of a forge of one's own.
    pub fn add(&self, daemon: &Daemon, source: &str, more: &[&str]) -> Ctl {
        let (index, scope, ca) = (self.registry.index(), self.registry.scope(), self.registry.ca());
        let source = format!("{source},identity-host={}", self.provider.host());
        let first = ["add-registry", "corp", "--index", &index, "--scope", &scope];
        let last = ["--ca-file", ca.to_str().unwrap(), "--source", &source];
        daemon.ctl(&[&first[..], &last, more].concat())
    }

    /// Writes a secret and returns its reference.
    pub fn secret_file(&self, name: &str, secret: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, secret).unwrap();
        format!("file:{}", path.display())
    }

    /// Builds a project with a crate of the registry.
    pub fn assert_cargo_builds(&self, daemon: &Daemon) {
        let cargo = Cargo::new()
            .registry("corp", &self.registry.index())
            .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
            .behind(daemon);
        cargo.build().succeeds();
    }

    /// Adds the registry with this source, builds with cargo, and scans for each secret.
    pub fn builds_with(&self, service: &TokenService, source: &str) -> Daemon {
        let daemon = self.daemon();
        let added = self.add(&daemon, source, &[]).succeeds().json;
        assert_eq!(added["verified"], true, "{added}");
        self.assert_cargo_builds(&daemon);
        service
            .secrets()
            .iter()
            .for_each(|secret| daemon.register_secret(secret));
        assert!(!service.minted().is_empty());
        daemon
    }

    /// Number of requests with a token that the registry rejected.
    pub fn rejections(&self) -> usize {
        let requests = self.registry.nginx.requests();
        let rejected = requests
            .iter()
            .filter(|request| request.status == 401 && request.authorization().is_some());
        rejected.count()
    }
}
