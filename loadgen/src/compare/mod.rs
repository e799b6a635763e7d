//! `loadgen compare`: servers side by side, in interleaved blocks with a fresh process for each trial.
//!
//! A block runs every arm once, in an order balanced over the blocks and with the same schedule, close together in time:
//! what the host does to one it is likely to do to all. The number of blocks is fixed before the first one; a block with a
//! trial that may not be believed is run again as a whole, so that no arm is selected by its luck.

mod order;
mod resume;

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    baseline::Baseline,
    cli::{CompareArgs, Guest, ProfileName},
    engine::{Arrivals, Cohorts, Rate},
    failure::{Exit, Usage},
    interrupt,
    plan::{Load, Plan, Windows},
    prepare::{Shape, checked, guest, server},
    record::{Entry, Row, Session, State},
    report,
    target::{Target, Template},
    trial,
    validity::{CANARY, Outcome, Validity, judge},
};

/// How often a block is run if a trial in it is invalid.
const ATTEMPTS: u64 = 3;

/// What a profile means.
struct Profile {
    blocks: u64,
    /// On a slow host there are fewer blocks, but never fewer than this.
    blocks_min: u64,
    budget: Duration,
    connections: u32,
    rate_per_sec: u64,
    windows: Windows,
    status_interval: Duration,
}

impl Profile {
    fn of(name: ProfileName) -> Self {
        let ms = Duration::from_millis;
        match name {
            ProfileName::Smoke => Self {
                blocks: 2,
                blocks_min: 2,
                budget: Duration::from_secs(60),
                connections: 8,
                rate_per_sec: 2_000,
                windows: Windows { idle: ms(200), warmup: ms(50), load: ms(200), peak: ms(100) },
                status_interval: ms(50),
            },
            // Trials short enough that a block fits into one spell of a shared host's mood.
            ProfileName::Quick => Self {
                blocks: 40,
                blocks_min: 12,
                budget: Duration::from_secs(225),
                connections: 64,
                rate_per_sec: 20_000,
                windows: Windows { idle: ms(300), warmup: ms(150), load: ms(500), peak: ms(200) },
                status_interval: ms(100),
            },
        }
    }
}

/// One contestant: a label, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arm {
    label: String,
    contestant: Contestant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contestant {
    Server(String),
    Guest(Template),
}

impl Arm {
    fn target(&self, plan: &Plan) -> Result<Target> {
        Ok(match &self.contestant {
            Contestant::Server(name) => Target::Server(server(name, plan)?),
            Contestant::Guest(template) => Target::Command(guest(template, plan)),
        })
    }
}

/// Runs the comparison, prints the table and leaves the session's folder behind.
///
/// # Errors
/// What keeps it from starting. Once there is a session, what goes wrong in a trial is a row of it.
pub fn compare(args: &CompareArgs) -> Result<Exit> {
    match &args.resume {
        None => start(args, None),
        Some(folder) => {
            let interrupted = resume::interrupted(folder).map_err(Usage::from)?;
            start(&interrupted.args, Some((folder, interrupted.rows)))
        }
    }
}

/// Starts a session, or goes on with one.
fn start(args: &CompareArgs, resumed: Option<(&Path, Vec<Row>)>) -> Result<Exit> {
    let begun = Instant::now();
    let profile = Profile::of(args.profile);
    let seed = args.seed.unwrap_or_else(drawn_seed);
    let plan = plan(args, &profile, seed).map_err(Usage::from)?;
    let arms = arms(&args.servers, &args.guests);
    ensure_names(&arms).map_err(Usage::from)?;
    arms.iter().try_for_each(|arm| arm.target(&plan).map(drop))?;
    ensure_blocks(args.blocks).map_err(Usage::from)?;

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let baseline = Baseline::measure(&plan)?;
    let rehearsed = rehearse(&plan, &arms, args.blocks.is_none() && profile.blocks > profile.blocks_min)?;
    let blocks = args.blocks.unwrap_or_else(|| affordable(&profile, begun.elapsed(), rehearsed));
    let order = order::blocks(&mut random, arms.len(), blocks as usize);

    let configuration = json!({
        "profile": args.profile.name(),
        "arms": arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>(),
        "blocks": blocks,
        "seed": seed,
        "plan": plan.describe(),
        "ceiling_rate_per_sec": baseline.ceiling_per_sec.round() as u64,
    });
    let (session, rows) = match resumed {
        None => (Session::create(args.out.as_deref(), configuration).map_err(Usage::from)?, Vec::new()),
        Some((folder, rows)) => (Session::reopen(folder, &configuration).map_err(Usage::from)?, rows),
    };
    let announced =
        rehearsed.map_or_else(String::new, |block| format!(", about {} s", (block * blocks as u32).as_secs()));
    eprintln!(
        "comparing {} in {blocks} blocks of {} trials{announced}; seed {seed}; {}",
        arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>().join(", "),
        arms.len(),
        session.folder().display()
    );
    // Blocks that were asked for by number take as long as they take.
    let deadline = args.blocks.is_none().then(|| begun + profile.budget);
    let comparison = Comparison { plan, arms, session, baseline, rows, exit: Exit::Ok, discarded: 0, deadline };
    comparison.run(&mut random, &order)
}

