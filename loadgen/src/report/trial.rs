//! The summary of one trial: at most 25 lines of 80 columns.

use std::path::Path;

use hdrhistogram::Histogram;

use super::{reasons::sentence, table};
use crate::{
    engine::tally::Tally,
    measure::{
        recording::Entry,
        trial::{Loaded, Trial},
        validity::{Assessment, busy_share},
    },
    plan::{
        CohortKind, Load, Pacing, PlacementKind, Plan,
        units::{show_count, show_duration, show_us},
    },
    record::{BoundBy, Reason, ReasonKind, Validity},
    stats::{SAMPLES_BEYOND, is_told},
    text::plain,
};

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Configuration, validity, latency, throughput, server, files.
pub(crate) fn trial(entry: &Entry<'_>, files: Option<&Path>) -> String {
    let plan = entry.plan;
    let mut text = configuration(entry.arm, plan);
    let Ok((trial, assessment)) = entry.measured else { return text };
    text.push('\n');
    text.push_str(&validity(assessment, trial));
    if trial.load.is_none() {
        text.push_str(&counts(plan, trial));
    }
    if let Some(load) = &trial.load {
        text.push('\n');
        text.push_str(&latency(plan, &load.window.tally, assessment));
        text.push_str(&company(plan, trial, load));
        text.push_str(&throughput(plan, trial, load, assessment));
        text.push_str(&generator(entry, load));
        text.push_str(&server(entry, load));
    }
    text.push_str(&idle(trial));
    text.push_str(&memory(trial));
    if let Some(files) = files {
        text.push_str(&format!("files       {}\n", plain(&files.to_string_lossy())));
    }
    text
}

fn configuration(name: &str, plan: &Plan) -> String {
    let load = match &plan.load {
        Load::Open { rate, arrivals } => format!("open loop, {} messages/s, {}", rate.with_units(), arrivals.name()),
        Load::Closed { depth } => format!("closed loop, depth {depth}"),
    };
    let status = match plan.status_interval {
        Some(interval) if interval.is_zero() => "no status lines".to_owned(),
        Some(interval) => format!("status every {}", show_duration(interval)),
        None => "status interval unknown".to_owned(),
    };
    let placement = match plan.placement.kind {
        PlacementKind::Split => format!(
            "server on CPU {}, generator on CPU {}",
            list(&plan.placement.server_cpus),
            list(&plan.placement.loadgen_cpus)
        ),
        PlacementKind::Shared => "both on all CPUs".to_owned(),
    };
    let pacing = match (&plan.load, plan.load_pacing()) {
        (_, Pacing::Spin) => "spinning",
        (Load::Open { .. }, Pacing::Timer) => "timer",
        (Load::Closed { .. }, Pacing::Timer) => "blocking",
    };
    if plan.windows.load.is_zero() {
        let idle = show_duration(plan.idle_ticks().0);
        return format!(
            "{name}: {} connections, idle for {idle}, nothing is sent; {status}\n{placement}\n",
            plan.connections
        );
    }
    format!(
        "{name}: {} connections, {} messages, {load}, seed {}\n{placement}, {pacing}; {} after {} of warm-up; {status}\n",
        plan.connections,
        plan.payloads,
        plan.seed,
        show_duration(plan.windows.load),
        show_duration(plan.windows.warmup),
    )
}

fn validity(assessment: &Assessment, trial: &Trial) -> String {
    let word = match assessment.validity {
        Validity::Valid => "VALID",
        Validity::Flagged => "FLAGGED",
        Validity::Invalid => "INVALID",
    };
    let why: Vec<String> = assessment.reasons.iter().chain(&assessment.flags).map(|it| reason(it, trial)).collect();
    let why: Vec<&str> = why.iter().map(String::as_str).collect();
    let partial = if trial.interrupted { partial(trial) } else { String::new() };
    let problem = trial.problem.as_ref().map_or_else(String::new, |problem| format!(": {}", plain(problem)));
    format!("validity    {word}{}\n{partial}outcome     {}{problem}\n", reasons(&why), assessment.outcome.name())
}

/// A reason; a shortage with what this host lacked.
fn reason(reason: &Reason, trial: &Trial) -> String {
    let text = sentence(reason);
    match trial.shortage().filter(|_| reason.kind == ReasonKind::HostShortage) {
        Some(what) => format!("{text}, {what}"),
        None => text,
    }
}

fn partial(trial: &Trial) -> String {
    match &trial.load {
        None => "PARTIAL     it was interrupted before the load\n".to_owned(),
        Some(load) => {
            let seconds = load.window.planned_ns as f64 / 1e9;
            format!("PARTIAL     it was interrupted after {seconds:.1} s of load, which the figures are of\n")
        }
    }
}

/// Reasons behind a word, on as many lines as they need, beginning with a new one unless it is one short one.
fn reasons(why: &[&str]) -> String {
    const WIDTH: usize = 80;
    const INDENT: &str = "\n              ";
    match why {
        [] => return String::new(),
        [reason] if reason.len() <= 58 => return format!(": {reason}"),
        _ => {}
    }
    let mut text = ":".to_owned();
    for reason in why {
        text.push_str("\n            -");
        let mut column = INDENT.len() - 2;
        for word in reason.split(' ') {
            let fits = column + 1 + word.chars().count() <= WIDTH;
            text.push_str(if fits { " " } else { INDENT });
            column = if fits { column + 1 } else { INDENT.len() - 1 } + word.chars().count();
            text.push_str(word);
        }
    }
    text
}

