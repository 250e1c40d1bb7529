//! Keys of the audit record: `audit`, `audit-required`, `audit-keep`, `audit-max-size`.

use std::str::FromStr;
use std::time::Duration;

use crate::config::table_reader::TableReader;

/// Settings of the audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Events that are recorded.
    pub mode: AuditMode,
    /// Refuse requests that cannot be recorded.
    pub required: bool,
    /// Age at which lines are deleted.
    pub keep: Duration,
    /// Size of the whole record in bytes.
    pub max_size: u64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            mode: AuditMode::default(),
            required: false,
            keep: DEFAULT_KEEP,
            max_size: DEFAULT_MAX_SIZE,
        }
    }
}

impl AuditSettings {
    pub(super) fn read(top: &mut TableReader<'_, '_>) -> Self {
        Self {
            mode: top.parsed("audit", AuditMode::from_str).unwrap_or_default(),
            required: top.boolean("audit-required").unwrap_or_default(),
            keep: top.parsed("audit-keep", keep).unwrap_or(DEFAULT_KEEP),
            max_size: top.parsed("audit-max-size", max_size).unwrap_or(DEFAULT_MAX_SIZE),
        }
    }
}

/// Events that the audit record keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// None.
    Off,
    /// Changes, writes, refusals and each program's first use of a registry.
    #[default]
    Changes,
    /// Every request.
    All,
}

impl AuditMode {
    /// Value in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Changes => "changes",
            Self::All => "all",
        }
    }
}

impl FromStr for AuditMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut modes = [Self::Off, Self::Changes, Self::All].into_iter();
        modes
            .find(|mode| mode.as_str() == text)
            .ok_or("expected \"off\", \"changes\" or \"all\"")
    }
}

fn keep(text: &str) -> Result<Duration, &'static str> {
    let keep = humantime::parse_duration(text).map_err(|_| "expected a duration such as \"30d\" or \"1y\"")?;
    if keep < MIN_KEEP {
        return Err("expected at least one hour, such as \"30d\"; `audit = \"off\"` keeps nothing");
    }
    Ok(keep)
}

fn max_size(text: &str) -> Result<u64, &'static str> {
    let unit = |(unit, bytes): &(&str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*bytes)
    };
    let size = SIZE_UNITS
        .iter()
        .find_map(unit)
        .ok_or("expected a size such as \"64MiB\" or \"1GiB\"")?;
    if size < MIN_SIZE {
        return Err("expected at least \"256KiB\"; `audit = \"off\"` keeps nothing");
    }
    Ok(size)
}

const SIZE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const DEFAULT_KEEP: Duration = Duration::from_secs(90 * 24 * 3600);
const DEFAULT_MAX_SIZE: u64 = 256 << 20;
const MIN_KEEP: Duration = Duration::from_secs(3600);
const MIN_SIZE: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, size) in [("256KiB", 256 << 10), ("64 MiB", 64 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(max_size(text), Ok(size));
        }
        for wrong in ["", "64", "64MB", "-1GiB", "1.5GiB", "255KiB", "99999999999999999GiB"] {
            max_size(wrong).unwrap_err();
        }
    }
}
