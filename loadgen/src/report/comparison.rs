//! The outcome of a comparison: medians over blocks with their quartiles, and what may be claimed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::table;
use crate::{
    plan::units::{show_count, show_duration, show_us},
    record::Figures,
    stats::quantile,
};

/// Width of a column: `123.4 (120.1-130.2)` and a space.
const WIDTH: usize = 20;

pub(super) type Figure = fn(&Figures<'_>) -> Option<f64>;
pub(super) type Show = fn(f64) -> String;

/// What is shown of each arm.
pub(super) const FIGURES: [(&str, Figure, Show); 10] = [
    ("response p50, us", |row| row.quantile("response_ns_p50", 0.5), show_us),
    ("response p99, us", |row| row.quantile("response_ns_p99", 0.99), show_us),
    ("service p99, us", |row| row.quantile("service_ns_p99", 0.99), show_us),
    ("send lag p99, us", |row| row.quantile("send_lag_ns_p99", 0.99), show_us),
    (CPU, |row| Some(row.get("server_cpu_ns_load")? / row.get("echoed_count")?), |ns| format!("{:.2}", ns / 1e3)),
    (
        "idle CPU, us/s",
        |row| Some(row.get("server_cpu_ns_idle")? / row.get("idle_span_ns")? * 1e6),
        |us| format!("{us:.0}"),
    ),
    (
        "wake-ups/tick",
        |row| Some(row.get("server_wakeups_idle")? / row.get("ticks_idle_count")?),
        |n| format!("{n:.2}"),
    ),
    ("peak, messages/s", |row| row.get("peak_rate_per_sec"), show_count),
    ("memory PSS, KiB", |row| Some(row.get("server_pss_bytes_idle")? / 1024.0), |kib| format!("{kib:.0}")),
    ("threads", |row| row.get("server_threads_max"), |threads| format!("{threads:.0}")),
];

/// The one of [`FIGURES`] that may come from a cell of its own.
const CPU: &str = "CPU/message, us";

/// The rows that count of the cells that the primary claims come from.
pub(super) struct Used<'a> {
    pub(super) latency: Vec<Figures<'a>>,
    pub(super) cpu: Vec<Figures<'a>>,
}

impl<'a> Used<'a> {
    /// Those that one of [`FIGURES`] is taken from.
    pub(super) fn of(&self, figure: &str) -> &[Figures<'a>] {
        if figure == CPU { &self.cpu } else { &self.latency }
    }
}

