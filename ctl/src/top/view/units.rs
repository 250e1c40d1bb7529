//! Short forms of numbers: `1.2k`, `830kB`, `12ms`, `4:07`. Each fits in seven columns.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A count: `999`, `12.3k`, `4.5M`.
pub(super) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        _ => scaled(number, &[(1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")]),
    }
}

/// A size: `999B`, `12.3kB`, `4.5MB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(
        number,
        &[
            (1, "B"),
            (1_000, "kB"),
            (1_000_000, "MB"),
            (1_000_000_000, "GB"),
            (1_000_000_000_000, "TB"),
        ],
    )
}

/// A rate of requests: `0`, `0.4`, `12.3`, `1.2k`; `-` while it is not known.
pub(super) fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(rate) if rate <= 0.0 => "0".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) => count(rounded(rate)),
    }
}

/// A rate of bytes: `0`, `12.3kB`; `-` while it is not known.
pub(super) fn byte_rate(per_second: Option<f64>) -> String {
    match per_second.map(rounded) {
        None => "-".to_owned(),
        Some(0) => "0".to_owned(),
        Some(rate) => bytes(rate),
    }
}

/// A duration: `85µs`, `1.2ms`, `340ms`, `2.5s`.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => scaled(micros, &[(1_000, "ms")]),
        _ => scaled(micros, &[(1_000_000, "s")]),
    }
}

/// A duration, or `-` if there was none.
pub(super) fn optional_micros(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), micros)
}

/// Time until a moment: `4:07` below an hour, then `5h`, `12d`; `over` afterwards.
pub(super) fn until(timestamp: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(timestamp, &Rfc3339) {
        Ok(then) if then <= now => OVER.to_owned(),
        Ok(then) => span((then - now).whole_seconds().unsigned_abs()),
        Err(_) => "?".to_owned(),
    }
}

/// Time since a moment: `4:07` below an hour, then `5h`, `12d`.
pub(super) fn since(timestamp: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(timestamp, &Rfc3339) {
        Ok(then) => span((now - then).whole_seconds().max(0).unsigned_abs()),
        Err(_) => "?".to_owned(),
    }
}

/// Share of a part, in whole percent; `-` of nothing.
pub(super) fn percent(part: u64, of: u64) -> String {
    match of {
        0 => "-".to_owned(),
        _ => format!("{}%", part * 100 / of),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// With the last unit that leaves at least one, and with one decimal below a hundred.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn scaled(number: u64, units: &[(u64, &str)]) -> String {
    let fits = units.iter().rev().find(|(size, _)| number >= *size);
    let (size, unit) = fits.or(units.first()).copied().unwrap_or((1, ""));
    let value = number as f64 / size as f64;
    if size == 1 || value >= 99.95 {
        format!("{value:.0}{unit}")
    } else {
        format!("{value:.1}{unit}")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are not negative, and far below 2^53"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// Text for a moment that has passed.
pub(super) const OVER: &str = "over";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_in_seven_columns() {
        for number in (0..64)
            .map(|bits| 1_u64 << bits)
            .chain([999, 9_999, 99_949, 99_950, 999_999])
        {
            if number < 1_000_000_000_000_000 {
                for text in [count(number), bytes(number)] {
                    assert!(text.chars().count() <= 8, "{text}");
                }
            }
        }
        for (number, expected) in [(0, "0"), (9_999, "9999"), (12_345, "12.3k"), (4_500_000, "4.5M")] {
            assert_eq!(count(number), expected);
        }
        for (number, expected) in [(0, "0B"), (999, "999B"), (12_345, "12.3kB"), (830_000, "830kB")] {
            assert_eq!(bytes(number), expected);
        }
        for (number, expected) in [(85, "85µs"), (1_234, "1.2ms"), (340_000, "340ms"), (2_500_000, "2.5s")] {
            assert_eq!(micros(number), expected);
        }
    }

    #[test]
    fn countdowns_show_seconds_below_an_hour() {
        let now = OffsetDateTime::parse("2026-03-04T05:06:07Z", &Rfc3339).unwrap();
        for (timestamp, expected) in [
            ("2026-03-04T05:10:14Z", "4:07"),
            ("2026-03-04T10:06:07Z", "5h"),
            ("2026-03-16T05:06:07Z", "12d"),
            ("2026-03-04T05:06:07Z", "over"),
            ("some day", "?"),
        ] {
            assert_eq!(until(timestamp, now), expected, "{timestamp}");
        }
        assert_eq!(since("2026-03-04T05:06:00Z", now), "0:07");
    }
}
