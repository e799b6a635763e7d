//! The blocks of a session, run and recorded.

use std::time::Instant;

use anyhow::{Error, Result};
use indicatif::ProgressBar;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    arms::Arm,
    budget::progress,
    cells::Cell,
    first_blocks::{FirstBlocks, Next, advice, stopped},
    order::Step,
    resume::{self, next_id},
};
use crate::{
    error::{CannotStart, GeneratorLost},
    exit::Exit,
    interrupt,
    judge::counted::counted,
    measure::{
        calibration::Calibration,
        recording::{self, Entry},
        retry::Retry,
        trial::{self, Trial},
        validity::{Conditions, DRIFT, assess},
    },
    plan::Plan,
    record::{Outcome, Row, Session, State, Validity},
    report, terminal,
    text::plain,
};

/// How a trial or a block of trials ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// No trial is invalid.
    Valid,
    /// A trial is invalid.
    Spoiled,
    /// Every trial is invalid.
    SpoiledInEveryArm,
    /// A signal came.
    Interrupted,
}

/// A trial of the block that is being run.
struct Held {
    arm: Arm,
    padding_bytes: u64,
    /// What was measured, or why there is nothing.
    trial: Result<Trial, String>,
}

/// How the blocks of a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All are there.
    Complete,
    /// A signal came.
    Interrupted,
    /// This host cannot be measured on.
    Stopped,
}

/// A session that is being run.
pub(super) struct Comparison {
    pub(super) cells: Vec<Cell>,
    /// The cell whose ceiling the calibration has measured.
    pub(super) main: usize,
    pub(super) session: Session,
    pub(super) calibration: Calibration,
    /// The generator's ceiling in each cell, once it is known.
    pub(super) ceilings: Vec<Option<f64>>,
    /// Draws the padding of the environments.
    pub(super) random: ChaCha8Rng,
    pub(super) rows: Vec<Row>,
    pub(super) exit: Exit,
    pub(super) discarded: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) first_blocks: FirstBlocks,
}

impl Comparison {
    pub(super) fn run(mut self, steps: &[Step]) -> Result<Exit> {
        let ended = match self.steps(steps) {
            Ok(ended) => ended,
            Err(error) => return Err(self.broken_off(error)),
        };
        let state = if ended == Ended::Complete { State::Complete } else { State::Partial };
        let folder = self.session.end(state, &counted(&self.rows))?;
        if ended == Ended::Stopped {
            // Its tables would be empty.
            terminal::say(stopped(&self.rows, &plain(&folder.to_string_lossy())));
            return Ok(self.exit.min(Exit::Invalid));
        }
        // A single invalid trial happens anywhere; one in five means that the host cannot be measured on.
        if self.discarded * 5 > self.rows.len() as u64 {
            self.exit = self.exit.min(Exit::Invalid);
        }
        terminal::print(report::render(&folder)?)?;
        Ok(self.exit)
    }

    /// Ends the session because of an error, which is returned with what is left to do.
    fn broken_off(self, error: Error) -> Error {
        // Without a trial there is nothing to resume; and a record that cannot be written cannot be marked as partial.
        let is_told = error.is::<CannotStart>() || GeneratorLost::is_cause_of(&error);
        if !is_told || self.rows.is_empty() {
            return error;
        }
        let folder = self.session.folder().to_owned();
        let _ = self.session.end(State::Partial, &counted(&self.rows));
        let folder = folder.display();
        error.context(format!("the session is partial (loadgen compare --resume {folder} goes on)"))
    }