/// Configuration and validity; `plan` is what session.json says of the plan, `rows` are all that there are.
pub(super) fn head(plan: &Value, rows: &[Figures<'_>], state: &str, pilot: &Value) -> String {
    format!("\n{}{}{}\n", configuration(plan), piloted(pilot), validity(rows, state))
}

/// The figures, with what they do not say.
pub(super) fn text(plan: &Value, cpu_cell: &str, used: &Used<'_>, arms: &[String]) -> String {
    let mut text = String::new();
    // As many arms side by side as 80 columns hold.
    for arms in arms.chunks(3) {
        text.push_str(&table(&figures(used, arms), 16, WIDTH));
        text.push('\n');
    }
    text + &caveats(plan, cpu_cell, arms)
}

/// What each server was found to bear, which the rates are fractions of.
fn piloted(pilot: &Value) -> String {
    let found = |entry: &Value| {
        let by_server = ["the server is saturated", "the server failed"].iter().any(|by| entry["ended_by"] == *by);
        let bound = if by_server { "" } else { ">= " };
        let rate = show_count(entry["rate_per_sec"].as_f64()?);
        Some(format!("{} {bound}{rate}", entry["arm"].as_str()?))
    };
    let found: Vec<String> = pilot.as_array().into_iter().flatten().filter_map(found).collect();
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
    let line = |(name, value, show): (&str, Figure, Show)| {
        let cells = arms.iter().map(|arm| cell(used.of(name), arm, value, show));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    [header].into_iter().chain(FIGURES.into_iter().map(line)).collect()
}

fn configuration(plan: &Value) -> String {
    if plan.is_null() {
        return "configuration unknown\n".to_owned();
    }
    let text = |key: &str| plan[key].as_str().unwrap_or("?").to_owned();
    let load = match text("mode").as_str() {
        "open" => format!("{} messages/s, {}", text("rate_per_sec"), text("arrivals")),
        _ => format!("closed loop of depth {}", plan["depth"]),
    };
    let interval = plan["status_interval_ms"].as_f64().unwrap_or(0.0);
    let status = match Duration::try_from_secs_f64(interval / 1e3) {
        Ok(interval) if !interval.is_zero() => format!("every {}", show_duration(interval)),
        _ => "none".to_owned(),
    };
    format!(
        "{} connections, {} messages, {load}; status {status}\n\
         {} placement: server on CPUs {}, as many workers; the client {}\n",
        plan["connections"],
        text("payloads"),
        text("placement"),
        plan["server_cpus"],
        if text("pacing") == "spin" { "spins" } else { "sleeps" },
    )
}

fn validity(rows: &[Figures<'_>], state: &str) -> String {
    let count = |wanted: &str| rows.iter().filter(|row| row.text("valid") == wanted).count();
    let failed = rows.iter().filter(|row| row.text("outcome") == "failed").count();
    let saturated = rows.iter().filter(|row| row.text("outcome") == "saturated").count();
    let unclear = rows.iter().filter(|row| row.text("outcome") == "unclear").count();
    let blocks: BTreeSet<(&str, u64)> =
        rows.iter().filter_map(|row| Some((row.text("cell"), row.get("block")? as u64))).collect();
    let blocks = blocks.len();
    let partial = match state {
        "complete" => "",
        "running" => "; PARTIAL, it is still running",
        _ => "; PARTIAL, it was interrupted",
    };
    format!(
        "validity: {} trials in {blocks} blocks: {} valid, {} flagged, {} invalid{partial}\n\
         (flagged ones count; a block with an invalid one is run again)\n\
         outcomes: {failed} failed, {saturated} saturated, {unclear} unclear (left out)\n{}{}",
        rows.len(),
        count("valid"),
        count("flagged"),
        count("invalid"),
        most_frequent(rows, "invalid_reasons", "invalid", usize::MAX),
        most_frequent(rows, "flags", "flag", 3),
    )
}

/// What a column of reasons says most often, a line each; the figures in them are left out.
fn most_frequent(rows: &[Figures<'_>], column: &str, word: &str, most: usize) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in rows.iter().flat_map(|row| row.text(column).split("; ")).filter(|reason| !reason.is_empty()) {
        let (what, _) = reason.split_once(':').unwrap_or((reason, ""));
        *counts.entry(what.to_owned()).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(most).map(|(reason, count)| format!("  {word} in {count}: {reason}\n")).collect()
}

/// The median over these trials of an arm.
pub(super) fn arm_median(rows: &[Figures<'_>], arm: &str, value: Figure) -> Option<f64> {
    let usable = rows.iter().filter(|row| row.text("arm") == arm && row.is_usable());
    quantile(&usable.filter_map(value).filter(|value| value.is_finite()).collect::<Vec<_>>(), 0.5)
}

/// Median and quartiles over the blocks of an arm.
pub(super) fn cell(rows: &[Figures<'_>], arm: &str, value: Figure, show: Show) -> String {
    let usable = |row: &&Figures<'_>| row.text("arm") == arm && row.is_usable();
    let values: Vec<f64> = rows.iter().filter(usable).filter_map(value).filter(|value| value.is_finite()).collect();
    // A throughput that the generator bounds is the generator's.
    let bounded = |row: &&Figures<'_>| matches!(row.text("bound_by"), "generator" | "both");
    let throughput =
        rows.iter().filter(usable).any(|row| value(row).is_some() && value(row) == row.get("peak_rate_per_sec"));
    let bounded = rows.iter().filter(usable).filter(bounded).count() * 2 > values.len();
    let at_least = if throughput && bounded { ">=" } else { "" };
    match [0.25, 0.5, 0.75].map(|at| quantile(&values, at)) {
        [Some(low), Some(median), Some(high)] => {
            format!("{at_least}{} ({}-{})", show(median), show(low), show(high))
        }
        _ => "-".to_owned(),
    }
}

fn caveats(plan: &Value, cpu_cell: &str, arms: &[String]) -> String {
    let control = arms.iter().find(|arm| arm.contains('#')).map_or_else(String::new, |arm| {
        let first = arm.split('#').next().unwrap_or_default();
        format!("{arm} is {first} once more: what differs between the two is noise.\n")
    });
    let spinning = match (cpu_cell, plan["pacing"].as_str()) {
        ("", Some("spin")) => "CPU/message is with a spinning client, which the server never has to wake.\n".to_owned(),
        ("", _) => String::new(),
        (cell, _) => format!("CPU/message is of the load {cell}, whose client sleeps and has to be woken too.\n"),
    };
    format!(
        "median (quartiles) over blocks; response counts from the intended send time\n\
         idle CPU is without messages, but with status lines to everybody\n\
         >= of a peak: the generator's CPU was full, the server's often as well\n{control}{spinning}"
    )
}
