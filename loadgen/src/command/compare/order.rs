//! The order in which the arms run. Pure.
//!
//! Williams squares (E. J. Williams, Experimental designs balanced for the estimation of residual effects of treatments,
//! Australian Journal of Scientific Research A 2, 1949): over the rows of a square every arm stands in every place equally
//! often, and follows every other one equally often, so that the after-effects of a trial on the host favour none.

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// One block: every arm of a cell once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Index of the cell.
    pub(super) cell: usize,
    /// Counted from 1 in each cell.
    pub(super) block: u64,
    /// The order of its arms.
    pub(super) arms: Vec<usize>,
    /// Seed of the schedule, the same for all arms: their arrivals are equal, and do not add noise to the ratio. (53 bits,
    /// so that every reader of JSON can hold it.)
    pub(super) seed: u64,
}

/// All blocks of a session whose cells have so many arms and blocks. Cells take turns, in an order drawn anew each time,
/// and one with fewer blocks is spread over the whole session: host drift over an hour does not fall on one cell.
pub(super) fn session(random: &mut ChaCha8Rng, cells: &[(usize, u64)]) -> Vec<Step> {
    let rounds = cells.iter().map(|(_, blocks)| *blocks).max().unwrap_or(0);
    let mut orders: Vec<_> =
        cells.iter().map(|(arms, count)| blocks(random, *arms, *count as usize).into_iter().zip(1..)).collect();
    let mut steps = Vec::new();
    for round in 0..rounds {
        let due = |count: u64| (round + 1) * count / rounds > round * count / rounds;
        let mut cells: Vec<usize> = (0..cells.len()).filter(|cell| due(cells[*cell].1)).collect();
        cells.shuffle(random);
        for cell in cells {
            let seed = random.random::<u64>() >> 11;
            steps.extend(orders[cell].next().map(|(arms, block)| Step { cell, block, arms, seed }));
        }
    }
    steps
}

/// The number of blocks of a square of so many arms.
pub(super) fn square_blocks(arms: usize) -> u64 {
    square(arms.max(1)).len() as u64
}

/// So many blocks or a few more: whole squares of so many arms, since in a part of one the places differ.
pub(super) fn whole_squares(blocks: u64, arms: usize) -> u64 {
    blocks.next_multiple_of(square_blocks(arms))
}

/// The order of `arms` arms in each of `blocks` blocks: squares one behind the other, with their rows and the numbers of
/// the arms shuffled anew for each.
fn blocks(random: &mut ChaCha8Rng, arms: usize, blocks: usize) -> Vec<Vec<usize>> {
    let mut orders = Vec::new();
    while orders.len() < blocks {
        let mut rows = square(arms);
        rows.shuffle(random);
        let mut names: Vec<usize> = (0..arms).collect();
        names.shuffle(random);
        orders.extend(rows.into_iter().map(|row| row.into_iter().map(|arm| names[arm]).collect::<Vec<_>>()));
    }
    orders.truncate(blocks);
    orders
}

/// One row for each arm if their number is even, else two. (One arm alone has nothing to be balanced with.)
fn square(arms: usize) -> Vec<Vec<usize>> {
    // 0, 1, n - 1, 2, n - 2, ...: neighbours differ by every amount once.
    let first: Vec<usize> =
        (0..arms).map(|place| if place % 2 == 1 { place.div_ceil(2) } else { (arms - place / 2) % arms }).collect();
    let rows = |first: &[usize]| -> Vec<Vec<usize>> {
        (0..arms).map(|shift| first.iter().map(|arm| (arm + shift) % arms).collect()).collect()
    };
    let mut square = rows(&first);
    if arms % 2 == 1 && arms > 1 {
        let reversed: Vec<usize> = first.into_iter().rev().collect();
        square.extend(rows(&reversed));
    }
    square
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_arm_stands_everywhere_and_follows_every_other_equally_often() {
        for arms in 2..8 {
            let square = square(arms);
            let (mut places, mut pairs) = (BTreeMap::new(), BTreeMap::new());
            for row in &square {
                row.iter().enumerate().for_each(|place| *places.entry(place).or_insert(0) += 1);
                row.windows(2).for_each(|pair| *pairs.entry((pair[0], pair[1])).or_insert(0) += 1);
            }
            let times = square.len() / arms;
            assert_eq!((places.len(), pairs.len()), (arms * arms, arms * (arms - 1)), "{arms} arms");
            assert!(places.values().chain(pairs.values()).all(|count| *count == times), "{arms} arms");
        }
    }

    #[test]
    fn whole_squares_are_as_many_blocks_as_asked_for_or_a_few_more() {
        for (arms, square) in [(1, 1), (2, 2), (3, 6), (4, 4), (5, 10), (6, 6), (7, 14)] {
            assert_eq!(square_blocks(arms), square, "{arms} arms");
            assert_eq!(whole_squares(square, arms), square, "{arms} arms");
            assert_eq!(whole_squares(2 * square + 1, arms), 3 * square, "{arms} arms");
        }
    }

    proptest! {
        #[test]
        fn in_whole_squares_every_arm_stands_everywhere_and_follows_every_other_equally_often(
            arms in 2..8_usize, asked in 1..60_u64, seed: u64,
        ) {
            let count = whole_squares(asked, arms);
            let orders = blocks(&mut ChaCha8Rng::seed_from_u64(seed), arms, count as usize);
            let (mut places, mut pairs) = (BTreeMap::new(), BTreeMap::new());
            for order in &orders {
                order.iter().enumerate().for_each(|place| *places.entry(place).or_insert(0) += 1);
                order.windows(2).for_each(|pair| *pairs.entry((pair[0], pair[1])).or_insert(0) += 1);
            }
            prop_assert_eq!(orders.len() as u64, count);
            prop_assert!(places.values().chain(pairs.values()).all(|times| *times == count / arms as u64));
            prop_assert_eq!((places.len(), pairs.len()), (arms * arms, arms * (arms - 1)));
        }
    }

    #[test]
    fn every_cell_has_its_blocks_spread_over_the_session() {
        let steps = session(&mut ChaCha8Rng::seed_from_u64(5), &[(3, 40), (4, 15), (2, 6)]);
        for (cell, arms, blocks) in [(0, 3, 40), (1, 4, 15), (2, 2, 6)] {
            let own: Vec<(usize, &Step)> = steps.iter().enumerate().filter(|(_, step)| step.cell == cell).collect();
            assert!(own.iter().map(|(_, step)| step.block).eq(1..=blocks), "each block once, in order");
            assert!(own.iter().all(|(_, step)| step.arms.len() == arms));
            let mean = own.iter().map(|(at, _)| *at).sum::<usize>() as f64 / own.len() as f64;
            assert!((mean / steps.len() as f64 - 0.5).abs() < 0.1, "cell {cell} lies at {mean} of {}", steps.len());
        }
    }

    #[test]
    fn a_seed_means_an_order_in_which_every_block_has_every_arm() {
        let made = blocks(&mut ChaCha8Rng::seed_from_u64(5), 4, 40);
        assert_eq!(made, blocks(&mut ChaCha8Rng::seed_from_u64(5), 4, 40));
        assert_ne!(made, blocks(&mut ChaCha8Rng::seed_from_u64(6), 4, 40));
        for block in &made {
            let mut sorted = block.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert_eq!(blocks(&mut ChaCha8Rng::seed_from_u64(5), 1, 3), [[0], [0], [0]]);
    }
}
