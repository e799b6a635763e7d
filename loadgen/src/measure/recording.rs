//! What is recorded of a trial.

pub(crate) mod hosts;

use std::time::Duration;

use hdrhistogram::Histogram;
use protocol::Counters;

use super::{
    trial::{HostActivity, Loaded, Peak, Trial, peak_length},
    validity::{Assessment, Conditions, busy_share},
};
use crate::{
    engine::{CohortTally, ReceivedTick, Window, tally::Tally},
    plan::{CohortKind, Load, Plan},
    record::{
        BriefLatency, Distribution, Latency, Misbehaving, Mode, Outcome, Reason, ReasonKind, Recording, Row, Second,
        Series, Shape, TargetKind, Validity, recorded_rate, without_home,
    },
    stats::pace::{drift, jitter},
    text::plain,
};

/// One trial with its place in the session.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Counted from 1 over the session.
    pub(crate) trial_id: u64,
    /// Position in the session.
    pub(crate) place: Position<'a>,
    /// The label under which it is compared: the server's name, or `mio#2` for a second one.
    pub(crate) arm: &'a str,
    /// The server's name, if it is one of this project.
    pub(crate) server: Option<&'a str>,
    /// What was measured.
    pub(crate) target_kind: TargetKind,
    /// Bytes that the environment of the server was padded by.
    pub(crate) padding_bytes: u64,
    /// What was to be measured.
    pub(crate) plan: &'a Plan,
    /// Under which conditions.
    pub(crate) conditions: &'a Conditions,
    /// System calls of the server per message, from a trial of its own.
    pub(crate) syscalls_per_message: Option<f64>,
    /// Receive lags in nanoseconds, from a trial of its own.
    pub(crate) receive_lags: Option<&'a Histogram<u64>>,
    /// What was measured, and the assessment of it; or why there is nothing.
    pub(crate) measured: Result<(&'a Trial, &'a Assessment), &'a str>,
}

/// Where a trial stands in its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position<'a> {
    /// Which of several loads it belongs to; `None` if there is only one.
    pub(crate) cell: Option<&'a str>,
    /// Counted from 1 in each cell; every arm runs once per block.
    pub(crate) block: u64,
    /// Counted from 1: a block with an invalid trial is run again.
    pub(crate) attempt: u64,
    /// Place within the block, counted from 1.
    pub(crate) order_in_block: u64,
}

impl Position<'_> {
    /// The place of a trial that is a block by itself.
    pub(crate) const ALONE: Self = Self { cell: None, block: 1, attempt: 1, order_in_block: 1 };
}

/// What a session adds for a trial: its row and its distributions.
pub(crate) fn recording<'a>(entry: &Entry<'a>) -> Recording<'a> {
    let trial = entry.measured.ok().map(|(trial, _)| trial);
    let load = trial.and_then(|trial| trial.load.as_ref());
    Recording {
        row: row(entry),
        started_at_ns: trial.map(|trial| trial.started_at_ns),
        series: load.map(|load| series(&load.window.tally, &load.window.cohorts, length(load))),
        hosts: match (load, &entry.plan.hosts) {
            (Some(load), Some(generators)) => hosts::recordings(&load.window, generators, length(load)),
            _ => Vec::new(),
        },
    }
}

fn length(load: &Loaded) -> Duration {
    Duration::from_nanos(load.window.span_ns)
}

/// The row of a trial, but for what only a session or a build knows.
pub(crate) fn row(entry: &Entry<'_>) -> Row {
    let mut row = Row {
        trial_id: entry.trial_id,
        cell: entry.place.cell.map(str::to_owned),
        block: entry.place.block,
        attempt: entry.place.attempt,
        order_in_block: entry.place.order_in_block,
        arm: entry.arm.to_owned(),
        server: entry.server.map(str::to_owned),
        target_kind: Some(entry.target_kind),
        environment_padding_bytes: Some(entry.padding_bytes),
        ..Row::default()
    };
    configuration(&mut row, entry.plan);
    assessment(&mut row, entry);
    conditions(&mut row, entry);
    if let Ok((trial, _)) = entry.measured {
        whole_trial(&mut row, trial);
        idle_window(&mut row, entry.plan, trial);
        if let Some(load) = &trial.load {
            load_window(&mut row, entry.plan, load);
        }
        drain_window(&mut row, trial);
        if let Some(peak) = &trial.peak {
            throughput(&mut row, entry.plan, peak);
        }
        row.response_undisturbed_ns = response(trial.undisturbed.as_ref());
    }
    row
}

