//! The outline of a session: its cells and its deadline, for a profile of one load or for `full`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    arms::{Arm, arms, ensure_names},
    budget::{affordable, rehearse, requested},
    cells::Cell,
    full::{Full, Rates},
    pilot,
    profile::Profile,
    selection::{Selection, by_reason},
    table::{Spec, Whole},
};
use crate::{
    cli::CompareArgs,
    error::Usage,
    measure::calibration::Calibration,
    plan::{PacingChoice, Payloads, PlacementKind, Plan},
    record::{Configuration, PilotEntry, recorded_rate},
    terminal,
};

/// The server that `full` adds to the others: on one CPU, tokio would be configured like it.
const ALWAYS: &str = "tokio-current-thread";

/// The cells of a session, and the time for them.
pub(super) struct Outline {
    pub(super) cells: Vec<Cell>,
    /// Index of the cell of the primary claims on latency; without such claims, of the first one that sends messages with
    /// the arms of the command line.
    pub(super) main: usize,
    /// For session.json, beside the cells.
    pub(super) configuration: Configuration,
    /// Approximate duration.
    pub(super) takes: Duration,
    /// The end of the budget; blocks are run again only while all others still fit.
    pub(super) deadline: Option<Instant>,
    /// Measured with the plan of the main cell.
    pub(super) calibration: Calibration,
}

