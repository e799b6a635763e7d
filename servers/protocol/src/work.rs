//! Work per message (W1): which line costs how much CPU time, decided by its bytes alone.
//!
//! A real service does something with a message before it answers. How much is chosen by a hash of the line, so that
//! every server works on the same messages of the same load.

use std::{fmt, str::FromStr, time::Duration};

/// The most CPU time that one message may cost.
pub const COST_MAX: Duration = Duration::from_secs(1);

/// Event loops and tasks serve other connections after so much work on one, or after a longer message (W2).
pub const WORK_TURN: Duration = Duration::from_micros(100);

/// The most shares of the messages that have a cost of their own.
const SHARES_MAX: usize = 4;

/// Parts per million.
const MILLION: u32 = 1_000_000;

/// The CPU time that messages cost. The default is none.
///
/// ```
/// use std::time::Duration;
/// use protocol::work::{Line, Work};
/// let work: Work = "2us,1%:20ms".parse().unwrap();
/// assert_eq!(work.to_string(), "2us,1%:20ms");
///
/// let mut line = Line::default();
/// let (first, cost) = work.first_line(&mut line, b"no end yet");
/// assert_eq!((first, cost), (&b"no end yet"[..], Duration::ZERO));
/// let (first, cost) = work.first_line(&mut line, b"\nnext\n");
/// assert_eq!((first, cost), (&b"\n"[..], Duration::from_micros(2)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    common: Duration,
    /// The first hold; the others are empty.
    shares: [Share; SHARES_MAX],
}

/// A share of the messages with a cost of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    ppm: u32,
    cost: Duration,
}

/// The hash of a line that is still being received, of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Line(u64);

impl Default for Line {
    fn default() -> Self {
        Self(FNV_OFFSET)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Work {
    /// The same cost for every message.
    pub const fn each(cost: Duration) -> Self {
        Self { common: cost, shares: [Share { ppm: 0, cost: Duration::ZERO }; SHARES_MAX] }
    }

    /// The same, but for a share of the messages, in parts per million.
    ///
    /// # Panics
    /// If there are four shares already.
    #[must_use]
    pub const fn with_share(mut self, ppm: u32, cost: Duration) -> Self {
        let mut index = 0;
        while self.shares[index].ppm > 0 {
            index += 1;
        }
        self.shares[index] = Share { ppm, cost };
        self
    }

    /// Whether no message costs anything.
    pub fn is_none(&self) -> bool {
        self.common.is_zero() && self.shares.iter().all(|share| share.cost.is_zero())
    }

    /// Whether shares of the messages have a cost of their own.
    pub fn has_shares(&self) -> bool {
        self.shares[0].ppm > 0
    }

    /// The mean over many different messages.
    pub fn mean(&self) -> Duration {
        let shares: Duration = self.shares.iter().map(|share| share.cost * share.ppm).sum();
        (shares + self.common * self.rest_ppm()) / MILLION
    }

    /// The cost of a line, given without its `\n`.
    pub fn cost(&self, line: &[u8]) -> Duration {
        let mut whole = Line::default();
        whole.add(line);
        self.cost_of(whole)
    }

    /// Whether a line, given without its `\n`, belongs to a share that costs more than the others do.
    pub fn is_heavy(&self, line: &[u8]) -> bool {
        self.cost(line) > self.common
    }

    /// Splits off the beginning of `input` that may be echoed together: up to the end of its first line, after the
    /// returned cost has been spent. Without work, that is all.
    ///
    /// `line` is the connection's, and remembers a line that has begun.
    pub fn first_line<'a>(&self, line: &mut Line, input: &'a [u8]) -> (&'a [u8], Duration) {
        if self.is_none() {
            return (input, Duration::ZERO);
        }
        match memchr::memchr(b'\n', input) {
            None => {
                line.add(input);
                (input, Duration::ZERO)
            }
            Some(newline) => {
                line.add(&input[..newline]);
                (&input[..=newline], self.cost_of(std::mem::take(line)))
            }
        }
    }

    fn cost_of(&self, line: Line) -> Duration {
        let mut place = line.ppm();
        for share in &self.shares {
            match place.checked_sub(share.ppm) {
                None => return share.cost,
                Some(rest) => place = rest,
            }
        }
        self.common
    }

    fn rest_ppm(&self) -> u32 {
        MILLION - self.shares.iter().map(|share| share.ppm).sum::<u32>()
    }
}

impl Line {
    /// FNV-1a of 64 bits (draft-eastlake-fnv): byte by byte, so that it does not matter how a line is split.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// A place from 0 to a million less one. FNV's last bytes hardly reach the upper bits, which is why the finaliser of
    /// MurmurHash3 follows.
    fn ppm(self) -> u32 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 33;
        // The upper half of the hash, scaled.
        (((hash >> 32) * u64::from(MILLION)) >> 32) as u32
    }
}

