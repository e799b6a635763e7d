//! Which trials count: the only definition of it, which the column `counted` of trials.csv records.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Row, Validity};

/// For every row of a session whether it counts: it is of the last attempt of its block, and no trial of that attempt is
/// invalid. A block is run again as a whole, so that no arm is selected by its luck, and is left out as a whole as well.
///
/// What the server did is another matter: a trial that counts may be saturated or failed.
pub(crate) fn counted(rows: &[Row]) -> Vec<bool> {
    let block = |row: &Row| (row.cell_name().to_owned(), row.block);
    let mut last = BTreeMap::new();
    for row in rows {
        let known = last.entry(block(row)).or_insert(row.attempt);
        *known = row.attempt.max(*known);
    }
    let is_last = |row: &Row| last.get(&block(row)) == Some(&row.attempt);
    let spoiled: BTreeSet<_> =
        rows.iter().filter(|row| is_last(row) && row.validity == Validity::Invalid).map(block).collect();
    rows.iter().map(|row| is_last(row) && !spoiled.contains(&block(row))).collect()
}

/// The rows of a cell that count: what medians are taken of, those of trials that were saturated left out.
pub(crate) fn of_cell<'a>(rows: &'a [Row], cell: &str) -> Vec<&'a Row> {
    let counted = rows.iter().zip(counted(rows)).filter(|(_, counts)| *counts);
    counted.map(|(row, _)| row).filter(|row| row.cell_name() == cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_of_a_block_counts_unless_a_trial_of_it_is_invalid() {
        let row = |cell: &str, block: u64, attempt: u64, validity: Validity| Row {
            cell: Some(cell.to_owned()),
            block,
            attempt,
            validity,
            ..Row::default()
        };
        let rows = [
            row("a", 1, 1, Validity::Invalid),
            row("a", 1, 1, Validity::Valid),
            row("a", 1, 2, Validity::Valid),
            row("a", 1, 2, Validity::Flagged),
            row("a", 2, 1, Validity::Valid),
            row("a", 2, 1, Validity::Invalid),
            row("b", 2, 1, Validity::Valid),
        ];
        assert_eq!(counted(&rows), [false, false, true, true, false, false, true]);
        let of_cell = of_cell(&rows, "a");
        assert_eq!(of_cell, [&rows[2], &rows[3]]);
    }
}
