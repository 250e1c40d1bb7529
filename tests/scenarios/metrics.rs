//! Metrics: their text, the HTTP endpoint, and a real Prometheus with the packaged alerts and dashboard.

use std::fs;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::poll;
use regauth_tests::prometheus::{self, Prometheus};
use regauth_tests::registry::Registry;
use serde_json::Value;

const TOKEN: &str = "t0ken-of-the-company";

fn start(token: &str) -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::bearer(), token).start();
    let daemon = Daemon::builder().config("metrics-listen = \"127.0.0.1:0\"\n").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    (registry, daemon)
}

fn get(daemon: &Daemon, registry: &Registry) -> u16 {
    let url = registry.nginx.url("/api/cargo/index/config.json");
    Curl::new().behind(daemon).get(&url).status
}

fn upload(daemon: &Daemon, registry: &Registry) -> u16 {
    Curl::new().behind(daemon).upload(&registry.upload(), 10).status
}

/// Text of `regauthctl metrics`.
fn text(daemon: &Daemon, format: &str) -> String {
    let metrics = daemon.ctl(&["metrics", "--format", format]).succeeds();
    metrics.json["text"].as_str().unwrap().to_owned()
}

fn url(daemon: &Daemon) -> String {
    poll::wait_for("the endpoint", || {
        let status = daemon.ctl(&["status"]).json;
        status["metrics"].as_str().map(str::to_owned)
    })
}

fn problems(daemon: &Daemon) -> String {
    daemon.ctl(&["status"]).json["problems"].to_string()
}

/// JWT that ends so many seconds from now.
fn token_that_ends_in(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"exp\":{}}}", now + seconds);
    format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn counts_requests_refusals_and_tokens_in_a_text_that_promtool_accepts() {
    let (registry, daemon) = start(TOKEN);
    (0..3).for_each(|_| assert_eq!(get(&daemon, &registry), 200));
    assert_eq!(upload(&daemon, &registry), 403);
    let text = poll::wait_for("the counters", || {
        let text = text(&daemon, "prometheus");
        let counted = [
            "regauth_requests_total{registry=\"corp\",operation=\"read\",class=\"2xx\"} 3",
            "regauth_refusals_total{code=\"write-denied\"} 1",
            "regauth_injections_total{registry=\"corp\"} 3",
            "regauth_credential_generation{registry=\"corp\"} 1",
            "regauth_upstream_seconds_count{registry=\"corp\"} 3",
            "regauth_overhead_seconds_count 3",
            "regauth_store_locked 0",
        ];
        counted.iter().all(|line| text.contains(line)).then_some(text)
    });
    let mut promtool = exec::command("promtool", daemon.home());
    let checked = exec::run_with_input(promtool.args(["check", "metrics"]), &text).succeeds();
    assert_eq!(checked.stdout + &checked.stderr, "", "promtool has advice");
    let host = registry.nginx.authority();
    assert!(
        !text.contains(&host) && !text.contains("localhost"),
        "a host is a label"
    );
    let open = self::text(&daemon, "openmetrics");
    assert!(
        open.contains("# TYPE regauth_requests counter\n") && open.ends_with("# EOF\n"),
        "{open}"
    );
}

#[test]
fn the_endpoint_serves_metrics_and_nothing_else() {
    let (registry, daemon) = start(TOKEN);
    get(&daemon, &registry);
    let url = url(&daemon);
    let plain = Curl::new().get(&url);
    assert_eq!(plain.status, 200);
    assert!(plain.headers.contains("text/plain; version=0.0.4"), "{}", plain.headers);
    let open = Curl::new()
        .header("Accept: application/openmetrics-text;version=1.0.0")
        .get(&url);
    assert!(
        open.headers.contains("application/openmetrics-text"),
        "{}",
        open.headers
    );
    assert!(open.body().ends_with("# EOF\n"));
    assert_eq!(Curl::new().get(&url.replace("/metrics", "/")).status, 404);
    assert_eq!(Curl::new().with(&["--request", "POST"]).get(&url).status, 405);
    assert_eq!(Curl::new().header("Host: evil.example").get(&url).status, 421);
}

#[test]
fn a_port_in_use_is_a_problem_that_ends_when_the_port_is_free() {
    // No other test uses this address, so none takes the port once it is free.
    let taken = TcpListener::bind("127.0.44.2:0").unwrap();
    let address = taken.local_addr().unwrap();
    let daemon = Daemon::builder()
        .config(&format!("metrics-listen = \"{address}\"\n"))
        .start();
    let problem = poll::wait_for("the problem", || {
        let problems = problems(&daemon);
        problems.contains("metrics are not served").then_some(problems)
    });
    assert!(
        problem.contains(&address.to_string()) && problem.contains("metrics-listen"),
        "{problem}"
    );
    drop(taken);
    assert_eq!(Curl::new().get(&url(&daemon)).status, 200);
    assert!(!problems(&daemon).contains("metrics"));
}

#[test]
fn other_machines_cannot_be_served_without_more() {
    let home = tempfile::tempdir().unwrap();
    let refused = Daemon::builder()
        .config("metrics-listen = \"0.0.0.0:0\"\n")
        .run(&home.path().join("home"));
    refused.fails().says("metrics-listen").says("127.0.0.1");
}

#[test]
fn prometheus_alerts_on_a_token_near_its_end_and_on_a_registry_that_rejects() {
    let (registry, daemon) = start(&token_that_ends_in(36 * 3600));
    assert_eq!(get(&daemon, &registry), 200);
    assert!(
        problems(&daemon).contains("the token of the registry `corp` ends at"),
        "{}",
        problems(&daemon)
    );
    let target = url(&daemon).replace("http://", "").replace("/metrics", "");
    let prometheus = Prometheus::scraping(&target);
    let fires = |alert: &str, subject: &str| {
        let wanted = (alert.to_owned(), subject.to_owned());
        poll::wait_for(alert, || prometheus.firing().contains(&wanted).then_some(()));
    };
    fires("RegauthTokenExpiresSoon", "corp");
    (0..60).for_each(|_| assert_eq!(upload(&daemon, &registry), 403));
    fires("RegauthRefusalsRising", "write-denied");
    registry.accept(&["another"]);
    poll::wait_for("the rejection", || (get(&daemon, &registry) == 403).then_some(()));
    fires("RegauthTokenRejected", "corp");
    dashboard_shows_data(&prometheus);
}

/// Runs every query of the dashboard.
fn dashboard_shows_data(prometheus: &Prometheus) {
    let file = fs::read_to_string(prometheus::monitoring().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$instance", ".*")
                .replace("$registry", ".*")
                .replace("$__rate_interval", "1m");
            let series = prometheus.query(&query);
            queries += 1;
            // Nothing renews the token of this test.
            assert!(
                !series.is_empty() || title == "Renewals",
                "{title}: {query} shows nothing"
            );
        }
    }
    assert!(queries > 15);
}

#[test]
fn the_packaged_rules_are_valid() {
    let mut promtool = exec::command("promtool", &prometheus::monitoring());
    promtool
        .args(["check", "rules", "--lint-fatal"])
        .arg(prometheus::monitoring().join("alerts.yaml"));
    exec::run(&mut promtool).succeeds();
}
