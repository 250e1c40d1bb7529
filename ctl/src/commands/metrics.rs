//! `regauthctl metrics`.

use regauth_shared::request::{Metrics as MetricsRequest, MetricsFormat};
use regauth_shared::response::Metrics;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::Report;

/// Print the daemon's metrics
///
/// Requests, refusals, times, tokens and the store, in the text formats of OpenMetrics and Prometheus. With
/// `metrics-listen = "127.0.0.1:9102"` in config.toml, Prometheus scrapes http://127.0.0.1:9102/metrics. packaging/monitoring
/// has alert rules and a Grafana dashboard.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Format of the text
    #[arg(long, value_enum, default_value = "openmetrics")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// OpenMetrics 1.0
    Openmetrics,
    /// Prometheus 0.0.4
    Prometheus,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl metrics
  regauthctl metrics --format prometheus | promtool check metrics";

/// Prints the metrics.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let format = match arguments.format {
        Format::Openmetrics => MetricsFormat::OpenMetrics,
        Format::Prometheus => MetricsFormat::Prometheus,
    };
    let reply = client.call(&Request::Metrics(MetricsRequest { format }))?;
    Ok(Report::from_reply(reply, |metrics: &Metrics| metrics.text.clone()).verbatim())
}
