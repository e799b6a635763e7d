//! Which trials count: the only definition of it, which the column `counted` of trials.csv records.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Figures, Row};

/// For every row of a session whether it counts: it is of the last attempt of its block, and no trial of that attempt is
/// invalid. A block is run again as a whole, so that no arm is selected by its luck, and is left out as a whole as well.
///
/// What the server did is another matter: a trial that counts may be saturated or failed.
pub fn counted(rows: &[Row]) -> Vec<bool> {
    let block = |row: &Row| {
        let row = Figures(row);
        (row.text("cell").to_owned(), row.get("block").map(f64::to_bits))
    };
    let attempt = |row: &Row| Figures(row).get("attempt").unwrap_or(1.0);
    let mut last = BTreeMap::new();
    for row in rows {
        let known = last.entry(block(row)).or_insert(attempt(row));
        *known = attempt(row).max(*known);
    }
    let is_last = |row: &Row| last.get(&block(row)) == Some(&attempt(row));
    let spoiled: BTreeSet<_> =
        rows.iter().filter(|row| is_last(row) && Figures(row).text("valid") == "invalid").map(block).collect();
    rows.iter().map(|row| is_last(row) && !spoiled.contains(&block(row))).collect()
}

/// The rows of a cell that count: what medians are taken of, those of trials that were saturated left out.
pub fn of_cell<'a>(rows: &'a [Row], cell: &str) -> Vec<Figures<'a>> {
    let counted = rows.iter().zip(counted(rows)).filter(|(_, counts)| *counts);
    counted.map(|(row, _)| Figures(row)).filter(|row| row.text("cell") == cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_of_a_block_counts_unless_a_trial_of_it_is_invalid() {
        let row = |cell: &str, block: u64, attempt: u64, valid: &str| -> Row {
            vec![
                ("cell".to_owned(), cell.into()),
                ("block".to_owned(), block.into()),
                ("attempt".to_owned(), attempt.into()),
                ("valid".to_owned(), valid.into()),
            ]
        };
        let rows = [
            row("a", 1, 1, "invalid"),
            row("a", 1, 1, "valid"),
            row("a", 1, 2, "valid"),
            row("a", 1, 2, "flagged"),
            row("a", 2, 1, "valid"),
            row("a", 2, 1, "invalid"),
            row("b", 2, 1, "valid"),
        ];
        assert_eq!(counted(&rows), [false, false, true, true, false, false, true]);
        let old: Row = vec![("valid".to_owned(), "valid".into())];
        assert_eq!(counted(&[old]), [true], "a session of before there were attempts");
    }
}
