//! Sizes of the messages.

use std::{fmt, str::FromStr};

use super::units::{bytes, show_bytes};

/// The payload sizes of a load, and how often each occurs.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Payloads {
    /// Bytes, newline included, and share of all messages; the shares add up to 1.
    sizes: Vec<(usize, f64)>,
}

impl Payloads {
    /// Messages of one size, in bytes.
    pub(crate) fn one(bytes: usize) -> Self {
        Self { sizes: vec![(bytes, 1.0)] }
    }

    /// Sizes in bytes with their shares; sizes without a share divide the rest equally among them.
    ///
    /// # Errors
    /// If the shares do not add up to 1, or if there are no or more than 100 sizes; the message has an example.
    pub(crate) fn mix(sizes: &[(usize, Option<f64>)]) -> Result<Self, String> {
        let given: f64 = sizes.iter().filter_map(|(_, share)| *share).sum();
        let others = sizes.iter().filter(|(_, share)| share.is_none()).count();
        let complete = (given - 1.0).abs() < 1e-9;
        if sizes.is_empty() || sizes.len() > 100 || given > 1.0 + 1e-9 || (complete == (others > 0)) {
            return Err("the shares must add up to 1, for example 64B,1KiB:0.1 or 64B:0.9,1KiB:0.1".to_owned());
        }
        let rest = (1.0 - given) / others.max(1) as f64;
        Ok(Self { sizes: sizes.iter().map(|(bytes, share)| (*bytes, share.unwrap_or(rest))).collect() })
    }

    /// Every size in bytes, with its share.
    pub(crate) fn sizes(&self) -> &[(usize, f64)] {
        &self.sizes
    }

    /// The mean size in bytes.
    pub(crate) fn mean_bytes(&self) -> f64 {
        self.sizes.iter().map(|(bytes, share)| *bytes as f64 * share).sum()
    }

    /// Index of the size that a number drawn from 0..1 selects.
    pub(crate) fn pick(&self, drawn: f64) -> u16 {
        let mut below = 0.0;
        let index = self.sizes.iter().position(|(_, share)| {
            below += share;
            drawn < below
        });
        index.unwrap_or(self.sizes.len() - 1) as u16
    }
}

impl FromStr for Payloads {
    type Err = String;

    /// Reads `64B`, or several sizes with the share of messages that have them: `64B,1KiB:0.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::mix(&text.split(',').map(size).collect::<Result<Vec<_>, _>>()?)
    }
}

/// Reads a size in bytes and its share, if it has one.
fn size(text: &str) -> Result<(usize, Option<f64>), String> {
    let (size, share) = text.split_once(':').map_or((text, None), |(size, share)| (size, Some(share)));
    let share = match share.map(str::parse::<f64>) {
        None => None,
        Some(Ok(share)) if share > 0.0 && share <= 1.0 => Some(share),
        Some(_) => return Err("a share lies between 0 and 1: write for example 64B,1KiB:0.1".to_owned()),
    };
    let bytes = usize::try_from(bytes(size)?).map_err(|error| error.to_string())?;
    Ok((bytes, share))
}

impl fmt::Display for Payloads {
    /// As it is read; a single size without its share.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(bytes, _)] = self.sizes[..] {
            return formatter.write_str(&show_bytes(bytes as u64));
        }
        for (index, (bytes, share)) in self.sizes.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(formatter, "{comma}{}:{share}", show_bytes(*bytes as u64))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_without_a_share_divide_the_rest() {
        let mix = Payloads::mix(&[(64, None), (1024, Some(0.1))]).unwrap();
        assert_eq!(mix.sizes(), [(64, 0.9), (1024, 0.1)]);
        assert_eq!([0.0, 0.89, 0.91, 0.999].map(|drawn| mix.pick(drawn)), [0, 0, 1, 1]);
        assert!((mix.mean_bytes() - 160.0).abs() < 1e-9);
        for wrong in [&[(64, Some(0.5))][..], &[(64, None), (1, Some(1.0))], &[(64, Some(0.7)), (1, Some(0.7))], &[]] {
            assert!(Payloads::mix(wrong).is_err_and(|error| error.contains("add up to 1")), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_and_mixes_are_read_and_written() {
        let payloads = str::parse::<Payloads>;
        assert_eq!(payloads("64B"), Ok(Payloads::one(64)));
        assert_eq!(payloads("64B,1KiB:0.1").unwrap().sizes(), [(64, 0.9), (1024, 0.1)]);
        for (text, shown) in [("64B", "64B"), ("1024B", "1KiB"), ("64B,1KiB:0.1", "64B:0.9,1KiB:0.1")] {
            let read = payloads(text).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(payloads(shown), Ok(read));
        }
        for text in ["64B,", "64B:2", "64B:x", "64B:0.5", "64B:0", "64B,1KiB:1"] {
            assert!(payloads(text).is_err(), "{text:?}");
        }
    }
}
