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
    error::CannotStart,
    exit::Exit,
    interrupt,
    judge::counted::counted,
    measure::{
        calibration::Calibration,
        recording::{self, Entry},
        retry::Retry,
        trial,
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
        if !error.is::<CannotStart>() || self.rows.is_empty() {
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

    /// Every arm once.
    fn block(&mut self, step: &Step, attempt: u64, progress: &ProgressBar) -> Result<End> {
        self.probe_drift()?;
        let cell = &self.cells[step.cell];
        let plan = Plan { seed: step.seed, ..cell.plan.clone() };
        let conditions = Conditions { ceiling_per_sec: self.ceiling(step.cell)?, ..self.calibration.conditions() };
        let mut spoiled = 0;
        for (place, arm) in step.arms.iter().enumerate() {
            if interrupt::requested() {
                return Ok(End::Interrupted);
            }
            let cell = &self.cells[step.cell];
            let (arm, label) = (cell.arms[*arm].clone(), cell.label.clone());
            let load = label.as_ref().map_or_else(String::new, |label| format!("{label} "));
            progress.set_message(format!("{load}{}", arm.label));
            let order_in_block = place as u64 + 1;
            let place = recording::Position { cell: label.as_deref(), block: step.block, attempt, order_in_block };
            match self.trial(place, &arm, &plan, &conditions)? {
                End::Valid => {}
                End::Spoiled | End::SpoiledInEveryArm => spoiled += 1,
                End::Interrupted => return Ok(End::Interrupted),
            }
        }
        Ok(match spoiled {
            0 => End::Valid,
            spoiled if spoiled == step.arms.len() => End::SpoiledInEveryArm,
            _ => End::Spoiled,
        })
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

    /// Probes for host drift before a block; while the host is much slower than at its best, probes again.
    fn probe_drift(&mut self) -> Result<()> {
        let probed = Retry::STANDARD.until_accepted(|_| {
            let below_best = self.calibration.probe_drift()?;
            Ok(if below_best > DRIFT.invalid { Err(()) } else { Ok(()) })
        });
        // The block is run all the same: its trials are assessed with the drift.
        probed.map(drop)
    }

    /// One trial and its row. A trial that a signal cut short gets no row.
    fn trial(
        &mut self,
        place: recording::Position<'_>,
        arm: &Arm,
        plan: &Plan,
        conditions: &Conditions,
    ) -> Result<End> {
        /// A page: beyond it the stack only moves by whole pages.
        const PADDING_BYTES_MAX: usize = 4096;
        let padding_bytes = self.random.random_range(0..PADDING_BYTES_MAX);
        let trial = trial::run(plan, &arm.target(plan)?.padded(padding_bytes));
        if interrupt::requested() {
            return Ok(End::Interrupted);
        }
        let trial = match trial {
            // Nothing was measured, and a row would take the place of a trial when the session is resumed.
            Err(error) if error.is::<CannotStart>() => return Err(error),
            trial => trial,
        };
        let problem = trial.as_ref().err().map(|error| format!("{error:#}"));
        let measured = trial.as_ref().ok().map(|trial| (trial, assess(plan, trial, conditions)));
        match &measured {
            None => self.exit = self.exit.min(Exit::Target),
            Some((_, assessment)) => {
                let invalid = assessment.validity == Validity::Invalid;
                self.discarded += u64::from(invalid);
                if assessment.outcome == Outcome::Failed && !invalid {
                    self.exit = self.exit.min(Exit::Target);
                }
            }
        }
        let row = self.session.append(recording::recording(&Entry {
            trial_id: next_id(&self.rows),
            place,
            arm: &arm.label,
            server: arm.server_name(),
            target_kind: arm.kind(),
            padding_bytes: padding_bytes as u64,
            plan,
            conditions,
            syscalls_per_message: None,
            measured: match &measured {
                Some((trial, assessment)) => Ok((trial, assessment)),
                None => Err(problem.as_deref().unwrap_or_default()),
            },
        }))?;
        self.rows.push(row);
        let spoiled = measured.is_some_and(|(_, assessment)| assessment.validity == Validity::Invalid);
        Ok(if spoiled { End::Spoiled } else { End::Valid })
    }
}