fn latency(plan: &Plan, tally: &Tally, assessment: &Assessment) -> String {
    let mut rows = vec![header()];
    let open = matches!(plan.load, Load::Open { .. });
    // Where the send lag is a good part of the response, the truth lies between service and response.
    let is_interval = assessment.flags.iter().any(|flag| flag.kind == ReasonKind::SendLagShare);
    if open && is_interval {
        rows.push(interval("response", &tally.service, &tally.response));
    } else if open {
        rows.push(points("response", &tally.response));
    }
    rows.push(points("service", &tally.service));
    if open {
        rows.push(points("send lag", &tally.send_lag));
    }
    rows.push(points("status", &tally.status_delivery));
    rows.push(points("tick emission", &tally.status_emit_lag));
    rows.push(points("tick spread", &tally.status_spread));
    if open && tally.response_in_fanout.len() >= SAMPLES_BEYOND {
        rows.push(points("echo, in tick", &tally.response_in_fanout));
        rows.push(points("echo, between", &tally.response_outside_fanout));
    }
    let from = if open { "response counts from the intended send time" } else { "closed loop: service time only" };
    format!("{}{from}; status from the tick's due time\n", table(&rows, 13, 10))
}

fn header() -> Vec<String> {
    let names = QUANTILES.iter().map(|(name, _)| *name);
    ["latency, us"].into_iter().chain(names).chain(["max"]).map(str::to_owned).collect()
}

fn points(name: &str, histogram: &Histogram<u64>) -> Vec<String> {
    let cells = QUANTILES.iter().map(|(_, quantile)| point(histogram, *quantile));
    let max = if histogram.is_empty() { "-".to_owned() } else { show_us(histogram.max() as f64) };
    [name.to_owned()].into_iter().chain(cells).chain([max]).collect()
}

/// From service to response: how much of the difference is the generator's is not known.
fn interval(name: &str, service: &Histogram<u64>, response: &Histogram<u64>) -> Vec<String> {
    let cells = QUANTILES.iter().map(|(_, quantile)| match (point(service, *quantile), point(response, *quantile)) {
        (low, high) if low == high => high,
        (low, high) => format!("{low}-{high}"),
    });
    let max = show_us(response.max() as f64);
    [name.to_owned()].into_iter().chain(cells).chain([max]).collect()
}

fn point(histogram: &Histogram<u64>, quantile: f64) -> String {
    if !is_told(histogram.len(), quantile) {
        return "-".to_owned();
    }
    show_us(histogram.value_at_quantile(quantile) as f64)
}

fn throughput(plan: &Plan, trial: &Trial, load: &Loaded, assessment: &Assessment) -> String {
    let rate = |loaded: &Loaded| {
        show_count(loaded.window.tally.counts.echoed_in_time as f64 * 1e9 / loaded.window.planned_ns as f64)
    };
    let bound = assessment.bound_by.map_or_else(String::new, |side| format!(", bound by {}", side.name()));
    let at_least = if matches!(assessment.bound_by, Some(BoundBy::Generator | BoundBy::Both)) { ">= " } else { "" };
    let achieved = match (&plan.load, &trial.peak) {
        (Load::Closed { .. }, _) => format!("{at_least}{}/s{bound}", rate(load)),
        (Load::Open { .. }, None) => format!("{}/s achieved", rate(load)),
        (Load::Open { .. }, Some(peak)) => {
            format!("{}/s achieved; peak {at_least}{}/s{bound}", rate(load), rate(peak))
        }
    };
    format!("throughput  {achieved}\n{}", counts(plan, trial))
}

/// What was sent in the load window and what became of it, and what went wrong in others: each line is of one window.
fn counts(plan: &Plan, trial: &Trial) -> String {
    let mut text = String::new();
    for (name, window) in trial.windows() {
        let counts = &window.tally.counts;
        let load = name == "load";
        let closed = name == "peak" || matches!(plan.load, Load::Closed { .. });
        let always = |count: u64| (load, count);
        let troubles = [
            (always(counts.lost), "lost"),
            (always(counts.corrupt), "corrupt"),
            (always(counts.reset), "reset"),
            ((false, counts.duplicate), "doubled"),
            ((false, counts.reordered), "out of order"),
            ((false, counts.connect_failed), "not connected"),
            ((false, counts.unanswered), if closed { "not waited for" } else { "not answered" }),
        ];
        let shown = troubles.iter().filter(|((always, count), _)| *always || *count > 0);
        let mut items: Vec<String> = shown.map(|((_, count), what)| format!("{count} {what}")).collect();
        // Depth messages are under way at the end of every closed loop, and only the load's are worth a line.
        if items.is_empty() || (closed && !load && counts.unanswered > 0 && items.len() == 1) {
            continue;
        }
        if load {
            items.splice(0..0, [format!("{} sent", counts.sent), format!("{} echoed", counts.echoed)]);
        }
        text.push_str(&wrapped(if load { "counts" } else { name }, &items));
    }
    text
}

