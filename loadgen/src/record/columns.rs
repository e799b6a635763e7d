//! The columns of trials.csv, which are the keys of `--json`. Their meaning is in results/README.md.

use hdrhistogram::Histogram;
pub use serde_json::Value;

use super::{environment::Build, kinds::kind, origin};
use crate::{
    engine::{Tick, Window, tally::Tally},
    measure::{
        trial::{Loaded, Surroundings, Trial},
        validity::{Conditions, Verdict, busy_share},
    },
    plan::{
        Kind, Load, Plan,
        units::{recorded_ms, recorded_rate, show_payloads},
    },
    stats::pace::{drift, jitter},
    text::plain,
};

/// Raised when the meaning of a column changes; columns are added and never renamed.
pub(super) const SCHEMA_VERSION: u64 = 1;

/// One trial with its place in the session.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Counted from 1 over the session.
    pub trial_id: u64,
    /// Which of several loads of a session it belongs to; `None` if there is only one.
    pub cell: Option<&'a str>,
    /// Counted from 1 in each cell; every arm runs once in a block.
    pub block: u64,
    /// Counted from 1: a block of which a trial was invalid is run again.
    pub attempt: u64,
    /// Place within the block, counted from 1.
    pub order_in_block: u64,
    /// The label under which it is compared: the server's name, or `mio#2` for a second one.
    pub arm: &'a str,
    /// The server's name, if it is one of this project.
    pub server: Option<&'a str>,
    /// `server` or `address`.
    pub target_kind: &'a str,
    /// Bytes that the environment of the server was padded by.
    pub padding_bytes: u64,
    /// What was to be measured.
    pub plan: &'a Plan,
    /// Under which conditions.
    pub conditions: &'a Conditions,
    /// System calls of the server for each message, from a trial of its own.
    pub syscalls_per_message: Option<f64>,
    /// What was measured, and the judgement on it; or why there is nothing.
    pub measured: Result<(&'a Trial, &'a Verdict), &'a str>,
}

/// A row: every column in its order. Null is unknown or not measured, never 0.
pub type Row = Vec<(String, Value)>;

/// The row of a trial.
pub fn row(session_id: &str, build: &Build, entry: &Entry<'_>) -> Row {
    let mut row = Columns(Vec::with_capacity(160));
    let trial = entry.measured.ok().map(|(trial, _)| trial);
    identity(&mut row, session_id, build, entry, trial);
    config(&mut row, entry.plan);
    verdict(&mut row, entry);
    counts(&mut row, entry.plan, trial);
    rates(&mut row, entry, trial);
    latencies(&mut row, trial);
    server(&mut row, trial);
    generator(&mut row, entry.plan, trial);
    beyond(&mut row, entry, trial);
    cohorts(&mut row, entry.plan, trial);
    row.put("cell", entry.cell);
    row.put("environment_padding_bytes", entry.padding_bytes);
    ticks(&mut row, entry.plan, trial);
    let unanswered = |trial: &Trial| trial.tallies().map(|tally| tally.counts.unanswered).sum::<u64>();
    row.put("unanswered_count", trial.map(unanswered));
    row.put("short_count", trial.map(Trial::short_count));
    // What only a session knows, and only in the end, is filled in by it.
    row.put("started_after_ms", Value::Null);
    row.put("counted", Value::Null);
    row.0
}

struct Columns(Row);

impl Columns {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        debug_assert!(kind(name).takes(&value), "{name} is read as another type than {value}");
        self.0.push((name.to_owned(), value));
    }
}

fn identity(row: &mut Columns, session_id: &str, build: &Build, entry: &Entry<'_>, trial: Option<&Trial>) {
    row.put("schema_version", SCHEMA_VERSION);
    row.put("session_id", session_id);
    row.put("trial_id", entry.trial_id);
    row.put("block", entry.block);
    row.put("order_in_block", entry.order_in_block);
    row.put("arm", entry.arm);
    row.put("server", entry.server);
    row.put("target_kind", entry.target_kind);
    row.put("started_at_unix_ms", trial.map(|trial| trial.started_at_unix_ms));
    row.put("git_revision", build.git_revision.clone());
    row.put("debug_build", build.debug);
}

