//! May a trial be believed? The gates look at the generator and the machine, never at the server's results.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    measure::trial::{Loaded, Surroundings, Trial},
    plan::{Load, Pacing, Plan},
};

/// A threshold from which a trial is flagged, and one from which it is invalid.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Beyond this the trial is flagged.
    pub flag: f64,
    /// Beyond this it is invalid.
    pub invalid: f64,
}

/// Share of the slots whose turn did not come.
pub const SLOTS_MISSED: Gate = Gate { flag: 0.0, invalid: 0.001 };
/// 99th percentile of the send lag in nanoseconds when the generator spins.
pub const SEND_LAG_SPIN_NS: Gate = Gate { flag: 50e3, invalid: 1e6 };
/// The same when it waits for a timer.
pub const SEND_LAG_TIMER_NS: Gate = Gate { flag: 500e3, invalid: 5e6 };
/// The same as a share of the response's 99th percentile: beyond it a latency is printed as an interval.
pub const SEND_LAG_SHARE: Gate = Gate { flag: 0.1, invalid: f64::INFINITY };
/// Share of the time that the generator was runnable but did not run.
pub const RUN_DELAY: Gate = Gate { flag: 0.01, invalid: 0.05 };
/// Share of the time of all CPUs that the hypervisor gave to others.
pub const STEAL: Gate = Gate { flag: 0.005, invalid: 0.03 };
/// Share of the time that the generator's busiest thread had something to do, neither waiting nor spinning.
pub const BUSY: Gate = Gate { flag: 0.6, invalid: 0.8 };
/// Share of the time of all CPUs that neither the server nor the generator used.
pub const FOREIGN_CPU: Gate = Gate { flag: 0.02, invalid: 0.1 };
/// How far the canary before the block was below the session's best.
pub const CANARY: Gate = Gate { flag: 0.15, invalid: 0.4 };
/// How far the messages under way are from rate times mean response (Little's law).
pub const LITTLE: Gate = Gate { flag: 0.02, invalid: 0.05 };
/// What a reading of the processes' CPU times may be off: a tick.
const READING_NS: f64 = 10e6;
/// A side whose CPUs are busy for this share bounds a closed loop.
pub const BOUND: f64 = 0.95;
/// Share of the messages that a server may still owe shortly after the load: more is a backlog, the server saturated.
pub const BACKLOG: f64 = 0.01;

/// Whether the figures of a trial may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// No gate spoke.
    Valid,
    /// To be read with the flags in mind.
    Flagged,
    /// Not to be used.
    Invalid,
}

impl Validity {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Flagged => "flagged",
            Self::Invalid => "invalid",
        }
    }
}

/// What the server made of the load. Kept and printed, never retried away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It echoed everything in time.
    Ok,
    /// It echoed less than was offered.
    Saturated,
    /// Something was late, cut off or refused in a trial that was spoiled: by whose fault is not known.
    Unclear,
    /// Something was lost, altered, cut off or refused.
    Failed,
}

impl Outcome {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Saturated => "saturated",
            Self::Unclear => "unclear",
            Self::Failed => "failed",
        }
    }
}

/// The conditions under which a trial was run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The generator's ceiling in echoes per second.
    pub ceiling_per_sec: Option<f64>,
    /// The canary before the trial, in echoes per second.
    pub canary_per_sec: Option<f64>,
    /// Its best rate in the session so far.
    pub canary_best_per_sec: Option<f64>,
}

impl Conditions {
    /// The load of a plan as a share of the ceiling, if both are known.
    pub fn share_of_ceiling(&self, plan: &Plan) -> Option<f64> {
        match &plan.load {
            Load::Open { rate, .. } => Some(rate.extremes_per_sec().1 / self.ceiling_per_sec?),
            Load::Closed { .. } => None,
        }
    }
}

/// The judgement on one trial.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether its figures may be believed.
    pub validity: Validity,
    /// Why not, in words.
    pub reasons: Vec<String>,
    /// What to bear in mind, in words.
    pub flags: Vec<String>,
    /// What the server made of the load.
    pub outcome: Outcome,
    /// Who bounded the closed or peak window: `server`, `generator`, `both` or `neither`.
    pub bound_by: Option<&'static str>,
    /// The latency is an interval from service to response: the send lag is a good part of it.
    pub latency_is_interval: bool,
}

