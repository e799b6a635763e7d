//! How much each server bears, roughly and quickly: `full` offers all of them fractions of what the slowest does.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{arms::Arm, cells::CONNECTIONS};
use crate::{
    cli::CompareArgs,
    error::Interrupted,
    interrupt,
    measure::{
        trial::{self, Trial},
        validity::{BUSY, Conditions, Outcome, Validity, Verdict, busy_share, judge},
    },
    plan::{
        Arrivals, Cohorts, Load, Plan, Rate, Windows,
        prepare::{Shape, checked},
        units::show_count,
    },
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
    ended_by: &'static str,
}

/// Climbs with every arm; returns the record of it, from which [`slowest`] reads.
///
/// # Errors
/// If a server does not start, or does not bear the lowest rung.
pub(super) fn climb(args: &CompareArgs, arms: &[Arm], seed: u64) -> Result<Value> {
    let mut found = Vec::new();
    for arm in arms.iter().filter(|arm| !arm.is_control()) {
        let borne = ladder(args, arm, seed)?;
        let rate = show_count(borne.rate_per_sec as f64);
        terminal::say(format_args!("pilot: {} bears {rate} messages/s, then {}", arm.label, borne.ended_by));
        found.push(json!({ "arm": arm.label, "rate_per_sec": borne.rate_per_sec, "ended_by": borne.ended_by }));
    }
    Ok(Value::Array(found))
}

/// What the slowest server bears that declares no clause; a guest declares none.
pub(super) fn slowest(pilot: &Value) -> Option<f64> {
    let sound = |entry: &&Value| {
        let server = entry["arm"].as_str().and_then(servers::by_name);
        server.is_none_or(|server| server.violates.is_empty())
    };
    pilot.as_array()?.iter().filter(sound).filter_map(|entry| entry["rate_per_sec"].as_f64()).reduce(f64::min)
}

fn ladder(args: &CompareArgs, arm: &Arm, seed: u64) -> Result<Borne> {
    let (mut borne, mut rate, mut tries) = (0, FROM, 0);
    let ended_by = loop {
        let plan = plan(args, rate as u64, seed.wrapping_add(tries))?;
        let trial = trial::run(&plan, &arm.target(&plan)?)?;
        if interrupt::asked() {
            // How much it bears is not known; that is no fault of the server's.
            return Err(Interrupted.into());
        }
        let verdict = judge(&plan, &trial, &Conditions::default());
        match why_not(&plan, &trial, &verdict) {
            None => {
                (borne, tries) = (rate as u64, 0);
                rate *= STEP;
            }
            Some(_) if tries + 1 < TRIES => tries += 1,
            Some(reason) => break reason,
        }
    };
    ensure!(borne > 0, "{} does not bear {FROM} messages/s here: {ended_by}", arm.label);
    Ok(Borne { rate_per_sec: borne, ended_by })
}

/// Why a rung is not borne, if it is not.
fn why_not(plan: &Plan, trial: &Trial, verdict: &Verdict) -> Option<&'static str> {
    let load = trial.load.as_ref()?;
    if busy_share(plan, load) > BUSY.flag {
        Some("the generator is busy")
    } else if verdict.validity == Validity::Invalid {
        Some("trials are invalid")
    } else {
        match verdict.outcome {
            Outcome::Ok => None,
            Outcome::Failed => Some("the server failed"),
            Outcome::Saturated | Outcome::Unclear => Some("the server is saturated"),
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
    checked(shape, &args.host, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_the_slowest_that_breaks_no_clause() {
        let pilot = json!([
            { "arm": "mio", "rate_per_sec": 90_000 },
            { "arm": "sleep-loop", "rate_per_sec": 9_000 },
            { "arm": "guest", "rate_per_sec": 70_000 },
        ]);
        assert_eq!(slowest(&pilot), Some(70_000.0));
        assert_eq!(slowest(&Value::Null), None);
    }
}