fn config(row: &mut Columns, plan: &Plan) {
    let (mode, arrivals, depth, rate) = match &plan.load {
        Load::Open { rate, arrivals } => {
            ("open", Some(arrivals.name()), None, Some(recorded_rate(rate.mean_per_sec())))
        }
        Load::Closed { depth } => ("closed", None, Some(*depth), None),
    };
    let (idle, _) = plan.idle_ticks();
    row.put("mode", mode);
    row.put("arrivals", arrivals);
    row.put("pacing", plan.load_pacing().name());
    row.put("placement", plan.placement.kind.name());
    row.put("seed", plan.seed);
    row.put("connections", plan.connections);
    row.put("depth", depth);
    row.put("payload_bytes", plan.payloads.mean_bytes().round() as u64);
    row.put("rate_offered_per_sec", rate);
    row.put("status_interval_ms", plan.status_interval.map(recorded_ms));
    row.put("nodelay", plan.nodelay);
    row.put("congestion_control", plan.congestion.as_str());
    row.put("idle_ms", recorded_ms(idle));
    row.put("warmup_ms", recorded_ms(plan.windows.warmup));
    row.put("load_ms", recorded_ms(plan.windows.load));
    row.put("peak_ms", recorded_ms(plan.windows.peak));
    row.put("server_cpus", list(&plan.placement.server_cpus));
    row.put("loadgen_cpus", list(&plan.placement.loadgen_cpus));
    row.put("loadgen_threads", plan.threads);
    row.put("server_workers", plan.placement.server_cpus.len());
}

fn verdict(row: &mut Columns, entry: &Entry<'_>) {
    let verdict = entry.measured.ok().map(|(_, verdict)| verdict);
    let problem = entry.measured.map_or_else(Some, |(trial, _)| trial.problem.as_deref());
    row.put("valid", verdict.map_or("invalid", |verdict| verdict.validity.name()));
    row.put("invalid_reasons", verdict.map_or_else(|| "nothing was measured".to_owned(), |it| it.reasons.join("; ")));
    row.put("flags", verdict.map(|verdict| verdict.flags.join("; ")));
    row.put("outcome", verdict.map_or("unclear", |verdict| verdict.outcome.name()));
    row.put("bound_by", verdict.and_then(|verdict| verdict.bound_by));
    // In the words of others, who may say where they lie and write more than text.
    row.put("error", problem.map(|problem| origin::without_home(plain(problem).into())));
}

fn counts(row: &mut Columns, plan: &Plan, trial: Option<&Trial>) {
    let load = tally(trial.and_then(|trial| trial.load.as_ref())).map(|tally| &tally.counts);
    let open = matches!(plan.load, Load::Open { .. });
    let counters = trial.and_then(|trial| trial.counters.as_ref());
    // Whatever went wrong counts wherever it happened.
    let all = |count: fn(&Tally) -> u64| trial.map(|trial| trial.tallies().map(count).sum::<u64>());
    row.put("scheduled_count", load.filter(|_| open).map(|counts| counts.scheduled));
    row.put("sent_count", load.map(|counts| counts.sent));
    row.put("echoed_count", load.map(|counts| counts.echoed));
    row.put("lost_count", all(|tally| tally.counts.lost));
    row.put("corrupt_count", all(|tally| tally.counts.corrupt));
    row.put("echo_duplicate_count", all(|tally| tally.counts.duplicate));
    row.put("echo_reordered_count", all(|tally| tally.counts.reordered));
    row.put("reset_count", all(|tally| tally.counts.reset));
    row.put("connect_failed_count", all(|tally| tally.counts.connect_failed));
    row.put("status_count", load.map(|counts| counts.statuses));
    row.put("status_skipped_count", counters.map(|counters| counters.ticks_skipped));
    row.put("status_replaced_count", counters.map(|counters| counters.statuses_replaced));
    row.put("status_missed_count", all(|tally| tally.counts.statuses_missed));
    row.put("status_duplicate_count", all(|tally| tally.counts.statuses_duplicate));
    row.put("status_reordered_count", all(|tally| tally.counts.statuses_reordered));
    row.put("ticks_idle_count", trial.and_then(|trial| trial.idle.as_ref()?.ticks));
}

fn rates(row: &mut Columns, entry: &Entry<'_>, trial: Option<&Trial>) {
    let rate = |loaded: Option<&Loaded>| {
        let window = &loaded?.window;
        let per_sec = window.tally.counts.echoed_in_time as f64 * 1e9 / window.planned_ns as f64;
        Some(recorded_rate(per_sec))
    };
    row.put("rate_achieved_per_sec", rate(trial.and_then(|trial| trial.load.as_ref())));
    row.put("peak_rate_per_sec", rate(trial.and_then(|trial| trial.peak.as_ref())));
    let headroom = entry.conditions.share_of_ceiling(entry.plan).map(|share| ppm((1.0 - share).max(0.0)));
    row.put("headroom_ppm", headroom);
}

