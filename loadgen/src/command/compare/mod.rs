//! `loadgen compare`: servers side by side, in interleaved blocks with a fresh process for each trial.
//!
//! A block runs every arm once, in an order balanced over the blocks and with the same schedule, close together in time:
//! what the host does to one it is likely to do to all. The number of blocks is fixed before the first one; a block with a
//! trial that may not be believed is run again as a whole, so that no arm is selected by its luck.

mod arms;
mod budget;
mod cells;
mod order;
mod pilot;
mod resume;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::{
    arms::{Arm, arms, ensure_names},
    budget::{affordable, progress, rehearse},
    cells::{Cell, Full, Profile},
    order::Step,
    resume::next_id,
};
use super::preamble;
use crate::{
    cli::CompareArgs,
    error::{CannotStart, Interrupted, Usage},
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
    plan::{PacingChoice, Payloads, PlacementKind, Plan, units::show_duration},
    record::{Configuration, Outcome, PilotEntry, Place, PlanRecord, Row, Session, State, Validity, recorded_rate},
    report, terminal,
    text::plain,
};

/// The server that `full` always has beside the others: with one CPU it is what tokio would be configured to.
const ALWAYS: &str = "tokio-current-thread";

/// What is to be measured, and until when.
struct Outline {
    cells: Vec<Cell>,
    /// Index of the one that the primary claims on latency come from.
    main: usize,
    /// For session.json, beside the cells.
    configuration: Configuration,
    /// About how long it takes, if that is known.
    takes: Option<Duration>,
    /// When everything must be over; blocks are run again only while all others still fit.
    deadline: Option<Instant>,
}

/// Runs the comparison, prints the table and leaves the session's folder behind.
///
/// # Errors
/// What keeps it from starting. Once there is a session, what goes wrong in a trial is a row of it.
pub fn compare(args: &CompareArgs) -> Result<Exit> {
    match &args.resume {
        None => start(args, None),
        Some(folder) => {
            // The working folder may become another one.
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let interrupted = resume::interrupted(&folder, args.trust).map_err(Usage::from)?;
            start(&interrupted.args.clone(), Some(interrupted))
        }
    }
}

/// Starts a session, or goes on with one.
fn start(args: &CompareArgs, resumed: Option<resume::Interrupted>) -> Result<Exit> {
    ensure_blocks(args.blocks).map_err(Usage::from)?;
    // Where the record goes is settled before anything is measured for it.
    let (place, resumed) = match resumed {
        None => (Place::claim(args.out.as_deref(), args.record.host_name.as_deref()).map_err(Usage::from)?, None),
        Some(resume::Interrupted { place, metadata, pilot, trials, .. }) => (place, Some((metadata, pilot, trials))),
    };
    let begun = Instant::now();
    let seed = args.seed.unwrap_or_else(drawn_seed);
    let pilot = resumed.as_ref().map(|(_, pilot, _)| pilot.clone());
    let mut calibration = None;
    let outline = match Profile::of(args.profile) {
        Some(profile) => single(args, &profile, seed, begun, &mut calibration)?,
        None => full(args, seed, pilot)?,
    };
    let main = outline.cells.get(outline.main).context("this host does not carry the load of the primary claims")?;
    let calibration = match calibration {
        Some(calibration) => calibration,
        None => Calibration::measure(&main.plan)?,
    };
    // What guests' commands name may be relative to the working folder.
    let working_folder = match args.guests.is_empty() {
        true => None,
        false => Some(std::env::current_dir().context("the working folder is gone, and guests may be named from it")?),
    };
    let configuration = Configuration {
        profile: Some(args.profile.name().to_owned()),
        seed: Some(seed),
        arms: main.arms.iter().map(|arm| arm.label.clone()).collect(),
        blocks: Some(main.blocks),
        plan: Some(PlanRecord::of(&main.plan)),
        working_folder: working_folder.map(|folder| folder.to_string_lossy().into_owned()),
        ceiling_rate_per_sec: Some(calibration.ceiling_per_sec.round() as u64),
        ..outline.configuration
    };

    if interrupt::requested() {
        // There is nothing to record, and what was measured so far was cut short.
        return Err(Interrupted.into());
    }
    let (session, rows) = match resumed {
        None => (Session::create(place, preamble(configuration))?, Vec::new()),
        Some((metadata, _, trials)) => {
            (Session::reopen(place, metadata, &trials, &configuration).map_err(Usage::from)?, trials.rows)
        }
    };
    announce(&outline.cells, outline.takes, seed, session.folder());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shapes: Vec<(usize, u64)> = outline.cells.iter().map(|cell| (cell.arms.len(), cell.blocks)).collect();
    let steps = order::session(&mut random, &shapes);
    let ceilings = vec![None; outline.cells.len()];
    let comparison = Comparison {
        cells: outline.cells,
        main: outline.main,
        session,
        calibration,
        ceilings,
        random,
        rows,
        exit: Exit::Ok,
        discarded: 0,
        deadline: outline.deadline,
    };
    comparison.run(&steps)
}