impl Outline {
    /// The cell of the primary claims on latency, or the one that stands for it.
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
    let asked = match args.blocks {
        // The order of a check that claims nothing need not be balanced.
        Some(blocks) if profile.makes_claims => Some(requested(blocks, &arms).map_err(Usage::from)?),
        blocks => blocks.or((!profile.makes_claims).then_some(profile.blocks)),
    };
    let calibration = Calibration::measure(&plan)?;
    let blocks = match asked {
        Some(blocks) => blocks,
        None => {
            let block = rehearse(&plan, &arms)?;
            affordable(profile, &arms, begun.elapsed(), block)
        }
    };
    let cell = Cell { label: None, plan, arms, blocks };
    Ok(Outline {
        main: 0,
        configuration: Configuration::default(),
        takes: cell.estimate(),
        cells: vec![cell],
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
    ensure_free(args).map_err(Usage::from)?;
    let arms = full_arms(args).map_err(Usage::from)?;
    let Selection { specs, mut dropped, primary } =
        Selection::of(&args.cells, &arms, &args.host).map_err(Usage::from)?;
    let contestants: Vec<Arm> = arms.iter().filter(|arm| !arm.is_control()).cloned().collect();
    let main_arms = if primary.is_some() { &arms } else { &contestants };
    args.blocks.map(|blocks| requested(blocks, main_arms)).transpose().map_err(Usage::from)?;
    let (pilot, rates) = match pilot {
        _ if !specs.iter().any(Spec::has_load) => (Vec::new(), Rates::default()),
        pilot => rates(args, &arms, &specs, seed, pilot)?,
    };
    let (cells, not_carried) = Full::new(args, arms, rates, primary.is_some(), seed).cells(&specs);
    dropped.extend(not_carried);
    by_reason(&dropped).iter().for_each(|line| terminal::say(format_args!("left out: {line}")));
    let main = match &primary {
        Some(primary) => cells.iter().position(|cell| cell.label.as_ref() == Some(&primary.latency)),
        None => {
            let loaded = |cell: &Cell| !cell.plan.windows.load.is_zero();
            // Its arms are those of the tables: none alongside the contestants, and none left out.
            let usual = cells.iter().position(|cell| loaded(cell) && cell.arms == contestants);
            usual.or(cells.iter().position(loaded)).or((!cells.is_empty()).then_some(0))
        }
    };
    let main = main.context("this host does not carry the load that the others are compared with")?;
    if primary.is_none() {
        terminal::say("no primary claims: they need the cells rate-50 and cpu; the other tables only explore");
    }
    let takes: Duration = cells.iter().map(Cell::estimate).sum();
    let configuration = Configuration {
        cells: cells.iter().map(Cell::recorded).collect(),
        dropped_cells: dropped,
        pilot,
        slowest_rate_per_sec: rates.slowest.map(recorded_rate),
        primary,
        ..Configuration::default()
    };
    let deadline = Some(Instant::now() + allowed(takes, args.blocks.is_some()));
    let calibration = Calibration::measure(&with_connections(&cells[main].plan))?;
    Ok(Outline { cells, main, configuration, takes, deadline, calibration })
}

/// The time for the cells of `full`, blocks that are run again included.
fn allowed(takes: Duration, is_requested: bool) -> Duration {
    /// Blocks that are run again may take so much.
    const SLACK: f64 = 1.3;
    /// What the profile takes on two CPUs, the pilot aside.
    const BUDGET: Duration = Duration::from_secs(58 * 60);
    let slack = takes.mul_f64(SLACK);
    // A number of blocks that was requested takes as long as it takes.
    if is_requested { slack } else { slack.min(BUDGET).max(takes) }
}

/// The servers of the command line and [`ALWAYS`], with the control.
fn full_arms(args: &CompareArgs) -> Result<Vec<Arm>> {
    let mut servers = args.servers.clone();
    if !servers.iter().any(|server| server == ALWAYS) {
        servers.push(ALWAYS.to_owned());
    }
    let arms = arms(&servers, &args.guests);
    ensure_names(&arms)?;
    Ok(arms)
}

/// The rates of the command line, or of a pilot, which is returned.
fn rates(
    args: &CompareArgs,
    arms: &[Arm],
    specs: &[Spec],
    seed: u64,
    pilot: Option<Vec<PilotEntry>>,
) -> Result<(Vec<PilotEntry>, Rates)> {
    let with_work = |slowest| match specs.iter().find(|spec| spec.of == Whole::FastestWithWork) {
        Some(spec) => pilot::climb_with_work(args, arms, &spec.service.work, slowest, seed),
        None => Ok(Vec::new()),
    };
    if let Some(rate) = &args.rate {
        let slowest = rate.extremes_per_sec().1;
        let pilot = pilot.map_or_else(|| with_work(slowest), Ok)?;
        let fastest_with_work = pilot::fastest_with_work(&pilot);
        return Ok((pilot, Rates { slowest: Some(slowest), reached: None, fastest_with_work }));
    }
    let none = "every server declares a clause: there is nothing to take fractions of";
    let pilot = match pilot {
        Some(pilot) => pilot,
        None => {
            let mut pilot = pilot::climb(args, arms, seed)?;
            let slowest = pilot::slowest(&pilot).context(none)?;
            pilot.extend(with_work(slowest)?);
            pilot
        }
    };
    let rates = Rates {
        slowest: Some(pilot::slowest(&pilot).context(none)?),
        reached: pilot::reached(&pilot),
        fastest_with_work: pilot::fastest_with_work(&pilot),
    };
    Ok((pilot, rates))
}

/// The plan with a connection at least: without one nothing can be calibrated.
fn with_connections(plan: &Plan) -> Plan {
    Plan { connections: plan.connections.max(1), ..plan.clone() }
}

/// Refuses options that `full` varies itself.
fn ensure_free(args: &CompareArgs) -> Result<()> {
    let host = &args.host;
    let chosen = [
        ("--connections", args.connections.is_some()),
        ("--payload", args.payload != Payloads::one(64)),
        ("--pacing", host.pacing != PacingChoice::Auto),
        ("--placement", host.placement != PlacementKind::Split),
        ("--work, --handshake and --idle-timeout", args.service.service().features().next().is_some()),
    ];
    for (option, is_chosen) in chosen {
        ensure!(!is_chosen, "--profile full varies this itself: leave {option} out");
    }
    let steady = args.rate.as_ref().is_none_or(|rate| rate.extremes_per_sec().0 == rate.extremes_per_sec().1);
    ensure!(steady, "--profile full takes fractions of one --rate: write for example --rate 60k");
    Ok(())
}
