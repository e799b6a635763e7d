//! From the rows of a session to what may be said about its arms. Reads no file and opens no socket.
//!
//! The replicate is the block: one is used if every arm has a trial in it that counts. A family of comparisons
//! is the primary metrics times the pairs of arms, with Holm's correction; the arm that runs twice is compared with itself
//! in a family of its own, and if it differs from itself nothing else is said.

use std::collections::{BTreeMap, BTreeSet};

use super::{counted::counted, metrics};
use crate::{
    record::{Outcome, Row},
    stats::{
        comparison::{Comparison, Endpoint, compare},
        verdict::{Margin, Verdict},
    },
};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// In words.
    pub name: &'static str,
    /// The unit of a difference.
    pub unit: &'static str,
    /// What counts as a difference.
    pub margin: Margin,
    place: fn(&Places) -> &str,
    value: metrics::Metric,
    /// The other end, if the truth lies between two values: a claim must hold at both.
    other_end: Option<metrics::Metric>,
}

impl Metric {
    /// The cell that it is taken from.
    pub fn cell<'a>(&self, places: &'a Places) -> &'a str {
        (self.place)(places)
    }
}

/// The cells of a session that the primary claims come from; empty names if it has only one load. CPU per message comes
/// from one with a client that sleeps, if there is such a cell.
pub use crate::record::Primary as Places;

/// The server with nothing to wait for but its only connection: what others add to its latency is theirs.
pub const FLOOR: &str = "blocking";

/// Smallest ratio that is worth mentioning.
pub const MARGIN: f64 = 0.03;

/// Chance that a session without any difference claims one.
pub const ALPHA: f64 = 0.05;

/// The primary metrics, for all of which lower is better.
pub const PRIMARY: [Metric; 4] = [
    Metric {
        name: "response p50",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        place: |places| &places.latency,
        value: metrics::response_p50,
        // What lies between is the generator's own lag.
        other_end: Some(metrics::service_p50),
    },
    Metric {
        name: "response p99",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        place: |places| &places.latency,
        value: metrics::response_p99,
        other_end: Some(metrics::service_p99),
    },
    Metric {
        name: "CPU per message",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        place: |places| &places.cpu,
        value: metrics::cpu_per_message_ns,
        other_end: None,
    },
    Metric {
        name: "idle wake-ups",
        unit: "/s",
        // They can be none at all, so they compare by differences.
        margin: Margin::Difference(1.0),
        place: |places| &places.latency,
        value: metrics::tick_wakeups_per_sec,
        other_end: None,
    },
];

/// One metric of two arms.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is compared.
    pub metric: Metric,
    /// The arm that is compared with.
    pub first: String,
    /// The arm that is said to be lower or higher.
    pub second: String,
    /// The result; `None` if there are too few blocks or a value is missing.
    pub comparison: Option<Comparison>,
    /// The two ends of the metric do not say the same, so nothing is claimed.
    pub ends_differ: bool,
}

impl Finding {
    /// The cell that it comes from.
    pub fn cell<'a>(&self, places: &'a Places) -> &'a str {
        self.metric.cell(places)
    }
}

/// What a session says.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Every primary metric of every pair of arms.
    pub findings: Vec<Finding>,
    /// Every primary metric of the arm that runs twice.
    pub control: Vec<Finding>,
    /// For each cell that claims come from: its name, the blocks whose figures are used, and those of which a trial of the
    /// last attempt may not be believed or is missing.
    pub blocks: Vec<(String, usize, usize)>,
}

impl Judgement {
    /// Whether the control found nothing; `None` without one, or if one of its ratios is missing.
    pub fn is_trusted(&self) -> Option<bool> {
        let ratios = self.control.iter().filter(|finding| matches!(finding.metric.margin, Margin::Ratio(_)));
        let complete = !self.control.is_empty() && ratios.clone().all(|finding| finding.comparison.is_some());
        let mut compared = self.control.iter().filter_map(|finding| finding.comparison);
        complete.then(|| compared.all(|comparison| comparison.p_adjusted > ALPHA))
    }

