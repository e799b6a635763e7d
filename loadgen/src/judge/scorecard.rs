//! How each server keeps the four rules that an event loop is written for, from the rows of a session. Reads no file and
//! opens no socket.
//!
//! The rules are those of the article that this project began with: a single thread; no busy waiting; no added latency;
//! triggers by time. A figure is the median over blocks of the median, or other quantile, of a trial; what was added to
//! the latency of [`FLOOR`] is the Hodges-Lehmann estimate of the differences within the blocks, with its interval. A rule
//! is kept or broken if the whole interval lies on one side of the limit, else it is unclear.

use std::collections::BTreeMap;

use super::{
    counted::of_cell,
    metrics::{
        Metric, idle_cpu_us_per_sec, idle_wakeups_per_sec, is_usable, kernel_bytes, number, user_bytes,
        wakeups_per_tick,
    },
    verdicts::{FLOOR, blocks},
};
use crate::{
    record::Row,
    stats::{is_told, quantile, signed_rank},
};

/// Idle CPU time that is no busy waiting, in microseconds a second: a thousandth of a CPU.
pub const IDLE_CPU_US: f64 = 1_000.0;

/// Wake-ups a second without anything to do that are no busy waiting.
pub const IDLE_WAKEUPS: f64 = 1.0;

/// What may be added to the median latency of the floor, as a share of it.
pub const ADDED_SHARE: f64 = 0.1;

/// How late 99 of 100 ticks may be, idle and under load, in nanoseconds: twice the millisecond to which epoll_wait(2)
/// rounds its timeout.
pub const LATENESS_NS: f64 = 2e6;

/// How far the schedule may drift, in parts per billion.
pub const DRIFT_PPB: f64 = 100e3;

/// Confidence of the intervals, each by itself.
const LEVEL: f64 = 0.95;

/// Whether a rule is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// The figures do not tell, or there are none.
    Unclear,
}

/// What one arm does under one heading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// There is none.
    Unknown,
    /// One number.
    Number(f64),
    /// A number with an interval.
    Interval {
        /// The estimate.
        estimate: f64,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// A verdict.
    Verdict(Kept),
}

impl Figure {
    fn of(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Unknown, Self::Number)
    }
}

/// One heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is, with its unit.
    pub name: String,
    /// For each arm.
    pub figures: Vec<Figure>,
}

/// The figures of one rule, or of what lies beyond the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The rule and when it counts as kept.
    pub title: String,
    /// Its figures; the first is the verdict if there is one.
    pub lines: Vec<Line>,
}

/// A quantile that may be shown: of whose samples, over all trials, at least 30 lie beyond it.
struct Tail {
    value: Metric,
    /// The number of samples of a trial.
    samples: Metric,
    /// The share of them that lies beyond.
    beyond: f64,
}

impl Tail {
    const fn p99(value: Metric, samples: Metric) -> Self {
        Self { value, samples, beyond: 0.01 }
    }
}

const DRIFT_LOAD: Metric = |row| row.tick_drift_ppb_load.map(|ppb| ppb as f64);
const LATE_IDLE: Tail = Tail::p99(|row| number(row.status_emit_lag_idle_ns.p99), |row| number(row.tick_count_idle));
const LATE: Tail = Tail::p99(|row| number(row.status_emit_lag_ns.p99), |row| number(row.tick_count_load));
const ECHOED: Metric = |row| number(row.echoed_count);

/// Everything that the rows tell; no section if they come from a session without the cells for it.
pub fn scorecard(rows: &[Row], arms: &[String], logic_lines: &BTreeMap<String, u64>) -> Vec<Section> {
    let mut cells: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        cells.entry(row.cell_name().to_owned()).or_default().push(row.clone());
    }
    if cells.keys().all(String::is_empty) {
        return Vec::new();
    }
    let card = Card { cells, arms, logic_lines };
    let all = [card.single_thread(), card.no_busy_waiting(), card.no_added_latency(), card.by_time(), card.beyond()];
    let told = |section: &Section| {
        section.lines.iter().skip(1).flat_map(|line| &line.figures).any(|figure| !matches!(figure, Figure::Unknown))
    };
    all.into_iter().filter(told).collect()
}

struct Card<'a> {
    cells: BTreeMap<String, Vec<Row>>,
    arms: &'a [String],
    logic_lines: &'a BTreeMap<String, u64>,
}