fn latencies(row: &mut Columns, trial: Option<&Trial>) {
    let load = tally(trial.and_then(|trial| trial.load.as_ref()));
    latency(row, "response_ns", load.map(|tally| &tally.response));
    latency(row, "service_ns", load.map(|tally| &tally.service));
    latency(row, "send_lag_ns", load.map(|tally| &tally.send_lag));
    latency(row, "response_in_fanout_ns", load.map(|tally| &tally.response_in_fanout));
    latency(row, "response_outside_fanout_ns", load.map(|tally| &tally.response_outside_fanout));
    latency(row, "status_emit_lag_ns", load.map(|tally| &tally.status_emit_lag));
    latency(row, "status_delivery_ns", load.map(|tally| &tally.status_delivery));
    latency(row, "status_spread_ns", load.map(|tally| &tally.status_spread));
    latency(row, "connect_ns", trial.map(|trial| &trial.ramp.tally.connect));
}

fn latency(row: &mut Columns, metric: &str, histogram: Option<&Histogram<u64>>) {
    let histogram = histogram.filter(|histogram| !histogram.is_empty());
    let mut put = |statistic: &str, value: Option<u64>| row.put(&format!("{metric}_{statistic}"), value);
    put("min", histogram.map(Histogram::min));
    put("mean", histogram.map(|histogram| histogram.mean().round() as u64));
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)] {
        put(name, histogram.map(|histogram| histogram.value_at_quantile(quantile)));
    }
    put("max", histogram.map(Histogram::max));
}

/// Of what is not measured for its own sake.
fn brief_latency(row: &mut Columns, metric: &str, histogram: Option<&Histogram<u64>>) {
    let histogram = histogram.filter(|histogram| !histogram.is_empty());
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        row.put(&format!("{metric}_{name}"), histogram.map(|histogram| histogram.value_at_quantile(quantile)));
    }
}

fn server(row: &mut Columns, trial: Option<&Trial>) {
    let idle = trial.and_then(|trial| trial.idle.as_ref());
    let idle_usage = idle.and_then(|idle| idle.server.as_ref());
    let load = trial.and_then(|trial| trial.load.as_ref()?.server.as_ref());
    let peak = trial.and_then(|trial| trial.peak.as_ref()?.server.as_ref());
    let memory = idle.and_then(|idle| idle.memory);
    row.put("server_cpu_ns_idle", idle_usage.map(|usage| usage.cpu_ns));
    row.put("server_cpu_ns_load", load.map(|usage| usage.cpu_ns));
    row.put("server_cpu_ns_peak", peak.map(|usage| usage.cpu_ns));
    let busy = |around: Option<&Surroundings>| around.and_then(|around| around.server_cpus_busy_ns);
    row.put("server_cpus_busy_ns_idle", busy(idle.map(|idle| &idle.surroundings)));
    row.put("server_cpus_busy_ns_load", busy(surroundings(trial)));
    row.put("server_wakeups_idle", idle_usage.and_then(|usage| usage.voluntary_switches));
    row.put("server_wakeups_load", load.and_then(|usage| usage.voluntary_switches));
    row.put("server_involuntary_switches_load", load.and_then(|usage| usage.involuntary_switches));
    row.put("server_run_delay_ns_load", load.and_then(|usage| usage.run_delay_ns));
    row.put("server_threads_max", trial.and_then(|trial| trial.server_threads_max));
    row.put("server_rss_bytes_idle", memory.and_then(|memory| memory.rss_bytes));
    row.put("server_pss_bytes_idle", memory.and_then(|memory| memory.pss_bytes));
    row.put("kernel_stack_bytes_delta", trial.and_then(|trial| trial.kernel_memory.stacks_bytes));
    row.put("slab_bytes_delta", trial.and_then(|trial| trial.kernel_memory.slab_bytes));
}

fn generator(row: &mut Columns, plan: &Plan, trial: Option<&Trial>) {
    let load = trial.and_then(|trial| trial.load.as_ref());
    let around = surroundings(trial);
    row.put("loadgen_cpu_ns_load", load.map(|load| load.window.usage.cpu_ns));
    row.put("loadgen_busy_ppm", load.map(|load| ppm(busy_share(plan, load))));
    row.put("loadgen_run_delay_ns", load.and_then(|load| load.window.usage.run_delay_ns));
    row.put("machine_busy_ns_load", around.and_then(|around| around.machine_busy_ns));
    row.put("steal_ns", around.and_then(|around| around.steal_ns));
    row.put("foreign_cpu_ns", around.and_then(|around| around.foreign_cpu_ns));
}