/// `20us`, `1%:20ms` or `2us,0.2%:20ms`: the cost of all messages, and the shares that cost something else.
impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SYNTAX: &str = "write a CPU time per message such as 20us, or shares with their own: 2us,0.2%:20ms";
        let (mut work, mut has_common) = (Self::default(), false);
        let (mut shares, mut total) = (0, 0_u32);
        for part in text.split(',') {
            match part.split_once(':') {
                Some((share, cost)) => {
                    let share = Share { ppm: share_ppm(share)?, cost: cost_of_text(cost, SYNTAX)? };
                    total += share.ppm;
                    if total > MILLION {
                        return Err("the shares are more than 100 % together".to_owned());
                    }
                    let Some(place) = work.shares.get_mut(shares) else {
                        return Err(format!("at most {SHARES_MAX} shares"));
                    };
                    (*place, shares) = (share, shares + 1);
                }
                None if has_common => return Err(format!("two times for the same messages; {SYNTAX}")),
                None => (work.common, has_common) = (cost_of_text(part, SYNTAX)?, true),
            }
        }
        Ok(work)
    }
}

fn cost_of_text(text: &str, syntax: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a negative time; write 0s for none".to_owned());
    }
    if text.parse::<f64>().is_ok_and(|number| number != 0.0) {
        return Err(format!("no unit; write {text}us or {text}ms"));
    }
    let cost = humantime::parse_duration(text).map_err(|_| syntax.to_owned())?;
    if cost > COST_MAX {
        return Err(format!("{text} for one message is too long; at most {}", humantime::format_duration(COST_MAX)));
    }
    Ok(cost)
}

/// `0.2%` in parts per million.
fn share_ppm(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no share; write for example 1% or 0.2%");
    let percent: f64 = text.strip_suffix('%').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    let ppm = (percent * 1e4).round();
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(format!("a share of {text}; write one of more than 0% and at most 100%"));
    }
    if (percent * 1e4 - ppm).abs() > 1e-6 {
        return Err(format!("a share of {text} is too fine; write whole ten-thousandths of a percent"));
    }
    Ok(ppm as u32)
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let shares = self.shares.iter().filter(|share| share.ppm > 0);
        if !self.common.is_zero() || self.rest_ppm() == MILLION {
            formatter.write_str(&shown(self.common))?;
            separator = ",";
        }
        for share in shares {
            write!(formatter, "{separator}{}%:{}", f64::from(share.ppm) / 1e4, shown(share.cost))?;
            separator = ",";
        }
        Ok(())
    }
}