fn configuration(row: &mut Row, plan: &Plan) {
    let ms = |duration: Duration| duration.as_nanos() as f64 / 1e6;
    match &plan.load {
        Load::Open { rate, arrivals } => {
            (row.mode, row.arrivals) = (Some(Mode::Open), Some(*arrivals));
            row.rate_offered_per_sec = Some(recorded_rate(rate.mean_per_sec()));
            row.rate_profile = Some(rate.to_string());
        }
        Load::Closed { depth } => (row.mode, row.depth) = (Some(Mode::Closed), Some(u64::from(*depth))),
    }
    row.pacing = Some(plan.load_pacing());
    row.placement = Some(plan.placement.kind);
    row.seed = Some(plan.seed);
    row.connections = Some(u64::from(plan.connections));
    row.payload_bytes = Some(plan.payloads.mean_bytes().round() as u64);
    row.payload_mix = Some(plan.payloads.to_string());
    row.status_interval_ms = plan.status_interval.map(ms);
    row.nodelay = Some(plan.nodelay);
    row.congestion_control = Some(plan.congestion.clone());
    row.idle_ms = Some(ms(plan.idle_ticks().0));
    row.warmup_ms = Some(ms(plan.windows.warmup));
    row.load_ms = Some(ms(plan.windows.load));
    row.peak_ms = Some(ms(peak_length(plan)));
    row.loadgen_delay_ns = Some(plan.generator_delay.as_nanos() as u64);
    row.server_cpus = Some(list(&plan.placement.server_cpus));
    row.loadgen_cpus = Some(list(&plan.placement.loadgen_cpus));
    row.loadgen_threads = Some(u64::from(plan.threads));
    row.server_workers = Some(plan.placement.server_cpus.len() as u64);
    row.source_addresses = Some(u64::from(plan.source_addresses));
    row.slow_readers = Some(u64::from(plan.cohorts.slow_readers));
    row.churn_per_sec = Some(recorded_rate(plan.cohorts.churn_per_sec));
    row.flooders = Some(u64::from(plan.cohorts.flooders));
    row.work = (!plan.service.work.is_none()).then(|| plan.service.work.to_string());
    row.handshake_ms = plan.service.handshake.map(ms);
    row.idle_timeout_ms = plan.service.idle_timeout.map(ms);
}

fn assessment(row: &mut Row, entry: &Entry<'_>) {
    let problem = match entry.measured {
        Ok((trial, assessment)) => {
            (row.validity, row.outcome) = (assessment.validity, assessment.outcome);
            row.invalid_reasons.clone_from(&assessment.reasons);
            row.flags.clone_from(&assessment.flags);
            row.host_shortage = trial.shortage().map(str::to_owned);
            let no_drain = trial.drain.as_ref().filter(|drain| drain.rate_per_sec().is_none());
            trial.problem.as_deref().or_else(|| no_drain?.reason.as_deref())
        }
        Err(problem) => {
            (row.validity, row.outcome) = (Validity::Invalid, Outcome::Unclear);
            row.invalid_reasons = vec![Reason::from(ReasonKind::NothingMeasured)];
            Some(problem)
        }
    };
    // In the words of others, who may say where they lie and write more than text.
    row.error = problem.map(|problem| without_home(&plain(problem)));
}

