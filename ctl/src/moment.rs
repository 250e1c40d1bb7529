//! Points in time as a person reads them: how long ago, or how long from now.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2 h ago` for an RFC 3339 time; a text that is none stays as it is.
pub(crate) fn relative(moment: &str) -> String {
    relative_to(OffsetDateTime::now_utc(), moment)
}

/// `2026-03-04T05:06:07Z (2 h ago)`.
pub(crate) fn absolute_and_relative(moment: &str) -> String {
    format!("{moment} ({})", relative(moment))
}

fn relative_to(now: OffsetDateTime, moment: &str) -> String {
    let Ok(then) = OffsetDateTime::parse(moment, &Rfc3339) else {
        return moment.to_owned();
    };
    let seconds = (now - then).whole_seconds();
    let span = span(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{span} ago"),
        _ => format!("in {span}"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_that_still_says_something() {
        let now = OffsetDateTime::parse("2026-03-04T05:06:07Z", &Rfc3339).unwrap();
        for (moment, expected) in [
            ("2026-03-04T05:06:07Z", "now"),
            ("2026-03-04T05:05:07.5Z", "59 s ago"),
            ("2026-03-04T05:01:06+00:00", "5 min ago"),
            ("2026-03-04T05:11:07Z", "in 5 min"),
            ("2026-03-03T05:06:07Z", "24 h ago"),
            ("2026-02-22T05:06:07Z", "10 days ago"),
            ("some day", "some day"),
        ] {
            assert_eq!(relative_to(now, moment), expected, "{moment}");
        }
    }
}
