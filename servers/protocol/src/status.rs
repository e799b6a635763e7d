//! The status line (B1): its text, written by servers and parsed by clients.

use std::sync::Arc;

/// The prefix of every status line, and of no other line (C1).
pub const PREFIX: &[u8] = b"Server status: ";

/// An upper bound on the length of a status line, newline included: the fixed text and four 20-digit numbers.
pub const LINE_BYTES_MAX: usize = 160;

/// A status line's text, shared by all its recipients.
pub type StatusLine = Arc<[u8]>;

/// The content of a status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Connections accepted and not yet closed when the fan-out began.
    pub active: u64,
    /// The tick's number, counted from 1.
    pub tick: u64,
    /// When the tick was due, in nanoseconds of CLOCK_MONOTONIC.
    pub due_ns: u64,
    /// When its fan-out began, in nanoseconds of CLOCK_MONOTONIC.
    pub emit_ns: u64,
}

impl Status {
    /// The line as it is sent, newline included.
    pub fn line(&self) -> StatusLine {
        let Self { active, tick, due_ns, emit_ns } = self;
        let prefix = "Server status: ";
        format!("{prefix}{active} active connections tick={tick} due_ns={due_ns} emit_ns={emit_ns}\n")
            .into_bytes()
            .into()
    }

    /// Parses a line, newline included; `None` if it is not exactly of the form of B1.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(PREFIX)?;
        let (active, rest) = number_then(rest, b" active connections tick=")?;
        let (tick, rest) = number_then(rest, b" due_ns=")?;
        let (due_ns, rest) = number_then(rest, b" emit_ns=")?;
        let (emit_ns, rest) = number_then(rest, b"\n")?;
        rest.is_empty().then_some(Self { active, tick, due_ns, emit_ns })
    }
}

/// Parses a decimal number without sign or leading zeros that is followed by `after`; returns the number and the rest.
fn number_then<'a>(text: &'a [u8], after: &[u8]) -> Option<(u64, &'a [u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    if number.len() > 1 && number[0] == b'0' {
        return None;
    }
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((number, rest.strip_prefix(after)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_line_is_formatted_as_the_specification_shows() {
        let status = Status { active: 3, tick: 7, due_ns: 70, emit_ns: 71 };
        assert_eq!(&*status.line(), b"Server status: 3 active connections tick=7 due_ns=70 emit_ns=71\n");
    }

    #[test]
    fn zero_is_one_digit() {
        let line = b"Server status: 0 active connections tick=0 due_ns=0 emit_ns=0\n";
        assert_eq!(Status::parse(line), Some(Status { active: 0, tick: 0, due_ns: 0, emit_ns: 0 }));
    }

    #[test]
    fn lines_of_another_form_are_not_statuses() {
        for line in [
            "",
            "\n",
            "Server status: \n",
            "Server status: 3 active connections\n",
            "Server status: 3 active connections tick=7 due_ns=70 emit_ns=71",
            "Server status: 3 active connections tick=7 due_ns=70 emit_ns=71 \n",
            "Server status: 03 active connections tick=7 due_ns=70 emit_ns=71\n",
            "Server status: -3 active connections tick=7 due_ns=70 emit_ns=71\n",
            "Server status: +3 active connections tick=7 due_ns=70 emit_ns=71\n",
            "Server status: 3 active connections tick=99999999999999999999 due_ns=70 emit_ns=71\n",
            "server status: 3 active connections tick=7 due_ns=70 emit_ns=71\n",
        ] {
            assert_eq!(Status::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    /// A number in a line: in bounds, out of bounds, or not in canonical form.
    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<u64>().prop_map(|number| number.to_string()),
            (0..10_u64).prop_map(|number| number.to_string()),
            Just("18446744073709551616".to_owned()),
            "[-+ ]?0?[0-9]{0,25}",
        ]
    }

    /// Status lines, some of them with a few bytes altered.
    fn nearly_a_status() -> impl Strategy<Value = Vec<u8>> {
        let edit = (any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
        ([number(), number(), number(), number()], prop::collection::vec(edit, 0..3)).prop_map(|(numbers, edits)| {
            let [active, tick, due_ns, emit_ns] = numbers;
            let line =
                format!("Server status: {active} active connections tick={tick} due_ns={due_ns} emit_ns={emit_ns}\n");
            let mut line = line.into_bytes();
            for (at, edit, byte) in edits {
                let at = at.index(line.len());
                match edit {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    2 => drop(line.remove(at)),
                    _ => line.truncate(at + 1),
                }
            }
            line
        })
    }

    proptest! {
        #[test]
        fn a_line_that_parses_is_the_one_that_would_be_formatted(line in nearly_a_status()) {
            if let Some(status) = Status::parse(&line) {
                prop_assert_eq!(&*status.line(), &line[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_are_not_a_status(bytes in prop::collection::vec(any::<u8>(), 0..300), follows in any::<bool>()) {
            let line = if follows { [PREFIX, &bytes].concat() } else { bytes };
            prop_assert_eq!(Status::parse(&line), None);
        }

        #[test]
        fn a_formatted_line_parses_back_and_fits_the_bound(active: u64, tick: u64, due_ns: u64, emit_ns: u64) {
            let status = Status { active, tick, due_ns, emit_ns };
            let line = status.line();
            prop_assert!(line.len() <= LINE_BYTES_MAX);
            prop_assert_eq!(Status::parse(&line), Some(status));
        }
    }
}
