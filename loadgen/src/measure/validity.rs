//! May a trial be believed? The gates look at the generator and the machine, never at the server's results.

use hdrhistogram::Histogram;

use super::trial::{HostActivity, Loaded, Trial};
use crate::{
    engine::{CLOCK_ERROR, tally::Counts},
    plan::{Caveat, Load, Pacing, Plan},
    record::{Gate, Outcome, Reason, ReasonKind, Validity},
};

/// Share of the slots whose turn did not come.
pub(crate) const SLOTS_MISSED: Gate = Gate { flag: 0.0, invalid: 0.001 };
/// 99th percentile of the send lag in nanoseconds when the generator spins.
pub(crate) const SEND_LAG_SPIN_NS: Gate = Gate { flag: 50e3, invalid: 1e6 };
/// The same when it waits for a timer.
pub(crate) const SEND_LAG_TIMER_NS: Gate = Gate { flag: 500e3, invalid: 5e6 };
/// Share of the time that the generator was runnable but did not run.
pub(crate) const RUN_DELAY: Gate = Gate { flag: 0.01, invalid: 0.05 };
/// Share of the time of the CPUs in use that the hypervisor gave to others.
pub(crate) const STEAL: Gate = Gate { flag: 0.005, invalid: 0.03 };
/// Share of the time that the generator's busiest thread had something to do, neither waiting nor spinning. It never makes
/// a trial invalid: a generator that is too busy to be on time shows it in its send lag.
pub(crate) const BUSY: Gate = Gate { flag: 0.6, invalid: f64::INFINITY };
/// Share of the time of the CPUs in use that neither the server nor the generator used. On two CPUs one of which spins,
/// nearly all of it falls on the server's, as twice the share of that one's time.
pub(crate) const FOREIGN_CPU: Gate = Gate { flag: 0.01, invalid: 0.03 };
/// Share of the time that the server was runnable but did not run, of one whose threads leave each other's CPUs alone. In
/// the recorded sessions p90 moves from 1.5 % on. (p99 does from 0.7 % on, which half of all trials have on a host whose
/// kernel has a daemon of its own: that p99 decides nothing there is what the control's power says.) It makes no trial
/// invalid, since it is judged of some servers only: blocks would be run again for the bad luck of those alone.
pub(crate) const SERVER_RUN_DELAY: Gate = Gate { flag: 0.015, invalid: f64::INFINITY };
/// How far the slower one of the drift probes before and after the block was below the session's median: such a block is
/// run again.
pub(crate) const DRIFT: Gate = Gate { flag: 0.15, invalid: 0.15 };
/// How far the messages under way are from rate times mean response (Little's law).
pub(crate) const LITTLES_LAW: Gate = Gate { flag: 0.02, invalid: 0.05 };
/// Share of the messages that a server may still owe shortly after the load: more is a backlog, the server saturated.
pub(crate) const BACKLOG: f64 = 0.01;

/// The median service time of one generator's host against another's, less 1.
pub(crate) const HOSTS_DIFFER: Gate = Gate { flag: 0.2, invalid: f64::INFINITY };

/// The conditions under which a trial was run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    /// The generator's ceiling in echoes per second.
    pub(crate) ceiling_per_sec: Option<f64>,
    /// The drift probe before the block, in echoes per second.
    pub(crate) drift_probe_per_sec: Option<f64>,
    /// The one after the block.
    pub(crate) drift_probe_after_per_sec: Option<f64>,
    /// The median of the session's probes when the block began.
    pub(crate) drift_probe_median_per_sec: Option<f64>,
}

impl Conditions {
    /// The load of a plan as a share of the ceiling, if both are known.
    pub(crate) fn share_of_ceiling(&self, plan: &Plan) -> Option<f64> {
        match &plan.load {
            Load::Open { rate, .. } => Some(rate.extremes_per_sec().1 / self.ceiling_per_sec?),
            Load::Closed { .. } => None,
        }
    }
}

/// The assessment of one trial.
#[derive(Clone, Debug)]
pub(crate) struct Assessment {
    /// Whether its figures may be believed.
    pub(crate) validity: Validity,
    /// Why not.
    pub(crate) reasons: Vec<Reason>,
    /// What to bear in mind.
    pub(crate) flags: Vec<Reason>,
    /// What the server made of the load.
    pub(crate) outcome: Outcome,
}

