//! How much each server bears, roughly and quickly: `full` offers all of them fractions of what the slowest does.

use anyhow::{Result, ensure};

use super::{arms::Arm, cells::CONNECTIONS};
use crate::{
    cli::CompareArgs,
    error::Interrupted,
    interrupt,
    measure::{
        trial::{self, Trial},
        validity::{Assessment, BUSY, Conditions, assess, busy_share},
    },
    plan::{Arrivals, Cohorts, Load, Plan, Rate, Shape, Windows, prepare, units::show_count},
    record::{EndedBy, Outcome, PilotEntry, Validity},
    terminal,
};

/// The lowest rate, in messages per second.
const FROM: f64 = 5_000.0;

/// Each rung is higher than the one below by this factor.
const STEP: f64 = 1.25;

/// A rung is tried so often before it counts as not borne: a shared host has bad moments.
const TRIES: u64 = 3;

/// Where a server's ladder ended.
struct Borne {
    rate_per_sec: u64,
    ended_by: EndedBy,
}

/// Climbs with every arm; returns the record of it, from which [`slowest`] reads.
///
/// # Errors
/// If a server does not start, or does not bear the lowest rung.
pub(super) fn climb(args: &CompareArgs, arms: &[Arm], seed: u64) -> Result<Vec<PilotEntry>> {
    let mut found = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_control()) {
        let borne = ladder(args, arm, seed)?;
        let rate = show_count(borne.rate_per_sec as f64);
        let ended_by = why(borne.ended_by);
        terminal::say(format_args!("pilot: {} sustains {rate} messages/s, then {ended_by}", arm.label));
        let rate_per_sec = borne.rate_per_sec as f64;
        found.push(PilotEntry { arm: arm.label.clone(), rate_per_sec, ended_by: borne.ended_by });
    }
    Ok(found)
}

/// What the slowest server bears that declares no clause; a guest declares none.
pub(super) fn slowest(pilot: &[PilotEntry]) -> Option<f64> {
    let sound = |entry: &&PilotEntry| servers::by_name(&entry.arm).is_none_or(|server| server.violates.is_empty());
    pilot.iter().filter(sound).map(|entry| entry.rate_per_sec).reduce(f64::min)
}

/// The end of a ladder in words.
fn why(ended_by: EndedBy) -> &'static str {
    match ended_by {
        EndedBy::Saturated => "the server is saturated",
        EndedBy::Failed => "the server failed",
        EndedBy::GeneratorBusy => "the generator is busy",
        EndedBy::Invalid => "trials are invalid",
    }
}

fn ladder(args: &CompareArgs, arm: &Arm, seed: u64) -> Result<Borne> {
    let (mut borne, mut rate, mut tries) = (0, FROM, 0);
    let ended_by = loop {
        let plan = plan(args, rate as u64, seed.wrapping_add(tries))?;
        let trial = trial::run(&plan, &arm.target(&plan)?)?;
        if interrupt::requested() {
            // How much it bears is not known; that is no fault of the server's.
            return Err(Interrupted.into());
        }
        let assessment = assess(&plan, &trial, &Conditions::default());
        match why_not(&plan, &trial, &assessment) {
            None => {
                (borne, tries) = (rate as u64, 0);
                rate *= STEP;
            }
            Some(_) if tries + 1 < TRIES => tries += 1,
            Some(reason) => break reason,
        }
    };
    ensure!(borne > 0, "{} does not bear {FROM} messages/s here: {}", arm.label, why(ended_by));
    Ok(Borne { rate_per_sec: borne, ended_by })
}

/// Why a rung is not borne, if it is not.
fn why_not(plan: &Plan, trial: &Trial, assessment: &Assessment) -> Option<EndedBy> {
    let load = trial.load.as_ref()?;
    if busy_share(plan, load) > BUSY.flag {
        Some(EndedBy::GeneratorBusy)
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

fn plan(args: &CompareArgs, rate: u64, seed: u64) -> Result<Plan> {
    let ms = std::time::Duration::from_millis;
    let shape = Shape {
        connections: CONNECTIONS,
        load: Load::Open { rate: Rate::Steady(rate as f64), arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows: Windows { idle: ms(0), warmup: ms(100), load: ms(400), peak: ms(0) },
        status_interval: Some(ms(100)),
        cohorts: Cohorts::default(),
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
}