struct Comparison {
    plan: Plan,
    arms: Vec<Arm>,
    session: Session,
    baseline: Baseline,
    rows: Vec<Row>,
    exit: Exit,
    discarded: u64,
    /// When everything must be over; blocks are run again only while all others still fit.
    deadline: Option<Instant>,
}

impl Comparison {
    fn run(mut self, random: &mut ChaCha8Rng, order: &[Vec<usize>]) -> Result<Exit> {
        let progress = progress(order.len() as u64);
        let (begun, mut run) = (Instant::now(), 0);
        for (block, arms) in order.iter().enumerate() {
            // The same for all arms of a block: their arrivals are the same, and the ratio loses that noise. (53 bits, so
            // that every reader of JSON can hold it.)
            self.plan.seed = random.random::<u64>() >> 11;
            let (attempts, done) = resume::progress(&self.rows, block as u64 + 1, arms.len());
            if done {
                progress.inc(1);
                continue;
            }
            for attempt in attempts + 1..=attempts.max(ATTEMPTS - 1) + 1 {
                let valid = self.block(block as u64 + 1, attempt, arms, &progress)?;
                run += 1;
                let mean = begun.elapsed() / run;
                let left = mean * (order.len() - block) as u32;
                let late = self.deadline.is_some_and(|deadline| Instant::now() + left > deadline);
                if valid || self.exit == Exit::Interrupted || late {
                    break;
                }
            }
            if self.exit == Exit::Interrupted {
                break;
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        let state = if self.exit == Exit::Interrupted { State::Partial } else { State::Complete };
        self.session.mark(state)?;
        // One invalid trial is a bad moment; one in five is a host that cannot be measured on.
        if self.discarded * 5 > self.rows.len() as u64 {
            self.exit = self.exit.min(Exit::Invalid);
        }
        let text = report::render(self.session.folder())?;
        // A reader that has seen enough is no error.
        drop(std::io::stdout().write_all(text.as_bytes()));
        Ok(self.exit)
    }

    /// Every arm once; says whether every trial may be believed.
    fn block(&mut self, block: u64, attempt: u64, arms: &[usize], progress: &ProgressBar) -> Result<bool> {
        self.listen_to_canary()?;
        let mut valid = true;
        for (place, arm) in arms.iter().enumerate() {
            if interrupt::asked() {
                self.exit = Exit::Interrupted;
                return Ok(false);
            }
            progress.set_message(self.arms[*arm].label.clone());
            valid &= self.trial((block, attempt, place as u64 + 1), *arm)?;
        }
        Ok(valid)
    }

    /// Has the canary sing before a block; if the host has a very bad moment, waits a little for a better one.
    fn listen_to_canary(&mut self) -> Result<()> {
        const ATTEMPTS: usize = 3;
        for _ in 0..ATTEMPTS {
            self.baseline.canary()?;
            let conditions = self.baseline.conditions();
            let (canary, best) = conditions.canary_per_sec.zip(conditions.canary_best_per_sec).unwrap_or((1.0, 1.0));
            if 1.0 - canary / best <= CANARY.invalid {
                break;
            }
        }
        Ok(())
    }

    /// One trial and its row. A trial that a signal cut short is no row: it would only look like one.
    fn trial(&mut self, (block, attempt, order_in_block): (u64, u64, u64), arm: usize) -> Result<bool> {
        let arm = &self.arms[arm];
        let trial = trial::run(&self.plan, &arm.target(&self.plan)?);
        if interrupt::asked() {
            return Ok(false);
        }
        let problem = trial.as_ref().err().map(|error| format!("{error:#}"));
        let conditions = self.baseline.conditions();
        let measured = trial.as_ref().ok().map(|trial| (trial, judge(&self.plan, trial, &conditions)));
        match &measured {
            None => self.exit = self.exit.min(Exit::Target),
            Some((_, verdict)) => {
                self.discarded += u64::from(verdict.validity == Validity::Invalid);
                if verdict.outcome == Outcome::Failed {
                    self.exit = self.exit.min(Exit::Target);
                }
            }
        }
        let row = self.session.append(&Entry {
            trial_id: self.rows.len() as u64 + 1,
            block,
            attempt,
            order_in_block,
            arm: &arm.label,
            server: match &arm.contestant {
                Contestant::Server(name) => Some(name),
                Contestant::Guest(_) => None,
            },
            target_kind: match arm.contestant {
                Contestant::Server(_) => "server",
                Contestant::Guest(_) => "command",
            },
            plan: &self.plan,
            conditions: &conditions,
            syscalls_per_message: None,
            measured: match &measured {
                Some((trial, verdict)) => Ok((trial, verdict)),
                None => Err(problem.as_deref().unwrap_or_default()),
            },
        })?;
        self.rows.push(row);
        Ok(measured.is_none_or(|(_, verdict)| verdict.validity != Validity::Invalid))
    }
}

/// The arms of a comparison: a server named again gets a number, and if none is the first one runs twice, as a control.
fn arms(servers: &[String], guests: &[Guest]) -> Vec<Arm> {
    let mut named: Vec<&String> = servers.iter().collect();
    let again = named.iter().enumerate().any(|(index, name)| named[..index].contains(name));
    if !again {
        named.extend(servers.first());
    }
    let mut arms: Vec<Arm> = Vec::new();
    for server in named {
        let contestant = Contestant::Server(server.clone());
        let label = match arms.iter().filter(|arm| arm.contestant == contestant).count() {
            0 => server.clone(),
            before => format!("{server}#{}", before + 1),
        };
        arms.push(Arm { label, contestant });
    }
    arms.extend(
        guests
            .iter()
            .map(|guest| Arm { label: guest.name.clone(), contestant: Contestant::Guest(guest.template.clone()) }),
    );
    arms
}

fn plan(args: &CompareArgs, profile: &Profile, seed: u64) -> Result<Plan> {
    let rate = args.rate.clone().unwrap_or(Rate::Steady(profile.rate_per_sec));
    let shape = Shape {
        connections: args.connections.unwrap_or(profile.connections),
        load: Load::Open { rate, arrivals: Arrivals::Poisson },
        payloads: args.payload.clone(),
        windows: profile.windows,
        status_interval: Some(profile.status_interval),
        cohorts: Cohorts::default(),
    };
    checked(shape, &args.host, seed)
}

fn ensure_blocks(blocks: Option<u64>) -> Result<()> {
    ensure!(blocks != Some(0), "0 blocks compare nothing: ask for 1 or more");
    Ok(())
}

/// Two guests of one name could not be told apart in the records.
fn ensure_names(arms: &[Arm]) -> Result<()> {
    for (index, arm) in arms.iter().enumerate() {
        let again = arms[..index].iter().any(|other| other.label == arm.label);
        ensure!(!again, "two guests are called {}: give each a name of its own", arm.label);
    }
    Ok(())
}

/// Runs every arm once without recording it; how long that took. Finds out early what cannot work at all.
fn rehearse(plan: &Plan, arms: &[Arm], wanted: bool) -> Result<Option<Duration>> {
    if !wanted {
        return Ok(None);
    }
    let begun = Instant::now();
    for arm in arms {
        trial::run(plan, &arm.target(plan)?)?;
    }
    Ok(Some(begun.elapsed()))
}

/// How many blocks fit into what is left of the budget.
fn affordable(profile: &Profile, elapsed: Duration, block: Option<Duration>) -> u64 {
    /// Blocks take a little longer than the first one now and then.
    const MARGIN: f64 = 1.03;
    let Some(block) = block else { return profile.blocks };
    let left = profile.budget.saturating_sub(elapsed).as_secs_f64();
    ((left / (block.as_secs_f64() * MARGIN)) as u64).clamp(profile.blocks_min, profile.blocks)
}

/// A seed of few digits: it has to be typed again.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 % 1_000_000
}

/// Drawn by this thread between trials, and on a terminal only: it costs no measured time.
fn progress(blocks: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:40} block {pos}/{len} {msg:8} {eta} left");
    // The template is a constant; if it were wrong the default would do.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(blocks), target).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(servers: &[&str]) -> Vec<String> {
        let servers: Vec<String> = servers.iter().map(|name| (*name).to_owned()).collect();
        arms(&servers, &[]).into_iter().map(|arm| arm.label).collect()
    }

    #[test]
    fn the_first_server_runs_twice_unless_one_is_named_twice() {
        assert_eq!(labels(&["mio", "tokio"]), ["mio", "tokio", "mio#2"]);
        assert_eq!(labels(&["mio", "mio"]), ["mio", "mio#2"]);
        assert_eq!(labels(&["mio", "tokio", "tokio"]), ["mio", "tokio", "tokio#2"]);
    }

    #[test]
    fn a_slow_host_gets_fewer_blocks_but_never_fewer_than_twelve() {
        let profile = Profile::of(ProfileName::Quick);
        let blocks = |seconds| affordable(&profile, Duration::ZERO, Some(Duration::from_secs(seconds)));
        assert_eq!((blocks(5), blocks(10), blocks(60)), (40, 21, 12));
    }
}