/// Assesses a trial.
pub(crate) fn assess(plan: &Plan, trial: &Trial, conditions: &Conditions) -> Assessment {
    let mut gates = Gates::default();
    gates.flags.extend(plan.flags.iter().map(|caveat| match caveat {
        Caveat::OneCpu => Reason::from(ReasonKind::OneCpu),
        Caveat::CpuQuota => ReasonKind::CpuQuota.into(),
        Caveat::SharedCore => ReasonKind::SharedCore.into(),
    }));
    if cfg!(debug_assertions) {
        gates.flags.push(ReasonKind::DebugBuild.into());
    }
    assess_drift(&mut gates, conditions);
    let outcome = outcome(plan, trial);
    match &trial.load {
        None => {
            if let Some(idle) = &trial.idle {
                assess_surroundings(&mut gates, plan, &idle.surroundings, plan.idle_ticks().0.as_nanos() as f64);
            }
        }
        Some(loaded) => {
            assess_hosts(&mut gates, loaded);
            assess_generator_time(&mut gates, plan, loaded);
            assess_server_time(&mut gates, plan, trial, loaded);
            assess_surroundings(&mut gates, plan, &loaded.surroundings, loaded.window.span_ns as f64);
            if let Load::Open { .. } = plan.load {
                assess_generator(&mut gates, plan, loaded);
                assess_accounting(&mut gates, outcome, loaded);
            }
            let counts = &loaded.window.tally.counts;
            gates.refuse(ReasonKind::OutOfRange, counts.out_of_range);
            if counts.statuses_out_of_range > 0 {
                gates.flags.push(Reason::of(ReasonKind::StatusClock, counts.statuses_out_of_range as f64));
            }
        }
    }
    gates.refuse(ReasonKind::HostShortage, trial.short_count());
    gates.refuse(ReasonKind::LateStart, trial.late_start_ns.unwrap_or(0));
    if trial.interrupted {
        gates.reasons.push(ReasonKind::Interrupted.into());
    }
    assess_ticks(&mut gates, plan, trial);
    let drain = trial.drain.as_ref().filter(|_| !trial.interrupted);
    if drain.is_some_and(|drain| drain.rate_per_sec().is_none()) {
        gates.flags.push(ReasonKind::NoDrain.into());
    }
    let validity = gates.validity();
    Assessment {
        validity,
        reasons: gates.reasons,
        flags: gates.flags,
        // By whose fault something was late or cut off in a spoiled trial is not known: the server is not blamed, but
        // for wrong bytes, which no generator and no host can be the cause of.
        outcome: match (validity, outcome) {
            (_, Outcome::Ok) => Outcome::Ok,
            (Validity::Invalid, _) if !has_wrong_bytes(trial) => Outcome::Unclear,
            (_, outcome) => outcome,
        },
    }
}

/// Every gate, for session.json.
pub(crate) fn gates() -> Vec<(&'static str, Gate)> {
    vec![
        ("slots_missed_share", SLOTS_MISSED),
        ("send_lag_p99_ns_spin", SEND_LAG_SPIN_NS),
        ("send_lag_p99_ns_timer", SEND_LAG_TIMER_NS),
        ("loadgen_run_delay_share", RUN_DELAY),
        ("steal_share", STEAL),
        ("loadgen_busy_share", BUSY),
        ("foreign_cpu_share", FOREIGN_CPU),
        ("server_run_delay_share", SERVER_RUN_DELAY),
        ("drift_probe_below_median_share", DRIFT),
        ("littles_law_deviation_share", LITTLES_LAW),
        ("hosts_service_p50_difference_share", HOSTS_DIFFER),
    ]
}

/// Every other limit, for session.json.
pub(crate) fn limits() -> Vec<(&'static str, f64)> {
    vec![("backlog_share", BACKLOG)]
}

#[derive(Default)]
struct Gates {
    reasons: Vec<Reason>,
    flags: Vec<Reason>,
}

impl Gates {
    fn check(&mut self, gate: Gate, kind: ReasonKind, value: f64) {
        if value > gate.invalid {
            self.reasons.push(Reason::of(kind, value));
        } else if value > gate.flag {
            self.flags.push(Reason::of(kind, value));
        }
    }

    /// Of some things one is too many.
    fn refuse(&mut self, kind: ReasonKind, count: u64) {
        if count > 0 {
            self.reasons.push(Reason::of(kind, count as f64));
        }
    }

    fn validity(&self) -> Validity {
        match (self.reasons.is_empty(), self.flags.is_empty()) {
            (false, _) => Validity::Invalid,
            (true, false) => Validity::Flagged,
            (true, true) => Validity::Valid,
        }
    }
}

