//! The summary of one trial: some 25 lines of 80 columns.

mod service;

use std::path::Path;

use hdrhistogram::Histogram;

use super::{
    layout::{Widths, listed, wrapped},
    words::{reasons::sentence, throughput::owner},
};
use crate::{
    engine::{Window, tally::Tally},
    measure::{
        recording::{self, Entry},
        trial::{Loaded, Trial},
        validity::{Assessment, busy_share},
    },
    plan::{
        CohortKind, Load, Pacing, Plan,
        units::{show_count, show_duration, show_us},
    },
    record::{Reason, ReasonKind, TargetKind, Validity},
    stats::{SAMPLES_BEYOND, is_told},
    text::{Text, Tone, plain},
};

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Configuration, validity, latency, throughput, server, files.
pub(crate) fn trial(entry: &Entry<'_>, files: Option<&Path>) -> Text {
    let plan = entry.plan;
    let mut text = Text::from(configuration(entry.arm, plan));
    text.push(service::asked_for(plan));
    text.push(placement(entry));
    let Ok((trial, assessment)) = entry.measured else { return text };
    text.push("\n");
    text.push(validity(assessment, trial));
    if trial.load.is_none() {
        text.push(counts(plan, trial));
        text.push(service::outcome(plan, trial));
        text.push(drain(trial));
    }
    if let Some(load) = &trial.load {
        text.push("\n");
        text.push(latency(plan, &load.window.tally));
        text.push(misbehaving(plan, trial, load));
        text.push(throughput(entry, trial, load));
        text.push(service::outcome(plan, trial));
        text.push(drain(trial));
        text.push(generator(entry, load));
        text.push(server(entry, load));
    }
    text.push(idle(trial));
    text.push(memory(trial));
    if let Some(files) = files {
        text.push(format!("files       {}\n", plain(&files.to_string_lossy())));
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
    let pacing = match (&plan.load, plan.load_pacing()) {
        (_, Pacing::Spin) => "spinning",
        (Load::Open { .. }, Pacing::Timer) => "timer",
        (Load::Closed { .. }, Pacing::Timer) => "blocking",
    };
    if plan.windows.load.is_zero() {
        let idle = show_duration(plan.idle_ticks().0);
        let sent = if plan.windows.drain_bursts > 0 { "then bursts" } else { "nothing is sent" };
        return format!("{name}: {} connections, idle for {idle}, {sent}; {status}\n", plan.connections);
    }
    format!(
        "{name}: {} connections, {} messages, {load}, seed {}\n{pacing}; {} after {} of warm-up; {status}\n",
        plan.connections,
        plan.payloads,
        plan.seed,
        show_duration(plan.windows.load),
        show_duration(plan.windows.warmup),
    )
}

/// Where server and generator ran, and why there.
fn placement(entry: &Entry<'_>) -> Text {
    let placement = &entry.plan.placement;
    let placement = match entry.target_kind {
        TargetKind::Address => format!("generator on CPUs {:?}; the target where it is", placement.loadgen_cpus),
        TargetKind::Server | TargetKind::Command => placement.reason.clone(),
    };
    wrapped(&format!("placement   {placement}").into(), 12)
}

fn validity(assessment: &Assessment, trial: &Trial) -> Text {
    let word = match assessment.validity {
        Validity::Valid => Text::toned("VALID", Tone::Good),
        Validity::Flagged => Text::toned("FLAGGED", Tone::Warning),
        Validity::Invalid => Text::toned("INVALID", Tone::Bad),
    };
    let why: Vec<String> = assessment.reasons.iter().chain(&assessment.flags).map(|it| reason(it, trial)).collect();
    let problem = trial.problem.as_ref().map_or_else(String::new, |problem| format!(": {}", plain(problem)));
    let partial = if trial.interrupted { partial(trial) } else { Text::default() };
    Text::from("validity    ")
        .with(word)
        .with(reasons(&why))
        .with(partial)
        .with(format!("outcome     {}{problem}\n", assessment.outcome.name()))
}

/// A reason; of a shortage with the resource.
fn reason(reason: &Reason, trial: &Trial) -> String {
    let text = sentence(reason);
    match trial.shortage().filter(|_| reason.kind == ReasonKind::HostShortage) {
        Some(what) => format!("{text}, {what}"),
        None => text,
    }
}

fn partial(trial: &Trial) -> Text {
    Text::toned("PARTIAL", Tone::Warning).with(match &trial.load {
        None => "     interrupted before the load\n".to_owned(),
        Some(load) => {
            let seconds = load.window.planned_ns as f64 / 1e9;
            format!("     interrupted after {seconds:.1} s of load; the figures cover these\n")
        }
    })
}

/// Reasons behind a word: a single short one on the same line, others as a list.
fn reasons(why: &[String]) -> Text {
    match why {
        [] => "\n".into(),
        [reason] if reason.len() <= 58 => format!(": {reason}\n").into(),
        _ => {
            let lines = why.iter().map(|reason| wrapped(&format!("            - {reason}").into(), 14));
            Text::from(":\n").with(lines.collect::<Text>())
        }
    }
}

fn latency(plan: &Plan, tally: &Tally) -> Text {
    let mut rows = vec![header()];
    let open = matches!(plan.load, Load::Open { .. });
    // Where the send lag is a good part of the response, the truth lies between service and response.
    let is_interval = lags(tally);
    if open && is_interval {
        rows.push(interval("response", &tally.service, &tally.response));
    } else if open {
        rows.push(points("response", &tally.response));
    }
    if !tally.response_light.is_empty() {
        rows.push(points("echo, light", &tally.response_light));
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
    rows.into_iter().collect::<Text>().with(format!("{from}; status from the tick's due time\n"))
}

/// Whether the send lag is a good part of the response: its p99 more than a tenth of that of the response.
fn lags(tally: &Tally) -> bool {
    let p99 = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.99);
    p99(&tally.send_lag) * 10 > p99(&tally.response)
}

const LATENCY: Widths = Widths { names: 13, others: 11 };

fn header() -> Text {
    let names = QUANTILES.iter().map(|(name, _)| *name);
    LATENCY.line("latency, us", names.chain(["max"]).map(Text::from))
}

fn points(name: &str, histogram: &Histogram<u64>) -> Text {
    let cells = QUANTILES.iter().map(|(_, quantile)| point(histogram, *quantile));
    let max = if histogram.is_empty() { "-".to_owned() } else { show_us(histogram.max() as f64) };
    LATENCY.line(name, cells.chain([max]).map(Text::from))
}

/// From service to response: the generator's share of the difference is unknown.
fn interval(name: &str, service: &Histogram<u64>, response: &Histogram<u64>) -> Text {
    let cells = QUANTILES.iter().map(|(_, quantile)| match (point(service, *quantile), point(response, *quantile)) {
        (low, high) if low == high => high,
        (low, high) => format!("{low}-{high}"),
    });
    LATENCY.line(name, cells.chain([show_us(response.max() as f64)]).map(Text::from))
}

fn point(histogram: &Histogram<u64>, quantile: f64) -> String {
    if !is_told(histogram.len(), quantile) {
        return "-".to_owned();
    }
    show_us(histogram.value_at_quantile(quantile) as f64)
}

fn throughput(entry: &Entry<'_>, trial: &Trial, load: &Loaded) -> Text {
    let rate = |window: &Window| format!("{}/s", show_count(window.rate_per_sec()));
    let none = [const { Vec::new() }; 2];
    let rates = trial.peak.as_ref().map_or(&none, |peak| &peak.rates_per_sec);
    let of_whom = || owner(&recording::row(entry), rates);
    let achieved = match (&entry.plan.load, &trial.peak) {
        (Load::Closed { .. }, _) => format!("{} {}", rate(&load.window), of_whom()),
        (Load::Open { .. }, None) => format!("{} achieved", rate(&load.window)),
        (Load::Open { .. }, Some(peak)) => {
            format!("{} achieved; closed loop {} {}", rate(&load.window), rate(&peak.plain), of_whom())
        }
    };
    wrapped(&format!("throughput  {achieved}").into(), 12).with(counts(entry.plan, trial))
}

/// What the server does by itself, or why that is not known.
fn drain(trial: &Trial) -> Text {
    let Some(drain) = &trial.drain else { return Text::default() };
    match (drain.rate_per_sec(), &drain.reason) {
        (Some(rate), _) => Text::from(format!(
            "drain       {}/s ({} messages to a stopped server, median of {} bursts)\n",
            show_count(rate),
            drain.connections,
            drain.rates_per_sec.len()
        )),
        (None, Some(reason)) => wrapped(&format!("drain       none: {}", plain(reason)).into(), 12),
        (None, None) => Text::from("drain       none: too few bursts\n"),
    }
}

/// The counts of the load window, and the troubles of the others: a line per window.
fn counts(plan: &Plan, trial: &Trial) -> Text {
    let mut text = Text::default();
    for (name, window) in trial.windows() {
        let counts = &window.tally.counts;
        let load = name == "load";
        let closed = name == "peak" || (name != "drain" && matches!(plan.load, Load::Closed { .. }));
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
        // In a closed loop as many messages as its depth are in flight at the end; only those of the load get a line.
        if items.is_empty() || (closed && !load && counts.unanswered > 0 && items.len() == 1) {
            continue;
        }
        if load {
            items.splice(0..0, [format!("{} sent", counts.sent), format!("{} echoed", counts.echoed)]);
        }
        text.push(listed(if load { "counts" } else { name }, &items));
    }
    text
}

/// The misbehaving clients, and the latency of the others without them.
fn misbehaving(plan: &Plan, trial: &Trial, load: &Loaded) -> Text {
    if plan.cohorts.is_empty() {
        return Text::default();
    }
    let mut text = Text::default();
    if let Some(undisturbed) = &trial.undisturbed {
        text.push(points("undisturbed", &undisturbed.window.tally.response));
    }
    let requested = |kind| match kind {
        CohortKind::SlowReader => (f64::from(plan.cohorts.slow_readers), "slow readers"),
        CohortKind::Churn => (plan.cohorts.churn_per_sec, "connections/s"),
        CohortKind::Flooder => (f64::from(plan.cohorts.flooders), "flooders"),
    };
    for kind in CohortKind::ALL {
        let (count, name) = requested(kind);
        let tally = &load.window.cohorts[kind as usize];
        if count > 0.0 {
            let count = show_count(count);
            let opened = (kind == CohortKind::Churn).then(|| format!("{count} {name}: {} opened", tally.opened));
            let sent = format!("{} messages sent", tally.sent);
            let mut items = match opened {
                Some(opened) => vec![opened, sent],
                None => vec![format!("{count} {name}: {sent}")],
            };
            items.extend([
                format!("{} echoed", tally.echoed),
                format!("{} wrong", tally.wrong),
                format!("{} closed by the server", tally.closed),
            ]);
            items.extend((tally.short > 0).then(|| format!("{} not connected by this host", tally.short)));
            text.push(listed("beside", &items));
        }
    }
    text
}

fn generator(entry: &Entry<'_>, load: &Loaded) -> String {
    let busy = busy_share(entry.plan, load) * 100.0;
    let ceiling = entry.conditions.share_of_ceiling(entry.plan).zip(entry.conditions.ceiling_per_sec);
    let ceiling = ceiling.map_or_else(String::new, |(share, ceiling)| {
        format!("; the load is {:.0} % of its ceiling ({}/s)", share * 100.0, show_count(ceiling))
    });
    let waits = entry.receive_lags.map_or_else(String::new, |lags| {
        let at = |quantile| point(lags, quantile);
        let max = show_us(lags.max() as f64);
        format!("            echoes wait to be read: p50 {} us, p99 {}, max {max}\n", at(0.5), at(0.99))
    });
    format!("generator   {busy:.0} % busy{ceiling}\n{waits}")
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
    let waited = usage.run_delay_ns.map_or_else(String::new, |delay_ns| {
        format!("            run delay {:.2} % of the time\n", delay_ns as f64 * 1e2 / load.window.span_ns as f64)
    });
    format!("server      {cpu} us CPU{wakeups}{calls} per message{spinning}\n{waited}")
}

fn idle(trial: &Trial) -> String {
    let Some((idle, usage)) = trial.idle.as_ref().and_then(|idle| Some((idle, idle.server.as_ref()?))) else {
        return String::new();
    };
    let seconds = usage.at_ns as f64 / 1e9;
    // A slope, as in a comparison: less what there was in the first part.
    let (first_wakeups, first_ticks) = idle.part.map_or((0, 0), |part| (part.wakeups, part.ticks));
    let per_tick = match (usage.voluntary_switches, idle.ticks) {
        (Some(count), Some(ticks)) if ticks > first_ticks => {
            let slope = count.saturating_sub(first_wakeups) as f64 / (ticks - first_ticks) as f64;
            format!(", {slope:.1} wake-ups per tick")
        }
        (Some(count), _) => format!(", {:.1} wake-ups/s", count as f64 / seconds),
        (None, _) => String::new(),
    };
    let name = if trial.load.is_some() { "" } else { "server" };
    format!("{name:<12}idle: {:.0} us CPU per second{per_tick}\n", usage.cpu_ns as f64 / 1e3 / seconds)
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
