//! Real Prometheus that scrapes a daemon four times a second and evaluates the packaged alert rules.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::curl::Curl;
use crate::exec;
use crate::poll;
use crate::process::Process;
use crate::squid::free_port;

/// Running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it and waits until it has scraped `target`, such as `127.0.0.1:9102`.
    ///
    /// # Panics
    /// When it does not start, or the target does not answer.
    pub fn scraping(target: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("prometheus.yaml");
        fs::write(&config, configuration(target)).unwrap();
        // Prometheus does not say which port it got for port 0.
        let address = format!("127.0.0.1:{}", free_port());
        let mut prometheus = exec::command("prometheus", folder.path());
        prometheus
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let log = folder.path().join("prometheus.log");
        let process = Process::spawn("prometheus", &mut prometheus, &log);
        let prometheus = Self {
            address,
            _process: process,
            _folder: folder,
        };
        poll::wait_for("the first scrape", || {
            (prometheus.value("up") == Some(1.0)).then_some(())
        });
        prometheus
    }

    /// Series of a query's result.
    ///
    /// # Panics
    /// When Prometheus rejects the query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&["/api/v1/query", "--get", "--data-urlencode", &format!("query={query}")]);
        let answer = answer.unwrap_or_default();
        assert!(answer["status"] == "success" || answer.is_null(), "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Value of a query with one series.
    pub fn value(&self, query: &str) -> Option<f64> {
        let series = self.query(query);
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Names of the alerts that fire, each with its registry or code.
    pub fn firing(&self) -> Vec<(String, String)> {
        let answer = self.get(&["/api/v1/alerts"]).unwrap_or_default();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = firing.map(|alert| {
            let labels = &alert["labels"];
            let subject = [&labels["registry"], &labels["code"]].map(text).concat();
            (text(&labels["alertname"]), subject)
        });
        named.collect()
    }

    /// `None` while it does not answer yet.
    fn get(&self, path_and_flags: &[&str]) -> Option<Value> {
        let (path, flags) = path_and_flags.split_first()?;
        let answer = Curl::new().with(flags).fetch(&format!("http://{}{path}", self.address));
        let is_answered = answer.output.status.success();
        let body = is_answered.then(|| answer.response().body())?;
        serde_json::from_str(&body).ok()
    }
}

/// Folder of the packaged rules and dashboard.
pub fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

fn configuration(target: &str) -> String {
    let rules = monitoring().join("alerts.yaml");
    format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs: [{{job_name: regauth, static_configs: [{{targets: [{target:?}]}}]}}]\n"
    )
}