/// Judges a trial.
pub fn judge(plan: &Plan, trial: &Trial, conditions: &Conditions) -> Verdict {
    let mut gates = Gates::default();
    gates.flags.extend(plan.flags.iter().map(|flag| (*flag).to_owned()));
    if cfg!(debug_assertions) {
        gates.flags.push("debug_build".to_owned());
    }
    judge_canary(&mut gates, conditions);
    let outcome = outcome(plan, trial);
    let mut latency_is_interval = false;
    match &trial.load {
        None => {
            if let Some(idle) = &trial.idle {
                judge_surroundings(&mut gates, &idle.surroundings, plan.idle_ticks().0.as_nanos() as f64);
            }
        }
        Some(loaded) => {
            judge_generator_time(&mut gates, plan, loaded);
            judge_surroundings(&mut gates, &loaded.surroundings, loaded.span_ns as f64);
            if let Load::Open { .. } = plan.load {
                latency_is_interval = judge_generator(&mut gates, plan, loaded);
                judge_accounting(&mut gates, outcome, loaded);
            }
            let misfits = loaded.window.tally.counts.out_of_range;
            if misfits > 0 {
                gates.reasons.push(format!("times beyond 60 s: {misfits}"));
            }
            if loaded.window.tally.counts.statuses_out_of_range > 0 {
                gates.flags.push("status times make no sense to this host's clock".to_owned());
            }
        }
    }
    let short = trial.short_count();
    if short > 0 {
        let what = trial.shortage().unwrap_or("something was short");
        gates.reasons.push(format!("this host ran short: {short} connections, {what}"));
    }
    if trial.interrupted {
        gates.reasons.push("interrupted".to_owned());
    }
    let ticks_expected = plan.status_interval.is_some() && plan.connections > 0 && !trial.interrupted;
    if trial.idle.as_ref().is_some_and(|idle| idle.ticks.is_none()) && ticks_expected {
        gates.flags.push("no status line came: the idle window is not aligned to ticks".to_owned());
    }
    let validity = gates.validity();
    Verdict {
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
        bound_by: trial.peak.as_ref().or(closed(plan, trial)).and_then(|loaded| bound_by(plan, loaded)),
        latency_is_interval,
    }
}

/// Every threshold, for session.json.
pub fn thresholds() -> Value {
    let gate = |gate: Gate| json!({ "flag": gate.flag, "invalid": gate.invalid.is_finite().then_some(gate.invalid) });
    json!({
        "slots_missed_share": gate(SLOTS_MISSED),
        "send_lag_p99_ns_spin": gate(SEND_LAG_SPIN_NS),
        "send_lag_p99_ns_timer": gate(SEND_LAG_TIMER_NS),
        "send_lag_share_of_response_p99": gate(SEND_LAG_SHARE),
        "loadgen_run_delay_share": gate(RUN_DELAY),
        "steal_share": gate(STEAL),
        "loadgen_busy_share": gate(BUSY),
        "foreign_cpu_share": gate(FOREIGN_CPU),
        "canary_below_best_share": gate(CANARY),
        "little_deviation_share": gate(LITTLE),
        "bound_busy_share": BOUND,
        "backlog_share": BACKLOG,
    })
}

#[derive(Default)]
struct Gates {
    reasons: Vec<String>,
    flags: Vec<String>,
}

