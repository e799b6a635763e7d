//! The outline of a session: its cells and its deadline, for a profile of one load or for `full`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    arms::{arms, ensure_names},
    budget::{affordable, rehearse},
    cells::{Cell, Full, Profile},
    pilot,
};
use crate::{
    cli::CompareArgs,
    error::Usage,
    measure::calibration::Calibration,
    plan::{PacingChoice, Payloads, PlacementKind},
    record::{Configuration, PilotEntry, recorded_rate},
    terminal,
};

/// The server that `full` adds to the others: on one CPU, tokio would be configured like it.
const ALWAYS: &str = "tokio-current-thread";

/// The cells of a session, and the time for them.
pub(super) struct Outline {
    pub(super) cells: Vec<Cell>,
    /// Index of the cell of the primary claims on latency.
    pub(super) main: usize,
    /// For session.json, beside the cells.
    pub(super) configuration: Configuration,
    /// Approximate duration, if it is known.
    pub(super) takes: Option<Duration>,
    /// The end of the budget; blocks are run again only while all others still fit.
    pub(super) deadline: Option<Instant>,
    /// Measured with the plan of the main cell.
    pub(super) calibration: Calibration,
}

impl Outline {
    /// The cell of the primary claims on latency.
    pub(super) fn main_cell(&self) -> &Cell {
        &self.cells[self.main]
    }
}

/// A profile of one load: as many of its blocks as fit into its budget, which began at `begun`.
///
/// # Errors
/// If the command line makes no plan, or an arm cannot be measured at all.
pub(super) fn single(args: &CompareArgs, profile: &Profile, seed: u64, begun: Instant) -> Result<Outline> {
    let plan = profile.plan(args, seed).map_err(Usage::from)?;
    let arms = arms(&args.servers, &args.guests);
    ensure_names(&arms).map_err(Usage::from)?;
    arms.iter().try_for_each(|arm| arm.target(&plan).map(drop))?;
    let calibration = Calibration::measure(&plan)?;
    let is_open = args.blocks.is_none() && profile.blocks > profile.blocks_min;
    let rehearsed = if is_open { Some(rehearse(&plan, &arms)?) } else { None };
    let blocks = args.blocks.unwrap_or_else(|| affordable(profile, begun.elapsed(), rehearsed));
    Ok(Outline {
        cells: vec![Cell { label: None, plan, arms, blocks }],
        main: 0,
        configuration: Configuration::default(),
        takes: rehearsed.map(|block| block * blocks as u32),
        // A number of blocks that was requested takes as long as it takes.
        deadline: args.blocks.is_none().then(|| begun + profile.budget),
        calibration,
    })
}

/// Many loads, at rates that a pilot finds, unless the command line or an earlier pilot gives them.
///
/// # Errors
/// If the command line makes no plan, a server does not sustain the lowest rate, or this host cannot carry the load of the
/// primary claims.
pub(super) fn full(args: &CompareArgs, seed: u64, pilot: Option<Vec<PilotEntry>>) -> Result<Outline> {
    /// The time that blocks may take that are run again.
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
    let main = cells.iter().position(|cell| cell.label.as_ref() == Some(&Full::primary().latency));
    let main = main.context("this host does not carry the load of the primary claims")?;
    let configuration = Configuration {
        cells: cells.iter().map(Cell::recorded).collect(),
        dropped_cells: dropped,
        pilot,
        slowest_rate_per_sec: Some(recorded_rate(slowest)),
        primary: Some(Full::primary()),
        ..Configuration::default()
    };
    let deadline = Some(Instant::now() + takes.mul_f64(SLACK));
    let calibration = Calibration::measure(&cells[main].plan)?;
    Ok(Outline { cells, main, configuration, takes: Some(takes), deadline, calibration })
}

/// Refuses options that `full` varies itself.
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
