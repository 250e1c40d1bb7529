//! Workload identity: jobs show a token of a real OpenID provider instead of a grant.

use std::fs;
use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Response;
use regauth_tests::daemon::Daemon;
use regauth_tests::gateway::Gateway;
use regauth_tests::nginx::Nginx;
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::poll;
use regauth_tests::registry::{Registry, USERNAME};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";
/// URL of a host that no bearer of a grant or a token reaches, so the gateway answers itself.
const NO_PUBLIC_HOST: &str = "http://127.0.0.1:1/";

/// Registry, provider and a gateway that trusts the provider's jobs of `corp/*` for reads of it.
struct Team {
    registry: Registry,
    provider: OpenidProvider,
    gateway: Gateway,
}

impl Team {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
        let provider = OpenidProvider::start(registry.gate());
        let gateway = Gateway::start(&rule(
            &provider,
            &provider.keys_url(),
            "match = { repository = \"corp/*\" }",
        ));
        gateway
            .daemon
            .add_with("corp", &registry, &["--scope", &registry.scope()]);
        Self {
            registry,
            provider,
            gateway,
        }
    }

    /// Token of a job, for the gateway.
    fn identity(&self) -> String {
        let token = self.provider.identity("regauth");
        self.gateway.daemon.register_secret(&token);
        token
    }

    fn page(&self) -> String {
        self.registry.nginx.url("/api/cargo/index/config.json")
    }

    /// Answer of the gateway itself to a client with this token, which does not lead to such a host.
    fn answer_to(&self, token: &str) -> Response {
        let curl = self.gateway.curl(&self.gateway.proxy(token));
        curl.get(NO_PUBLIC_HOST)
    }

    /// Waits for the end of a token, and for the gateway's answer then. A connection ends with its token, so a request at that
    /// moment has no answer.
    fn answer_after_the_end_of(&self, token: &str) -> Response {
        let curl = self.gateway.curl(&self.gateway.proxy(token));
        poll::wait_for("the end of a token", || {
            let fetched = curl.fetch(NO_PUBLIC_HOST);
            let answer = fetched.output.status.success().then(|| fetched.response())?;
            answer.body().contains("The token has expired").then_some(answer)
        })
    }

    fn is_accepted(&self, token: &str) -> bool {
        let curl = self.gateway.curl(&self.gateway.proxy(token));
        curl.fetch(&self.page()).output.status.success()
    }
}

/// Trust rule for jobs of this provider.
fn rule(provider: &OpenidProvider, jwks: &str, more: &str) -> String {
    format!(
        "[[trust]]\nissuer = \"{}\"\naudience = \"regauth\"\njwks = \"{jwks}\"\nregistries = [\"corp\"]\n{more}\n",
        provider.issuer()
    )
}

#[test]
fn a_job_builds_with_its_token_and_nothing_else() {
    let team = Team::new();
    let other = Registry::builder(Scheme::bearer(), TOKEN).start();
    team.gateway.daemon.add("other", &other);
    let token = team.identity();
    let proxy = team.gateway.proxy(&token);
    let roots = team.gateway.authority.file();
    let cargo = Cargo::new()
        .registry("corp", &team.registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .proxy(&proxy)
        .config(&format!("http.proxy-cainfo = \"{}\"", roots.display()))
        .trusts(&team.gateway.daemon.bundle());
    cargo.build().succeeds();
    let bearer = format!("Proxy-Authorization: Bearer {token}");
    let curl = team.gateway.curl(&format!("https://{}", team.gateway.address()));
    let answer = curl.with(&["--proxy-header", &bearer]).get(&team.page());
    assert_eq!(answer.status, 200);
    for (url, method) in [
        (other.nginx.url("/api/cargo/index/config.json"), "GET"),
        (team.registry.upload(), "PUT"),
    ] {
        let answer = team.gateway.curl(&proxy).with(&["--request", method]).get(&url);
        let code = answer.header("regauth-error");
        assert_eq!((answer.status, code), (403, Some("grant-denied")), "{url}");
    }
    // The record names the job and never its token: the harness searches for that.
    let audit = team.gateway.daemon.ctl(&["audit"]).succeeds().output.stdout;
    for part in [
        team.provider.issuer(),
        r#""subject":"forge""#,
        r#""repository":"corp/project""#,
    ] {
        assert!(audit.contains(part), "{part} in {audit}");
    }
    let clients = team.gateway.daemon.ctl(&["top"]).output.stdout;
    assert!(clients.contains("corp/project"), "{clients}");
}

#[test]
fn a_token_that_proves_nothing_is_answered_407_with_a_reason() {
    let team = Team::new();
    let stranger = OpenidProvider::start(team.registry.gate());
    let good = team.identity();
    assert_eq!(
        team.answer_to(&good).status,
        403,
        "a bearer reaches registries and public hosts"
    );
    team.provider.set_identity_lifetime(Duration::from_secs(1));
    let short = team.identity();
    let expired = team.answer_after_the_end_of(&short);
    let (head, rest) = good.split_once('.').unwrap();
    let unsigned = format!("{}.{}.", "eyJhbGciOiJub25lIn0", rest.split_once('.').unwrap().0);
    for (what, answer, says) in [
        ("expired", expired, "Ask its issuer for a new one"),
        (
            "another audience",
            team.answer_to(&team.provider.identity("packages")),
            "for the audience",
        ),
        (
            "another issuer",
            team.answer_to(&stranger.identity("regauth")),
            "for the audience",
        ),
        ("no signature", team.answer_to(&unsigned), "for the audience"),
        (
            "another header",
            team.answer_to(&format!("{head}x.{rest}")),
            "for the audience",
        ),
        (
            "long",
            team.answer_to(&format!("{head}.{}.x", "x".repeat(17 * 1024))),
            "for the audience",
        ),
        ("no token", team.answer_to("x"), "regauthctl grant"),
    ] {
        let code = if what == "no token" {
            "grant-required"
        } else {
            "identity-rejected"
        };
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (407, Some(code)),
            "{what}"
        );
        assert!(answer.body().contains(says), "{what}: {}", answer.body());
    }
    let huge = format!("{head}.{}.x", "x".repeat(64 * 1024));
    assert!(!team.is_accepted(&huge), "64 KiB");
    assert!(team.is_accepted(&good));
}

