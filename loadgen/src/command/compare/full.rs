//! The cells of `full`: its loads at the rates of a pilot, on one host.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::{
    arms::Arm,
    cells::Cell,
    order::whole_squares,
    selection::arms_of,
    table::{Spec, Weight, Whole},
};
use crate::{
    cli::CompareArgs,
    plan::{
        Arrivals, CpuList, HostArgs, Load, Payloads, PlacementKind, Rate, Shape, cores_for_server, prepare,
        units::show_count,
    },
    record::DroppedCell,
};

/// The blocks of the primary cells if the command line does not say.
const BLOCKS: u64 = 40;

/// Cells that claim nothing primary have this share of the blocks, but not fewer than their own family needs.
const SWEEP_BLOCKS: (u64, u64, u64) = (12, 40, 12);

/// The share of idle cells, but not fewer blocks than an interval of 95 % needs.
const IDLE_BLOCKS: (u64, u64, u64) = (8, 40, 6);

/// Messages per second that stand for the plan of a load that sends none.
const NO_RATE: f64 = 100.0;

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
    /// What the fastest server sustains with the work of the ladder with work; `None` if that was not tried.
    pub(super) fastest_with_work: Option<f64>,
}

impl Rates {
    /// What the slowest server can be expected to sustain if each message costs it so much CPU time more.
    pub(super) fn expected(slowest: f64, work: Duration) -> f64 {
        slowest / (1.0 + slowest * work.as_secs_f64())
    }
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
        let expected = Rates::expected(slowest, spec.service.work.mean());
        let whole = match spec.of {
            Whole::Slowest => expected,
            Whole::FastestWithWork => self.rates.fastest_with_work.unwrap_or(expected),
        };
        let rate = whole_rate(whole * spec.percent as f64 / 100.0);
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
        let arms = arms_of(spec, &self.arms, self.has_primary).map_err(|reason| anyhow!(reason))?;
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
        let host = match spec.server_cpus {
            None => host,
            Some(count) => {
                let cpus = cores_for_server(count, host.local_threads())
                    .map_err(|has| anyhow!("this host has {has} cores"))?;
                HostArgs { server_cpus: Some(CpuList(cpus)), ..host }
            }
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
    use clap::Parser;
    use protocol::Service;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        command::compare::{
            arms::arms,
            cells::{blocks_estimate, trial_estimate},
            order::square_blocks,
            table::TABLE,
        },
    };

    fn args(options: &[&str]) -> CompareArgs {
        let words = [&["loadgen", "compare", "--profile", "full"], options].concat();
        let Command::Compare(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        *args
    }

    const RATES: Rates = Rates { slowest: Some(50_000.0), reached: Some(60_000.0), fastest_with_work: Some(32_000.0) };

    fn full<'a>(args: &'a CompareArgs, has_primary: bool) -> Full<'a> {
        Full::new(args, arms(&args.servers, &[]), RATES, has_primary, 7)
    }

    fn named(name: &str) -> Spec {
        TABLE.into_iter().find(|spec| spec.name == name).unwrap()
    }

    /// Arms and blocks of a cell, as if every server had every option and were in this build.
    fn shape(full: &Full<'_>, name: &str) -> (Vec<String>, u64) {
        let spec = Spec { service: Service::default(), beside: &[], ..named(name) };
        let mut labels: Vec<String> =
            arms_of(&spec, &full.arms, full.has_primary).unwrap().into_iter().map(|arm| arm.label).collect();
        labels.extend(named(name).beside.iter().map(|name| (*name).to_owned()));
        let blocks = full.blocks(&spec, labels.len());
        (labels, blocks)
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
    fn a_load_with_work_takes_its_part_of_what_can_be_expected_with_it_and_the_ladder_of_what_was_tried() {
        let args = args(&[]);
        let full = full(&args, true);
        // 20 us of each message are there already, and 20 us are half of the sum.
        assert_eq!(full.rate(&named("work-20us")).unwrap(), 12_500.0);
        // 2 us of most messages and 20 ms of 0.2 % of them are 42 us.
        assert_eq!(full.rate(&named("heavy-tail")).unwrap(), 1_613.0);
        assert_eq!(full.rate(&named("work-20us-rate-115")).unwrap(), 36_800.0);
        let untried = Full { rates: Rates { fastest_with_work: None, ..RATES }, ..full };
        assert_eq!(untried.rate(&named("work-20us-rate-100")).unwrap(), 25_000.0);
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
            ("heavy-tail", &["mio", "threads", "tokio", "tokio-block-in-place"], 12),
            ("scale-2", &["mio", "threads", "tokio", "mio-multi", "tokio-per-core"], 20),
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
        let args = args(&["--servers", "mio,tokio", "--cells", "rate", "--blocks", "22"]);
        let (labels, blocks) = shape(&full(&args, false), "rate-50");
        assert_eq!((labels, blocks), (vec!["mio".to_owned(), "tokio".to_owned()], 22));
        assert_eq!(shape(&full(&args, false), "rate-10").1, 22);
    }

    #[test]
    fn what_a_host_cannot_carry_is_left_out_with_the_reason() {
        let args = args(&["--servers", "mio,tokio"]);
        let (cells, dropped) = full(&args, true).cells(&TABLE);
        assert_eq!(cells.len() + dropped.len(), TABLE.len());
        assert!(dropped.iter().all(|cell| !cell.reason.is_empty()));
        assert!(dropped.iter().any(|cell| cell.cell == "knee-130"), "the generator does not reach it");
    }

    /// With the minutes of the pilots, and blocks that are run again.
    #[test]
    fn every_cell_fits_into_an_hour_even_those_that_need_more_than_two_cpus() {
        let args = args(&["--servers", "mio,threads,tokio,tokio-current-thread"]);
        let full = full(&args, true);
        let takes = |spec: &Spec| {
            let (labels, blocks) = shape(&full, spec.name);
            let Spec { windows, status_interval, connections, cohorts, .. } = spec;
            let trial = trial_estimate(windows, *status_interval, *connections, !cohorts.is_empty());
            blocks_estimate(trial, labels.len(), blocks)
        };
        let all: Duration = TABLE.iter().map(takes).sum();
        let on_two_cpus: Duration = TABLE.iter().filter(|spec| spec.needs.is_none()).map(takes).sum();
        assert!(all <= Duration::from_secs(60 * 60), "{} s", all.as_secs());
        assert!(on_two_cpus < all && on_two_cpus >= Duration::from_secs(30 * 60), "{} s", on_two_cpus.as_secs());
    }
}