    /// Runs every block that is missing, until a signal comes or this host turns out unfit.
    fn steps(&mut self, steps: &[Step]) -> Result<Ended> {
        let progress = progress(steps.len() as u64);
        let (begun, mut run, mut ended) = (Instant::now(), 0, Ended::Complete);
        for (done, step) in steps.iter().enumerate() {
            let cell = &self.cells[step.cell];
            let (attempts, complete) = resume::progress(&self.rows, cell.label.as_deref(), step.block, step.arms.len());
            if complete {
                progress.inc(1);
                continue;
            }
            for attempt in Retry::STANDARD.after(attempts) {
                let end = self.block(step, attempt, &progress)?;
                run += 1;
                let mean = begun.elapsed() / run;
                let left = mean * (steps.len() - done) as u32;
                let late = self.deadline.is_some_and(|deadline| Instant::now() + left > deadline);
                ended = self.after(step, end, &progress);
                let is_spoiled = matches!(end, End::Spoiled | End::SpoiledInEveryArm);
                if ended != Ended::Complete || !is_spoiled || late {
                    break;
                }
            }
            if ended != Ended::Complete {
                break;
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        if let Some(late) = self.deadline.and_then(|deadline| Instant::now().checked_duration_since(deadline)) {
            terminal::say(format_args!(
                "warning: it took {} s longer than it may: this host is slower than it was at first",
                late.as_secs()
            ));
        }
        Ok(ended)
    }

    /// Whether the session goes on after a block; what has to be said about the first ones is said.
    fn after(&mut self, step: &Step, end: End, progress: &ProgressBar) -> Ended {
        if end == End::Interrupted {
            self.exit = Exit::Interrupted;
            return Ended::Interrupted;
        }
        match self.first_blocks.ran(step.cell, step.block, end == End::SpoiledInEveryArm) {
            Next::GoOn => Ended::Complete,
            Next::Advise => {
                let trials = &self.rows[self.rows.len().saturating_sub(step.arms.len())..];
                let advice = advice(trials, self.first_blocks.keeps_going);
                progress.suspend(|| terminal::say(advice));
                Ended::Complete
            }
            Next::Stop => Ended::Stopped,
        }
    }

    /// Every arm once, between two drift probes. The rows say how the second one went, so they are appended when the block
    /// is done: a crash loses what a resumed session repeats anyway.
    fn block(&mut self, step: &Step, attempt: u64, progress: &ProgressBar) -> Result<End> {
        self.probe_drift()?;
        let plan = Plan { seed: step.seed, ..self.cells[step.cell].plan.clone() };
        let before = Conditions { ceiling_per_sec: self.ceiling(step.cell)?, ..self.calibration.conditions() };
        let mut held = Vec::new();
        let ended = self.trials(step, &plan, progress, &mut held);
        // A block that was cut short has no end to probe at.
        let after = if matches!(ended, Ok(End::Valid)) { self.drift_after() } else { Ok(None) };
        let drift_probe_after_per_sec = after.as_ref().ok().copied().flatten();
        let spoiled = self.append(step, attempt, &plan, &Conditions { drift_probe_after_per_sec, ..before }, &held)?;
        after?;
        Ok(if ended? == End::Interrupted { End::Interrupted } else { spoiled })
    }

    /// The trials of a block, in its order. One that a signal cut short is dropped.
    fn trials(&mut self, step: &Step, plan: &Plan, progress: &ProgressBar, held: &mut Vec<Held>) -> Result<End> {
        for arm in &step.arms {
            if interrupt::requested() {
                return Ok(End::Interrupted);
            }
            let cell = &self.cells[step.cell];
            let load = cell.label.as_ref().map_or_else(String::new, |label| format!("{label} "));
            let arm = cell.arms[*arm].clone();
            progress.set_message(format!("{load}{}", arm.label));
            let Some(trial) = self.trial(arm, plan)? else { return Ok(End::Interrupted) };
            held.push(trial);
        }
        Ok(End::Valid)
    }

    /// The generator's ceiling with the connections and messages of a cell, measured when it is first needed.
    fn ceiling(&mut self, cell: usize) -> Result<Option<f64>> {
        let plan = &self.cells[cell].plan;
        if plan.windows.load.is_zero() {
            return Ok(None);
        }
        if self.ceilings[cell].is_none() {
            self.ceilings[cell] =
                if cell == self.main { Some(self.calibration.ceiling_per_sec) } else { Calibration::ceiling(plan)? };
        }
        Ok(self.ceilings[cell])
    }

    /// Probes for host drift before a block, unless the block before has just ended with a probe; while the host is much
    /// slower than it mostly is, probes again.
    fn probe_drift(&mut self) -> Result<()> {
        let probed = Retry::STANDARD.until_accepted(|attempt| {
            let below_median = match self.calibration.drift_just_now().filter(|_| attempt == 0) {
                Some(below_median) => below_median,
                None => self.calibration.probe_drift()?,
            };
            Ok(if below_median > DRIFT.invalid { Err(()) } else { Ok(()) })
        });
        // The block is run all the same: its trials are assessed with the drift.
        probed.map(drop)
    }

    /// Probes for host drift after a block; `None` if a signal came, or if this host had no port or descriptor left.
    fn drift_after(&mut self) -> Result<Option<f64>> {
        self.calibration.probe_drift()?;
        Ok(self.calibration.drift_probe_per_sec().filter(|_| !interrupt::requested()))
    }

    /// One trial; `None` if a signal cut it short.
    fn trial(&mut self, arm: Arm, plan: &Plan) -> Result<Option<Held>> {
        /// A page: beyond it the stack only moves by whole pages.
        const PADDING_BYTES_MAX: usize = 4096;
        let padding_bytes = self.random.random_range(0..PADDING_BYTES_MAX);
        let trial = trial::run(plan, &arm.target(plan)?.padded(padding_bytes));
        if interrupt::requested() {
            return Ok(None);
        }
        let trial = match trial {
            // Nothing was measured, and a row would take the place of a trial when the session is resumed.
            Err(error) if error.is::<CannotStart>() || GeneratorLost::is_cause_of(&error) => return Err(error),
            trial => trial.map_err(|error| format!("{error:#}")),
        };
        Ok(Some(Held { arm, padding_bytes: padding_bytes as u64, trial }))
    }

    /// Assesses the trials of a block and appends their rows.
    fn append(
        &mut self,
        step: &Step,
        attempt: u64,
        plan: &Plan,
        conditions: &Conditions,
        held: &[Held],
    ) -> Result<End> {
        let label = self.cells[step.cell].label.clone();
        let mut spoiled = 0;
        for (held, order_in_block) in held.iter().zip(1..) {
            let measured = held.trial.as_ref().map(|trial| (trial, assess(plan, trial, conditions)));
            match &measured {
                Err(_) => self.exit = self.exit.min(Exit::Target),
                Ok((_, assessment)) if assessment.validity == Validity::Invalid => {
                    self.discarded += 1;
                    spoiled += 1;
                }
                Ok((_, assessment)) if assessment.outcome == Outcome::Failed => {
                    self.exit = self.exit.min(Exit::Target);
                }
                Ok(_) => {}
            }
            let row = self.session.append(recording::recording(&Entry {
                trial_id: next_id(&self.rows),
                place: recording::Position { cell: label.as_deref(), block: step.block, attempt, order_in_block },
                arm: &held.arm.label,
                server: held.arm.server_name(),
                target_kind: held.arm.kind(),
                padding_bytes: held.padding_bytes,
                plan,
                conditions,
                syscalls_per_message: None,
                receive_lags: None,
                measured: measured.as_ref().map(|(trial, assessment)| (*trial, assessment)).map_err(|it| it.as_str()),
            }))?;
            self.rows.push(row);
        }
        Ok(match spoiled {
            0 => End::Valid,
            spoiled if spoiled == held.len() => End::SpoiledInEveryArm,
            _ => End::Spoiled,
        })
    }
}
