//! Whether each server satisfies the four rules of an event loop, from the rows of a session. Reads no file and opens no
//! socket.
//!
//! The rules are those of the article that this project began with: a single thread; no busy waiting; no added latency;
//! punctual timers. A value is the median over blocks of the median, or other quantile, of a trial; the latency added to
//! that of [`FLOOR`] is the Hodges-Lehmann estimate of the differences within the blocks, with its confidence interval. A
//! rule is satisfied or violated if the whole interval lies on one side of the limit, else the outcome is unclear.

use std::collections::BTreeMap;

use super::{
    cell_values::{CellValues, Estimate, Tail},
    metrics::{Metric, idle_cpu_us_per_sec, idle_wakeups_per_sec, kernel_bytes, number, user_bytes, wakeups_per_tick},
    primary::FLOOR,
};
use crate::record::Row;

/// The highest idle CPU time that is no busy waiting, in microseconds per second: a thousandth of a CPU.
pub(crate) const IDLE_CPU_US: f64 = 1_000.0;

/// The most wake-ups per second of a silent server that are no busy waiting.
pub(crate) const IDLE_WAKEUPS: f64 = 1.0;

/// The most that may be added to the median latency of the floor, as a share of it.
pub(crate) const ADDED_SHARE: f64 = 0.1;

/// The highest 99th percentile of the lateness of ticks, idle and under load, in nanoseconds: twice the millisecond to
/// which epoll_wait(2) rounds its timeout.
pub(crate) const LATENESS_NS: f64 = 2e6;

/// The highest drift of the schedule, in parts per billion.
pub(crate) const DRIFT_PPB: f64 = 100e3;

/// Whether a server satisfies a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleOutcome {
    Satisfied,
    Violated,
    /// The interval contains the limit, or there are no values.
    Unclear,
}

/// One value of one arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RuleValue {
    Unknown,
    /// Something measured.
    Number(f64),
    /// Something counted, exactly.
    Count(u64),
    Interval(Estimate),
}

impl RuleValue {
    fn of(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Unknown, Self::Number)
    }
}

/// One quantity of all arms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleLine {
    /// The quantity with its unit.
    pub(crate) name: String,
    /// For each arm.
    pub(crate) values: Vec<RuleValue>,
}

/// The subject of a section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    SingleThread,
    NoBusyWaiting,
    NoAddedLatency {
        /// Median latency of [`FLOOR`], in nanoseconds.
        floor_ns: Option<f64>,
    },
    TriggersByTime,
    /// What the rules do not ask for and engineers do.
    Beyond,
}

/// The quantities of one rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleSection {
    pub(crate) rule: Rule,
    /// For each arm; empty of what is no rule.
    pub(crate) outcomes: Vec<RuleOutcome>,
    pub(crate) lines: Vec<RuleLine>,
}

const DRIFT_LOAD: Metric = |row| row.tick_drift_ppb_load.map(|ppb| ppb as f64);
const LATE_IDLE: Tail = Tail::p99(|row| number(row.status_emit_lag_idle_ns.p99), |row| number(row.tick_count_idle));
const LATE: Tail = Tail::p99(|row| number(row.status_emit_lag_ns.p99), |row| number(row.tick_count_load));
const ECHOED: Metric = |row| number(row.echoed_count);

/// Lines of the servers' files, by their names.
pub(crate) struct SourceLines<'a> {
    /// Of logic.
    pub(crate) logic: &'a BTreeMap<String, u64>,
    /// Those of them that only one option needs, by the option's name.
    pub(crate) regions: &'a BTreeMap<String, BTreeMap<String, u64>>,
}

/// Every rule that the session has values for; none if it has one load only.
pub(crate) fn scorecard(rows: &[Row], arms: &[String], lines: &SourceLines<'_>) -> Vec<RuleSection> {
    let values = CellValues::of(rows);
    if !values.has_cells() {
        return Vec::new();
    }
    let card = Scorecard { values, arms, lines };
    let all = [card.single_thread(), card.no_busy_waiting(), card.no_added_latency(), card.by_time(), card.beyond()];
    let told = |section: &RuleSection| {
        section.lines.iter().flat_map(|line| &line.values).any(|value| *value != RuleValue::Unknown)
    };
    all.into_iter().filter(told).collect()
}

