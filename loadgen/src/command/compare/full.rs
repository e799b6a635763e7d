//! The cells of `full`: its loads at the rates of a pilot, on one host.

use anyhow::{Result, ensure};

use super::{
    arms::Arm,
    cells::Cell,
    order::whole_squares,
    table::{PRIMARY_CPU, PRIMARY_LATENCY, Spec, TABLE, Weight, chosen},
};
use crate::{
    cli::CompareArgs,
    plan::{Arrivals, HostArgs, Load, Payloads, PlacementKind, Rate, Shape, prepare, units::show_count},
    record::{DroppedCell, Primary},
};

/// The blocks of the primary cells if the command line does not say.
const BLOCKS: u64 = 40;

/// Cells that claim nothing primary have this share of the blocks, but not fewer than their own family needs.
const SWEEP_BLOCKS: (u64, u64, u64) = (12, 40, 12);

/// The share of idle cells, but not fewer blocks than an interval of 95 % needs.
const IDLE_BLOCKS: (u64, u64, u64) = (8, 40, 6);

/// Messages per second that stand for the plan of a load that sends none.
const NO_RATE: f64 = 100.0;

/// The loads that a command line asks for.
pub(super) struct Selection {
    /// Those that can be carried out.
    pub(super) specs: Vec<Spec>,
    /// The others.
    pub(super) dropped: Vec<DroppedCell>,
    /// The cells of the primary claims; `None` if not all of them were asked for, so that there are no such claims.
    pub(super) primary: Option<Primary>,
}

impl Selection {
    /// What `--cells` means; every load without it.
    ///
    /// # Errors
    /// If a word means no load, or no load that was asked for can be carried out.
    pub(super) fn of(words: &[String]) -> Result<Self> {
        let asked = if words.is_empty() { TABLE.to_vec() } else { chosen(words)? };
        let unmet = |spec: &Spec| Some(DroppedCell { cell: spec.name.to_owned(), reason: spec.needs?.unmet() });
        let dropped: Vec<DroppedCell> = asked.iter().filter_map(unmet).collect();
        let specs: Vec<Spec> = asked.into_iter().filter(|spec| spec.needs.is_none()).collect();
        ensure!(!specs.is_empty(), "no cell is left: {}", by_reason(&dropped).join("; "));
        let has = |name: &str| specs.iter().any(|spec| spec.name == name);
        let primary = Primary { latency: PRIMARY_LATENCY.to_owned(), cpu: PRIMARY_CPU.to_owned() };
        let primary = (has(PRIMARY_LATENCY) && has(PRIMARY_CPU)).then_some(primary);
        Ok(Self { specs, dropped, primary })
    }
}

/// What is left out, a line for each reason.
pub(super) fn by_reason(dropped: &[DroppedCell]) -> Vec<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for cell in dropped {
        if !reasons.contains(&cell.reason.as_str()) {
            reasons.push(&cell.reason);
        }
    }
    let line = |reason: &str| {
        let names = dropped.iter().filter(|cell| cell.reason == reason).map(|cell| cell.cell.as_str());
        format!("{}: {reason}", names.collect::<Vec<_>>().join(", "))
    };
    reasons.into_iter().map(line).collect()
}

/// What makes cells of the loads.
pub(super) struct Full<'a> {
    args: &'a CompareArgs,
    arms: Vec<Arm>,
    rates: Rates,
    /// Whether the cells of the primary claims have a control.
    has_primary: bool,
    seed: u64,
}

/// What the pilot found, in messages per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// What the slowest server sustains, of those that declare no clause broken; `None` if nothing is sent.
    pub(super) slowest: Option<f64>,
    /// What the generator reached; `None` if it was not tried.
    pub(super) reached: Option<f64>,
}

impl<'a> Full<'a> {
    /// `arms` are all, with the control.
    pub(super) fn new(args: &'a CompareArgs, arms: Vec<Arm>, rates: Rates, has_primary: bool, seed: u64) -> Self {
        Self { args, arms, rates, has_primary, seed }
    }

    /// Every cell that this host can carry, and the names of the others with the reason.
    pub(super) fn cells(&self, specs: &[Spec]) -> (Vec<Cell>, Vec<DroppedCell>) {
        let (mut cells, mut dropped) = (Vec::new(), Vec::new());
        for spec in specs {
            match self.cell(spec) {
                Ok(cell) => cells.push(cell),
                Err(error) => dropped.push(DroppedCell { cell: spec.name.to_owned(), reason: format!("{error:#}") }),
            }
        }
        (cells, dropped)
    }

