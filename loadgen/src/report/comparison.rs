//! The outcome of a comparison: medians over blocks with their quartiles, and what may be claimed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{reasons, table};
use crate::{
    judge::metrics::{self, Metric},
    plan::{
        Pacing,
        units::{show_count, show_duration, show_us},
    },
    record::{BoundBy, EndedBy, Outcome, PilotEntry, PlanRecord, Reason, ReasonKind, Row, State, Validity},
    stats::quantile,
};

/// Width of a column: `123.4 (120.1-130.2)` and a space.
const WIDTH: usize = 20;

pub(super) type Show = fn(f64) -> String;

/// What is shown of each arm.
pub(super) const FIGURES: [(&str, Metric, Show); 10] = [
    ("response p50, us", metrics::response_p50, show_us),
    ("response p99, us", metrics::response_p99, show_us),
    ("service p99, us", metrics::service_p99, show_us),
    ("send lag p99, us", metrics::send_lag_p99, show_us),
    (CPU, metrics::cpu_per_message_ns, |ns| format!("{:.2}", ns / 1e3)),
    ("idle CPU, us/s", metrics::idle_cpu_us_per_sec, |us| format!("{us:.0}")),
    ("wake-ups/tick", metrics::wakeups_per_tick, |n| format!("{n:.2}")),
    ("peak, messages/s", |row| row.peak_rate_per_sec, show_count),
    ("memory PSS, KiB", |row| Some(metrics::user_bytes(row)? / 1024.0), |kib| format!("{kib:.0}")),
    ("threads", |row| metrics::number(row.server_threads_max), |threads| format!("{threads:.0}")),
];

/// The one of [`FIGURES`] that may come from a cell of its own.
const CPU: &str = "CPU/message, us";

/// The rows that count of the cells that the primary claims come from.
pub(super) struct Used<'a> {
    pub(super) latency: Vec<&'a Row>,
    pub(super) cpu: Vec<&'a Row>,
}

impl<'a> Used<'a> {
    /// Those that one of [`FIGURES`] is taken from.
    pub(super) fn of(&self, figure: &str) -> &[&'a Row] {
        if figure == CPU { &self.cpu } else { &self.latency }
    }
}

/// Configuration and validity; `plan` is what session.json says of the plan, `rows` are all that there are.
pub(super) fn head(plan: Option<&PlanRecord>, rows: &[Row], state: State, pilot: &[PilotEntry]) -> String {
    format!("\n{}{}{}\n", configuration(plan), piloted(pilot), validity(rows, state))
}

/// The figures, with what they do not say.
pub(super) fn text(plan: Option<&PlanRecord>, cpu_cell: &str, used: &Used<'_>, arms: &[String]) -> String {
    let mut text = String::new();
    // As many arms side by side as 80 columns hold.
    for arms in arms.chunks(3) {
        text.push_str(&table(&figures(used, arms), 16, WIDTH));
        text.push('\n');
    }
    text + &caveats(plan, cpu_cell, arms)
}

/// What each server was found to bear, which the rates are fractions of.
fn piloted(pilot: &[PilotEntry]) -> String {
    let found = |entry: &PilotEntry| {
        let by_server = matches!(entry.ended_by, EndedBy::Saturated | EndedBy::Failed);
        format!("{} {}{}", entry.arm, if by_server { "" } else { ">= " }, show_count(entry.rate_per_sec))
    };
    let found: Vec<String> = pilot.iter().map(found).collect();
    match found.is_empty() {
        true => String::new(),
        false => {
            format!("sustained in the pilot, messages/s (>=: the generator was busy first):\n  {}\n", found.join(", "))
        }
    }
}