fn shown(cost: Duration) -> String {
    humantime::format_duration(cost).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn parse(text: &str) -> Work {
        text.parse().unwrap()
    }

    #[test]
    fn a_cost_for_all_messages_and_shares_with_their_own_are_understood() {
        assert_eq!(parse("20us"), Work::each(us(20)));
        assert_eq!(parse("1%:20ms"), Work::default().with_share(10_000, us(20_000)));
        assert_eq!(parse("2us,0.2%:20ms,5%:1ms").mean(), us(2) * 948 / 1_000 + us(40) + us(50));
        assert!(parse("1%:20ms").has_shares() && !parse("20us").has_shares() && !parse("0s").has_shares());
        assert!(parse("0s").is_none() && parse("50%:0s").is_none() && !parse("1%:1us").is_none());
        for text in ["0s", "20us", "1%:20ms", "2us,0.2%:20ms", "1s", "100%:3us", "1us500ns,0.0001%:1s"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_work_is_answered_with_what_would_be() {
        for (text, answer) in [
            ("", "write a CPU time"),
            ("soon", "write a CPU time"),
            ("20", "20us"),
            ("-5us", "negative"),
            ("1h", "at most 1s"),
            ("60%:1us,50%:1us", "100 %"),
            ("101%:1us", "at most 100%"),
            ("0%:1us", "more than 0%"),
            ("-1%:1us", "more than 0%"),
            ("NaN%:1us", "more than 0%"),
            ("1:20ms", "1% or 0.2%"),
            ("x%:20ms", "1% or 0.2%"),
            ("0.00001%:1s", "too fine"),
            ("1us,2us", "two times"),
            ("1%:1us,1%:2us,1%:3us,1%:4us,1%:5us", "at most 4"),
            ("20us,", "write a CPU time"),
        ] {
            let error = text.parse::<Work>().unwrap_err();
            assert!(error.contains(answer) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_gets_as_many_messages_as_it_says() {
        let work = parse("2us,5%:20ms,20%:1ms");
        let costs: Vec<Duration> = (0..100_000).map(|n| work.cost(format!("message {n:06}").as_bytes())).collect();
        let share = |cost| costs.iter().filter(|found| **found == cost).count() as f64 / costs.len() as f64;
        // Five standard deviations of a binomial are 0.7 %.
        assert!((share(us(20_000)) - 0.05).abs() < 0.007 && (share(us(1_000)) - 0.2).abs() < 0.007);
        assert!((share(us(2)) - 0.75).abs() < 0.007);
        assert!(work.is_heavy(b"x") == (work.cost(b"x") > us(2)));
    }

    #[test]
    fn the_last_message_of_a_line_without_end_costs_nothing() {
        let (work, mut line) = (Work::each(us(9)), Line::default());
        assert_eq!(work.first_line(&mut line, b"one\ntwo"), (&b"one\n"[..], us(9)));
        assert_eq!(work.first_line(&mut line, b"two"), (&b"two"[..], us(0)));
        assert_eq!(Work::default().first_line(&mut line, b"one\ntwo"), (&b"one\ntwo"[..], us(0)));
    }

    proptest! {
        #[test]
        fn however_the_input_is_split_the_same_lines_cost_the_same(
            lines in prop::collection::vec("[a-z]{0,6}", 1..12),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let work = parse("2us,10%:20ms,30%:1ms");
            let stream: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let (mut line, mut rest, mut costs, mut echoed) = (Line::default(), &stream[..], Vec::new(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (mut input, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = after;
                while !input.is_empty() {
                    let (first, cost) = work.first_line(&mut line, input);
                    if first.ends_with(b"\n") {
                        costs.push(cost);
                    } else {
                        prop_assert_eq!(cost, Duration::ZERO);
                    }
                    echoed.extend_from_slice(first);
                    input = &input[first.len()..];
                }
            }
            let expected: Vec<Duration> = lines.iter().map(|line| work.cost(line.as_bytes())).collect();
            prop_assert_eq!(costs, expected);
            prop_assert_eq!(echoed, stream);
        }

        #[test]
        fn what_is_shown_is_understood(common in 0_u64..1_000_000, ppm in 1_u32..1_000_000, heavy in 0_u64..1_000_000) {
            let work = Work::each(us(common)).with_share(ppm, us(heavy));
            prop_assert_eq!(work.to_string().parse::<Work>(), Ok(work));
        }
    }
}