impl Card<'_> {
    fn single_thread(&self) -> Section {
        let threads = |arm: &str| self.most(arm, "rate-50", |row| number(row.server_threads_max));
        let kept = |arm: &str| threads(arm).map(|threads| threads <= 1.0);
        Section {
            title: "1. a single thread".to_owned(),
            lines: vec![self.verdict(kept), self.line("threads at 64 connections", threads)],
        }
    }

    fn no_busy_waiting(&self) -> Section {
        let silent = "idle-100-silent";
        let kept = |arm: &str| {
            both(
                self.within(arm, silent, idle_cpu_us_per_sec, IDLE_CPU_US),
                self.within(arm, silent, idle_wakeups_per_sec, IDLE_WAKEUPS),
            )
        };
        let mut lines = vec![self.verdict(kept)];
        for (suffix, when) in [("-silent", "no status"), ("", "status 1 s")] {
            for connections in [0, 100, 1_000] {
                let cell = format!("idle-{connections}{suffix}");
                let name = |unit: &str| format!("{unit}, {connections} conn., {when}");
                lines.push(self.line(&name("CPU us/s"), |arm| self.median(arm, &cell, idle_cpu_us_per_sec)));
                lines.push(self.line(&name("wake-ups/s"), |arm| self.median(arm, &cell, idle_wakeups_per_sec)));
            }
        }
        lines
            .push(self.line("wake-ups a tick of 1 s, 100 conn.", |arm| self.median(arm, "idle-100", wakeups_per_tick)));
        let title = format!(
            "2. no busy waiting: silent, 100 connections: {IDLE_CPU_US} us/s and {IDLE_WAKEUPS} wake-up/s at most"
        );
        Section { title, lines }
    }

    fn no_added_latency(&self) -> Section {
        let p50: Metric = |row| number(row.response_ns.p50);
        let p99: Metric = |row| number(row.response_ns.p99);
        let floor = self.median(FLOOR, "floor", p50);
        let kept = |arm: &str| match (self.added(arm, p50)?, floor?) {
            (Figure::Interval { high, .. }, floor) if high <= ADDED_SHARE * floor => Some(true),
            (Figure::Interval { low, .. }, floor) if low > ADDED_SHARE * floor => Some(false),
            _ => None,
        };
        let added = |name: &str, value: Metric| Line {
            name: name.to_owned(),
            figures: self.arms.iter().map(|arm| micros(self.added(arm, value))).collect(),
        };
        let floor_us = floor.map_or_else(|| "unknown".to_owned(), |floor| format!("{:.1} us", floor / 1e3));
        let p99_is_shown = self.is_shown(FLOOR, "floor", &Tail::p99(p99, ECHOED));
        let mut lines = vec![self.verdict(kept), added("p50 added, paired, us (95 %)", p50)];
        lines.extend(p99_is_shown.then(|| added("p99 added, paired, us (95 %)", p99)));
        Section {
            title: format!(
                "3. no added latency: at most {:.0} % over {FLOOR} (p50 {floor_us}), 1 connection",
                ADDED_SHARE * 100.0
            ),
            lines,
        }
    }

    fn by_time(&self) -> Section {
        let us = |arm: &str, value: Metric| self.median(arm, "ticks", value).map(|ns| ns / 1e3);
        let tail = |arm: &str, tail: &Tail| self.tail(arm, "ticks", tail).map(|ns| ns / 1e3);
        let most = |arm: &str, value: Metric| self.most(arm, "ticks", value).map(|ns| ns / 1e3);
        let kept = |arm: &str| {
            let late = |tail: &Tail| {
                self.is_shown(arm, "ticks", tail).then(|| self.within(arm, "ticks", tail.value, LATENESS_NS)).flatten()
            };
            let drift = self.within(arm, "ticks", |row| DRIFT_LOAD(row).map(f64::abs), DRIFT_PPB);
            both(both(late(&LATE_IDLE), late(&LATE)), drift)
        };
        let lines = vec![
            self.verdict(kept),
            self.line("late, idle, p50 us", |arm| us(arm, |row| number(row.status_emit_lag_idle_ns.p50))),
            self.line("late, idle, p99 us", |arm| tail(arm, &LATE_IDLE)),
            self.line("late, idle, longest of all us", |arm| most(arm, |row| number(row.status_emit_lag_idle_ns.max))),
            self.line("late, loaded, p50 us", |arm| us(arm, |row| number(row.status_emit_lag_ns.p50))),
            self.line("late, loaded, p99 us", |arm| tail(arm, &LATE)),
            self.line("late, loaded, longest of all us", |arm| most(arm, |row| number(row.status_emit_lag_ns.max))),
            self.line("jitter, idle, us", |arm| us(arm, |row| number(row.tick_jitter_ns_idle))),
            self.line("jitter, loaded, us", |arm| us(arm, |row| number(row.tick_jitter_ns_load))),
            self.line("drift, idle, ppm", |arm| us(arm, |row| row.tick_drift_ppb_idle.map(|ppb| ppb as f64))),
            self.line("drift, loaded, ppm", |arm| us(arm, DRIFT_LOAD)),
            self.line("ticks a window", |arm| self.median(arm, "ticks", |row| number(row.tick_count_load))),
        ];
        let title = format!(
            "4. triggers by time: p99 {:.0} ms late at most, idle and loaded; {:.0} ppm of drift",
            LATENESS_NS / 1e6,
            DRIFT_PPB / 1e3
        );
        Section { title, lines }
    }

    /// What the rules do not ask for and engineers do.
    fn beyond(&self) -> Section {
        let us = |arm: &str, cell: &str, value: Metric| self.median(arm, cell, value).map(|ns| ns / 1e3);
        let stuck = |arm: &str, value: Metric| self.tail(arm, "stuck", &Tail::p99(value, ECHOED));
        let none = Line { name: String::new(), figures: Vec::new() };
        let lines = vec![
            none,
            self.line("memory, B/connection", |arm| self.slope(arm, user_bytes)),
            self.line("kernel, B/connection", |arm| self.slope(arm, kernel_bytes)),
            self.line("lines of logic", |arm| number(self.logic_lines.get(arm).copied())),
            self.line("rate-50: echo p90 in a fan-out, us", |arm| {
                us(arm, "rate-50", |row| number(row.response_in_fanout_ns.p90))
            }),
            self.line("rate-50: echo p90 outside, us", |arm| {
                us(arm, "rate-50", |row| number(row.response_outside_fanout_ns.p90))
            }),
            self.line("stuck: p99, 4 slow readers, us", |arm| {
                stuck(arm, |row| number(row.response_ns.p99)).map(|ns| ns / 1e3)
            }),
            self.line("stuck: p99 before they came, us", |arm| {
                stuck(arm, |row| number(row.response_undisturbed_ns.p99)).map(|ns| ns / 1e3)
            }),
        ];
        Section { title: "beyond the rules (kernel memory is of both sides)".to_owned(), lines }
    }

    fn line(&self, name: &str, figure: impl Fn(&str) -> Option<f64>) -> Line {
        let figures = self.arms.iter().map(|arm| Figure::of(figure(arm))).collect();
        Line { name: name.to_owned(), figures }
    }

    fn verdict(&self, kept: impl Fn(&str) -> Option<bool>) -> Line {
        let figure = |arm: &String| {
            Figure::Verdict(match kept(arm) {
                Some(true) => Kept::Yes,
                Some(false) => Kept::No,
                None => Kept::Unclear,
            })
        };
        Line { name: "kept".to_owned(), figures: self.arms.iter().map(figure).collect() }
    }

    /// The values of an arm, one a block of a cell in which it may be believed.
    fn values(&self, arm: &str, cell: &str, value: impl Fn(&Row) -> Option<f64>) -> Vec<f64> {
        let Some(rows) = self.cells.get(cell) else { return Vec::new() };
        let own = of_cell(rows, cell).into_iter().filter(|row| row.arm == arm && is_usable(row));
        own.filter_map(value).collect()
    }

    fn median(&self, arm: &str, cell: &str, value: Metric) -> Option<f64> {
        quantile(&self.values(arm, cell, value), 0.5)
    }

    /// The median of a quantile, if there are enough samples beyond it.
    fn tail(&self, arm: &str, cell: &str, tail: &Tail) -> Option<f64> {
        self.median(arm, cell, tail.value).filter(|_| self.is_shown(arm, cell, tail))
    }

    fn is_shown(&self, arm: &str, cell: &str, tail: &Tail) -> bool {
        let samples = self.values(arm, cell, tail.samples).iter().sum::<f64>();
        is_told(samples as u64, 1.0 - tail.beyond)
    }

    /// The highest of all blocks.
    fn most(&self, arm: &str, cell: &str, value: Metric) -> Option<f64> {
        self.values(arm, cell, value).into_iter().reduce(f64::max)
    }

    /// Whether the median is at most the limit: by the interval, so that one close to it is unclear.
    fn within(&self, arm: &str, cell: &str, value: impl Fn(&Row) -> Option<f64>, limit: f64) -> Option<bool> {
        let interval = signed_rank::interval(&self.values(arm, cell, value), LEVEL)?;
        match interval {
            _ if interval.high <= limit => Some(true),
            _ if interval.low > limit => Some(false),
            _ => None,
        }
    }

    /// What a connection more costs, between 1 and as many as were measured.
    fn slope(&self, arm: &str, value: Metric) -> Option<f64> {
        let few = self.median(arm, "connections-1", value)?;
        let more = [10_000, 1_000].into_iter().find_map(|connections| {
            let many = self.median(arm, &format!("connections-{connections}"), value)?;
            Some((many, f64::from(connections)))
        });
        more.map(|(many, connections)| (many - few) / (connections - 1.0))
    }

    /// What an arm adds to a latency of the floor, in nanoseconds: blocks in which both may be believed.
    fn added(&self, arm: &str, value: Metric) -> Option<Figure> {
        let pair = [arm.to_owned(), FLOOR.to_owned()];
        let difference = |block: &Vec<&Row>| {
            let usable = block.iter().all(|row| is_usable(row));
            Some(value(block[0])? - value(block[1])?).filter(|_| usable)
        };
        let differences: Vec<f64> =
            blocks(self.cells.get("floor")?, &pair, "floor").iter().filter_map(difference).collect();
        let estimate = signed_rank::estimate(&differences)?;
        let interval = signed_rank::interval(&differences, LEVEL)?;
        Some(Figure::Interval { estimate, low: interval.low, high: interval.high })
    }
}

