//! The blocks of a session, run and recorded.

use std::time::Instant;

use anyhow::Result;
use indicatif::ProgressBar;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    arms::Arm,
    budget::progress,
    cells::Cell,
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
};

/// How a trial or a block of trials ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// No trial is invalid.
    Valid,
    /// A trial is invalid.
    Spoiled,
    /// A signal came.
    Interrupted,
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
}

impl Comparison {
    pub(super) fn run(mut self, steps: &[Step]) -> Result<Exit> {
        if let Err(error) = self.steps(steps) {
            // Without a trial there is nothing to resume; and a record that cannot be written cannot be marked as partial.
            if !error.is::<CannotStart>() || self.rows.is_empty() {
                return Err(error);
            }
            let folder = self.session.folder().to_owned();
            let _ = self.session.end(State::Partial, &counted(&self.rows));
            let folder = folder.display();
            return Err(error.context(format!("the session is partial (loadgen compare --resume {folder} goes on)")));
        }
        let state = if self.exit == Exit::Interrupted { State::Partial } else { State::Complete };
        let folder = self.session.end(state, &counted(&self.rows))?;
        // A single invalid trial happens anywhere; one in five means that the host cannot be measured on.
        if self.discarded * 5 > self.rows.len() as u64 {
            self.exit = self.exit.min(Exit::Invalid);
        }
        terminal::print(report::render(&folder)?)?;
        Ok(self.exit)
    }

    /// Runs every block that is missing, until a signal comes.
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        let progress = progress(steps.len() as u64);
        let (begun, mut run) = (Instant::now(), 0);
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
                match end {
                    End::Interrupted => self.exit = Exit::Interrupted,
                    End::Spoiled if !late => continue,
                    End::Spoiled | End::Valid => {}
                }
                break;
            }
            if self.exit == Exit::Interrupted {
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
        Ok(())
    }

    /// Every arm once.
    fn block(&mut self, step: &Step, attempt: u64, progress: &ProgressBar) -> Result<End> {
        self.probe_drift()?;
        let cell = &self.cells[step.cell];
        let plan = Plan { seed: step.seed, ..cell.plan.clone() };
        let conditions = Conditions { ceiling_per_sec: self.ceiling(step.cell)?, ..self.calibration.conditions() };
        let mut end = End::Valid;
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
                End::Spoiled => end = End::Spoiled,
                End::Interrupted => return Ok(End::Interrupted),
            }
        }
        Ok(end)
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
            receive_lags: None,
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