struct Scorecard<'a> {
    values: CellValues,
    arms: &'a [String],
    lines: &'a SourceLines<'a>,
}

impl Scorecard<'_> {
    fn single_thread(&self) -> RuleSection {
        let threads = |arm: &str| self.values.most(arm, "rate-50", |row| number(row.server_threads_max));
        let is_satisfied = |arm: &str| threads(arm).map(|threads| threads <= 1.0);
        RuleSection {
            rule: Rule::SingleThread,
            outcomes: self.outcomes(is_satisfied),
            lines: vec![self.line("threads at 64 connections", threads)],
        }
    }

    fn no_busy_waiting(&self) -> RuleSection {
        let silent = "idle-100-silent";
        let is_satisfied = |arm: &str| {
            both(
                self.values.within(arm, silent, idle_cpu_us_per_sec, IDLE_CPU_US),
                self.values.within(arm, silent, idle_wakeups_per_sec, IDLE_WAKEUPS),
            )
        };
        let mut lines = Vec::new();
        for (suffix, when) in [("-silent", "no status"), ("", "status 1 s")] {
            for connections in [0, 100, 1_000] {
                let cell = format!("idle-{connections}{suffix}");
                let name = |unit: &str| format!("{unit}, {connections} conn., {when}");
                lines.push(self.line(&name("CPU us/s"), |arm| self.values.median(arm, &cell, idle_cpu_us_per_sec)));
                lines.push(self.line(&name("wake-ups/s"), |arm| self.values.median(arm, &cell, idle_wakeups_per_sec)));
            }
        }
        lines.push(
            self.line("wake-ups per 1 s tick, 100 conn.", |arm| self.values.median(arm, "idle-100", wakeups_per_tick)),
        );
        RuleSection { rule: Rule::NoBusyWaiting, outcomes: self.outcomes(is_satisfied), lines }
    }

    fn no_added_latency(&self) -> RuleSection {
        let p50: Metric = |row| number(row.response_ns.p50);
        let p99: Metric = |row| number(row.response_ns.p99);
        let floor = self.values.median(FLOOR, "floor", p50);
        let is_satisfied = |arm: &str| match (self.values.added(arm, p50)?, floor?) {
            (added, floor) if added.high <= ADDED_SHARE * floor => Some(true),
            (added, floor) if added.low > ADDED_SHARE * floor => Some(false),
            _ => None,
        };
        let added = |name: &str, value: Metric| RuleLine {
            name: name.to_owned(),
            values: self.arms.iter().map(|arm| micros(self.values.added(arm, value))).collect(),
        };
        let p99_is_shown = self.values.is_shown(FLOOR, "floor", &Tail::p99(p99, ECHOED));
        let mut lines = vec![added("p50 added, paired, us", p50)];
        lines.extend(p99_is_shown.then(|| added("p99 added, paired, us", p99)));
        RuleSection { rule: Rule::NoAddedLatency { floor_ns: floor }, outcomes: self.outcomes(is_satisfied), lines }
    }

    fn by_time(&self) -> RuleSection {
        let us = |arm: &str, value: Metric| self.values.median(arm, "ticks", value).map(|ns| ns / 1e3);
        let tail = |arm: &str, tail: &Tail| self.values.tail(arm, "ticks", tail).map(|ns| ns / 1e3);
        let most = |arm: &str, value: Metric| self.values.most(arm, "ticks", value).map(|ns| ns / 1e3);
        let is_satisfied = |arm: &str| {
            let late = |tail: &Tail| {
                self.values
                    .is_shown(arm, "ticks", tail)
                    .then(|| self.values.within(arm, "ticks", tail.value, LATENESS_NS))
                    .flatten()
            };
            let drift = self.values.within(arm, "ticks", |row| DRIFT_LOAD(row).map(f64::abs), DRIFT_PPB);
            both(both(late(&LATE_IDLE), late(&LATE)), drift)
        };
        let lines = vec![
            self.line("late, idle, p50 us", |arm| us(arm, |row| number(row.status_emit_lag_idle_ns.p50))),
            self.line("late, idle, p99 us", |arm| tail(arm, &LATE_IDLE)),
            self.line("late, idle, max us", |arm| most(arm, |row| number(row.status_emit_lag_idle_ns.max))),
            self.line("late, loaded, p50 us", |arm| us(arm, |row| number(row.status_emit_lag_ns.p50))),
            self.line("late, loaded, p99 us", |arm| tail(arm, &LATE)),
            self.line("late, loaded, max us", |arm| most(arm, |row| number(row.status_emit_lag_ns.max))),
            self.line("jitter, idle, us", |arm| us(arm, |row| number(row.tick_jitter_ns_idle))),
            self.line("jitter, loaded, us", |arm| us(arm, |row| number(row.tick_jitter_ns_load))),
            self.line("drift, idle, ppm", |arm| us(arm, |row| row.tick_drift_ppb_idle.map(|ppb| ppb as f64))),
            self.line("drift, loaded, ppm", |arm| us(arm, DRIFT_LOAD)),
            self.line("ticks per window", |arm| self.values.median(arm, "ticks", |row| number(row.tick_count_load))),
        ];
        RuleSection { rule: Rule::TriggersByTime, outcomes: self.outcomes(is_satisfied), lines }
    }

    /// What the rules do not ask for and engineers do.
    fn beyond(&self) -> RuleSection {
        let us = |arm: &str, cell: &str, value: Metric| self.values.median(arm, cell, value).map(|ns| ns / 1e3);
        let stuck = |arm: &str, value: Metric| self.values.tail(arm, "stuck", &Tail::p99(value, ECHOED));
        let mut lines = vec![
            self.line("memory, B/connection", |arm| self.values.slope(arm, user_bytes)),
            self.line("kernel, B/connection", |arm| self.values.slope(arm, kernel_bytes)),
            self.count("lines of logic", self.lines.logic),
            self.line("rate-50: echo p90 in a fan-out, us", |arm| {
                us(arm, "rate-50", |row| number(row.response_in_fanout_ns.p90))
            }),
            self.line("rate-50: echo p90 outside, us", |arm| {
                us(arm, "rate-50", |row| number(row.response_outside_fanout_ns.p90))
            }),
            self.line("stuck: p99, 4 slow readers, us", |arm| {
                stuck(arm, |row| number(row.response_ns.p99)).map(|ns| ns / 1e3)
            }),
            self.line("stuck: p99 undisturbed, us", |arm| {
                stuck(arm, |row| number(row.response_undisturbed_ns.p99)).map(|ns| ns / 1e3)
            }),
        ];
        let regions =
            self.lines.regions.iter().map(|(region, lines)| self.count(&format!("  of these for the {region}"), lines));
        let place = lines.iter().position(|line| line.name == "lines of logic").map_or(lines.len(), |place| place + 1);
        lines.splice(place..place, regions);
        RuleSection { rule: Rule::Beyond, outcomes: Vec::new(), lines }
    }

    fn count(&self, name: &str, counts: &BTreeMap<String, u64>) -> RuleLine {
        let count = |arm: &String| counts.get(arm).map_or(RuleValue::Unknown, |count| RuleValue::Count(*count));
        RuleLine { name: name.to_owned(), values: self.arms.iter().map(count).collect() }
    }

    fn line(&self, name: &str, value: impl Fn(&str) -> Option<f64>) -> RuleLine {
        RuleLine { name: name.to_owned(), values: self.arms.iter().map(|arm| RuleValue::of(value(arm))).collect() }
    }

    fn outcomes(&self, is_satisfied: impl Fn(&str) -> Option<bool>) -> Vec<RuleOutcome> {
        let outcome = |arm: &String| match is_satisfied(arm) {
            Some(true) => RuleOutcome::Satisfied,
            Some(false) => RuleOutcome::Violated,
            None => RuleOutcome::Unclear,
        };
        self.arms.iter().map(outcome).collect()
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

fn micros(added: Option<Estimate>) -> RuleValue {
    added.map_or(RuleValue::Unknown, |added| {
        let Estimate { estimate, low, high } = added;
        RuleValue::Interval(Estimate { estimate: estimate / 1e3, low: low / 1e3, high: high / 1e3 })
    })
}

#[cfg(test)]
mod tests;