/// Columns that came later: they are added at the end, so that the place of the others stays.
fn beyond(row: &mut Columns, entry: &Entry<'_>, trial: Option<&Trial>) {
    let (plan, conditions) = (entry.plan, entry.conditions);
    let per_sec = |rate: Option<f64>| rate.map(|rate| rate.round() as u64);
    row.put("attempt", entry.attempt);
    row.put(
        "rate_profile",
        match &plan.load {
            Load::Open { rate, .. } => Some(rate.to_string()),
            Load::Closed { .. } => None,
        },
    );
    row.put("payload_mix", show_payloads(&plan.payloads));
    row.put("source_addresses", plan.source_addresses);
    let idle = trial.and_then(|trial| trial.idle.as_ref()?.server.as_ref());
    row.put("idle_span_ns", idle.map(|usage| usage.at_ns));
    row.put("load_span_ns", trial.and_then(|trial| trial.load.as_ref()).map(|load| load.span_ns));
    row.put("under_way_ns", trial.and_then(|trial| Some(trial.load.as_ref()?.window.tally.counts.under_way_ns)));
    row.put("ceiling_rate_per_sec", per_sec(conditions.ceiling_per_sec));
    row.put("canary_rate_per_sec", per_sec(conditions.canary_per_sec));
    row.put("canary_best_rate_per_sec", per_sec(conditions.canary_best_per_sec));
    row.put("page_tables_bytes_delta", trial.and_then(|trial| trial.kernel_memory.page_tables_bytes));
    row.put("server_syscalls_per_1000_messages", entry.syscalls_per_message.map(|calls| (calls * 1e3).round() as u64));
}

fn cohorts(row: &mut Columns, plan: &Plan, trial: Option<&Trial>) {
    let load = trial.and_then(|trial| trial.load.as_ref()).filter(|_| !plan.cohorts.is_empty());
    let undisturbed = trial.and_then(|trial| trial.undisturbed.as_ref());
    row.put("slow_readers", plan.cohorts.slow_readers);
    row.put("churn_per_sec", recorded_rate(plan.cohorts.churn_per_sec));
    row.put("flooders", plan.cohorts.flooders);
    for kind in Kind::ALL {
        let name = kind.name();
        let tally = load.map(|load| &load.window.cohorts[kind as usize]);
        row.put(&format!("{name}_opened_count"), tally.map(|tally| tally.opened));
        row.put(&format!("{name}_sent_count"), tally.map(|tally| tally.sent));
        row.put(&format!("{name}_echoed_count"), tally.map(|tally| tally.echoed));
        row.put(&format!("{name}_status_count"), tally.map(|tally| tally.statuses));
        row.put(&format!("{name}_wrong_count"), tally.map(|tally| tally.wrong));
        row.put(&format!("{name}_closed_count"), tally.map(|tally| tally.closed));
        brief_latency(row, &format!("{name}_connect_ns"), tally.map(|tally| &tally.connect));
        brief_latency(row, &format!("{name}_service_ns"), tally.map(|tally| &tally.service));
    }
    latency(row, "response_undisturbed_ns", undisturbed.map(|loaded| &loaded.window.tally.response));
}

/// How well the server keeps to its schedule, idle and under load.
fn ticks(row: &mut Columns, plan: &Plan, trial: Option<&Trial>) {
    let idle = trial.and_then(|trial| trial.idle.as_ref()).map(|idle| &idle.window);
    let load = trial.and_then(|trial| trial.load.as_ref()).map(|load| &load.window);
    brief_latency(row, "status_emit_lag_idle_ns", idle.map(|window| &window.tally.status_emit_lag));
    for (name, window) in [("idle", idle), ("load", load)] {
        let emitted = window.map(|window| emissions(plan, window)).unwrap_or_default();
        row.put(&format!("tick_count_{name}"), window.map(|window| window.ticks.len()));
        row.put(&format!("tick_jitter_ns_{name}"), jitter(&emitted).map(|ns| ns.round() as u64));
        row.put(&format!("tick_drift_ppb_{name}"), drift(&emitted).map(|ratio| (ratio * 1e9).round() as i64));
    }
}

/// When each tick of a window was due by its number, from the first one on, and when it was emitted, in nanoseconds.
fn emissions(plan: &Plan, window: &Window) -> Vec<(f64, f64)> {
    let interval_ns = plan.status_interval.unwrap_or_default().as_nanos() as f64;
    let Some(first) = window.ticks.first().filter(|_| interval_ns > 0.0) else { return Vec::new() };
    let emission = |tick: &Tick| {
        let due_ns = tick.number.saturating_sub(first.number) as f64 * interval_ns;
        (due_ns, tick.emit_ns as f64 - first.emit_ns as f64)
    };
    window.ticks.iter().map(emission).collect()
}

fn surroundings(trial: Option<&Trial>) -> Option<&Surroundings> {
    Some(&trial?.load.as_ref()?.surroundings)
}

fn ppm(share: f64) -> u64 {
    (share * 1e6).round() as u64
}

fn tally(loaded: Option<&Loaded>) -> Option<&Tally> {
    loaded.map(|loaded| &loaded.window.tally)
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}