impl Gates {
    fn check(&mut self, gate: Gate, value: f64, words: impl FnOnce() -> String) {
        if value > gate.invalid {
            self.reasons.push(words());
        } else if value > gate.flag {
            self.flags.push(words());
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

fn judge_canary(gates: &mut Gates, conditions: &Conditions) {
    let (Some(canary), Some(best)) = (conditions.canary_per_sec, conditions.canary_best_per_sec) else { return };
    let share = 1.0 - canary / best;
    gates.check(CANARY, share, || {
        format!("the host had a slow moment: the canary {:.0} % below its best", share * 100.0)
    });
}

fn judge_generator_time(gates: &mut Gates, plan: &Plan, loaded: &Loaded) {
    if let Some(delay_ns) = loaded.window.usage.run_delay_ns {
        let share = delay_ns as f64 / loaded.span_ns as f64;
        gates.check(RUN_DELAY, share, || format!("the generator waited for its CPU: {:.1} %", share * 100.0));
    }
    if let Load::Open { .. } = plan.load {
        let share = busy_share(plan, loaded);
        gates.check(BUSY, share, || format!("the generator was busy: {:.0} %", share * 100.0));
    }
}

/// The gates of the load window, or of the idle window where nothing is sent.
fn judge_surroundings(gates: &mut Gates, around: &Surroundings, span_ns: f64) {
    let cpus = crate::observe::available_cpus().len().max(1) as f64;
    if let Some(steal_ns) = around.steal_ns {
        let share = steal_ns as f64 / (span_ns * cpus);
        gates.check(STEAL, share, || format!("the hypervisor took CPU time: {:.1} %", share * 100.0));
    }
    if let Some(foreign_ns) = around.foreign_cpu_ns {
        // A process that has used next to nothing may show a whole tick.
        let share = (foreign_ns as f64 - READING_NS) / (span_ns * cpus);
        gates.check(FOREIGN_CPU, share, || format!("others used CPU time: {:.1} %", share * 100.0));
    }
}

/// Share of a window in which the generator's busiest thread had something to do. One that spins says so itself; one
/// that sleeps is busy whenever it runs.
pub fn busy_share(plan: &Plan, loaded: &Loaded) -> f64 {
    let busy_ns = match plan.pacing {
        Pacing::Spin => loaded.window.busy_ns,
        Pacing::Timer => loaded.window.usage.cpu_ns / u64::from(plan.threads),
    };
    busy_ns as f64 / loaded.span_ns as f64
}

/// Little's law: the messages under way, counted as they left and came, are rate times mean response. If not, a message
/// was recorded twice, not at all, or from the wrong time.
fn judge_accounting(gates: &mut Gates, outcome: Outcome, loaded: &Loaded) {
    let tally = &loaded.window.tally;
    let recorded_ns = tally.response.mean() * tally.response.len() as f64;
    if outcome != Outcome::Ok || recorded_ns == 0.0 {
        return;
    }
    let share = (tally.counts.under_way_ns as f64 - recorded_ns).abs() / recorded_ns;
    gates.check(LITTLE, share, || {
        format!("the accounts of the generator differ (Little's law): {:.1} %", share * 100.0)
    });
}

/// The gates of an open loop; says whether the latency is to be printed as an interval.
fn judge_generator(gates: &mut Gates, plan: &Plan, loaded: &Loaded) -> bool {
    let tally = &loaded.window.tally;
    let counts = &tally.counts;
    let missed = counts.scheduled.saturating_sub(counts.handled);
    let share = missed as f64 / counts.scheduled.max(1) as f64;
    gates.check(SLOTS_MISSED, share, || format!("slots never had their turn: {missed} of {}", counts.scheduled));

    let (Some(lag_ns), Some(response_ns)) = (p99(&tally.send_lag), p99(&tally.response)) else { return false };
    let gate = match plan.pacing {
        Pacing::Spin => SEND_LAG_SPIN_NS,
        Pacing::Timer => SEND_LAG_TIMER_NS,
    };
    gates.check(gate, lag_ns, || format!("high send lag p99: {:.0} us", lag_ns / 1e3));
    let share = lag_ns / response_ns;
    if share > SEND_LAG_SHARE.flag {
        gates.flags.push(format!("send lag p99 is a good part of response p99: {:.0} %", share * 100.0));
    }
    share > SEND_LAG_SHARE.flag
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

fn closed<'a>(plan: &Plan, trial: &'a Trial) -> Option<&'a Loaded> {
    trial.load.as_ref().filter(|_| matches!(plan.load, Load::Closed { .. }))
}

fn bound_by(plan: &Plan, loaded: &Loaded) -> Option<&'static str> {
    let span_ns = loaded.span_ns as f64;
    let cpus = plan.placement.server_cpus.len().max(1) as f64;
    let server = loaded.server.as_ref()?.cpu_ns as f64 >= BOUND * span_ns * cpus;
    let generator = loaded.window.usage.cpu_ns as f64 >= BOUND * span_ns * f64::from(plan.threads);
    Some(match (server, generator) {
        (true, true) => "both",
        (true, false) => "server",
        (false, true) => "generator",
        (false, false) => "neither",
    })
}

fn p99(histogram: &Histogram<u64>) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(0.99) as f64)
}

#[cfg(test)]
mod tests;
