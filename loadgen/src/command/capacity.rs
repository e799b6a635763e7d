//! `loadgen capacity`: the highest rate of a fixed ladder that a server bears, as a bracket.
//!
//! A ladder and no bisection: one unlucky probe of a bisection throws away the right half. Every trial has a fresh
//! process, so that no rung inherits what the one below has left.

use anyhow::{Result, ensure};

use super::preamble;
use crate::{
    cli::CapacityArgs,
    error::{Interrupted, Usage},
    exit::Exit,
    interrupt,
    judge::{
        counted::counted,
        slo::{Judgement, Slo},
    },
    measure::{
        calibration::Calibration,
        launch::server,
        recording::{self, Entry},
        target::Target,
        trial::{self, Trial},
        validity::{Assessment, Conditions, assess},
    },
    plan::{
        Arrivals, Cohorts, Load, Plan, Rate, Shape, Windows, ensure_slots, prepare,
        units::{show_count, show_payloads},
    },
    record::{Configuration, Outcome, Place, PlanRecord, Row, Session, State, TargetKind, Validity},
    terminal,
    text::plain,
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
    passed: Option<f64>,
    /// The rung at which the ladder ended.
    rate: f64,
    end: End,
}

/// Why a ladder ended.
#[derive(Clone, Copy)]
enum End {
    /// The rung was not passed.
    Failed,
    /// The generator or the host made the figures, and not the server.
    Spoiled,
    /// A trial had so many responses, too few for the objective.
    TooFew(u64),
}

/// What became of a rung.
enum Rung {
    Passed,
    Ended(End),
    /// A signal came.
    Interrupted,
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
    let place = Place::claim(args.out.as_deref(), args.record.host_name.as_deref()).map_err(Usage::from)?;
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
        trials_per_rung: Some(TRIALS as u64),
        plan: Some(PlanRecord::of(&plan)),
        ceiling_rate_per_sec: Some(calibration.ceiling_per_sec.round() as u64),
        ..Configuration::default()
    };
    let session = Session::create(place, preamble(configuration))?;
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
    let unjudged = |capacity: &Capacity| match capacity.end {
        End::TooFew(_) => true,
        End::Spoiled => capacity.passed.is_none(),
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
            terminal::say(format_args!("{name}: {} messages/s", show_count(rate)));
            match self.rung(name, rate)? {
                Rung::Interrupted => return Ok(None),
                Rung::Passed => passed = Some(rate),
                Rung::Ended(end) => return Ok(Some(Capacity { server: name.to_owned(), passed, rate, end })),
            }
        }
        unreachable!("a ladder without end ends by a rung that is not passed")
    }

    /// Whether most trials of a rung pass.
    fn rung(&mut self, name: &str, rate: f64) -> Result<Rung> {
        let plan = plan(self.args, rate)?;
        let (mut passed, mut failed, mut spoiled) = (0, 0, 0);
        while passed <= TRIALS / 2 && failed <= TRIALS / 2 && spoiled <= RETRIES {
            if interrupt::requested() {
                return Ok(Rung::Interrupted);
            }
            let plan = Plan { seed: plan.seed.wrapping_add((passed + failed + spoiled) as u64), ..plan.clone() };
            let trial = trial::run(&plan, &Target::Server(server(name, &plan)?))?;
            if interrupt::requested() {
                return Ok(Rung::Interrupted);
            }
            let assessment = assess(&plan, &trial, &self.conditions);
            self.record(name, &plan, &trial, &assessment)?;
            match (assessment.validity, judged(&trial, &assessment, self.args.slo.as_ref())) {
                (Validity::Invalid, _) => spoiled += 1,
                (_, Judgement::Met) => passed += 1,
                (_, Judgement::Missed) => failed += 1,
                // Another trial has as few.
                (_, Judgement::NotJudged { samples }) => return Ok(Rung::Ended(End::TooFew(samples))),
            }
        }
        Ok(match () {
            () if spoiled > RETRIES => Rung::Ended(End::Spoiled),
            () if passed > failed => Rung::Passed,
            () => Rung::Ended(End::Failed),
        })
    }

    /// Every trial is a block of its own: one that is spoiled is run again without the others of its rung.
    fn record(&mut self, name: &str, plan: &Plan, trial: &Trial, assessment: &Assessment) -> Result<()> {
        let number = self.rows.len() as u64 + 1;
        let entry = Entry {
            trial_id: number,
            place: recording::Place { block: number, ..recording::Place::ALONE },
            arm: name,
            server: Some(name),
            target_kind: TargetKind::Server,
            padding_bytes: 0,
            plan,
            conditions: &self.conditions,
            syscalls_per_message: None,
            measured: Ok((trial, assessment)),
        };
        self.rows.push(self.session.append(recording::recording(&entry))?);
        Ok(())
    }
}

/// A server that is asked for too much answers late; the generator is not to blame for that, so the trial is valid.
fn judged(trial: &Trial, assessment: &Assessment, slo: Option<&Slo>) -> Judgement {
    match (&trial.load, slo) {
        (Some(load), Some(slo)) if assessment.outcome == Outcome::Ok => slo.judge(&load.window.tally.response),
        (Some(_), None) if assessment.outcome == Outcome::Ok => Judgement::Met,
        _ => Judgement::Missed,
    }
}

/// The rate of a rung with three significant digits, so that all ladders from one rate have the same rungs.
fn rung_per_sec(from: f64, rung: i32) -> f64 {
    let rate = from * STEP.powi(rung);
    // By whole numbers, so that the digits are those that are written.
    let places = 2 - rate.log10().floor() as i32;
    let scale = 10_f64.powi(places.abs());
    if places > 0 { (rate * scale).round() / scale } else { (rate / scale).round() * scale }
}

fn plan(args: &CapacityArgs, rate: f64) -> Result<Plan> {
    ensure!(args.from > 0.0, "a ladder from 0 messages per second never rises: ask for --from 1 or more");
    ensure!(!args.duration.is_zero(), "a trial of 0s measures nothing: ask for a longer --duration");
    ensure_slots(&Rate::Steady(rate), args.duration, "--from", "--duration")?;
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
    prepare(shape, &args.host, args.seed)
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
        let passed = capacity.passed.map_or_else(|| "0".to_owned(), show_count);
        let rate = show_count(capacity.rate);
        let bracket = match (capacity.end, &args.slo) {
            (End::Failed, _) => format!("{passed} to {rate}"),
            (End::TooFew(samples), Some(slo)) => {
                format!(">= {passed}, not judged at {rate}: {}; ask for a longer --duration", slo.want(samples))
            }
            _ if capacity.passed.is_none() => {
                format!("not judged: the generator or the host spoiled all trials at {rate}")
            }
            (End::Spoiled | End::TooFew(_), _) => format!(">= {passed}, generator-bound at {rate}"),
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
        let rungs: Vec<f64> = (0..30).map(|rung| rung_per_sec(5e3, rung)).collect();
        assert_eq!(rungs[..4], [5_000.0, 5_500.0, 6_050.0, 6_660.0]);
        assert!(rungs.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!([0, 1, 2, 3].map(|rung| rung_per_sec(1.0, rung)), [1.0, 1.1, 1.21, 1.33], "no rung twice");
        assert_eq!([0, 1].map(|rung| rung_per_sec(0.1, rung)), [0.1, 0.11]);
    }
}