fn assess_drift(gates: &mut Gates, conditions: &Conditions) {
    let probes = [conditions.drift_probe_per_sec, conditions.drift_probe_after_per_sec];
    let slowest = probes.into_iter().flatten().reduce(f64::min);
    if let Some((rate, median)) = slowest.zip(conditions.drift_probe_median_per_sec) {
        gates.check(DRIFT, ReasonKind::Drift, 1.0 - rate / median);
    }
}

fn assess_generator_time(gates: &mut Gates, plan: &Plan, loaded: &Loaded) {
    if let Some(delay_ns) = loaded.window.usage.run_delay_ns {
        gates.check(RUN_DELAY, ReasonKind::RunDelay, delay_ns as f64 / loaded.window.span_ns as f64);
    }
    if let Load::Open { .. } = plan.load {
        gates.check(BUSY, ReasonKind::GeneratorBusy, busy_share(plan, loaded));
    }
}

/// Whether ticks came as they should, by a clock that is known.
fn assess_ticks(gates: &mut Gates, plan: &Plan, trial: &Trial) {
    if trial.has_foreign_clock && trial.tallies().any(|tally| tally.counts.statuses > 0) {
        gates.flags.push(ReasonKind::ForeignClock.into());
    }
    let ticks_expected = plan.status_interval.is_some() && plan.connections > 0 && !trial.interrupted;
    if trial.idle.as_ref().is_some_and(|idle| idle.ticks.is_none()) && ticks_expected {
        gates.flags.push(ReasonKind::IdleNotAligned.into());
    }
}

/// Generators on other hosts: whether their clocks can be trusted, and whether they are alike.
fn assess_hosts(gates: &mut Gates, loaded: &Loaded) {
    let parts = &loaded.window.parts;
    if let Some(share) = loaded.window.clock_error.filter(|share| *share > CLOCK_ERROR) {
        gates.flags.push(Reason::of(ReasonKind::ClockError, share));
    }
    // Each message has a service time, in an open loop and in a closed one.
    let medians = parts.iter().map(|part| &part.window.tally.service).filter(|service| !service.is_empty());
    let medians: Vec<f64> = medians.map(|service| service.value_at_quantile(0.5) as f64).collect();
    let least = medians.iter().copied().reduce(f64::min);
    if let Some((least, most)) = least.zip(medians.iter().copied().reduce(f64::max)) {
        gates.check(HOSTS_DIFFER, ReasonKind::HostsDiffer, most / least - 1.0);
    }
}

/// The 99th percentile of the send lag, of the host where it is highest: the others would hide it.
fn worst_lag_ns(loaded: &Loaded) -> Option<f64> {
    let parts = loaded.window.parts.iter().map(|part| &part.window.tally.send_lag);
    parts.chain([&loaded.window.tally.send_lag]).filter_map(p99).reduce(f64::max)
}

/// Whether the server's threads wait for a CPU only if others have it. Where server and generator share CPUs, or many
/// threads the server's, waiting is a part of what the server is, and an outcome. A runtime has one thread beside its
/// workers, which waits for them.
fn has_cpus_of_its_own(plan: &Plan, trial: &Trial) -> bool {
    let cpus = plan.placement.server_cpus.len() as u64;
    plan.placement.kind.is_pinned() && trial.server_threads_max.is_some_and(|threads| threads <= cpus + 1)
}

fn assess_server_time(gates: &mut Gates, plan: &Plan, trial: &Trial, loaded: &Loaded) {
    let delay_ns = loaded.server.as_ref().and_then(|server| server.run_delay_ns);
    if let Some(delay_ns) = delay_ns.filter(|_| has_cpus_of_its_own(plan, trial)) {
        gates.check(SERVER_RUN_DELAY, ReasonKind::ServerRunDelay, delay_ns as f64 / loaded.window.span_ns as f64);
    }
}

/// The gates of the load window, or of the idle window where nothing is sent. What ran on other CPUs spoils nothing.
fn assess_surroundings(gates: &mut Gates, plan: &Plan, around: &HostActivity, span_ns: f64) {
    // Around a window of other hosts there is some time in which nothing happens.
    let span_ns = around.span_ns.map_or(span_ns, |read_ns| span_ns.max(read_ns as f64));
    let time_ns = span_ns * plan.placement.cpus_in_use().len().max(1) as f64;
    if let Some(steal_ns) = around.steal_ns {
        gates.check(STEAL, ReasonKind::Steal, steal_ns as f64 / time_ns);
    }
    if let Some(foreign_ns) = around.foreign_cpu_ns {
        // The threads are read a little outside of the window.
        gates.check(FOREIGN_CPU, ReasonKind::ForeignCpu, (foreign_ns as f64 / time_ns).min(1.0));
    }
}

