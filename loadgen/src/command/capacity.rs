//! `loadgen capacity`: the highest rate of a fixed ladder that each server sustains, as lower and upper bound.
//!
//! Every trial has a fresh process, so that no rung inherits the state of the one below.

use std::{ops::ControlFlow, time::Duration};

use anyhow::{Result, ensure};

use super::{generate::gathered, preamble};
use crate::{
    cli::CapacityArgs,
    error::{Interrupted, Usage},
    exit::Exit,
    interrupt,
    judge::{
        counted::counted,
        slo::{Slo, SloResult},
    },
    measure::{
        calibration::Calibration,
        ladder::{Ladder, Rounding, Top},
        launch::server,
        recording::{self, Entry},
        retry::Retry,
        target::Target,
        trial::{self, Trial},
        validity::{Assessment, Conditions, assess, falls_behind},
    },
    plan::{Arrivals, Cohorts, Load, Plan, Rate, Shape, Windows, ensure_slots, prepare, units::show_count},
    record::{Configuration, Outcome, PlanRecord, Row, Session, SessionFolder, State, TargetKind, Validity},
    terminal,
    text::plain,
};

/// Each rung is higher than the one below by this factor.
const STEP: f64 = 1.1;

/// Trials of a rung; most of them must pass.
const TRIALS: u64 = 3;

/// Invalid trials of a rung are run again within this bound.
const RETRY: Retry = Retry::STANDARD;

/// The answer for one server.
struct Capacity {
    server: String,
    top: Top<End>,
}

/// Why a ladder ended.
#[derive(Clone, Copy)]
enum End {
    /// The server failed the rung.
    Failed,
    /// The generator fell behind in trial after trial.
    Behind,
    /// The host made the figures, and not the server.
    Spoiled,
    /// The trials have so many responses, too few for the objective.
    TooFew(u64),
}

/// Why a climb stopped.
enum Stop {
    Ended(End),
    /// A signal came.
    Interrupted,
}

