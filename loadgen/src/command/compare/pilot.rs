//! A rough and quick measure of the rate that each server sustains: `full` offers all of them fractions of the slowest
//! one's.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use protocol::{Service, work::Work};

use super::{arms::Arm, full::Rates, table::CONNECTIONS};
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

/// The factor of each rung with work to the one below: less than the 15 % by which the highest load with work exceeds what
/// is found, so that this load is beyond the limit of every server.
const WORK_STEP: f64 = 1.1;

/// Climbs with every arm; returns the record of it, from which [`slowest`] reads.
///
/// # Errors
/// If a server does not start, or does not sustain the lowest rung.
pub(super) fn climb(args: &CompareArgs, arms: &[Arm], seed: u64) -> Result<Vec<PilotEntry>> {
    let mut found = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_control()) {
        let service = Service::default();
        let Top { sustained_per_sec, end, .. } =
            LADDER.climb(|rate_per_sec| rung(args, arm, service, rate_per_sec, seed))?;
        let ended_by = why(end);
        let rate_per_sec = sustained_per_sec.with_context(|| {
            format!("{} does not sustain {} messages/s here: {ended_by}", arm.label, LADDER.from_per_sec)
        })?;
        let rate = show_count(rate_per_sec);
        terminal::say(format_args!("pilot: {} sustains {rate} messages/s, then {ended_by}", arm.label));
        found.push(PilotEntry { arm: arm.label.clone(), work: None, rate_per_sec, ended_by: end });
    }
    Ok(found)
}

/// The same with work on each message, for every arm that has it. Smaller steps, from half of what can be expected of a
/// server that sustains `slowest` messages per second without work: the limit is the server's and not far away.
///
/// # Errors
/// If a server does not start.
pub(super) fn climb_with_work(
    args: &CompareArgs,
    arms: &[Arm],
    work: &Work,
    slowest: f64,
    seed: u64,
) -> Result<Vec<PilotEntry>> {
    let from_per_sec = Rates::expected(slowest, work.mean()) / 2.0;
    let ladder = Ladder { from_per_sec, step: WORK_STEP, rounding: Rounding::ThreeDigits };
    let service = Service::working(*work);
    let mut found = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_control() && arm.lacks(&service).is_none()) {
        let Top { sustained_per_sec, end, .. } =
            ladder.climb(|rate_per_sec| rung(args, arm, service, rate_per_sec, seed))?;
        let Some(rate_per_sec) = sustained_per_sec else {
            terminal::say(format_args!(
                "pilot with {work}: {} does not sustain {from_per_sec:.0} messages/s",
                arm.label
            ));
            continue;
        };
        terminal::say(format_args!(
            "pilot with {work} of work: {} sustains {} messages/s, then {}",
            arm.label,
            show_count(rate_per_sec),
            why(end)
        ));
        found.push(PilotEntry { arm: arm.label.clone(), work: Some(work.to_string()), rate_per_sec, ended_by: end });
    }
    Ok(found)
}

/// The rate of the fastest server with work; `None` if it was not tried.
pub(super) fn fastest_with_work(pilot: &[PilotEntry]) -> Option<f64> {
    pilot
        .iter()
        .filter(|entry| entry.work.is_some() && is_sound(entry))
        .map(|entry| entry.rate_per_sec)
        .reduce(f64::max)
}

/// The rate of the slowest server without work among those that declare no clause broken; a guest declares none.
pub(super) fn slowest(pilot: &[PilotEntry]) -> Option<f64> {
    pilot
        .iter()
        .filter(|entry| entry.work.is_none() && is_sound(entry))
        .map(|entry| entry.rate_per_sec)
        .reduce(f64::min)
}

fn is_sound(entry: &PilotEntry) -> bool {
    servers::by_name(&entry.arm).is_none_or(|server| server.violates.is_empty())
}

/// The highest rate at which the generator kept up: beyond the top of a server that was saturated or failed it still did.
/// `None` if nothing was tried.
pub(super) fn reached(pilot: &[PilotEntry]) -> Option<f64> {
    let reached = |entry: &PilotEntry| match entry.ended_by {
        EndedBy::Saturated | EndedBy::Failed => {
            entry.rate_per_sec * if entry.work.is_some() { WORK_STEP } else { LADDER.step }
        }
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
fn rung(args: &CompareArgs, arm: &Arm, service: Service, rate_per_sec: f64, seed: u64) -> Result<ControlFlow<EndedBy>> {
    let sustained = Retry::STANDARD.until_accepted(|attempt| {
        let plan = plan(args, service, rate_per_sec, seed.wrapping_add(attempt))?;
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

fn plan(args: &CompareArgs, service: Service, rate_per_sec: f64, seed: u64) -> Result<Plan> {
    let ms = std::time::Duration::from_millis;
    let shape = Shape {
        connections: CONNECTIONS,
        load: Load::Open { rate: Rate::Steady(rate_per_sec), arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows: Windows { idle: ms(0), warmup: ms(100), load: ms(400), peak: ms(0), drain_bursts: 0 },
        status_interval: Some(ms(100)),
        cohorts: Cohorts::default(),
        service,
    };
    prepare(shape, &args.host, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_the_slowest_or_with_work_of_the_fastest_that_breaks_no_clause() {
        let entry = |arm: &str, work: Option<&str>, rate_per_sec| PilotEntry {
            arm: arm.to_owned(),
            work: work.map(str::to_owned),
            rate_per_sec,
            ended_by: EndedBy::Saturated,
        };
        let pilot = [
            entry("mio", None, 90_000.0),
            entry("sleep-loop", None, 9_000.0),
            entry("guest", None, 70_000.0),
            entry("mio", Some("20us"), 36_000.0),
            entry("guest", Some("20us"), 31_000.0),
            entry("sleep-loop", Some("20us"), 50_000.0),
        ];
        assert_eq!((slowest(&pilot), fastest_with_work(&pilot)), (Some(70_000.0), Some(36_000.0)));
        assert_eq!((slowest(&[]), fastest_with_work(&pilot[..3])), (None, None));
    }

    #[test]
    fn the_generator_reached_the_highest_rate_that_was_sustained_or_that_was_too_much_for_a_server() {
        let entry = |rate_per_sec, ended_by| PilotEntry { arm: "mio".to_owned(), work: None, rate_per_sec, ended_by };
        let (slow, fast) = (entry(40_000.0, EndedBy::Saturated), entry(60_000.0, EndedBy::Generator));
        assert_eq!(reached(&[slow.clone(), fast]), Some(60_000.0));
        assert_eq!(reached(&[slow]), Some(50_000.0));
        assert_eq!(reached(&[]), None);
    }
}
