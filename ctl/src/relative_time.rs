//! Formats times relative to now (`2 h ago`, `in 5 min`) and as the time of day.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Formats an RFC 3339 time relative to now, such as `2 h ago`. Text that is no such time stays unchanged.
pub(crate) fn relative(timestamp: &str) -> String {
    relative_to(OffsetDateTime::now_utc(), timestamp)
}

/// Formats an RFC 3339 time as `2026-03-04T05:06:07Z (2 h ago)`.
pub(crate) fn absolute_and_relative(timestamp: &str) -> String {
    format!("{timestamp} ({})", relative(timestamp))
}

/// Time of day in UTC, such as `18:44:16`, of milliseconds since 1970.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn relative_to(now: OffsetDateTime, timestamp: &str) -> String {
    let Ok(then) = OffsetDateTime::parse(timestamp, &Rfc3339) else {
        return timestamp.to_owned();
    };
    let seconds = (now - then).whole_seconds();
    let duration = duration(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{duration} ago"),
        // A grant for an hour ends "in 60 min", also a second after it was made.
        _ => format!("in {}", self::duration(round_up(seconds.unsigned_abs()))),
    }
}

/// Rounds up to the unit in which the duration is shown, if that takes a few seconds.
fn round_up(seconds: u64) -> u64 {
    let unit = match seconds {
        0..110 => 1,
        110..7_190 => 60,
        7_190..172_790 => 3_600,
        _ => 86_400,
    };
    let rounded = seconds.next_multiple_of(unit);
    if rounded - seconds <= ROUNDED_SECONDS {
        rounded
    } else {
        seconds
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Seconds that pass between a command and a look at its result.
const ROUNDED_SECONDS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_the_largest_unit_with_a_count_of_at_least_two() {
        let now = OffsetDateTime::parse("2026-03-04T05:06:07Z", &Rfc3339).unwrap();
        for (timestamp, expected) in [
            ("2026-03-04T05:06:07Z", "now"),
            ("2026-03-04T05:05:07.5Z", "59 s ago"),
            ("2026-03-04T05:01:06+00:00", "5 min ago"),
            ("2026-03-04T05:11:07Z", "in 5 min"),
            ("2026-03-04T06:06:06Z", "in 60 min"),
            ("2026-03-04T06:05:50Z", "in 59 min"),
            ("2026-03-05T05:06:05Z", "in 24 h"),
            ("2026-03-04T05:06:50Z", "in 43 s"),
            ("2026-03-03T05:06:07Z", "24 h ago"),
            ("2026-02-22T05:06:07Z", "10 days ago"),
            ("some day", "some day"),
        ] {
            assert_eq!(relative_to(now, timestamp), expected, "{timestamp}");
        }
    }
}