/// Both of two conditions, as far as they are known.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn micros(figure: Option<Figure>) -> Figure {
    match figure {
        Some(Figure::Interval { estimate, low, high }) => {
            Figure::Interval { estimate: estimate / 1e3, low: low / 1e3, high: high / 1e3 }
        }
        figure => figure.unwrap_or(Figure::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latency;

    fn row(cell: &str, block: u64, arm: &str) -> Row {
        Row { cell: Some(cell.to_owned()), block, arm: arm.to_owned(), ..Row::default() }
    }

    /// Twelve blocks in which tokio is slower than the floor by 3 us, and has two threads.
    fn rows() -> Vec<Row> {
        let block = |block: u64| {
            let floor = |arm, us: u64| Row {
                response_ns: Latency { p50: Some(us * 1_000 + block), p99: Some(90_000), ..Latency::default() },
                echoed_count: Some(9_000),
                ..row("floor", block, arm)
            };
            let threads = |arm, count| Row { server_threads_max: Some(count), ..row("rate-50", block, arm) };
            [floor("mio", 20), floor("tokio", 23), floor(FLOOR, 20), threads("mio", 1), threads("tokio", 2)]
        };
        (1..=12).flat_map(block).collect()
    }

    #[test]
    fn a_rule_has_a_verdict_for_each_server() {
        let arms = ["mio".to_owned(), "tokio".to_owned()];
        let card = scorecard(&rows(), &arms, &BTreeMap::new());
        let verdicts = |section: usize| card[section].lines[0].figures.clone();
        let (yes, no) = (Figure::Verdict(Kept::Yes), Figure::Verdict(Kept::No));
        assert_eq!(verdicts(0), [yes, no], "one thread and two");
        assert!(card[1].title.starts_with("3. no added latency"), "there is nothing to tell of rule 2: {card:?}");
        assert_eq!(verdicts(1), [yes, no]);
        let added = Figure::Interval { estimate: 3.0, low: 3.0, high: 3.0 };
        assert_eq!(card[1].lines[1].figures[1], added);
    }

    #[test]
    fn a_session_without_its_cells_has_no_scorecard() {
        let rows: Vec<Row> =
            (1..=12).map(|block| Row { cell: None, server_threads_max: Some(1), ..row("", block, "mio") }).collect();
        let told: Vec<Section> = scorecard(&rows, &["mio".to_owned()], &BTreeMap::from([("mio".to_owned(), 320)]));
        assert!(told.is_empty(), "{told:?}");
    }
}