    /// Why nothing is claimed of a session, if so.
    pub fn silence(&self, complete: bool) -> Option<&'static str> {
        match self.is_trusted() {
            _ if !complete => {
                Some("it is PARTIAL, and to judge fewer blocks than were fixed is to choose when to stop")
            }
            None => Some("there is no control, for want of sound blocks or of a server that runs twice"),
            Some(false) => Some("it is UNTRUSTED, for a server differs from itself"),
            Some(true) => None,
        }
    }
}

/// Judges the rows of a session with these arms.
pub fn judge(rows: &[Row], arms: &[String], places: &Places) -> Judgement {
    let cells = Cells::of(rows, arms, [places.latency.as_str(), places.cpu.as_str()]);
    // A second run of an arm is a control and no contestant.
    let control = |again: usize| {
        let first = metrics::controlled(&arms[again])?;
        Some((arms.iter().position(|arm| arm == first)?, again))
    };
    let controls: Vec<(usize, usize)> = (0..arms.len()).filter_map(control).collect();
    Judgement {
        findings: family(&cells, arms, &pairs(arms), &PRIMARY, places),
        control: family(&cells, arms, &controls, &PRIMARY, places),
        blocks: cells.0.iter().map(|(name, cell)| (name.clone(), cell.blocks.len(), cell.left_out)).collect(),
    }
}

/// Judges a cell beside the primary ones, as a family of its own: latency and CPU per message of every pair of arms.
pub fn explore(rows: &[Row], arms: &[String], cell: &str) -> Vec<Finding> {
    let places = Places { latency: cell.to_owned(), cpu: cell.to_owned() };
    family(&Cells::of(rows, arms, [cell]), arms, &pairs(arms), &PRIMARY[..3], &places)
}

/// For every block of a cell the rows of these arms, in their order; blocks that cannot be used are left out.
pub fn blocks<'a>(rows: &'a [Row], arms: &[String], cell: &str) -> Vec<Vec<&'a Row>> {
    let mut cells = Cells::of(rows, arms, [cell]);
    cells.0.remove(cell).map(|cell| cell.blocks).unwrap_or_default()
}

fn pairs(arms: &[String]) -> Vec<(usize, usize)> {
    let contestants: Vec<usize> = (0..arms.len()).filter(|arm| !metrics::is_control(&arms[*arm])).collect();
    let pairs = contestants.iter().enumerate();
    pairs.flat_map(|(index, second)| contestants[index + 1..].iter().map(|first| (*first, *second))).collect()
}

/// The blocks of several cells, by their names.
struct Cells<'a>(BTreeMap<String, CellBlocks<'a>>);

#[derive(Default)]
struct CellBlocks<'a> {
    /// The rows of the last attempt of each block in the order of the arms.
    blocks: Vec<Vec<&'a Row>>,
    /// Blocks that cannot be used.
    left_out: usize,
    /// Arms of which a message was lost or a trial failed, in whatever attempt: that is not run away from.
    failed: BTreeSet<String>,
}

impl<'a> Cells<'a> {
    fn of<'n>(rows: &'a [Row], arms: &[String], names: impl IntoIterator<Item = &'n str>) -> Self {
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
}

/// The rows of a block that count, in the order of the arms, if every one is there.
fn complete<'a>(block: &[&'a Row], arms: &[String]) -> Option<Vec<&'a Row>> {
    arms.iter().map(|arm| block.iter().find(|row| row.arm == *arm).copied()).collect()
}

