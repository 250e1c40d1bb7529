//! Text of metrics, in the formats of OpenMetrics 1.0 and of Prometheus 0.0.4. Pure.
//!
//! They differ in the names of counters' families, in units, and in the last line.

use std::fmt::{self, Display, Write};

use regauth_shared::request::MetricsFormat;
use regauth_shared::response::Histogram;

/// Text that grows family by family.
#[derive(Debug)]
pub(super) struct Exposition {
    format: MetricsFormat,
    text: String,
    /// Name of the present family, with the suffix of its samples.
    name: String,
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
    Info,
}

impl Exposition {
    pub(super) fn new(format: MetricsFormat) -> Self {
        Self {
            format,
            text: String::new(),
            name: String::new(),
        }
    }

    /// Begins a family; `name` is without the suffix `_total` or `_info`.
    pub(super) fn family(&mut self, name: &str, kind: Type, help: &str) -> &mut Self {
        let (suffix, word) = match (kind, self.format) {
            (Type::Counter, _) => ("_total", "counter"),
            (Type::Gauge, _) => ("", "gauge"),
            (Type::Histogram, _) => ("", "histogram"),
            (Type::Info, MetricsFormat::OpenMetrics) => ("_info", "info"),
            (Type::Info, MetricsFormat::Prometheus) => ("_info", "gauge"),
        };
        self.name = format!("{name}{suffix}");
        let family = match self.format {
            MetricsFormat::OpenMetrics => name.to_owned(),
            MetricsFormat::Prometheus => self.name.clone(),
        };
        self.line(format_args!("# HELP {family} {help}"));
        self.line(format_args!("# TYPE {family} {word}"));
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let Some(unit) = unit.filter(|_| self.format == MetricsFormat::OpenMetrics) {
            self.line(format_args!("# UNIT {family} {unit}"));
        }
        self
    }

    /// Adds a sample of the present family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let name = self.name.clone();
        self.line(format_args!("{name}{} {value}", Labels(labels)));
        self
    }

    /// Adds the samples of one histogram of the present family.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], bounds_us: &[u64], histogram: &Histogram) {
        let name = self.name.clone();
        let mut counts = histogram.counts.iter().copied();
        let mut sum = 0;
        for bound in bounds_us {
            sum += counts.next().unwrap_or_default();
            let bound = seconds(*bound);
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.line(format_args!("{name}_bucket{} {sum}", Labels(&labels)));
        }
        sum += counts.sum::<u64>();
        let infinite = [labels, &[("le", "+Inf")]].concat();
        self.line(format_args!("{name}_bucket{} {sum}", Labels(&infinite)));
        self.line(format_args!(
            "{name}_sum{} {}",
            Labels(labels),
            seconds(histogram.sum_us)
        ));
        self.line(format_args!("{name}_count{} {sum}", Labels(labels)));
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Labels as `{registry="corp"}`.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let opening = if index == 0 { "{" } else { "," };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(f, "{opening}{name}=\"{value}\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// Microseconds in seconds, exact, with at least one decimal place as OpenMetrics wants it.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') {
        format!("{text}0")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_differ_in_the_names_of_families() {
        let write = |format| {
            let mut text = Exposition::new(format);
            text.family("x_requests", Type::Counter, "Requests.")
                .sample(&[("registry", "a\"b")], 3);
            text.family("x_seconds", Type::Gauge, "Age.").sample(&[], 1.5);
            text.finish()
        };
        assert_eq!(
            write(MetricsFormat::OpenMetrics),
            "# HELP x_requests Requests.\n# TYPE x_requests counter\nx_requests_total{registry=\"a\\\"b\"} 3\n\
             # HELP x_seconds Age.\n# TYPE x_seconds gauge\n# UNIT x_seconds seconds\nx_seconds 1.5\n# EOF\n"
        );
        assert_eq!(
            write(MetricsFormat::Prometheus),
            "# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\nx_requests_total{registry=\"a\\\"b\"} 3\n\
             # HELP x_seconds Age.\n# TYPE x_seconds gauge\nx_seconds 1.5\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut text = Exposition::new(MetricsFormat::Prometheus);
        text.family("x_seconds", Type::Histogram, "Time.");
        let histogram = Histogram {
            counts: vec![2, 0, 1, 4],
            sum_us: 61_500_000,
        };
        text.histogram(&[("registry", "corp")], &[10, 1_000_000, 60_000_000], &histogram);
        let text = text.finish();
        for line in [
            "x_seconds_bucket{registry=\"corp\",le=\"0.00001\"} 2",
            "x_seconds_bucket{registry=\"corp\",le=\"1.0\"} 2",
            "x_seconds_bucket{registry=\"corp\",le=\"60.0\"} 3",
            "x_seconds_bucket{registry=\"corp\",le=\"+Inf\"} 7",
            "x_seconds_sum{registry=\"corp\"} 61.5",
            "x_seconds_count{registry=\"corp\"} 7",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