/// A profile of one load: as many of its blocks as fit into its budget.
fn single(
    args: &CompareArgs,
    profile: &Profile,
    seed: u64,
    begun: Instant,
    calibration: &mut Option<Calibration>,
) -> Result<Outline> {
    let plan = profile.plan(args, seed).map_err(Usage::from)?;
    let arms = arms(&args.servers, &args.guests);
    ensure_names(&arms).map_err(Usage::from)?;
    arms.iter().try_for_each(|arm| arm.target(&plan).map(drop))?;
    *calibration = Some(Calibration::measure(&plan)?);
    let rehearsed = rehearse(&plan, &arms, args.blocks.is_none() && profile.blocks > profile.blocks_min)?;
    let blocks = args.blocks.unwrap_or_else(|| affordable(profile, begun.elapsed(), rehearsed));
    Ok(Outline {
        cells: vec![Cell { label: None, plan, arms, blocks }],
        main: 0,
        configuration: Configuration::default(),
        takes: rehearsed.map(|block| block * blocks as u32),
        // Blocks that were asked for by number take as long as they take.
        deadline: args.blocks.is_none().then(|| begun + profile.budget),
    })
}

/// Many loads, at rates that a pilot finds, unless one has found them already.
fn full(args: &CompareArgs, seed: u64, pilot: Option<Vec<PilotEntry>>) -> Result<Outline> {
    /// What blocks that are run again may add.
    const SLACK: f64 = 1.3;
    ensure_free(args).map_err(Usage::from)?;
    let mut servers = args.servers.clone();
    if !servers.iter().any(|server| server == ALWAYS) {
        servers.push(ALWAYS.to_owned());
    }
    let arms = arms(&servers, &args.guests);
    ensure_names(&arms).map_err(Usage::from)?;
    let pilot = match (pilot, &args.rate) {
        (Some(pilot), _) => pilot,
        (None, Some(_)) => Vec::new(),
        (None, None) => pilot::climb(args, &arms, seed)?,
    };
    let slowest = match &args.rate {
        Some(rate) => rate.extremes_per_sec().1,
        None => {
            pilot::slowest(&pilot).context("every server declares a clause: there is nothing to take fractions of")?
        }
    };
    let (cells, dropped) = Full::new(args, arms, slowest, seed).cells();
    for cell in &dropped {
        terminal::say(format_args!("left out: {}: {}", cell.cell, cell.reason));
    }
    let takes: Duration = cells.iter().map(Cell::estimate).sum();
    let main = cells.iter().position(|cell| cell.label.as_ref() == Some(&Full::places().latency));
    let main = main.context("this host does not carry the load of the primary claims")?;
    let configuration = Configuration {
        cells: cells.iter().map(Cell::recorded).collect(),
        dropped_cells: dropped,
        pilot,
        slowest_rate_per_sec: Some(recorded_rate(slowest)),
        primary: Some(Full::places()),
        ..Configuration::default()
    };
    Ok(Outline {
        cells,
        main,
        configuration,
        takes: Some(takes),
        deadline: Some(Instant::now() + takes.mul_f64(SLACK)),
    })
}

fn announce(cells: &[Cell], takes: Option<Duration>, seed: u64, folder: &Path) {
    let takes = takes
        .map_or_else(String::new, |takes| format!(", about {}", show_duration(Duration::from_secs(takes.as_secs()))));
    let blocks: u64 = cells.iter().map(|cell| cell.blocks).sum();
    let trials: u64 = cells.iter().map(|cell| cell.blocks * cell.arms.len() as u64).sum();
    let loads = if cells.len() > 1 { format!(" under {} loads", cells.len()) } else { String::new() };
    terminal::say(format_args!(
        "comparing {}{loads} in {blocks} blocks, {trials} trials{takes}; seed {seed}; {}",
        cells[0].arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>().join(", "),
        plain(&folder.to_string_lossy())
    ));
}

