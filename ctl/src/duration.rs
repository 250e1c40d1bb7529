//! Durations in flags: `90s`, `5m`, `2h`, `7d`, `1w`.

/// Parses a number with a unit into seconds; `None` if it is none.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(*seconds)
}

/// Parses a duration of at least one second, for a flag.
///
/// # Errors
/// The form that is expected.
pub(crate) fn positive_seconds(text: &str) -> Result<u64, String> {
    seconds(text)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "a time is a number with a unit: 90s, 5m, 1h".to_owned())
}

const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requires_a_positive_number_and_a_unit() {
        assert_eq!(positive_seconds("90s"), Ok(90));
        assert_eq!(positive_seconds("5m"), Ok(300));
        assert_eq!(positive_seconds("2h"), Ok(7200));
        assert_eq!(positive_seconds("5d"), Ok(432_000));
        for bad in ["", "5", "m", "0m", "-5m", "5 m", "5y", "18446744073709551615h"] {
            assert!(positive_seconds(bad).is_err(), "{bad}");
        }
    }
}