/// Compares every metric of these pairs of arms, corrected for their number.
fn family(
    cells: &Cells<'_>,
    arms: &[String],
    pairs: &[(usize, usize)],
    metrics: &[Metric],
    places: &Places,
) -> Vec<Finding> {
    let values = |arm: usize, metric: &Metric, value: metrics::Metric| -> Vec<f64> {
        let Some(cell) = cells.0.get(metric.cell(places)) else { return Vec::new() };
        // An arm that failed or was saturated anywhere in a cell gets no claim there, but counts.
        let sound = !cell.failed.contains(&arms[arm]) && cell.blocks.iter().all(|block| metrics::is_usable(block[arm]));
        let value = |block: &Vec<&Row>| value(block[arm]).filter(|_| sound).unwrap_or(f64::NAN);
        cell.blocks.iter().map(value).collect()
    };
    let members: Vec<(Metric, usize, usize)> =
        metrics.iter().flat_map(|metric| pairs.iter().map(|(first, second)| (*metric, *first, *second))).collect();
    let compared = |end: fn(&Metric) -> metrics::Metric| -> Vec<Option<Comparison>> {
        let series = members
            .iter()
            .map(|(metric, first, second)| (values(*first, metric, end(metric)), values(*second, metric, end(metric))));
        let series: Vec<(Vec<f64>, Vec<f64>)> = series.collect();
        let endpoints: Vec<Endpoint<'_>> = members
            .iter()
            .zip(&series)
            .map(|((metric, ..), (first, second))| Endpoint { first, second, margin: metric.margin })
            .collect();
        compare(&endpoints, ALPHA)
    };
    let ends =
        compared(|metric| metric.value).into_iter().zip(compared(|metric| metric.other_end.unwrap_or(metric.value)));
    let finding = |((metric, first, second), (one, other)): ((Metric, usize, usize), _)| {
        let (comparison, ends_differ) = between(one, other);
        Finding { metric, first: arms[first].clone(), second: arms[second].clone(), comparison, ends_differ }
    };
    members.clone().into_iter().zip(ends).map(finding).collect()
}