fn conditions(row: &mut Row, entry: &Entry<'_>) {
    let whole = |rate: Option<f64>| rate.map(|rate| rate.round() as u64);
    let conditions = entry.conditions;
    row.ceiling_rate_per_sec = whole(conditions.ceiling_per_sec);
    row.headroom_ppm = conditions.share_of_ceiling(entry.plan).map(|share| ppm((1.0 - share).max(0.0)));
    row.drift_probe_rate_per_sec = whole(conditions.drift_probe_per_sec);
    row.receive_lag_ns = entry.receive_lags.map_or_else(BriefLatency::default, BriefLatency::of);
    row.drift_probe_after_rate_per_sec = whole(conditions.drift_probe_after_per_sec);
    row.drift_probe_median_rate_per_sec = whole(conditions.drift_probe_median_per_sec);
    row.server_syscalls_per_1000_messages = entry.syscalls_per_message.map(|calls| (calls * 1e3).round() as u64);
}

/// What counts wherever in the trial it happened.
fn whole_trial(row: &mut Row, trial: &Trial) {
    let sum = |count: fn(&Tally) -> u64| Some(trial.tallies().map(count).sum());
    row.started_at_unix_ms = Some(trial.started_at_unix_ms);
    row.lost_count = sum(|tally| tally.counts.lost);
    row.unanswered_count = sum(|tally| tally.counts.unanswered);
    row.corrupt_count = sum(|tally| tally.counts.corrupt);
    row.echo_duplicate_count = sum(|tally| tally.counts.duplicate);
    row.echo_reordered_count = sum(|tally| tally.counts.reordered);
    row.reset_count = sum(|tally| tally.counts.reset);
    row.connect_failed_count = sum(|tally| tally.counts.connect_failed);
    row.host_shortage_count = Some(trial.short_count());
    row.status_missed_count = sum(|tally| tally.counts.statuses_missed);
    row.status_duplicate_count = sum(|tally| tally.counts.statuses_duplicate);
    row.status_reordered_count = sum(|tally| tally.counts.statuses_reordered);
    row.status_skipped_count = trial.counters.as_ref().map(|counters| counters.ticks_skipped);
    row.status_replaced_count = trial.counters.as_ref().map(|counters| counters.statuses_replaced);
    let counted = |count: fn(&Counters) -> u64| trial.counters.as_ref().map(count);
    row.handshakes_failed_count = counted(|counters| counters.handshakes_failed);
    row.handshakes_timed_out_count = counted(|counters| counters.handshakes_timed_out);
    row.idle_timeout_count = counted(|counters| counters.idle_timeouts);
    row.connect_ns = Latency::of(&trial.ramp.tally.connect);
    row.server_threads_max = trial.server_threads_max;
    row.kernel_stack_bytes_delta = trial.kernel_memory.stacks_bytes;
    row.slab_bytes_delta = trial.kernel_memory.slab_bytes;
    row.page_tables_bytes_delta = trial.kernel_memory.page_tables_bytes;
}

fn idle_window(row: &mut Row, plan: &Plan, trial: &Trial) {
    let Some(idle) = &trial.idle else { return };
    row.ticks_idle_count = idle.ticks;
    row.status_count_idle = Some(idle.window.tally.counts.statuses);
    row.status_emit_lag_idle_ns = BriefLatency::of(&idle.window.tally.status_emit_lag);
    (row.tick_count_idle, row.tick_jitter_ns_idle, row.tick_drift_ppb_idle) = pace(plan, &idle.window);
    row.server_cpus_busy_ns_idle = idle.surroundings.server_cpus_busy_ns;
    row.server_rss_bytes_idle = idle.memory.and_then(|memory| memory.rss_bytes);
    row.server_pss_bytes_idle = idle.memory.and_then(|memory| memory.pss_bytes);
    row.ticks_idle_part_count = idle.part.map(|part| part.ticks);
    row.server_wakeups_idle_part = idle.part.map(|part| part.wakeups);
    if let Some(usage) = &idle.server {
        row.idle_span_ns = Some(usage.at_ns);
        row.server_cpu_ns_idle = Some(usage.cpu_ns);
        row.server_wakeups_idle = usage.voluntary_switches;
    }
}

