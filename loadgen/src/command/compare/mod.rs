//! `loadgen compare`: servers side by side, in interleaved blocks with a fresh process for each trial.
//!
//! A block runs every arm once, in an order balanced over the blocks and with the same schedule, close together in time:
//! host drift affects all of them alike. The number of blocks is fixed before the first one; a block with an
//! invalid trial is run again as a whole, so that no arm is selected by its luck.

mod arms;
mod budget;
mod cells;
mod comparison;
mod first_blocks;
mod full;
mod order;
mod outline;
mod pilot;
mod profile;
mod resume;
mod selection;
mod table;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::{
    cells::Cell,
    comparison::Comparison,
    first_blocks::FirstBlocks,
    outline::{Outline, full, single},
    profile::{QUICK, SMOKE},
    resume::Trust,
};
use super::{generate::gathered, preamble, with_hosts};
use crate::{
    cli::{CompareArgs, ProfileName},
    error::{Interrupted, Usage},
    exit::Exit,
    interrupt,
    plan::units::show_duration,
    record::{Configuration, PlanRecord, Session, SessionFolder},
    terminal,
    text::plain,
};

/// Runs the comparison, prints the table and leaves the session's folder behind.
///
/// # Errors
/// If the session cannot start. Once it has, a trial that fails becomes a row.
pub fn compare(args: &CompareArgs) -> Result<Exit> {
    match &args.resume {
        None => start(args, None),
        Some(folder) => {
            // The working folder may become another one.
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            let interrupted =
                resume::interrupted(&folder, if args.trust { Trust::Any } else { Trust::Own }).map_err(Usage::from)?;
            let recorded = &interrupted.args;
            let args = CompareArgs { keep_going: args.keep_going || recorded.keep_going, ..recorded.clone() };
            start(&args, Some(interrupted))
        }
    }
}

/// Starts a session, or resumes one.
fn start(args: &CompareArgs, resumed: Option<resume::Interrupted>) -> Result<Exit> {
    ensure_blocks(args.blocks).map_err(Usage::from)?;
    ensure_cells(args).map_err(Usage::from)?;
    // The folder is claimed before anything is measured.
    let (place, resumed) = match resumed {
        None => {
            (SessionFolder::claim(args.out.as_deref(), args.record.host_name.as_deref()).map_err(Usage::from)?, None)
        }
        Some(resume::Interrupted { place, metadata, pilot, trials, .. }) => (place, Some((metadata, pilot, trials))),
    };
    let args = &CompareArgs { host: gathered(&args.host)?, ..args.clone() };
    let begun = Instant::now();
    let seed = args.seed.unwrap_or_else(drawn_seed);
    let pilot = resumed.as_ref().map(|(_, pilot, _)| pilot.clone());
    let outline = match args.profile {
        ProfileName::Smoke => single(args, &SMOKE, seed, begun)?,
        ProfileName::Quick => single(args, &QUICK, seed, begun)?,
        ProfileName::Full => full(args, seed, pilot)?,
    };
    let configuration = with_hosts(configuration(args, &outline, seed)?, &args.host);
    if interrupt::requested() {
        // There is nothing to record yet.
        return Err(Interrupted.into());
    }
    let (session, rows) = match resumed {
        None => (Session::create(place, preamble(configuration, &args.host))?, Vec::new()),
        Some((metadata, _, trials)) => {
            (Session::reopen(place, metadata, &trials, &configuration).map_err(Usage::from)?, trials.rows)
        }
    };
    terminal::say(&outline.main_cell().plan.placement.reason);
    announce(&outline.cells, outline.takes, seed, session.folder());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shapes: Vec<(usize, u64)> = outline.cells.iter().map(|cell| (cell.arms.len(), cell.blocks)).collect();
    let steps = order::session(&mut random, &shapes);
    let ceilings = vec![None; outline.cells.len()];
    // What smoke checks works on any host.
    let keeps_going = args.keep_going || args.profile == ProfileName::Smoke;
    let first_blocks = FirstBlocks::new(outline.cells.len(), keeps_going);
    let comparison = Comparison {
        cells: outline.cells,
        main: outline.main,
        session,
        calibration: outline.calibration,
        ceilings,
        random,
        rows,
        exit: Exit::Ok,
        discarded: 0,
        deadline: outline.deadline,
        first_blocks,
    };
    comparison.run(&steps)
}

/// The configuration that reproduces the session.
fn configuration(args: &CompareArgs, outline: &Outline, seed: u64) -> Result<Configuration> {
    let main = outline.main_cell();
    // The commands of guests may be relative to the working folder.
    let working_folder = match args.guests.is_empty() {
        true => None,
        false => Some(std::env::current_dir().context("the working folder is gone, and guests may be named from it")?),
    };
    Ok(Configuration {
        profile: Some(args.profile.name().to_owned()),
        seed: Some(seed),
        arms: main.arms.iter().map(|arm| arm.label.clone()).collect(),
        blocks: Some(main.blocks),
        plan: Some(PlanRecord::of(&main.plan)),
        working_folder: working_folder.map(|folder| folder.to_string_lossy().into_owned()),
        guest_files: main.arms.iter().filter_map(|arm| Some((arm.label.clone(), arm.files()?))).collect(),
        ceiling_rate_per_sec: Some(outline.calibration.ceiling_per_sec.round() as u64),
        ..outline.configuration.clone()
    })
}

fn announce(cells: &[Cell], takes: Duration, seed: u64, folder: &Path) {
    let takes = show_duration(Duration::from_secs(takes.as_secs().max(1)));
    let blocks: u64 = cells.iter().map(|cell| cell.blocks).sum();
    let trials: u64 = cells.iter().map(|cell| cell.blocks * cell.arms.len() as u64).sum();
    let loads = if cells.len() > 1 { format!(" under {} loads", cells.len()) } else { String::new() };
    terminal::say(format_args!(
        "comparing {}{loads} in {blocks} blocks, {trials} trials, about {takes}; seed {seed}; {}",
        cells[0].arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>().join(", "),
        plain(&folder.to_string_lossy())
    ));
}

fn ensure_blocks(blocks: Option<u64>) -> Result<()> {
    /// They would take days; their order is drawn before the first one.
    const MOST: u64 = 100_000;
    ensure!(blocks != Some(0), "0 blocks compare nothing: ask for --blocks 1 or more");
    ensure!(
        blocks.is_none_or(|blocks| blocks <= MOST),
        "no session lasts so many blocks: ask for --blocks {MOST} or less"
    );
    Ok(())
}

fn ensure_cells(args: &CompareArgs) -> Result<()> {
    ensure!(
        args.cells.is_empty() || args.profile == ProfileName::Full,
        "--cells chooses among the loads of one profile: add --profile full"
    );
    Ok(())
}

/// A seed of few digits, since people type it again.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 % 1_000_000
}
