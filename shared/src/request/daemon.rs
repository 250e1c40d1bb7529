//! Requests about the daemon itself: its log level, its way to other hosts.

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret};

/// Fields of `log`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// New level, until the daemon ends. Absent to ask for the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
}

/// Fields of `set-upstream`. A setting that the configuration has already stays as it is, unless `replace` is true.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetUpstream {
    /// URL of a corporate proxy, perhaps with a password, for `[upstream] proxy`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy, for `[upstream] no-proxy`. Written together with the proxy only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
    /// PEM file with a company's roots, for the global `ca-file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// True to replace a proxy that the configuration has, or the daemon uses, already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// True to remove the proxy from the configuration, and its password from the store. No other field counts then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
}

/// Fields of `metrics`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Format of the text.
    #[serde(default)]
    pub format: MetricsFormat,
}

/// Text format of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    #[default]
    OpenMetrics,
    /// The older text format of Prometheus, 0.0.4.
    Prometheus,
}

/// Log level; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something will stop working unless a person acts.
    Warn,
    /// Actions of the daemon.
    Info,
    /// Each connection and the reason for its end.
    Debug,
    /// Messages of the libraries as well.
    Trace,
}

impl LogLevel {
    /// All levels, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Name of the level, as in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
