//! Whether this host can be measured on at all, as the first blocks show. Pure.

use std::collections::BTreeMap;

use crate::{
    record::{ReasonKind, Row, Validity},
    report::reason,
};

/// After so many blocks without a sound trial at its beginning a session ends.
const BLOCKS: u32 = 3;

/// The blocks before the first sound trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstBlocks {
    /// Those without a sound trial so far.
    spoiled: u32,
    /// The last of them: its cell and number.
    last: Option<(usize, u64)>,
    /// Whether a block that is repeated counts again: of several loads a single one may be too much for this host.
    counts_repeated: bool,
    /// Whether the session is to go on even if no trial is sound (`--keep-going`).
    pub(super) keeps_going: bool,
    /// There was a sound trial.
    is_over: bool,
}

/// What a block at the beginning leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The first block that is invalid in every arm.
    Advise,
    /// The session ends.
    Stop,
}

impl FirstBlocks {
    /// Of a session of so many cells. `keeps_going` never ends it.
    pub(super) fn new(cells: usize, keeps_going: bool) -> Self {
        Self { spoiled: 0, last: None, counts_repeated: cells == 1, keeps_going, is_over: false }
    }

    /// Takes a block of a cell into account, in which every trial or not every trial is invalid.
    pub(super) fn ran(&mut self, cell: usize, block: u64, is_spoiled: bool) -> Next {
        self.is_over |= !is_spoiled;
        let is_repeated = self.last == Some((cell, block));
        if self.is_over || is_repeated && !self.counts_repeated {
            return Next::GoOn;
        }
        self.spoiled += 1;
        self.last = Some((cell, block));
        match self.spoiled {
            1 => Next::Advise,
            BLOCKS if !self.keeps_going => Next::Stop,
            _ => Next::GoOn,
        }
    }
}

/// Why the trials of these rows are invalid: the most frequent reasons first.
fn reasons(rows: &[Row]) -> String {
    let mut counts: BTreeMap<ReasonKind, usize> = BTreeMap::new();
    let invalid: Vec<&Row> = rows.iter().filter(|row| row.validity == Validity::Invalid).collect();
    for found in invalid.iter().flat_map(|row| &row.invalid_reasons) {
        *counts.entry(found.kind).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let said =
        counts.into_iter().map(|(kind, count)| format!("{} ({count} of {})", reason(&kind.into()), invalid.len()));
    said.collect::<Vec<_>>().join(", ")
}

/// What is said after the first block of which every trial is invalid; `rows` are its trials.
pub(super) fn advice(rows: &[Row], keeps_going: bool) -> String {
    let then = if keeps_going { String::new() } else { format!("; after {BLOCKS} such blocks this session ends") };
    format!(
        "warning: every trial of the first block is invalid: {}; `loadgen doctor` looks for the cause{then}",
        reasons(rows)
    )
}

/// What is said when a session ends for this reason; `rows` are all its trials.
pub(super) fn stopped(rows: &[Row], folder: &str) -> String {
    format!(
        "stopped: all {} trials of the first {BLOCKS} blocks are invalid, and so would be the figures: {}\n\
         see `loadgen doctor`; on a quieter host, or to go on all the same: loadgen compare --keep-going --resume {folder}",
        rows.len(),
        reasons(rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reason;

    #[test]
    fn three_blocks_without_a_sound_trial_end_a_session_and_one_with_a_sound_trial_is_the_end_of_that() {
        let mut first = FirstBlocks::new(1, false);
        let next = [(1, true), (1, true), (1, true)].map(|(block, spoiled)| first.ran(0, block, spoiled));
        assert_eq!(next, [Next::Advise, Next::GoOn, Next::Stop], "a repeated block of the only load counts");
        let mut first = FirstBlocks::new(1, false);
        let next = [true, true, false, true, true, true].map(|spoiled| first.ran(0, 1, spoiled));
        assert_eq!(next, [Next::Advise, Next::GoOn, Next::GoOn, Next::GoOn, Next::GoOn, Next::GoOn]);
    }

    #[test]
    fn of_several_loads_three_different_blocks_must_fail() {
        let mut first = FirstBlocks::new(5, false);
        let blocks = [(3, 1), (3, 1), (3, 1), (0, 1), (0, 1), (4, 1)];
        let next = blocks.map(|(cell, block)| first.ran(cell, block, true));
        assert_eq!(next, [Next::Advise, Next::GoOn, Next::GoOn, Next::GoOn, Next::GoOn, Next::Stop]);
    }

    #[test]
    fn a_session_that_keeps_going_is_advised_and_not_ended() {
        let mut first = FirstBlocks::new(1, true);
        let next: Vec<Next> = (1..9).map(|block| first.ran(0, block, true)).collect();
        assert!(next[0] == Next::Advise && next[1..].iter().all(|next| *next == Next::GoOn), "{next:?}");
    }

    #[test]
    fn the_advice_has_the_reasons_with_their_counts() {
        let row = |reasons: &[ReasonKind]| Row {
            validity: Validity::Invalid,
            invalid_reasons: reasons.iter().map(|kind| Reason::of(*kind, 0.5)).collect(),
            ..Row::default()
        };
        let rows = [row(&[ReasonKind::Steal]), row(&[ReasonKind::Drift, ReasonKind::Steal])];
        let text = advice(&rows, false);
        let reasons = "the hypervisor stole CPU time (2 of 2), the drift probe fell below its median (1 of 2)";
        assert!(text.contains(reasons) && text.contains("doctor") && text.contains("after 3 such blocks"), "{text}");
        assert!(!advice(&rows, true).contains("ends"));
        assert!(stopped(&rows, "results/x").contains("--keep-going --resume results/x"));
    }
}
