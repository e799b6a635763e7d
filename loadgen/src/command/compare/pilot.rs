//! A rough and quick measure of the rate that each server sustains: `full` offers all of them fractions of the slowest
//! one's.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use protocol::Service;

use super::{arms::Arm, table::CONNECTIONS};
use crate::{
    cli::CompareArgs,
    error::Interrupted,
    interrupt,
    measure::{
        ladder::{Ladder, Rounding, Top},
        retry::Retry,
        trial::{self, Trial},
        validity::{Assessment, Conditions, assess, falls_behind},
    },
    plan::{Arrivals, Cohorts, Load, Plan, Rate, Shape, Windows, prepare, units::show_count},
    record::{EndedBy, Outcome, PilotEntry, Validity},
    terminal,
};

/// The rates that are tried.
const LADDER: Ladder = Ladder { from_per_sec: 5_000.0, step: 1.25, rounding: Rounding::Whole };

/// Climbs with every arm; returns the record of it, from which [`slowest`] reads.
///
/// # Errors
/// If a server does not start, or does not sustain the lowest rung.
pub(super) fn climb(args: &CompareArgs, arms: &[Arm], seed: u64) -> Result<Vec<PilotEntry>> {
    let mut found = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_control()) {
        let Top { sustained_per_sec, end, .. } = LADDER.climb(|rate_per_sec| rung(args, arm, rate_per_sec, seed))?;
        let ended_by = why(end);
        let rate_per_sec = sustained_per_sec.with_context(|| {
            format!("{} does not sustain {} messages/s here: {ended_by}", arm.label, LADDER.from_per_sec)
        })?;
        let rate = show_count(rate_per_sec);
        terminal::say(format_args!("pilot: {} sustains {rate} messages/s, then {ended_by}", arm.label));
        found.push(PilotEntry { arm: arm.label.clone(), rate_per_sec, ended_by: end });
    }
    Ok(found)
}

/// The rate of the slowest server among those that declare no clause broken; a guest declares none.
pub(super) fn slowest(pilot: &[PilotEntry]) -> Option<f64> {
    let sound = |entry: &&PilotEntry| servers::by_name(&entry.arm).is_none_or(|server| server.violates.is_empty());
    pilot.iter().filter(sound).map(|entry| entry.rate_per_sec).reduce(f64::min)
}

/// The highest rate at which the generator kept up: beyond the top of a server that was saturated or failed it still did.
/// `None` if nothing was tried.
pub(super) fn reached(pilot: &[PilotEntry]) -> Option<f64> {
    let reached = |entry: &PilotEntry| match entry.ended_by {
        EndedBy::Saturated | EndedBy::Failed => entry.rate_per_sec * LADDER.step,
        EndedBy::Generator | EndedBy::Invalid => entry.rate_per_sec,
    };
    pilot.iter().map(reached).reduce(f64::max)
}

/// The end of a ladder in words.
fn why(ended_by: EndedBy) -> &'static str {
    match ended_by {
        EndedBy::Saturated => "the server is saturated",
        EndedBy::Failed => "the server failed",
        EndedBy::Generator => "the generator falls behind",
        EndedBy::Invalid => "trials are invalid",
    }
}

/// Whether a rate is sustained in one of the attempts; the last one says why not.
fn rung(args: &CompareArgs, arm: &Arm, rate_per_sec: f64, seed: u64) -> Result<ControlFlow<EndedBy>> {
    let sustained = Retry::STANDARD.until_accepted(|attempt| {
        let plan = plan(args, rate_per_sec, seed.wrapping_add(attempt))?;
        let trial = trial::run(&plan, &arm.target(&plan)?)?;
        if interrupt::requested() {
            // A trial that was cut short says nothing about the server.
            return Err(Interrupted.into());
        }
        let assessment = assess(&plan, &trial, &Conditions::default());
        Ok(why_not(&plan, &trial, &assessment).map_or(Ok(()), Err))
    })?;
    Ok(sustained.map_or_else(ControlFlow::Break, ControlFlow::Continue))
}

/// Why a trial does not sustain its rate, if it does not. A server may seem saturated because the generator offers it
/// bursts: so the generator comes first.
fn why_not(plan: &Plan, trial: &Trial, assessment: &Assessment) -> Option<EndedBy> {
    let load = trial.load.as_ref()?;
    if falls_behind(plan, load) {
        Some(EndedBy::Generator)
    } else if assessment.validity == Validity::Invalid {
        Some(EndedBy::Invalid)
    } else {
        match assessment.outcome {
            Outcome::Ok => None,
            Outcome::Failed => Some(EndedBy::Failed),
            Outcome::Saturated | Outcome::Unclear => Some(EndedBy::Saturated),
        }
    }
}

fn plan(args: &CompareArgs, rate_per_sec: f64, seed: u64) -> Result<Plan> {
    let ms = std::time::Duration::from_millis;
    let shape = Shape {
        connections: CONNECTIONS,
        load: Load::Open { rate: Rate::Steady(rate_per_sec), arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows: Windows { idle: ms(0), warmup: ms(100), load: ms(400), peak: ms(0), drain_bursts: 0 },
        status_interval: Some(ms(100)),
        cohorts: Cohorts::default(),
        service: Service::default(),
    };
    prepare(shape, &args.host, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_the_slowest_that_breaks_no_clause() {
        let entry =
            |arm: &str, rate_per_sec| PilotEntry { arm: arm.to_owned(), rate_per_sec, ended_by: EndedBy::Saturated };
        let pilot = [entry("mio", 90_000.0), entry("sleep-loop", 9_000.0), entry("guest", 70_000.0)];
        assert_eq!(slowest(&pilot), Some(70_000.0));
        assert_eq!(slowest(&[]), None);
    }

    #[test]
    fn the_generator_reached_the_highest_rate_that_was_sustained_or_that_was_too_much_for_a_server() {
        let entry = |rate_per_sec, ended_by| PilotEntry { arm: "mio".to_owned(), rate_per_sec, ended_by };
        let (slow, fast) = (entry(40_000.0, EndedBy::Saturated), entry(60_000.0, EndedBy::Generator));
        assert_eq!(reached(&[slow.clone(), fast]), Some(60_000.0));
        assert_eq!(reached(&[slow]), Some(50_000.0));
        assert_eq!(reached(&[]), None);
    }
}
