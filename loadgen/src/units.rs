//! Rates, sizes and durations as people write them: the only parser and printer of units.

use std::time::Duration;

pub use servers::cli::{duration, status_interval};

use crate::engine::{Payloads, Rate};

/// Reads a rate or a count: `500`, `20k`, `1.5M`.
///
/// # Errors
/// One line that says what would be right.
pub fn count(text: &str) -> Result<u64, String> {
    scaled(text, &[("", 1), ("k", 1_000), ("M", 1_000_000)], "500, 20k or 1.5M")
}

/// Reads a size in bytes: `64B`, `1KiB`, `100MiB`.
///
/// # Errors
/// One line that says what would be right.
pub fn bytes(text: &str) -> Result<u64, String> {
    scaled(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)], "64B, 16KiB or 1MiB")
}

/// Reads a rate that may change over the window: `20k`, a ramp `1k..50k` or steps `1k,5k,20k`.
///
/// # Errors
/// One line that says what would be right.
pub fn rate(text: &str) -> Result<Rate, String> {
    if let Some((from, to)) = text.split_once("..") {
        return Ok(Rate::Ramp { from: count(from)?, to: count(to)? });
    }
    match text.split(',').map(count).collect::<Result<Vec<_>, _>>()?[..] {
        [rate] => Ok(Rate::Steady(rate)),
        ref rates => Ok(Rate::Steps(rates.to_vec())),
    }
}

/// Reads payload sizes: `64B`, or several with the share of messages that have them: `64B,1KiB:0.1`.
///
/// # Errors
/// One line that says what would be right.
pub fn payloads(text: &str) -> Result<Payloads, String> {
    let size = |part: &str| -> Result<(usize, Option<f64>), String> {
        let (size, share) = part.split_once(':').map_or((part, None), |(size, share)| (size, Some(share)));
        let share = match share.map(str::parse::<f64>) {
            None => None,
            Some(Ok(share)) if share > 0.0 && share <= 1.0 => Some(share),
            Some(_) => return Err("a share lies between 0 and 1: write for example 64B,1KiB:0.1".to_owned()),
        };
        let bytes = usize::try_from(bytes(size)?).map_err(|error| error.to_string())?;
        Ok((bytes, share))
    };
    Payloads::mix(&text.split(',').map(size).collect::<Result<Vec<_>, _>>()?)
}

/// Writes a rate as it is read.
pub fn show_rate(rate: &Rate) -> String {
    let show = |rate: &u64| show_count(*rate as f64);
    match rate {
        Rate::Steady(rate) => show(rate),
        Rate::Ramp { from, to } => format!("{}..{}", show(from), show(to)),
        Rate::Steps(rates) => rates.iter().map(show).collect::<Vec<_>>().join(","),
    }
}

/// Writes payload sizes as they are read.
pub fn show_payloads(payloads: &Payloads) -> String {
    match payloads.sizes() {
        [(bytes, _)] => show_bytes(*bytes as u64),
        sizes => {
            let show = |(bytes, share): &(usize, f64)| format!("{}:{share}", show_bytes(*bytes as u64));
            sizes.iter().map(show).collect::<Vec<_>>().join(",")
        }
    }
}

fn scaled(text: &str, units: &[(&str, u64)], examples: &str) -> Result<u64, String> {
    let wrong = || format!("write for example {examples}");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = units.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    let value = number.parse::<f64>().map_err(|_| wrong())? * scale as f64;
    // Exact up to 2^53, far beyond any rate or size that can be asked for.
    if value.fract() == 0.0 && value <= (1_u64 << 53) as f64 { Ok(value as u64) } else { Err(wrong()) }
}

/// A duration in milliseconds as it is recorded: exactly, and a whole number if it is one.
pub fn recorded_ms(duration: Duration) -> serde_json::Value {
    match duration.as_nanos() {
        ns if ns % 1_000_000 == 0 => ((ns / 1_000_000) as u64).into(),
        ns => (ns as f64 / 1e6).into(),
    }
}

/// Writes a duration with the largest unit that keeps it whole: `500ms`, `5s`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { humantime::format_duration(duration).to_string().replace(' ', "") }
}

/// Writes a rate or count with three significant digits or more: `950`, `20.0k`, `131k`, `1.53M`.
pub fn show_count(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{:.2}M", count / 1e6),
        count if count >= 1e5 => format!("{:.0}k", count / 1e3),
        count if count >= 1e4 => format!("{:.1}k", count / 1e3),
        count => format!("{count:.0}"),
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
        for text in ["", "k", "-1", "1.5", "20K", "20 k", "1e3", "1..2", "inf", "99999999999M"] {
            assert!(count(text).is_err_and(|error| error.contains("20k")), "{text:?}");
        }
        for text in ["64", "64b", "1KB", "1.0001KiB"] {
            assert!(bytes(text).is_err_and(|error| error.contains("16KiB")), "{text:?}");
        }
    }

    #[test]
    fn ramps_steps_and_mixes_are_read() {
        assert_eq!(rate("20k"), Ok(Rate::Steady(20_000)));
        assert_eq!(rate("1k..50k"), Ok(Rate::Ramp { from: 1_000, to: 50_000 }));
        assert_eq!(rate("1k,500"), Ok(Rate::Steps(vec![1_000, 500])));
        assert_eq!(payloads("64B"), Ok(Payloads::one(64)));
        assert_eq!(payloads("64B,1KiB:0.1").unwrap().sizes(), [(64, 0.9), (1024, 0.1)]);
        for text in ["", "1k..", "..", "1k..2k..3k", "1k,", "1k;2k"] {
            assert!(rate(text).is_err_and(|error| error.contains("20k")), "{text:?}");
        }
        for text in ["64B,", "64B:2", "64B:x", "64B:0.5", "64B:0", "64B,1KiB:1"] {
            assert!(payloads(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("5").is_err_and(|error| error.contains("no unit")));
        assert!(duration("5 parsecs").is_err());
        assert!(status_interval("9ms").is_err_and(|error| error.contains("10ms")));
        assert_eq!(status_interval("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn no_part_of_a_duration_is_cut_off_in_a_record() {
        assert_eq!(recorded_ms(Duration::from_millis(10)), 10);
        assert_eq!(recorded_ms(Duration::from_micros(10_500)), 10.5);
        assert_eq!(recorded_ms(Duration::from_nanos(1)), 1e-6);
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