/// A line for each figure, a column for each arm.
pub(super) fn figures(used: &Used<'_>, arms: &[String]) -> Vec<Vec<String>> {
    let header = [String::new()].iter().chain(arms).cloned().collect();
    let line = |(name, value, show): (&str, Metric, Show)| {
        let cells = arms.iter().map(|arm| cell(used.of(name), arm, value, show));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    [header].into_iter().chain(FIGURES.into_iter().map(line)).collect()
}

fn configuration(plan: Option<&PlanRecord>) -> String {
    let Some(plan) = plan else { return "configuration unknown\n".to_owned() };
    let load = match (&plan.rate_per_sec, plan.arrivals, plan.depth) {
        (Some(rate), Some(arrivals), _) => format!("{rate} messages/s, {}", arrivals.name()),
        (.., depth) => format!("closed loop of depth {}", depth.unwrap_or_default()),
    };
    let interval = plan.status_interval_ms.unwrap_or_default();
    let status = match Duration::try_from_secs_f64(interval / 1e3) {
        Ok(interval) if !interval.is_zero() => format!("every {}", show_duration(interval)),
        _ => "none".to_owned(),
    };
    format!(
        "{} connections, {} messages, {load}; status {status}\n\
         {} placement: server on CPUs {:?}, as many workers; the client {}\n",
        plan.connections,
        plan.payloads,
        plan.placement.name(),
        plan.server_cpus,
        if plan.pacing == Pacing::Spin { "spins" } else { "sleeps" },
    )
}

fn validity(rows: &[Row], state: State) -> String {
    let count = |wanted: Validity| rows.iter().filter(|row| row.validity == wanted).count();
    let outcomes = |wanted: Outcome| rows.iter().filter(|row| row.outcome == wanted).count();
    let blocks: BTreeSet<(&str, u64)> = rows.iter().map(|row| (row.cell_name(), row.block)).collect();
    let partial = match state {
        State::Complete => "",
        State::Running => "; PARTIAL, it is still running",
        State::Partial => "; PARTIAL, it was interrupted",
    };
    format!(
        "validity: {} trials in {} blocks: {} valid, {} flagged, {} invalid{partial}\n\
         (flagged ones count; a block with an invalid one is run again)\n\
         outcomes: {} failed, {} saturated, {} unclear (left out)\n{}{}",
        rows.len(),
        blocks.len(),
        count(Validity::Valid),
        count(Validity::Flagged),
        count(Validity::Invalid),
        outcomes(Outcome::Failed),
        outcomes(Outcome::Saturated),
        outcomes(Outcome::Unclear),
        most_frequent(rows, |row| &row.invalid_reasons, "invalid", usize::MAX),
        most_frequent(rows, |row| &row.flags, "flag", 3),
    )
}

/// The reasons that rows have most often, a line each, without their amounts.
fn most_frequent(rows: &[Row], reasons: fn(&Row) -> &[Reason], word: &str, most: usize) -> String {
    let mut counts: BTreeMap<ReasonKind, usize> = BTreeMap::new();
    for reason in rows.iter().flat_map(reasons) {
        *counts.entry(reason.kind).or_default() += 1;
    }
    let mut counts: Vec<(ReasonKind, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let line = |(kind, count): (ReasonKind, usize)| format!("  {word} in {count}: {}\n", reasons::title(kind));
    counts.into_iter().take(most).map(line).collect()
}

/// The median over these trials of an arm.
pub(super) fn arm_median(rows: &[&Row], arm: &str, value: Metric) -> Option<f64> {
    let usable = rows.iter().filter(|row| row.arm == arm && metrics::is_usable(row));
    quantile(&usable.filter_map(|row| value(row)).filter(|value| value.is_finite()).collect::<Vec<_>>(), 0.5)
}

/// Median and quartiles over the blocks of an arm.
pub(super) fn cell(rows: &[&Row], arm: &str, value: Metric, show: Show) -> String {
    let usable: Vec<&Row> = rows.iter().filter(|row| row.arm == arm && metrics::is_usable(row)).copied().collect();
    let values: Vec<f64> = usable.iter().filter_map(|row| value(row)).filter(|value| value.is_finite()).collect();
    // A throughput that the generator bounds is the generator's.
    let bounded = |row: &&&Row| matches!(row.bound_by, Some(BoundBy::Generator | BoundBy::Both));
    let is_throughput = usable.iter().any(|row| value(row).is_some() && value(row) == row.peak_rate_per_sec);
    let bounded = usable.iter().filter(bounded).count() * 2 > values.len();
    let at_least = if is_throughput && bounded { ">=" } else { "" };
    match [0.25, 0.5, 0.75].map(|at| quantile(&values, at)) {
        [Some(low), Some(median), Some(high)] => {
            format!("{at_least}{} ({}-{})", show(median), show(low), show(high))
        }
        _ => "-".to_owned(),
    }
}

fn caveats(plan: Option<&PlanRecord>, cpu_cell: &str, arms: &[String]) -> String {
    let control = arms.iter().find_map(|arm| Some((arm, metrics::controlled(arm)?)));
    let control = control.map_or_else(String::new, |(arm, first)| {
        format!("{arm} is {first} once more: what differs between the two is noise.\n")
    });
    let spinning = match (cpu_cell, plan.map(|plan| plan.pacing)) {
        ("", Some(Pacing::Spin)) => {
            "CPU/message is with a spinning client, which the server never has to wake.\n".to_owned()
        }
        ("", _) => String::new(),
        (cell, _) => format!("CPU/message is of the load {cell}, whose client sleeps and has to be woken too.\n"),
    };
    format!(
        "median (quartiles) over blocks; response counts from the intended send time\n\
         idle CPU is without messages, but with status lines to everybody\n\
         >= of a peak: the generator's CPU was full, the server's often as well\n{control}{spinning}"
    )
}
