//! From how much work per message on the model no longer matters for the CPU time: the ratio of two arms' CPU time per
//! message against the work.
//!
//! The comparisons of a pair are read from the most work downwards, as long as they are equivalent: a fixed sequence, so
//! that several amounts of work are no several chances of a wrong equivalence. Over the pairs the level is shared
//! (Bonferroni).

use std::time::Duration;

use super::{
    blocks::Cells,
    metrics,
    primary::{ALPHA, MARGIN},
    verdicts::Direction,
};
use crate::{
    record::Row,
    stats::{
        comparison::{Endpoint, compare_alone},
        verdict::Margin,
    },
};

/// A cell whose messages all cost the same work.
#[derive(Clone, Debug)]
pub(crate) struct WorkCell {
    pub(crate) cell: String,
    /// Zero of the cell without work.
    pub(crate) work: Duration,
    /// Its arms, without the control.
    pub(crate) arms: Vec<String>,
}

/// Two arms under more and more work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BreakEven {
    /// The reference.
    pub(crate) first: String,
    /// The arm whose CPU time is divided by that of the first.
    pub(crate) second: String,
    /// In rising order of the work, without cells in which an arm was saturated or failed.
    pub(crate) points: Vec<WorkPoint>,
}

/// The ratio of CPU time per message at one amount of work: second / first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkPoint {
    pub(crate) work: Duration,
    /// The Hodges-Lehmann estimate over blocks.
    pub(crate) ratio: f64,
    /// The ends of its confidence interval, at the level that all pairs share.
    pub(crate) interval: (f64, f64),
    /// What it shows by itself.
    pub(crate) direction: Direction,
}

impl BreakEven {
    /// The least work from which on the arms are equivalent at every amount, by its place among the points; `None` if they
    /// are not even at the most work.
    pub(crate) fn equivalent_from(&self) -> Option<usize> {
        let differs = self.points.iter().rposition(|point| point.direction != Direction::Equivalent);
        let from = differs.map_or(0, |place| place + 1);
        (from < self.points.len()).then_some(from)
    }
}

/// The first of these arms with each of the others, over these cells; none with fewer than two amounts of work.
pub(crate) fn break_evens(rows: &[Row], cells: &[WorkCell], arms: &[String]) -> Vec<BreakEven> {
    let Some((second, others)) = arms.split_first() else { return Vec::new() };
    let mut cells: Vec<&WorkCell> = cells.iter().collect();
    cells.sort_by_key(|cell| cell.work);
    let alpha = ALPHA / others.len().max(1) as f64;
    let pair = |first: &String| {
        let points: Vec<WorkPoint> =
            cells.iter().filter_map(|cell| point(rows, cell, [first, second], alpha)).collect();
        (points.len() > 1).then(|| BreakEven { first: first.clone(), second: second.clone(), points })
    };
    others.iter().filter_map(pair).collect()
}

