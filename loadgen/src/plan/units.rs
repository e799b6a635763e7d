//! Counts, rates, sizes and durations as people write them: the only parser and printer of units.

use std::time::Duration;

pub(crate) use servers::cli::{duration, status_interval};

/// The highest rate, per second: the schedule counts nanoseconds.
const PER_SECOND_MAX: f64 = 1e9;

/// The lowest rate above zero: one per hour.
const PER_SECOND_MIN: f64 = 1.0 / 3_600.0;

/// Reads a count: `500`, `20k`, `1.5M`.
///
/// # Errors
/// One line with examples of values that can be read.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    const EXAMPLES: &str = "500, 20k or 1.5M";
    whole(scaled(text, &[("", 1.0), ("k", 1e3), ("M", 1e6)], EXAMPLES)?, EXAMPLES)
}

/// [`count`], for 32 bits.
///
/// # Errors
/// One line with examples of values that can be read.
pub(crate) fn count_u32(text: &str) -> Result<u32, String> {
    u32::try_from(count(text)?).map_err(|_| format!("it is too large; at most {}", u32::MAX))
}

/// Reads a rate per second: `500`, `20k`, `1.5M`, `0.1`; `6/m` is per minute and `20/h` per hour.
///
/// # Errors
/// One line with examples of values that can be read.
pub(crate) fn per_second(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => return Err("a rate is by the second, or by /m or /h; write for example 20k, 0.1 or 6/m".to_owned()),
    };
    let units = [("", 1.0), ("k", 1e3), ("M", 1e6)];
    match scaled(number, &units, "500, 20k, 1.5M, 0.1 or 6/m")? / seconds {
        rate if rate > PER_SECOND_MAX => Err("it is too high; at most 1000M".to_owned()),
        rate if rate > 0.0 && rate < PER_SECOND_MIN => Err("it is too low; at least 1/h, or 0".to_owned()),
        rate => Ok(rate),
    }
}

/// Reads a size in bytes: `64B`, `1KiB`, `100MiB`.
///
/// # Errors
/// One line with examples of values that can be read.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const EXAMPLES: &str = "64B, 16KiB or 1MiB";
    whole(scaled(text, &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1024.0 * 1024.0)], EXAMPLES)?, EXAMPLES)
}

/// Reads a number of zero or more with one of these units, each with its factor.
fn scaled(text: &str, units: &[(&str, f64)], examples: &str) -> Result<f64, String> {
    let wrong = || format!("write for example {examples}");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = units.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    Ok(number.parse::<f64>().map_err(|_| wrong())? * scale)
}

fn whole(value: f64, examples: &str) -> Result<u64, String> {
    // Exact up to 2^53, far beyond any count or size that makes sense.
    const EXACT: u64 = 1 << 53;
    match value {
        value if value > EXACT as f64 => Err(format!("it is too large, at most {EXACT}; write for example {examples}")),
        value if value.fract() != 0.0 => Err(format!("it is no whole number; write for example {examples}")),
        value => Ok(value as u64),
    }
}

/// Writes a duration with the largest unit that keeps it whole: `500ms`, `5s`, `0s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { humantime::format_duration(duration).to_string().replace(' ', "") }
}

/// Writes a rate or count with three significant digits or more: `950`, `20.0k`, `131k`, `1.53M`; `0.1`, `1.5`.
pub fn show_count(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{:.2}M", count / 1e6),
        count if count >= 1e5 => format!("{:.0}k", count / 1e3),
        count if count >= 1e4 => format!("{:.1}k", count / 1e3),
        count if count >= 100.0 || count.fract() == 0.0 => format!("{:.0}", count.round()),
        count => {
            let digits = (2.0 - count.abs().log10().floor()).clamp(0.0, 9.0) as usize;
            format!("{count:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// Writes a size with the largest unit that keeps it whole: `64B`, `16KiB`.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
        bytes => format!("{bytes}B"),
    }
}

/// Writes an amount of memory roughly: `17.2 GB`, `305 MB`.
pub(crate) fn show_memory(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} MB", bytes / 1e6) }
}

/// Nanoseconds as microseconds, for a column headed `us`: three digits or the whole microseconds.
pub fn show_us(ns: f64) -> String {
    match ns / 1e3 {
        us if us < 9.995 => format!("{us:.2}"),
        us if us < 99.95 => format!("{us:.1}"),
        us => format!("{us:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_are_read_with_their_units() {
        assert_eq!(count("500"), Ok(500));
        assert_eq!(count("20k"), Ok(20_000));
        assert_eq!(count("1.5M"), Ok(1_500_000));
        assert_eq!(bytes("64B"), Ok(64));
        assert_eq!(bytes("1KiB"), Ok(1024));
        assert_eq!(bytes("0.5MiB"), Ok(512 * 1024));
    }

    #[test]
    fn what_is_no_rate_or_size_is_refused_with_an_example() {
        for text in ["", "k", "-1", "1.5", "20K", "20 k", "1e3", "1..2", "inf", "NaN", "99999999999M"] {
            assert!(count(text).is_err_and(|error| error.contains("20k")), "{text:?}");
        }
        for text in ["64", "64b", "1KB", "1.0001KiB"] {
            assert!(bytes(text).is_err_and(|error| error.contains("16KiB")), "{text:?}");
        }
    }

    #[test]
    fn a_rate_below_one_per_second_is_understood() {
        for (text, per_sec) in
            [("0.1", 0.1), ("1.5", 1.5), ("6/m", 0.1), ("0.5/s", 0.5), ("36/h", 0.01), ("1/h", 1.0 / 3_600.0)]
        {
            assert_eq!(per_second(text), Ok(per_sec), "{text}");
        }
        for (text, shown) in [("0.1", "0.1"), ("6/m", "0.1"), ("1.5", "1.5"), ("20/m", "0.333")] {
            assert_eq!(show_count(per_second(text).unwrap()), shown);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bound() {
        for (text, bound) in [("1001M", "1000M"), ("0.0001", "1/h"), ("1/h/h", "6/m"), ("6/d", "6/m"), ("-0.1", "6/m")]
        {
            assert!(per_second(text).is_err_and(|error| error.contains(bound)), "{text:?}");
        }
        assert!(count_u32("4294967296").is_err_and(|error| error.contains("4294967295")));
        assert!(bytes("99999999999999MiB").is_err_and(|error| error.contains("too large")));
        for text in ["366days", "18446744073709551615s", "584542046090years"] {
            assert!(duration(text).is_err_and(|error| error.contains("365days")), "{text:?}");
        }
        assert_eq!(duration("365days"), Ok(Duration::from_secs(365 * 86_400)));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("5").is_err_and(|error| error.contains("no unit")));
        assert!(duration("5 parsecs").is_err());
        for text in ["NaN", "inf", "-5", "-5s"] {
            assert!(duration(text).is_err_and(|error| !error.contains("write -") && !error.contains("nan")), "{text}");
        }
        assert!(status_interval("9ms").is_err_and(|error| error.contains("10ms")));
        assert_eq!(status_interval("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["500ms", "5s", "2m", "0s", "10ms500us"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["64B", "16KiB", "1MiB", "1025B"] {
            assert_eq!(show_bytes(bytes(text).unwrap()), text);
        }
    }
}