    /// The arms of a load.
    fn arms(&self, spec: &Spec) -> Vec<Arm> {
        let has_control = self.has_primary && spec.weight == Weight::Primary;
        let mut arms: Vec<Arm> = self.arms.iter().filter(|arm| has_control || !arm.is_control()).cloned().collect();
        if let Some(beside) = spec.beside.filter(|name| !arms.iter().any(|arm| arm.label == *name)) {
            arms.push(Arm::server(beside));
        }
        arms
    }

    /// The blocks of a load with so many arms, in whole squares.
    fn blocks(&self, spec: &Spec, arms: usize) -> u64 {
        let all = self.args.blocks.unwrap_or(BLOCKS);
        let part = |(share, of, least): (u64, u64, u64)| (all * share).div_ceil(of).max(least.min(all)).max(1);
        let blocks = match spec.weight {
            // Who chooses cells means their blocks.
            _ if !self.args.cells.is_empty() && self.args.blocks.is_some() => all,
            Weight::Primary => all,
            Weight::Sweep => part(SWEEP_BLOCKS),
            Weight::Idle => part(IDLE_BLOCKS),
        };
        whole_squares(blocks, arms)
    }

    fn rate(&self, spec: &Spec) -> Result<f64> {
        let Some(slowest) = self.rates.slowest.filter(|_| spec.has_load()) else { return Ok(NO_RATE) };
        let rate = whole_rate(slowest * spec.percent as f64 / 100.0);
        let reached = self.rates.reached.unwrap_or(f64::INFINITY);
        ensure!(
            rate <= reached,
            "{} messages/s are more than the {} that the generator reached in the pilot",
            show_count(rate),
            show_count(reached)
        );
        Ok(rate)
    }

    fn cell(&self, spec: &Spec) -> Result<Cell> {
        let arms = self.arms(spec);
        let shape = Shape {
            connections: spec.connections,
            load: Load::Open { rate: Rate::Steady(self.rate(spec)?), arrivals: Arrivals::Poisson },
            payloads: Payloads::one(spec.payload_bytes),
            windows: spec.windows,
            status_interval: Some(spec.status_interval),
            cohorts: spec.cohorts,
            service: spec.service,
        };
        let host = HostArgs { pacing: spec.pacing, placement: spec.placement, ..self.args.host.clone() };
        let host = if spec.placement == PlacementKind::Shared {
            HostArgs { server_cpus: None, loadgen_cpus: None, ..host }
        } else {
            host
        };
        let plan = prepare(shape, &host, self.seed)?;
        arms.iter().try_for_each(|arm| arm.target(&plan).map(drop))?;
        let blocks = self.blocks(spec, arms.len());
        Ok(Cell { label: Some(spec.name.to_owned()), plan, arms, blocks })
    }
}