struct Comparison {
    cells: Vec<Cell>,
    /// The cell whose ceiling the calibration has measured.
    main: usize,
    session: Session,
    calibration: Calibration,
    /// The generator's ceiling in each cell, once it is known.
    ceilings: Vec<Option<f64>>,
    /// What pads the environments.
    random: ChaCha8Rng,
    rows: Vec<Row>,
    exit: Exit,
    discarded: u64,
    deadline: Option<Instant>,
}

impl Comparison {
    fn run(mut self, steps: &[Step]) -> Result<Exit> {
        if let Err(error) = self.steps(steps) {
            // Without a trial there is nothing to go on with; and where a record cannot be written nothing can be marked.
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
        // One invalid trial is a bad moment; one in five is a host that cannot be measured on.
        if self.discarded * 5 > self.rows.len() as u64 {
            self.exit = self.exit.min(Exit::Invalid);
        }
        let text = report::render(&folder)?;
        terminal::print(&text)?;
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
                let valid = self.block(step, attempt, &progress)?;
                run += 1;
                let mean = begun.elapsed() / run;
                let left = mean * (steps.len() - done) as u32;
                let late = self.deadline.is_some_and(|deadline| Instant::now() + left > deadline);
                if valid || self.exit == Exit::Interrupted || late {
                    break;
                }
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

    /// Every arm once; says whether every trial may be believed.
    fn block(&mut self, step: &Step, attempt: u64, progress: &ProgressBar) -> Result<bool> {
        self.probe_drift()?;
        let cell = &self.cells[step.cell];
        let plan = Plan { seed: step.seed, ..cell.plan.clone() };
        let conditions = Conditions { ceiling_per_sec: self.ceiling(step.cell)?, ..self.calibration.conditions() };
        let mut valid = true;
        for (place, arm) in step.arms.iter().enumerate() {
            if interrupt::requested() {
                self.exit = Exit::Interrupted;
                return Ok(false);
            }
            let cell = &self.cells[step.cell];
            let (arm, label) = (cell.arms[*arm].clone(), cell.label.clone());
            let load = label.as_ref().map_or_else(String::new, |label| format!("{label} "));
            progress.set_message(format!("{load}{}", arm.label));
            let order_in_block = place as u64 + 1;
            let place = recording::Place { cell: label.as_deref(), block: step.block, attempt, order_in_block };
            valid &= self.trial(place, &arm, &plan, &conditions)?;
        }
        Ok(valid)
    }

    /// What the generator can do with the connections and messages of a cell, measured when it is first needed.
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

    /// One trial and its row. A trial that a signal cut short is no row: it would only look like one.
    fn trial(&mut self, place: recording::Place<'_>, arm: &Arm, plan: &Plan, conditions: &Conditions) -> Result<bool> {
        /// A page: beyond it the stack only moves by whole pages.
        const PADDING_BYTES_MAX: usize = 4096;
        let padding_bytes = self.random.random_range(0..PADDING_BYTES_MAX);
        let trial = trial::run(plan, &arm.target(plan)?.padded(padding_bytes));
        if interrupt::requested() {
            return Ok(false);
        }
        let trial = match trial {
            // That is no trial of the server, and a row would take the place of one when the session is gone on with.
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
        Ok(measured.is_none_or(|(_, assessment)| assessment.validity != Validity::Invalid))
    }
}

/// `full` varies these itself.
fn ensure_free(args: &CompareArgs) -> Result<()> {
    let host = &args.host;
    let chosen = [
        ("--connections", args.connections.is_some()),
        ("--payload", args.payload != Payloads::one(64)),
        ("--pacing", host.pacing != PacingChoice::Auto),
        ("--placement", host.placement != PlacementKind::Split),
    ];
    for (option, is_chosen) in chosen {
        ensure!(!is_chosen, "--profile full varies this itself: leave {option} out");
    }
    let steady = args.rate.as_ref().is_none_or(|rate| rate.extremes_per_sec().0 == rate.extremes_per_sec().1);
    ensure!(steady, "--profile full takes fractions of one --rate: write for example --rate 60k");
    Ok(())
}

fn ensure_blocks(blocks: Option<u64>) -> Result<()> {
    /// Days of them; their order is drawn before the first one.
    const MOST: u64 = 100_000;
    ensure!(blocks != Some(0), "0 blocks compare nothing: ask for --blocks 1 or more");
    ensure!(
        blocks.is_none_or(|blocks| blocks <= MOST),
        "no session lasts so many blocks: ask for --blocks {MOST} or less"
    );
    Ok(())
}

/// A seed of few digits: it has to be typed again.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 % 1_000_000
}