/// All or nothing: a few bursts are no figure.
fn drain_window(row: &mut Row, trial: &Trial) {
    let Some((drain, rate)) = trial.drain.as_ref().and_then(|drain| Some((drain, drain.rate_per_sec()?))) else {
        return;
    };
    row.drain_rate_per_sec = Some(recorded_rate(rate));
    row.drain_bursts = Some(drain.rates_per_sec.len() as u64);
    row.drain_messages = Some(u64::from(drain.connections));
}

fn load_window(row: &mut Row, plan: &Plan, load: &Loaded) {
    let (window, tally, counts) = (&load.window, &load.window.tally, &load.window.tally.counts);
    row.scheduled_count = matches!(plan.load, Load::Open { .. }).then_some(counts.scheduled);
    row.sent_count = Some(counts.sent);
    row.echoed_count = Some(counts.echoed);
    row.status_count = Some(counts.statuses);
    row.rate_achieved_per_sec = Some(rate(window));
    row.in_flight_ns = Some(counts.under_way_ns);
    row.response_ns = Latency::of(&tally.response);
    row.service_ns = Latency::of(&tally.service);
    row.response_shape_ns = Shape::of(&tally.response);
    row.service_shape_ns = Shape::of(&tally.service);
    row.send_lag_ns = Latency::of(&tally.send_lag);
    row.response_in_fanout_ns = Latency::of(&tally.response_in_fanout);
    row.response_outside_fanout_ns = Latency::of(&tally.response_outside_fanout);
    row.response_light_ns = Latency::of(&tally.response_light);
    row.status_emit_lag_ns = Latency::of(&tally.status_emit_lag);
    row.status_delivery_ns = Latency::of(&tally.status_delivery);
    row.status_spread_ns = Latency::of(&tally.status_spread);
    (row.tick_count_load, row.tick_jitter_ns_load, row.tick_drift_ppb_load) = pace(plan, window);
    row.load_span_ns = Some(load.window.span_ns);
    if let Some(usage) = &load.server {
        row.server_cpu_ns_load = Some(usage.cpu_ns);
        row.server_wakeups_load = usage.voluntary_switches;
        row.server_involuntary_switches_load = usage.involuntary_switches;
        row.server_run_delay_ns_load = usage.run_delay_ns;
    }
    row.loadgen_cpu_ns_load = Some(window.usage.cpu_ns);
    row.loadgen_busy_ppm = Some(ppm(busy_share(plan, load)));
    row.loadgen_run_delay_ns = window.usage.run_delay_ns;
    host_activity(row, &load.surroundings);
    if !plan.cohorts.is_empty() {
        let of = |kind: CohortKind| misbehaving(&window.cohorts[kind as usize]);
        row.welcome_ns = Latency::of(&window.cohorts[CohortKind::Churn as usize].welcome);
        (row.slow_reader, row.churn, row.flooder) =
            (of(CohortKind::SlowReader), of(CohortKind::Churn), of(CohortKind::Flooder));
    }
}

fn host_activity(row: &mut Row, activity: &HostActivity) {
    row.server_cpus_busy_ns_load = activity.server_cpus_busy_ns;
    row.machine_busy_ns_load = activity.machine_busy_ns;
    row.steal_ns = activity.steal_ns;
    row.foreign_cpu_ns = activity.foreign_cpu_ns;
    row.foreign_cpu_ns_elsewhere = activity.foreign_cpu_ns_elsewhere;
}

fn misbehaving(tally: &CohortTally) -> Misbehaving {
    Misbehaving {
        opened_count: Some(tally.opened),
        sent_count: Some(tally.sent),
        echoed_count: Some(tally.echoed),
        status_count: Some(tally.statuses),
        wrong_count: Some(tally.wrong),
        closed_count: Some(tally.closed),
        connect_ns: BriefLatency::of(&tally.connect),
        service_ns: BriefLatency::of(&tally.service),
    }
}

