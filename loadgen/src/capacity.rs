//! `loadgen capacity`: the highest rate of a fixed ladder that a server bears, as a bracket.
//!
//! A ladder and no bisection: one unlucky probe of a bisection throws away the right half. Every trial has a fresh
//! process, so that no rung inherits what the one below has left.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    baseline::Baseline,
    cli::CapacityArgs,
    counted::counted,
    engine::{Arrivals, Cohorts, Rate},
    failure::{Exit, Usage},
    interrupt::{self, Interrupted},
    plan::{Load, Plan, Windows},
    prepare::{Shape, checked, server},
    record::{Entry, Place, Row, Session, State},
    slo::Slo,
    target::Target,
    terminal,
    text::plain,
    trial::{self, Trial},
    units::{show_count, show_payloads},
    validity::{Conditions, Outcome, Validity, Verdict, judge},
};

/// Each rung is higher than the one below by this factor.
const STEP: f64 = 1.1;

/// Trials of a rung; most of them must pass.
const TRIALS: usize = 3;

/// How often a trial that may not be believed is run again.
const RETRIES: usize = 2;

/// The answer for one server.
struct Capacity {
    server: String,
    passed: Option<u64>,
    end: End,
}

/// Why the ladder ended.
enum End {
    /// This rung was not passed.
    Failed(u64),
    /// At this rung the generator or the host made the figures, and not the server.
    NotJudged(u64),
}

/// Climbs the ladder with every server, records every trial and prints the brackets.
///
/// # Errors
/// What keeps it from starting.
pub fn capacity(args: &CapacityArgs) -> Result<Exit> {
    let plan = plan(args, args.from).map_err(Usage::from)?;
    for name in &args.servers {
        server(name, &plan)?;
    }
    let place = Place::claim(args.out.as_deref(), args.host.host_name.as_deref()).map_err(Usage::from)?;
    let baseline = Baseline::measure(&plan)?;
    let conditions = baseline.conditions();
    if interrupt::asked() {
        return Err(Interrupted.into());
    }
    let configuration = json!({
        "profile": "capacity",
        "arms": args.servers,
        "slo": args.slo.map(|slo| slo.to_string()),
        "step": STEP,
        "trials_a_rung": TRIALS,
        "plan": plan.describe(),
        "ceiling_rate_per_sec": baseline.ceiling_per_sec.round() as u64,
    });
    let session = Session::create(place, configuration)?;
    terminal::say(format_args!("recording in {}", plain(&session.folder().to_string_lossy())));
    let mut climb = Climb { args, conditions, session, rows: Vec::new() };
    let found = match climb.ladders() {
        Ok(found) => found,
        Err(error) => {
            if !climb.rows.is_empty() {
                // What there is stays recorded; if that cannot be said either, the first error is the one to know.
                let _ = climb.session.end(State::Partial, &counted(&climb.rows));
            }
            return Err(error);
        }
    };
    let interrupted = found.len() < args.servers.len();
    let state = if interrupted { State::Partial } else { State::Complete };
    let folder = climb.session.end(state, &counted(&climb.rows))?;
    let text = table(args, &found) + &format!("files: {}\n", plain(&folder.to_string_lossy()));
    terminal::print(&text)?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

struct Climb<'a> {
    args: &'a CapacityArgs,
    conditions: Conditions,
    session: Session,
    rows: Vec<Row>,
}