#[test]
fn a_genuine_token_without_a_rule_is_told_so() {
    let team = Team::new();
    let token = team.identity();
    assert!(team.is_accepted(&token));
    let config = team.gateway.daemon.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap().replace("corp/*", "corp/other");
    fs::write(&config, text).unwrap();
    team.gateway.daemon.ctl(&["reload"]).succeeds();
    let answer = team.answer_to(&token);
    assert_eq!(answer.status, 407);
    assert!(
        answer.body().contains("its claims fit no trust rule"),
        "{}",
        answer.body()
    );
}

#[test]
fn a_connection_ends_with_its_token() {
    let team = Team::new();
    let file = team.registry.file("slow", 100_000_000);
    team.provider.set_identity_lifetime(Duration::from_secs(3));
    let curl = team.gateway.curl(&team.gateway.proxy(&team.identity()));
    let download = curl.with(&["--limit-rate", "100k"]).start(&file);
    poll::wait_for("the download", || (download.received() > 0).then_some(()));
    // What is in the buffers keeps curl busy for a while.
    poll::wait_for("the end of its connection", || {
        let status = team.gateway.daemon.ctl(&["status"]).succeeds().json;
        (status["connections"] == 0).then_some(())
    });
}

/// Builds with a token whose key is known, while the provider is down. An expired token is refused, and so is one with an
/// unknown key, for which the gateway asks the provider at a bounded rate.
fn builds_go_on_without_the_provider(team: &Team, known: &str, expired: &str, unknown: &str) {
    let outage = match std::env::var_os("REGAUTH_LONG") {
        Some(_) => Duration::from_secs(600),
        None => Duration::ZERO,
    };
    let (start, requests) = (Instant::now(), team.provider.key_requests());
    loop {
        let cargo = Cargo::new()
            .registry("corp", &team.registry.index())
            .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
            .proxy(&team.gateway.proxy(known))
            .config(&format!(
                "http.proxy-cainfo = \"{}\"",
                team.gateway.authority.file().display()
            ))
            .trusts(&team.gateway.daemon.bundle());
        cargo.build().succeeds();
        for (token, says) in [(expired, "The token has expired"), (unknown, "for the audience")] {
            let answer = team.answer_to(token);
            assert_eq!(answer.status, 407);
            assert!(answer.body().contains(says), "{}", answer.body());
        }
        if start.elapsed() >= outage {
            break;
        }
    }
    let (elapsed, asked) = (start.elapsed(), team.provider.key_requests() - requests);
    let most = usize::try_from(elapsed.as_secs() / 5).unwrap() + 1;
    assert!((1..=most).contains(&asked), "{asked} requests in {elapsed:?}");
}