fn response(loaded: Option<&Loaded>) -> Latency {
    loaded.map_or_else(Latency::default, |loaded| Latency::of(&loaded.window.tally.response))
}

/// The rates of the closed loop, and the delay that makes the difference.
fn throughput(row: &mut Row, plan: &Plan, peak: &Peak) {
    row.peak_rate_per_sec = Some(rate(&peak.plain));
    row.peak_rate_delayed_per_sec = peak.delayed.as_ref().map(rate);
    row.peak_delay_ns = Some(plan.peak_delay.as_nanos() as u64);
    row.server_cpu_ns_peak = peak.server.as_ref().map(|usage| usage.cpu_ns);
}

/// Echoes per second of a window.
fn rate(window: &Window) -> f64 {
    recorded_rate(window.rate_per_sec())
}

/// How well the server kept to its schedule in a window: number of ticks, their jitter in nanoseconds and their drift in
/// parts per billion.
fn pace(plan: &Plan, window: &Window) -> (Option<u64>, Option<u64>, Option<i64>) {
    let emitted = emissions(plan, window);
    let jitter_ns = jitter(&emitted).map(|ns| ns.round() as u64);
    let drift_ppb = drift(&emitted).map(|ratio| (ratio * 1e9).round() as i64);
    (Some(window.ticks.len() as u64), jitter_ns, drift_ppb)
}

/// When each tick of a window was due by its number, from the first one on, and when it was emitted, in nanoseconds.
fn emissions(plan: &Plan, window: &Window) -> Vec<(f64, f64)> {
    let interval_ns = plan.status_interval.unwrap_or_default().as_nanos() as f64;
    let Some(first) = window.ticks.first().filter(|_| interval_ns > 0.0) else { return Vec::new() };
    let emission = |tick: &ReceivedTick| {
        let due_ns = tick.number.saturating_sub(first.number) as f64 * interval_ns;
        (due_ns, tick.emit_ns as f64 - first.emit_ns as f64)
    };
    window.ticks.iter().map(emission).collect()
}

/// The distributions of a load window that lasted so long.
fn series<'a>(tally: &'a Tally, cohorts: &'a [CohortTally; 3], length: Duration) -> Series<'a> {
    let measured = [
        ("response", &tally.response, true),
        ("service", &tally.service, false),
        ("send_lag", &tally.send_lag, true),
        ("response_in_fanout", &tally.response_in_fanout, false),
        ("response_outside_fanout", &tally.response_outside_fanout, false),
        ("status_emit_lag", &tally.status_emit_lag, false),
        ("status_delivery", &tally.status_delivery, false),
        ("status_spread", &tally.status_spread, false),
        ("response_light", &tally.response_light, true),
        ("welcome", &cohorts[CohortKind::Churn as usize].welcome, true),
    ];
    let measured =
        measured.map(|(metric, histogram, is_fine)| Distribution { metric: metric.to_owned(), histogram, is_fine });
    let beside = CohortKind::ALL.into_iter().flat_map(|kind| {
        let tally = &cohorts[kind as usize];
        [("connect", &tally.connect), ("service", &tally.service)].map(|(metric, histogram)| Distribution {
            metric: format!("{}_{metric}", kind.name()),
            histogram,
            is_fine: false,
        })
    });
    let seconds = tally.seconds.iter().enumerate().flat_map(|(second, metrics)| {
        let metrics = [
            ("response", &metrics.response),
            ("service", &metrics.service),
            ("send_lag", &metrics.send_lag),
            ("status_delivery", &metrics.status_delivery),
        ];
        metrics.map(|(metric, histogram)| Second { second, metric, histogram })
    });
    let distributions = measured.into_iter().chain(beside);
    Series {
        distributions: distributions.filter(|distribution| !distribution.histogram.is_empty()).collect(),
        seconds: seconds.collect(),
        length,
    }
}

fn ppm(share: f64) -> u64 {
    (share * 1e6).round() as u64
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}