impl Climb<'_> {
    /// Every server's, or those that were climbed before a signal came.
    fn ladders(&mut self) -> Result<Vec<Capacity>> {
        let mut found = Vec::new();
        for name in &self.args.servers {
            match self.ladder(name)? {
                Some(capacity) => found.push(capacity),
                None => break,
            }
        }
        Ok(found)
    }

    /// Goes up until a rung is not passed; `None` if a signal came.
    fn ladder(&mut self, name: &str) -> Result<Option<Capacity>> {
        let mut passed = None;
        for rung in 0.. {
            let rate = rung_per_sec(self.args.from, rung);
            terminal::say(format_args!("{name}: {} messages/s", show_count(rate as f64)));
            let end = match self.rung(name, rate)? {
                None => return Ok(None),
                Some(Some(true)) => {
                    passed = Some(rate);
                    continue;
                }
                Some(Some(false)) => End::Failed(rate),
                Some(None) => End::NotJudged(rate),
            };
            return Ok(Some(Capacity { server: name.to_owned(), passed, end }));
        }
        unreachable!("a ladder without end ends by a rung that is not passed")
    }

    /// Whether most trials of a rung pass; `Some(None)` if they cannot be judged, `None` if a signal came.
    fn rung(&mut self, name: &str, rate: u64) -> Result<Option<Option<bool>>> {
        let plan = plan(self.args, rate)?;
        let (mut passed, mut failed, mut spoiled) = (0, 0, 0);
        while passed <= TRIALS / 2 && failed <= TRIALS / 2 && spoiled <= RETRIES {
            if interrupt::asked() {
                return Ok(None);
            }
            let plan = Plan { seed: plan.seed + (passed + failed + spoiled) as u64, ..plan.clone() };
            let trial = trial::run(&plan, &Target::Server(server(name, &plan)?))?;
            if interrupt::asked() {
                return Ok(None);
            }
            let verdict = judge(&plan, &trial, &self.conditions);
            self.record(name, &plan, &trial, &verdict)?;
            match verdict.validity {
                Validity::Invalid => spoiled += 1,
                _ if passes(&trial, &verdict, self.args.slo.as_ref()) => passed += 1,
                _ => failed += 1,
            }
        }
        Ok(Some((spoiled <= RETRIES).then_some(passed > failed)))
    }

    /// Every trial is a block of its own: one that is spoiled is run again without the others of its rung.
    fn record(&mut self, name: &str, plan: &Plan, trial: &Trial, verdict: &Verdict) -> Result<()> {
        let number = self.rows.len() as u64 + 1;
        let entry = Entry {
            trial_id: number,
            cell: None,
            block: number,
            attempt: 1,
            order_in_block: 1,
            arm: name,
            server: Some(name),
            target_kind: "server",
            padding_bytes: 0,
            plan,
            conditions: &self.conditions,
            syscalls_per_message: None,
            measured: Ok((trial, verdict)),
        };
        self.rows.push(self.session.append(&entry)?);
        Ok(())
    }
}

/// A server that is asked for too much answers late; the generator is not to blame for that, so the trial is valid.
fn passes(trial: &Trial, verdict: &Verdict, slo: Option<&Slo>) -> bool {
    let Some(load) = &trial.load else { return false };
    verdict.outcome == Outcome::Ok && slo.is_none_or(|slo| slo.is_met(&load.window.tally.response))
}

/// The rate of a rung with two significant digits, so that all ladders from one rate have the same rungs.
fn rung_per_sec(from: u64, rung: i32) -> u64 {
    let rate = from as f64 * STEP.powi(rung);
    let unit = 10_f64.powf(rate.log10().floor() - 2.0).max(1.0);
    ((rate / unit).round() * unit) as u64
}

fn plan(args: &CapacityArgs, rate: u64) -> Result<Plan> {
    ensure!(args.from > 0, "a ladder from 0 messages per second never rises: ask for --from 1 or more");
    let windows = Windows {
        idle: std::time::Duration::ZERO,
        warmup: args.duration / 4,
        load: args.duration,
        peak: std::time::Duration::ZERO,
    };
    let shape = Shape {
        connections: args.connections,
        load: Load::Open { rate: Rate::Steady(rate), arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows,
        status_interval: Some(std::time::Duration::from_secs(1)),
        cohorts: Cohorts::default(),
    };
    checked(shape, &args.host, args.seed)
}

fn table(args: &CapacityArgs, found: &[Capacity]) -> String {
    let slo = args.slo.map_or_else(String::new, |slo| format!(", {slo}"));
    let mut text = format!(
        "{} connections, {} messages; 99 % in time, nothing lost{slo}\n\n{:<20} messages/s\n",
        args.connections,
        show_payloads(&args.payload),
        "server"
    );
    for capacity in found {
        let show = |rate: u64| show_count(rate as f64);
        let passed = capacity.passed.map_or_else(|| "0".to_owned(), show);
        let bracket = match capacity.end {
            End::Failed(failed) => format!("{passed} to {}", show(failed)),
            End::NotJudged(rate) => format!(">= {passed}, generator-bound at {}", show(rate)),
        };
        text.push_str(&format!("{:<20} {bracket}\n", capacity.server));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_rise_and_are_round() {
        let rungs: Vec<u64> = (0..30).map(|rung| rung_per_sec(5_000, rung)).collect();
        assert_eq!(rungs[..4], [5_000, 5_500, 6_050, 6_660]);
        assert!(rungs.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(rung_per_sec(1, 0), 1);
    }
}
