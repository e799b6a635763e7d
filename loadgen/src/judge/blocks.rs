//! The blocks of a cell that comparisons are based on: those in which every arm has a trial that counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    counted::counted,
    metrics::{self, Metric, is_usable},
};
use crate::record::{Outcome, Row};

/// How many blocks of a cell are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockCount {
    /// The cell; empty if the session has one load only.
    pub(crate) cell: String,
    /// Blocks that comparisons are based on.
    pub(crate) used: usize,
    /// Blocks whose last attempt has an invalid trial or lacks one.
    pub(crate) left_out: usize,
}

/// The blocks of several cells, by the names of the cells.
pub(super) struct Cells<'a>(BTreeMap<String, CellBlocks<'a>>);

#[derive(Default)]
struct CellBlocks<'a> {
    /// The rows of the last attempt of each block in the order of the arms.
    blocks: Vec<Vec<&'a Row>>,
    left_out: usize,
    /// Arms with a failed trial in any attempt: a retry does not erase a failure.
    failed: BTreeSet<String>,
}

impl<'a> Cells<'a> {
    pub(super) fn of<'n>(rows: &'a [Row], arms: &[String], names: impl IntoIterator<Item = &'n str>) -> Self {
        let counts = counted(rows);
        let cell = |name: &str| {
            let mut counting: BTreeMap<u64, Vec<&'a Row>> = BTreeMap::new();
            let mut failed = BTreeSet::new();
            let own = rows.iter().zip(counts.iter()).filter(|(row, _)| row.cell_name() == name);
            for (row, counts) in own {
                if row.outcome == Outcome::Failed {
                    failed.insert(row.arm.clone());
                }
                let block = counting.entry(row.block).or_default();
                block.extend(counts.then_some(row));
            }
            let all = counting.len();
            let blocks: Vec<_> = counting.into_values().filter_map(|block| complete(&block, arms)).collect();
            CellBlocks { left_out: all - blocks.len(), blocks, failed }
        };
        Self(names.into_iter().map(|name| (name.to_owned(), cell(name))).collect())
    }

    pub(super) fn counts(&self) -> Vec<BlockCount> {
        let count = |(name, cell): (&String, &CellBlocks<'_>)| BlockCount {
            cell: name.clone(),
            used: cell.blocks.len(),
            left_out: cell.left_out,
        };
        self.0.iter().map(count).collect()
    }

    /// A value per block of the arm at this index. `None` if one is missing, or if the arm failed or was saturated in any
    /// block: it gets no claim in that cell.
    pub(super) fn values(&self, cell: &str, arm: usize, name: &str, value: Metric) -> Option<Vec<f64>> {
        let cell = self.0.get(cell)?;
        let sound = !cell.failed.contains(name) && cell.blocks.iter().all(|block| is_usable(block[arm]));
        cell.blocks.iter().map(|block| value(block[arm])).collect::<Option<_>>().filter(|_| sound)
    }

    /// The trials that values are taken from, of the arm at this index.
    pub(super) fn of_arm(&self, cell: &str, arm: usize) -> Vec<&'a Row> {
        self.0.get(cell).map_or_else(Vec::new, |cell| cell.blocks.iter().map(|block| block[arm]).collect())
    }

    /// The values of a quantile of the latency, if enough messages of the arm at this index lie beyond it; of a metric that
    /// is none, [`Self::values`].
    pub(super) fn told_values(
        &self,
        cell: &str,
        arm: usize,
        arms: &[String],
        value: Metric,
        quantile: Option<f64>,
    ) -> Option<Vec<f64>> {
        let is_told = quantile.is_none_or(|quantile| metrics::is_told(&self.of_arm(cell, arm), quantile));
        self.values(cell, arm, &arms[arm], value).filter(|_| is_told)
    }
}

/// The rows of a block that count, in the order of the arms, if every one is there.
fn complete<'a>(block: &[&'a Row], arms: &[String]) -> Option<Vec<&'a Row>> {
    arms.iter().map(|arm| block.iter().find(|row| row.arm == *arm).copied()).collect()
}

/// For every block of a cell that is used the rows of these arms, in their order.
pub(super) fn blocks<'a>(rows: &'a [Row], arms: &[String], cell: &str) -> Vec<Vec<&'a Row>> {
    let mut cells = Cells::of(rows, arms, [cell]);
    cells.0.remove(cell).map(|cell| cell.blocks).unwrap_or_default()
}