/// Items behind a name, on as many lines of 80 columns as they need.
fn wrapped(name: &str, items: &[String]) -> String {
    const WIDTH: usize = 80;
    let mut lines = vec![format!("{name:<11}")];
    for (index, item) in items.iter().enumerate() {
        let comma = if index + 1 < items.len() { "," } else { "" };
        let last = lines.len() - 1;
        if lines[last].len() + 1 + item.len() + comma.len() > WIDTH {
            lines.push(" ".repeat(11));
        }
        let last = lines.len() - 1;
        lines[last].push_str(&format!(" {item}{comma}"));
    }
    lines.join("\n") + "\n"
}

/// What the clients that behave badly did, and what that did to the others.
fn company(plan: &Plan, trial: &Trial, load: &Loaded) -> String {
    if plan.cohorts.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    if let Some(undisturbed) = &trial.undisturbed {
        let before = points("undisturbed", &undisturbed.window.tally.response);
        text.push_str(&table(&[before], 13, 10));
    }
    let asked = |kind| match kind {
        CohortKind::SlowReader => (f64::from(plan.cohorts.slow_readers), "slow readers"),
        CohortKind::Churn => (plan.cohorts.churn_per_sec, "connections/s"),
        CohortKind::Flooder => (f64::from(plan.cohorts.flooders), "flooders"),
    };
    for kind in CohortKind::ALL {
        let (count, name) = asked(kind);
        let tally = &load.window.cohorts[kind as usize];
        if count > 0.0 {
            let count = show_count(count);
            let mut items = vec![
                format!("{count} {name}: {} messages sent", tally.sent),
                format!("{} echoed", tally.echoed),
                format!("{} wrong", tally.wrong),
                format!("{} closed by the server", tally.closed),
            ];
            items.extend((tally.short > 0).then(|| format!("{} not connected for want of this host", tally.short)));
            text.push_str(&wrapped("beside", &items));
        }
    }
    text
}

fn generator(entry: &Entry<'_>, load: &Loaded) -> String {
    let busy = busy_share(entry.plan, load) * 100.0;
    let ceiling = entry.conditions.share_of_ceiling(entry.plan).zip(entry.conditions.ceiling_per_sec);
    let ceiling = ceiling.map_or_else(String::new, |(share, ceiling)| {
        format!("; the load is {:.0} % of what it can do ({}/s)", share * 100.0, show_count(ceiling))
    });
    format!("generator   {busy:.0} % busy{ceiling}\n")
}

fn server(entry: &Entry<'_>, load: &Loaded) -> String {
    let plan = entry.plan;
    let Some(usage) = &load.server else {
        return "server      not observed: its process is not known (--pid)\n".to_owned();
    };
    let per_message = |value: f64| value / load.window.tally.counts.echoed.max(1) as f64;
    let spinning = if plan.load_pacing() == Pacing::Spin { " with a spinning client" } else { "" };
    let wakeups = usage
        .voluntary_switches
        .map_or_else(String::new, |count| format!(", {:.2} wake-ups", per_message(count as f64)));
    let calls = entry.syscalls_per_message.map_or_else(String::new, |calls| format!(", {calls:.2} system calls"));
    let cpu = show_us(per_message(usage.cpu_ns as f64));
    format!("server      {cpu} us CPU{wakeups}{calls} a message{spinning}\n")
}

fn idle(trial: &Trial) -> String {
    let Some((idle, usage)) = trial.idle.as_ref().and_then(|idle| Some((idle, idle.server.as_ref()?))) else {
        return String::new();
    };
    let seconds = usage.at_ns as f64 / 1e9;
    let per_tick = match (usage.voluntary_switches, idle.ticks) {
        (Some(count), Some(ticks)) if ticks > 0 => format!(", {:.1} wake-ups a tick", count as f64 / ticks as f64),
        (Some(count), _) => format!(", {:.1} wake-ups/s", count as f64 / seconds),
        (None, _) => String::new(),
    };
    let name = if trial.load.is_some() { "" } else { "server" };
    format!("{name:<12}idle: {:.0} us CPU a second{per_tick}\n", usage.cpu_ns as f64 / 1e3 / seconds)
}

fn memory(trial: &Trial) -> String {
    if trial.server_threads_max.is_none() {
        return String::new();
    }
    let kib = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let pss = trial.idle.as_ref().and_then(|idle| idle.memory?.pss_bytes);
    let kernel = trial.kernel_memory.stacks_bytes.zip(trial.kernel_memory.slab_bytes);
    let kernel =
        kernel.map_or_else(|| "unknown".to_owned(), |(stacks, slab)| format!("{:+} KiB", (stacks + slab) / 1024));
    let threads = trial.server_threads_max.map_or_else(|| "?".to_owned(), |threads| threads.to_string());
    format!("            {} PSS; kernel, both sides: {kernel}; {threads} threads\n", kib(pss))
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
