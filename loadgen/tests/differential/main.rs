//! Drills: clients with random behaviour against every server, whose observations are compared with the server's
//! counters.
//!
//! The behaviour is drawn from a seed. By default the seeds are fixed and few; DRILL_ROUNDS=100 runs more of them, and
//! DRILL_SEED=7 begins with another. A seed does not determine how the kernel and the scheduler interleave the clients,
//! so a seed that failed once may have to be repeated.

mod account;
mod client;
mod crowd;
mod rounds;
mod script;
mod server;
mod stream;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use servers::{SERVERS, Server};

/// A kind of drill: the property, the default number of rounds, and the function for one round.
struct Drill {
    name: &'static str,
    rounds: u64,
    run: fn(&Server, u64) -> Result<()>,
}

const DRILLS: &[Drill] = &[
    Drill {
        name: "clients with random behaviour are echoed exactly, and every status is accounted for",
        rounds: 6,
        run: rounds::any_clients,
    },
    Drill {
        name: "told to stop within a fan-out, it accounts for every status",
        rounds: 8,
        run: rounds::stop_within_a_fan_out,
    },
    Drill {
        name: "told to stop as soon as it listens, it exits with its counters",
        rounds: 64,
        run: rounds::stop_at_once,
    },
];

fn main() {
    let trials = SERVERS.iter().flat_map(|server| DRILLS.iter().map(move |drill| trial(server, drill)));
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn trial(server: &'static Server, drill: &'static Drill) -> Trial {
    let name = format!("{}: {}", server.name, drill.name);
    Trial::ignorable_test(name.clone(), move || {
        if let Some(refusal) = server.refusal() {
            return Ok(Completion::ignored_with(refusal));
        }
        let first = setting("DRILL_SEED").unwrap_or(1);
        for seed in first..first + setting("DRILL_ROUNDS").unwrap_or(drill.rounds) {
            (drill.run)(server, seed).map_err(|error| {
                let again = format!("cargo test -p loadgen --test differential -- --exact '{name}'");
                Failed::from(format!("seed {seed}: {error:#}\nagain: DRILL_SEED={seed} DRILL_ROUNDS=1 {again}"))
            })?;
        }
        Ok(Completion::Completed)
    })
}

/// A number in the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a whole number")))
}
