//! The table of a comparison: medians over blocks with their quartiles, and no claim.

use std::{collections::BTreeMap, path::Path};

use super::table;
use crate::{
    engine::Pacing,
    plan::{Load, Plan},
    record::{Row, State},
    stats::quantile,
    units::{show_count, show_duration, show_payloads, show_rate, show_us},
};

/// Width of a column: `123.4 (120.1-130.2)` and a space.
const WIDTH: usize = 20;

type Value = fn(&Figures<'_>) -> Option<f64>;
type Show = fn(f64) -> String;

/// What is shown of each arm.
const FIGURES: [(&str, Value, Show); 10] = [
    ("response p50, us", |row| row.get("response_ns_p50"), show_us),
    ("response p99, us", |row| row.get("response_ns_p99"), show_us),
    ("service p99, us", |row| row.get("service_ns_p99"), show_us),
    ("send lag p99, us", |row| row.get("send_lag_ns_p99"), show_us),
    (
        "CPU/message, us",
        |row| Some(row.get("server_cpu_ns_load")? / row.get("echoed_count")?),
        |ns| format!("{:.2}", ns / 1e3),
    ),
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

struct Figures<'a>(&'a Row);

impl Figures<'_> {
    fn get(&self, column: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == column)?.1.as_f64()
    }

    fn text(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| name == column).and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// Configuration, validity, the table, what it does not say, files.
pub fn comparison(plan: &Plan, arms: &[&str], rows: &[Row], state: State, folder: &Path) -> String {
    let rows: Vec<Figures<'_>> = rows.iter().map(Figures).collect();
    let mut text = format!("\n{}{}\n", configuration(plan), validity(&rows, state));
    // As many arms side by side as 80 columns hold.
    for arms in arms.chunks(3) {
        let mut lines = vec![[""].iter().chain(arms).map(|cell| (*cell).to_owned()).collect()];
        for (name, value, show) in FIGURES {
            let cells = arms.iter().map(|arm| cell(&rows, arm, value, show));
            lines.push([name.to_owned()].into_iter().chain(cells).collect());
        }
        text.push_str(&table(&lines, 17, WIDTH));
        text.push('\n');
    }
    text.push_str(&caveats(plan, arms));
    text.push_str(&format!("files: {}\n", folder.display()));
    text
}

fn configuration(plan: &Plan) -> String {
    let rate = match &plan.load {
        Load::Open { rate, arrivals } => format!("{} messages/s, {}", show_rate(rate), arrivals.name()),
        Load::Closed { depth } => format!("closed loop of depth {depth}"),
    };
    let status = plan.status_interval.filter(|interval| !interval.is_zero());
    let status = status.map_or_else(|| "none".to_owned(), |interval| format!("every {}", show_duration(interval)));
    format!(
        "{} connections, {} messages, {rate}; status {status}\n\
         {} placement, server CPUs {:?}, as many workers; {} pacing\n",
        plan.connections,
        show_payloads(&plan.payloads),
        plan.placement.kind.name(),
        plan.placement.server_cpus,
        plan.pacing.name(),
    )
}

fn validity(rows: &[Figures<'_>], state: State) -> String {
    let count = |wanted: &str| rows.iter().filter(|row| row.text("valid") == wanted).count();
    let failed = rows.iter().filter(|row| row.text("outcome") == "failed").count();
    let saturated = rows.iter().filter(|row| row.text("outcome") == "saturated").count();
    let blocks = rows.iter().filter_map(|row| row.get("block")).fold(0.0, f64::max);
    let partial = if state == State::Complete { "" } else { "; PARTIAL, it was interrupted" };
    format!(
        "validity: {} trials in {blocks} blocks, {} valid, {} flagged, {} invalid (left out){partial}\n\
         outcomes: {failed} failed, {saturated} saturated (left out)\n{}",
        rows.len(),
        count("valid"),
        count("flagged"),
        count("invalid"),
        frequent_flags(rows),
    )
}

/// What was flagged most often, a line each; the figures in the flags are left out.
fn frequent_flags(rows: &[Figures<'_>]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for flag in rows.iter().flat_map(|row| row.text("flags").split("; ")).filter(|flag| !flag.is_empty()) {
        let (what, _) = flag.split_once(':').unwrap_or((flag, ""));
        *counts.entry(what.to_owned()).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(3).map(|(flag, count)| format!("  flag in {count}: {flag}\n")).collect()
}

/// Median and quartiles over the blocks of an arm.
fn cell(rows: &[Figures<'_>], arm: &str, value: Value, show: Show) -> String {
    let usable =
        |row: &&Figures<'_>| row.text("arm") == arm && row.text("valid") != "invalid" && row.text("outcome") == "ok";
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

fn caveats(plan: &Plan, arms: &[&str]) -> String {
    let control = arms.iter().find(|arm| arm.contains('#')).map_or_else(String::new, |arm| {
        let first = arm.split('#').next().unwrap_or_default();
        format!("{arm} is {first} once more: what differs between the two is noise.\n")
    });
    let spinning = if plan.pacing == Pacing::Spin {
        "CPU/message is with a spinning client, which the server never has to wake.\n"
    } else {
        ""
    };
    format!(
        "median (quartiles) over blocks; response counts from the intended send time\n{control}{spinning}\
         No claim yet: these are figures of one session, not verdicts on the servers.\n"
    )
}