fn point(rows: &[Row], cell: &WorkCell, pair: [&String; 2], alpha: f64) -> Option<WorkPoint> {
    let blocks = Cells::of(rows, &cell.arms, [cell.cell.as_str()]);
    let values = |name: &String| {
        let arm = cell.arms.iter().position(|arm| arm == name)?;
        blocks.values(&cell.cell, arm, name, metrics::cpu_per_message_ns)
    };
    let (first, second) = (values(pair[0])?, values(pair[1])?);
    let found = compare_alone(Endpoint { first: &first, second: &second, margin: Margin::Ratio(MARGIN) }, alpha)?;
    Some(WorkPoint {
        work: cell.work,
        ratio: found.estimate,
        interval: found.interval,
        direction: found.verdict.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;

    const WORK_US: [u64; 4] = [0, 5, 20, 50];

    fn arms() -> Vec<String> {
        ["mio", "threads", "tokio"].map(str::to_owned).to_vec()
    }

    fn cells() -> Vec<WorkCell> {
        let cell = |us: u64| WorkCell { cell: format!("work-{us}us"), work: Duration::from_micros(us), arms: arms() };
        WORK_US.map(cell).to_vec()
    }

    /// mio takes 11 us per message and the work, the others so much more; the noise of a block is theirs alone.
    fn rows(threads_more_ns: u64, tokio_more_ns: u64) -> Vec<Row> {
        let row = |us: u64, block: u64, arm: &str, more_ns: u64| Row {
            cell: Some(format!("work-{us}us")),
            block,
            arm: arm.to_owned(),
            server_cpu_ns_load: Some((11_000 + more_ns + us * 1_000) * 100 + block * 7),
            echoed_count: Some(100),
            ..Row::default()
        };
        let block = |us: u64, block: u64| {
            [("mio", 0), ("threads", threads_more_ns), ("tokio", tokio_more_ns)]
                .map(|(arm, more_ns)| row(us, block, arm, more_ns))
        };
        WORK_US.into_iter().flat_map(|us| (1..=12).flat_map(move |n| block(us, n))).collect()
    }

    #[test]
    fn the_ratio_is_that_of_the_cpu_time_with_the_work_and_the_break_even_where_it_becomes_small() {
        let found = break_evens(&rows(1_500, 400), &cells(), &arms());
        let names: Vec<_> = found.iter().map(|it| (it.second.as_str(), it.first.as_str())).collect();
        assert_eq!(names, [("mio", "threads"), ("mio", "tokio")]);
        for (pair, more) in found.iter().zip([1.5, 0.4]) {
            for (point, us) in pair.points.iter().zip(WORK_US) {
                let us = us as f64;
                assert_eq!(point.work, Duration::from_secs_f64(us * 1e-6));
                assert!((point.ratio - (11.0 + us) / (11.0 + more + us)).abs() < 1e-4, "{point:?}");
            }
        }
        // 62.5 us for 61 are 2.4 % more, 32.5 for 31 4.6 %; 11.4 for 11 are 3.6 %, 16.4 for 16 2.4 %.
        assert_eq!((found[0].equivalent_from(), found[1].equivalent_from()), (Some(3), Some(1)));
    }

    #[test]
    fn equal_arms_break_even_without_work_and_others_never() {
        let from = |more_ns| break_evens(&rows(more_ns, 0), &cells(), &arms())[0].equivalent_from();
        assert_eq!((from(0), from(20_000)), (Some(0), None));
    }

    #[test]
    fn what_is_equivalent_below_an_amount_that_is_not_does_not_count() {
        let points = [Direction::Equivalent, Direction::Inconclusive, Direction::Equivalent]
            .map(|direction| WorkPoint { work: Duration::ZERO, ratio: 1.0, interval: (0.9, 1.1), direction });
        let pair = BreakEven { first: String::new(), second: String::new(), points: points.to_vec() };
        assert_eq!(pair.equivalent_from(), Some(2));
        assert_eq!(BreakEven { points: points[..2].to_vec(), ..pair.clone() }.equivalent_from(), None);
        assert_eq!(BreakEven { points: Vec::new(), ..pair }.equivalent_from(), None);
    }

    #[test]
    fn a_cell_in_which_an_arm_was_saturated_or_is_missing_is_no_point() {
        let mut saturated = rows(1_500, 400);
        saturated.iter_mut().find(|row| row.arm == "tokio").unwrap().outcome = Outcome::Saturated;
        let found = break_evens(&saturated, &cells(), &arms());
        assert_eq!((found[0].points.len(), found[1].points.len()), (4, 3));
        let mut without = cells();
        without[3].arms.retain(|arm| arm != "threads");
        let found = break_evens(&rows(1_500, 400), &without, &arms());
        assert_eq!((found[0].points.len(), found[1].points.len()), (3, 4));
        assert!(break_evens(&rows(1_500, 400), &cells()[..1], &arms()).is_empty(), "one amount of work");
        assert!(break_evens(&[], &cells(), &arms()).is_empty() && break_evens(&[], &cells(), &[]).is_empty());
    }
}