/// Climbs the ladder with every server, records every trial and prints the brackets.
///
/// # Errors
/// If the ladder cannot start, or a trial cannot run.
pub fn capacity(args: &CapacityArgs) -> Result<Exit> {
    let unprepared = plan(args, args.from).map_err(Usage::from)?;
    for name in &args.servers {
        server(name, &unprepared)?;
    }
    let place = SessionFolder::claim(args.out.as_deref(), args.record.host_name.as_deref()).map_err(Usage::from)?;
    let args = &CapacityArgs { host: gathered(&args.host)?, ..args.clone() };
    let plan = plan(args, args.from).map_err(Usage::from)?;
    let calibration = Calibration::measure(&plan)?;
    let conditions = calibration.conditions();
    if interrupt::requested() {
        return Err(Interrupted.into());
    }
    let configuration = Configuration {
        profile: Some("capacity".to_owned()),
        arms: args.servers.clone(),
        slo: args.slo.map(|slo| slo.to_string()),
        step: Some(STEP),
        trials_per_rung: Some(TRIALS),
        plan: Some(PlanRecord::of(&plan)),
        ceiling_rate_per_sec: Some(calibration.ceiling_per_sec.round() as u64),
        ..Configuration::default()
    };
    let session = Session::create(place, preamble(configuration, &args.host))?;
    terminal::say(&plan.placement.reason);
    terminal::say(format_args!("recording in {}", plain(&session.folder().to_string_lossy())));
    let mut climb = Climb { args, conditions, session, rows: Vec::new() };
    let found = match climb.ladders() {
        Ok(found) => found,
        Err(error) => {
            if !climb.rows.is_empty() {
                // The rows stay recorded; if that fails as well, the first error is the one to report.
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
    let unjudged = |capacity: &Capacity| match capacity.top.end {
        End::TooFew(_) => true,
        End::Behind | End::Spoiled => capacity.top.sustained_per_sec.is_none(),
        End::Failed => false,
    };
    let unjudged = found.iter().any(unjudged);
    Ok(match (interrupted, unjudged) {
        (true, _) => Exit::Interrupted,
        (_, true) => Exit::Invalid,
        _ => Exit::Ok,
    })
}

struct Climb<'a> {
    args: &'a CapacityArgs,
    conditions: Conditions,
    session: Session,
    rows: Vec<Row>,
}

impl Climb<'_> {
    /// The capacity of every server, or of those that were climbed before a signal came.
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
        let ladder = Ladder { from_per_sec: self.args.from, step: STEP, rounding: Rounding::ThreeDigits };
        let top = ladder.climb(|rate_per_sec| {
            terminal::say(format_args!("{name}: {} messages/s", show_count(rate_per_sec)));
            self.rung(name, rate_per_sec)
        })?;
        Ok(match top.end {
            Stop::Interrupted => None,
            Stop::Ended(end) => Some(Capacity { server: name.to_owned(), top: top.because(end) }),
        })
    }

    /// Goes on if most trials of a rung pass.
    fn rung(&mut self, name: &str, rate_per_sec: f64) -> Result<ControlFlow<Stop>> {
        let plan = plan(self.args, rate_per_sec)?;
        let mut votes = Votes::default();
        loop {
            match votes.outcome() {
                Some(Vote::Passed) => return Ok(ControlFlow::Continue(())),
                Some(Vote::Failed) => return Ok(ControlFlow::Break(Stop::Ended(End::Failed))),
                Some(Vote::Behind) => return Ok(ControlFlow::Break(Stop::Ended(End::Behind))),
                Some(Vote::Spoiled) => return Ok(ControlFlow::Break(Stop::Ended(End::Spoiled))),
                None => {}
            }
            if interrupt::requested() {
                return Ok(ControlFlow::Break(Stop::Interrupted));
            }
            let plan = Plan { seed: plan.seed.wrapping_add(votes.count()), ..plan.clone() };
            let trial = trial::run(&plan, &Target::Server(server(name, &plan)?))?;
            if interrupt::requested() {
                return Ok(ControlFlow::Break(Stop::Interrupted));
            }
            let assessment = assess(&plan, &trial, &self.conditions);
            self.record(name, &plan, &trial, &assessment)?;
            let is_behind = trial.load.as_ref().is_some_and(|load| falls_behind(&plan, load));
            match (assessment.validity, judged(&trial, &assessment, self.args.slo.as_ref())) {
                _ if is_behind => votes.behind += 1,
                (Validity::Invalid, _) => votes.spoiled += 1,
                (_, SloResult::Met) => votes.passed += 1,
                (_, SloResult::Missed) => votes.failed += 1,
                // Another trial would have as few.
                (_, SloResult::NotJudged { samples }) => {
                    return Ok(ControlFlow::Break(Stop::Ended(End::TooFew(samples))));
                }
            }
        }
    }

    /// Every trial is a block of its own: an invalid one is run again without the others of its rung.
    fn record(&mut self, name: &str, plan: &Plan, trial: &Trial, assessment: &Assessment) -> Result<()> {
        let number = self.rows.len() as u64 + 1;
        let entry = Entry {
            trial_id: number,
            place: recording::Position { block: number, ..recording::Position::ALONE },
            arm: name,
            server: Some(name),
            target_kind: TargetKind::Server,
            padding_bytes: 0,
            plan,
            conditions: &self.conditions,
            syscalls_per_message: None,
            receive_lags: None,
            measured: Ok((trial, assessment)),
        };
        self.rows.push(self.session.append(recording::recording(&entry))?);
        Ok(())
    }
}

/// How the trials of a rung went so far.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    passed: u64,
    failed: u64,
    /// The generator fell behind its schedule.
    behind: u64,
    /// Invalid for another reason.
    spoiled: u64,
}

/// The joint result of a rung's trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vote {
    Passed,
    Failed,
    Behind,
    Spoiled,
}

impl Votes {
    fn count(self) -> u64 {
        self.passed + self.failed + self.behind + self.spoiled
    }