/// What holds at both ends: the first comparison with the weaker of two verdicts on the same side. The second value says
/// that they are on different sides.
fn between(one: Option<Comparison>, other: Option<Comparison>) -> (Option<Comparison>, bool) {
    let (Some(one), Some(other)) = (one, other) else { return (one, false) };
    let side = |verdict| match verdict {
        Verdict::Lower | Verdict::LowerSizeUnclear => -1,
        Verdict::Higher | Verdict::HigherSizeUnclear => 1,
        Verdict::Equivalent => 0,
        Verdict::Inconclusive { .. } => 2,
    };
    let verdict = match (one.verdict, other.verdict) {
        (Verdict::Lower, Verdict::LowerSizeUnclear) => Verdict::LowerSizeUnclear,
        (Verdict::Higher, Verdict::HigherSizeUnclear) => Verdict::HigherSizeUnclear,
        (verdict, _) => verdict,
    };
    let undecided = matches!(one.verdict, Verdict::Inconclusive { .. });
    (Some(Comparison { verdict, ..one }), !undecided && side(one.verdict) != side(other.verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Latency, Validity};

    /// A trial whose p50 is `p50` and all else the same.
    fn row(block: u64, attempt: u64, arm: &str, p50: f64) -> Row {
        let noise = 1.0 + 0.01 * ((block * 7 + arm.len() as u64 * 3) % 5) as f64;
        let latency =
            Latency { p50: Some((p50 * noise) as u64), p99: Some((90_000.0 * noise) as u64), ..Latency::default() };
        Row {
            block,
            attempt,
            arm: arm.to_owned(),
            response_ns: latency.clone(),
            service_ns: latency,
            server_cpu_ns_load: Some((1e9 * noise) as u64),
            echoed_count: Some(100_000),
            server_wakeups_idle: Some(3),
            ticks_idle_count: Some(3),
            status_interval_ms: Some(100.0),
            ..Row::default()
        }
    }

    fn arms(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn session(slow: f64) -> Vec<Row> {
        let block =
            |block| [("mio", 20e3), ("tokio", 20e3 * slow), ("mio#2", 20e3)].map(|(arm, p50)| row(block, 1, arm, p50));
        (1..=40).flat_map(block).collect()
    }

    fn blocks(judgement: &Judgement) -> (usize, usize) {
        let (_, used, left_out) = judgement.blocks[0];
        (used, left_out)
    }

    fn p50(judgement: &Judgement) -> Option<Comparison> {
        judgement.findings[0].comparison
    }

    #[test]
    fn a_difference_is_found_between_contestants_and_none_in_the_control() {
        let judgement = judge(&session(1.2), &arms(&["mio", "tokio", "mio#2"]), &Places::default());
        assert_eq!((judgement.findings.len(), judgement.control.len(), blocks(&judgement)), (4, 4, (40, 0)));
        let finding = &judgement.findings[0];
        assert_eq!((finding.first.as_str(), finding.second.as_str()), ("tokio", "mio"));
        assert!(matches!(p50(&judgement).unwrap().verdict, Verdict::Lower));
        assert_eq!(judgement.is_trusted(), Some(true));
    }

    #[test]
    fn a_control_that_differs_makes_the_session_untrusted() {
        let mut rows = session(1.2);
        for row in rows.iter_mut().filter(|row| row.arm == "mio#2") {
            row.response_ns.p50 = row.response_ns.p50.map(|ns| ns * 11 / 10);
        }
        assert_eq!(judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Places::default()).is_trusted(), Some(false));
    }

    #[test]
    fn a_block_that_was_run_again_counts_once_and_by_its_last_attempt() {
        let mut rows = session(1.2);
        rows[0].validity = Validity::Invalid;
        let names = arms(&["mio", "tokio", "mio#2"]);
        assert_eq!(blocks(&judge(&rows, &names, &Places::default())), (39, 1));
        for (arm, p50) in [("mio", 20e3), ("tokio", 24e3), ("mio#2", 20e3)] {
            rows.push(Row { validity: Validity::Flagged, ..row(1, 2, arm, p50) });
        }
        let judgement = judge(&rows, &names, &Places::default());
        assert_eq!(blocks(&judgement), (40, 0));
    }

    #[test]
    fn cells_are_kept_apart_and_each_metric_comes_from_its_own() {
        let in_cell = |cell: &str, slow: f64| {
            let rows = session(slow).into_iter();
            rows.map(|row| Row { cell: Some(cell.to_owned()), ..row }).collect::<Vec<Row>>()
        };
        let mut rows = [in_cell("rate-50", 1.2), in_cell("cpu", 1.0), in_cell("shared", 0.5)].concat();
        for row in rows.iter_mut().filter(|row| row.cell_name() == "cpu" && row.arm == "tokio") {
            row.server_cpu_ns_load = Some(2_000_000_000);
        }
        let names = arms(&["mio", "tokio", "mio#2"]);
        let places = Places { latency: "rate-50".to_owned(), cpu: "cpu".to_owned() };
        let judgement = judge(&rows, &names, &places);
        let verdicts: Vec<Verdict> = judgement.findings.iter().map(|it| it.comparison.unwrap().verdict).collect();
        assert_eq!((judgement.blocks.len(), blocks(&judgement)), (2, (40, 0)));
        assert_eq!((verdicts[0], verdicts[2]), (Verdict::Lower, Verdict::Lower));
        let explored = explore(&rows, &names[..2], "shared");
        assert_eq!((explored.len(), explored[0].comparison.unwrap().verdict), (3, Verdict::Higher));
        assert!(explore(&rows, &names[..2], "floor").iter().all(|finding| finding.comparison.is_none()));
    }

    #[test]
    fn a_claim_on_latency_must_hold_for_the_service_time_too() {
        let names = arms(&["mio", "tokio", "mio#2"]);
        let mut rows = session(1.2);
        // The generator's lag alone makes the difference.
        for row in &mut rows {
            row.service_ns.p50 = Some(18_000 + row.block % 5);
        }
        let judgement = judge(&rows, &names, &Places::default());
        assert!(judgement.findings[0].ends_differ && !judgement.findings[1].ends_differ);
    }

    #[test]
    fn a_failure_is_not_run_away_from() {
        let names = arms(&["mio", "tokio", "mio#2"]);
        let mut rows = session(1.2);
        rows.push(Row { validity: Validity::Invalid, outcome: Outcome::Failed, ..row(7, 0, "tokio", 24e3) });
        let judgement = judge(&rows, &names, &Places::default());
        assert_eq!((blocks(&judgement), p50(&judgement)), ((40, 0), None), "the block was run again, and still");
    }

    #[test]
    fn nothing_is_claimed_of_a_session_that_may_not_be_believed() {
        let names = arms(&["mio", "tokio", "mio#2"]);
        let judgement = judge(&session(1.2), &names, &Places::default());
        assert_eq!(judgement.silence(true), None);
        assert!(judgement.silence(false).unwrap().contains("PARTIAL"));
        let without = judge(&session(1.2), &names[..2], &Places::default());
        assert!(without.silence(true).unwrap().contains("no control"));
    }

    #[test]
    fn an_arm_that_was_saturated_gets_no_claim() {
        let mut rows = session(1.2);
        rows[1].outcome = Outcome::Saturated;
        let judgement = judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Places::default());
        assert_eq!(p50(&judgement), None);
        assert!(judgement.control[0].comparison.is_some());
    }
}