/// A rate in whole messages per second, except for low rates, for which the rounding would be coarse.
fn whole_rate(per_sec: f64) -> f64 {
    if per_sec < 100.0 { per_sec } else { per_sec.floor() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        command::compare::{
            arms::arms,
            cells::{blocks_estimate, trial_estimate},
            order::square_blocks,
        },
    };

    fn args(options: &[&str]) -> CompareArgs {
        let words = [&["loadgen", "compare", "--profile", "full"], options].concat();
        let Command::Compare(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        *args
    }

    fn selection(cells: &[&str]) -> Selection {
        Selection::of(&cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    const RATES: Rates = Rates { slowest: Some(50_000.0), reached: Some(60_000.0) };

    fn full<'a>(args: &'a CompareArgs, has_primary: bool) -> Full<'a> {
        Full::new(args, arms(&args.servers, &[]), RATES, has_primary, 7)
    }

    fn named(name: &str) -> Spec {
        TABLE.into_iter().find(|spec| spec.name == name).unwrap()
    }

    /// Arms and blocks of a cell.
    fn shape(full: &Full<'_>, name: &str) -> (Vec<String>, u64) {
        let arms = full.arms(&named(name));
        let blocks = full.blocks(&named(name), arms.len());
        (arms.into_iter().map(|arm| arm.label).collect(), blocks)
    }

    #[test]
    fn every_rate_is_a_fraction_of_the_slowest_and_none_is_beyond_what_the_generator_reached() {
        let args = args(&[]);
        let full = full(&args, true);
        for (name, rate) in [("rate-10", 5e3), ("rate-50", 25e3), ("rate-85", 42_500.0), ("payload-1KiB", 15e3)] {
            assert_eq!(full.rate(&named(name)).unwrap(), rate, "{name}");
        }
        assert_eq!(full.rate(&named("knee-115")).unwrap(), 57_500.0);
        let error = full.rate(&named("knee-130")).unwrap_err().to_string();
        assert_eq!(error, "65.0k messages/s are more than the 60.0k that the generator reached in the pilot");
        assert!(full.rate(&named("idle-100")).unwrap() > 0.0, "a plan has a rate, even if nothing is sent");
    }

    #[test]
    fn the_control_runs_where_the_primary_claims_are_made_and_the_floor_where_it_is_needed() {
        let args = args(&["--servers", "mio,threads,tokio"]);
        for (name, arms, blocks) in [
            ("rate-50", &["mio", "threads", "tokio", "mio#2"][..], 40),
            ("cpu", &["mio", "threads", "tokio", "mio#2"], 40),
            ("rate-10", &["mio", "threads", "tokio"], 12),
            ("floor", &["mio", "threads", "tokio", "blocking"], 12),
            ("idle-100", &["mio", "threads", "tokio"], 12),
        ] {
            let (labels, count) = shape(&full(&args, true), name);
            assert_eq!(
                (labels.iter().map(String::as_str).collect::<Vec<_>>(), count),
                (arms.to_vec(), blocks),
                "{name}"
            );
        }
    }

    #[test]
    fn the_blocks_of_every_cell_are_whole_squares_whatever_the_arms() {
        for servers in ["mio,tokio", "mio,threads,tokio", "mio,threads,tokio,tokio-current-thread", "mio,mio"] {
            for blocks in ["12", "20", "40", "41"] {
                let args = args(&["--servers", servers, "--blocks", blocks]);
                let full = full(&args, true);
                for spec in TABLE {
                    let (labels, count) = shape(&full, spec.name);
                    assert!(count > 0 && count % square_blocks(labels.len()) == 0, "{servers} {blocks} {}", spec.name);
                }
            }
        }
    }

    #[test]
    fn without_the_primary_cells_there_is_no_control_and_a_number_of_blocks_is_that_of_each_cell() {
        let all = selection(&[]);
        assert_eq!(all.primary, Some(Primary { latency: "rate-50".to_owned(), cpu: "cpu".to_owned() }));
        assert!(selection(&["rate"]).primary.is_none(), "CPU per message belongs to the family");
        assert!(selection(&["cpu", "rate-50", "floor"]).primary.is_some());
        let args = args(&["--servers", "mio,tokio", "--cells", "rate", "--blocks", "22"]);
        let (labels, blocks) = shape(&full(&args, false), "rate-50");
        assert_eq!((labels, blocks), (vec!["mio".to_owned(), "tokio".to_owned()], 22));
        assert_eq!(shape(&full(&args, false), "rate-10").1, 22);
    }

    #[test]
    fn what_has_no_server_or_host_yet_is_left_out_with_one_line_for_each_reason() {
        let Selection { specs, dropped, .. } = selection(&[]);
        assert_eq!(specs.len() + dropped.len(), TABLE.len());
        let lines = by_reason(&dropped);
        assert!(lines.len() <= 5 && lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        assert!(
            lines[0].starts_with("work-2us, work-5us, ")
                && lines[0].ends_with(": needs --work, which no server has yet")
        );
        let none = Selection::of(&["storm".to_owned()]).map(|_| ()).unwrap_err().to_string();
        assert!(none.starts_with("no cell is left: storm-100, storm-1000, storm-5000: needs --handshake"), "{none}");
    }

    #[test]
    fn what_a_host_cannot_carry_is_left_out_with_the_reason() {
        let args = args(&["--servers", "mio,tokio"]);
        let specs = selection(&[]).specs;
        let (cells, dropped) = full(&args, true).cells(&specs);
        assert_eq!(cells.len() + dropped.len(), specs.len());
        assert!(dropped.iter().all(|cell| !cell.reason.is_empty()));
        assert!(dropped.iter().any(|cell| cell.cell == "knee-130"), "the generator does not reach it");
    }

    /// With the pilot's minute, and blocks that are run again.
    #[test]
    fn every_cell_of_the_page_fits_into_an_hour_even_those_that_are_left_out_today() {
        let args = args(&["--servers", "mio,threads,tokio,tokio-current-thread"]);
        let full = full(&args, true);
        let takes = |spec: &Spec| {
            let (labels, blocks) = shape(&full, spec.name);
            let Spec { windows, status_interval, connections, cohorts, .. } = spec;
            let trial = trial_estimate(windows, *status_interval, *connections, !cohorts.is_empty());
            blocks_estimate(trial, labels.len(), blocks)
        };
        let all: Duration = TABLE.iter().map(takes).sum();
        let today: Duration = selection(&[]).specs.iter().map(takes).sum();
        assert!(all <= Duration::from_secs(60 * 60), "{} s", all.as_secs());
        assert!(today < all && today >= Duration::from_secs(30 * 60), "{} s", today.as_secs());
    }
}