    /// `None` while further trials can decide.
    fn outcome(self) -> Option<Vote> {
        const MAJORITY: u64 = TRIALS / 2 + 1;
        match self {
            Self { behind, spoiled, .. } if RETRY.is_exhausted(behind + spoiled) => {
                Some(if behind > 0 { Vote::Behind } else { Vote::Spoiled })
            }
            Self { passed: MAJORITY.., .. } => Some(Vote::Passed),
            Self { failed: MAJORITY.., .. } => Some(Vote::Failed),
            _ => None,
        }
    }
}

/// An overloaded server answers late, for which the generator is not to blame: the trial is valid, and not passed.
fn judged(trial: &Trial, assessment: &Assessment, slo: Option<&Slo>) -> SloResult {
    match (&trial.load, slo) {
        (Some(load), Some(slo)) if assessment.outcome == Outcome::Ok => slo.judge(&load.window.tally.response),
        (Some(_), None) if assessment.outcome == Outcome::Ok => SloResult::Met,
        _ => SloResult::Missed,
    }
}

fn plan(args: &CapacityArgs, rate: f64) -> Result<Plan> {
    ensure!(args.from > 0.0, "a ladder from 0 messages per second never rises: ask for --from 1 or more");
    ensure!(!args.duration.is_zero(), "a trial of 0s measures nothing: ask for a longer --duration");
    ensure_slots(&Rate::Steady(rate), args.duration, "--from", "--duration")?;
    let windows = Windows {
        idle: Duration::ZERO,
        warmup: args.duration / 4,
        load: args.duration,
        peak: Duration::ZERO,
        drain_bursts: 0,
    };
    let shape = Shape {
        connections: args.connections,
        load: Load::Open { rate: Rate::Steady(rate), arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows,
        status_interval: Some(Duration::from_secs(1)),
        cohorts: Cohorts::default(),
        service: args.service.service(),
    };
    prepare(shape, &args.host, args.seed)
}

fn table(args: &CapacityArgs, found: &[Capacity]) -> String {
    let slo = args.slo.map_or_else(String::new, |slo| format!(", {slo}"));
    let mut text = format!(
        "{} connections, {} messages; 99 % in time, nothing lost{slo}\n\n{:<20} messages/s\n",
        args.connections, args.payload, "server"
    );
    for capacity in found {
        let passed = capacity.top.sustained_per_sec.map_or_else(|| "0".to_owned(), show_count);
        let rate = show_count(capacity.top.ended_at_per_sec);
        let is_unknown = capacity.top.sustained_per_sec.is_none();
        let bracket = match (capacity.top.end, &args.slo) {
            (End::Failed, _) => format!("{passed} to {rate}"),
            (End::TooFew(samples), Some(slo)) => {
                format!(">= {passed}, not judged at {rate}: {}; ask for a longer --duration", slo.shortfall(samples))
            }
            (End::Behind, _) if is_unknown => format!("not judged: the generator falls behind at {rate}"),
            (End::Spoiled | End::TooFew(_), _) if is_unknown => {
                format!("not judged: the host spoiled the trials at {rate}")
            }
            (End::Behind, _) => format!(">= {passed}: the generator falls behind at {rate}"),
            (End::Spoiled | End::TooFew(_), _) => format!(">= {passed}: the host spoiled the trials at {rate}"),
        };
        text.push_str(&format!("{:<20} {bracket}\n", capacity.server));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_trials_decide_a_rung_and_three_that_are_no_use_end_the_climb() {
        for (passed, failed, behind, spoiled, outcome) in [
            (0, 0, 0, 0, None),
            (1, 1, 0, 2, None),
            (1, 1, 1, 1, None),
            (2, 0, 0, 0, Some(Vote::Passed)),
            (2, 1, 1, 1, Some(Vote::Passed)),
            (1, 2, 0, 0, Some(Vote::Failed)),
            (1, 1, 0, 3, Some(Vote::Spoiled)),
            (1, 1, 1, 2, Some(Vote::Behind)),
            (0, 0, 3, 0, Some(Vote::Behind)),
        ] {
            let votes = Votes { passed, failed, behind, spoiled };
            assert_eq!(votes.outcome(), outcome, "{votes:?}");
        }
    }
}