/// Share of a window in which the generator's busiest thread had something to do. One that spins says so itself; one
/// that sleeps is busy whenever it runs.
pub(crate) fn busy_share(plan: &Plan, loaded: &Loaded) -> f64 {
    let busy_ns = match plan.pacing {
        Pacing::Spin => loaded.window.busy_ns,
        Pacing::Timer => loaded.window.usage.cpu_ns / u64::from(plan.threads),
    };
    busy_ns as f64 / loaded.window.span_ns as f64
}

/// Little's law: the messages under way, counted as they left and came, are rate times mean response. If not, a message
/// was recorded twice, not at all, or from the wrong time.
fn assess_accounting(gates: &mut Gates, outcome: Outcome, loaded: &Loaded) {
    let tally = &loaded.window.tally;
    let recorded_ns = tally.response.mean() * tally.response.len() as f64;
    if outcome != Outcome::Ok || recorded_ns == 0.0 {
        return;
    }
    let share = (tally.counts.under_way_ns as f64 - recorded_ns).abs() / recorded_ns;
    gates.check(LITTLES_LAW, ReasonKind::LittlesLaw, share);
}

/// The gates of an open loop.
fn assess_generator(gates: &mut Gates, plan: &Plan, loaded: &Loaded) {
    let tally = &loaded.window.tally;
    let counts = &tally.counts;
    let missed =
        |counts: &Counts| counts.scheduled.saturating_sub(counts.handled) as f64 / counts.scheduled.max(1) as f64;
    // The hosts that missed none would hide the one that did.
    let parts = loaded.window.parts.iter().map(|part| missed(&part.window.tally.counts));
    gates.check(SLOTS_MISSED, ReasonKind::SlotsMissed, parts.fold(missed(counts), f64::max));

    let Some(lag_ns) = worst_lag_ns(loaded) else { return };
    gates.check(send_lag_gate(plan), ReasonKind::SendLag, lag_ns);
}

/// Whether the generator fell behind its schedule in the load window: slots were missed, or the send lag is beyond what an
/// ordinary trial is flagged for. Higher rates would say more about it than about any server.
pub(crate) fn falls_behind(plan: &Plan, load: &Loaded) -> bool {
    let counts = &load.window.tally.counts;
    let lag_ns = worst_lag_ns(load);
    counts.scheduled > counts.handled || lag_ns.is_some_and(|lag_ns| lag_ns > send_lag_gate(plan).flag)
}

/// The gate on the p99 of the send lag, which depends on how the generator waits.
fn send_lag_gate(plan: &Plan) -> Gate {
    match plan.pacing {
        Pacing::Spin => SEND_LAG_SPIN_NS,
        Pacing::Timer => SEND_LAG_TIMER_NS,
    }
}

/// Whether a stream was not what was sent: altered, doubled, out of order, or with a hole in it.
fn has_wrong_bytes(trial: &Trial) -> bool {
    trial.tallies().any(|tally| {
        let counts = &tally.counts;
        counts.corrupt + counts.duplicate + counts.reordered + (counts.lost - counts.cut_off) > 0
    })
}

fn outcome(plan: &Plan, trial: &Trial) -> Outcome {
    let cut_off = trial.tallies().any(|tally| {
        let counts = &tally.counts;
        counts.cut_off + counts.reset + counts.connect_failed > 0
    });
    if cut_off || has_wrong_bytes(trial) || trial.problem.is_some() {
        return Outcome::Failed;
    }
    let open = matches!(plan.load, Load::Open { .. });
    let owes = trial.windows().any(|(name, window)| {
        let counts = &window.tally.counts;
        // What is under way at the end of a closed loop is its nature, but not that nothing of it comes any more.
        counts.unanswered > 0 && ((open && name != "peak") || counts.echoed == counts.echoed_in_time)
    });
    let load = trial.load.as_ref().map(|loaded| &loaded.window.tally.counts).filter(|_| open);
    match load {
        _ if owes => Outcome::Saturated,
        Some(counts) if counts.backlog as f64 > BACKLOG * counts.scheduled as f64 => Outcome::Saturated,
        _ => Outcome::Ok,
    }
}

fn p99(histogram: &Histogram<u64>) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(0.99) as f64)
}

#[cfg(test)]
mod tests;