/// The provider is away for one build, or for ten minutes of builds with REGAUTH_LONG=1.
#[test]
fn keys_are_rotated_and_the_provider_may_be_away() {
    let team = Team::new();
    team.provider.set_identity_lifetime(Duration::from_secs(1));
    let expired = team.identity();
    team.provider.set_identity_lifetime(Duration::from_secs(3600));
    let first = team.identity();
    assert!(team.is_accepted(&first));
    team.answer_after_the_end_of(&expired);
    team.provider.use_key("k2");
    let second = team.identity();
    team.provider.take_down();
    builds_go_on_without_the_provider(&team, &first, &expired, &second);
    team.provider.use_key("k2");
    // The unknown key is asked for, and the token waits for it. After several failures, as during a slow build, the next attempt
    // is later than a token waits.
    let accepted = poll::within(Duration::from_secs(30), || team.is_accepted(&second).then_some(()));
    assert!(accepted.is_some());
    assert!(!team.is_accepted(&first), "its key was withdrawn");

    // The provider is away when another replica starts.
    team.provider.take_down();
    let late = Gateway::start(&rule(&team.provider, &team.provider.keys_url(), ""));
    late.daemon.add("corp", &team.registry);
    let curl = late.curl(&late.proxy(&second));
    curl.fetch(&team.page()).output.fails();
    let status = late.daemon.ctl(&["status"]).succeeds().json["problems"].to_string();
    assert!(status.contains("no token of the issuer is accepted"), "{status}");
    assert!(status.contains("accepts every token of its issuer"), "{status}");
    team.provider.use_key("k2");
    poll::wait_for("the keys", || {
        curl.fetch(&team.page()).output.status.success().then_some(())
    });
    assert!(
        late.daemon
            .log()
            .contains("a trust rule without patterns accepts every token")
    );
}

#[test]
fn keys_come_over_verified_tls_and_stay_when_the_answer_is_something_else() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let provider = OpenidProvider::start(registry.gate());
    let (authority, folder) = (Authority::new("Issuer Root"), TempDir::new().unwrap());
    let keys = folder.path().join("jwks");
    let write = |text: &str| fs::write(&keys, text).unwrap();
    write(&serde_json::json!({ "keys": provider.keys() }).to_string());
    let server = Nginx::builder(&authority.issue(&["localhost"]))
        .location("/jwks", &format!("root {};", folder.path().display()))
        .start();
    let with = |more: &str| {
        let gateway = Gateway::start(&rule(&provider, &server.url("/jwks"), more));
        gateway.daemon.add("corp", &registry);
        gateway
    };
    let token = provider.identity("regauth");
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let asks = |gateway: &Gateway| gateway.curl(&gateway.proxy(&token)).fetch(&url).output;
    let unverified = with("");
    asks(&unverified).fails();
    let problems = unverified.daemon.ctl(&["status"]).succeeds().json["problems"].to_string();
    assert!(problems.contains("the keys of"), "{problems}");
    // The file has another root at first. A reload reads it again, and one that cannot be read takes nothing away.
    let roots = folder.path().join("roots.pem");
    fs::copy(Authority::new("Another Root").file(), &roots).unwrap();
    let trusting = with(&format!("ca-file = \"{}\"", roots.display()));
    asks(&trusting).fails();
    fs::copy(authority.file(), &roots).unwrap();
    trusting.daemon.ctl(&["reload"]).succeeds();
    asks(&trusting).succeeds();
    fs::write(&roots, "half a certif").unwrap();
    let notes = trusting.daemon.ctl(&["reload"]).succeeds().json["notes"].to_string();
    assert!(notes.contains("roots that were read before stay in service"), "{notes}");
    asks(&trusting).succeeds();
    // From a file, which is noticed when it changes.
    let file = folder.path().join("other");
    fs::copy(&keys, &file).unwrap();
    let gateway = Gateway::start(&rule(
        &provider,
        file.to_str().unwrap(),
        "match = { repository = \"corp/*\" }",
    ));
    gateway.daemon.add("corp", &registry);
    asks(&gateway).succeeds();
    for text in [
        "<!doctype html>".to_owned(),
        "{\"keys\":[]}".to_owned(),
        " ".repeat(2 * 1024 * 1024),
    ] {
        fs::write(&file, &text).unwrap();
        poll::wait_for("a problem", || {
            let problems = gateway.daemon.ctl(&["status"]).succeeds().json["problems"].to_string();
            problems.contains("the keys that were read before stay").then_some(())
        });
        asks(&gateway).succeeds();
    }
    fs::copy(&keys, &file).unwrap();
    poll::wait_for("no problem", || {
        let status = gateway.daemon.ctl(&["status"]).succeeds().json;
        status.get("problems").is_none().then_some(())
    });
}

#[test]
fn tokens_count_only_where_every_client_needs_a_grant() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let provider = OpenidProvider::start(registry.gate());
    let daemon = Daemon::start();
    let config = daemon.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap() + &rule(&provider, &provider.keys_url(), "");
    fs::write(&config, text).unwrap();
    let refused = daemon.ctl(&["reload"]);
    assert_ne!(refused.exit, 0);
    refused
        .output
        .says("tokens count only where every client needs a grant");
}
