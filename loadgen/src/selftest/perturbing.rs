//! What follows the server and what follows the generator.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Answer, Setup, Spoiled, believable, comparing::ratio, statement};
use crate::{
    judge::{metrics::generator_share, verdicts::explore},
    measure::{
        launch::server,
        recording::{self, Entry, Position},
        target::Target,
        trial::Trial,
        validity::{Conditions, assess},
    },
    plan::{Arrivals, Load, Plan},
    record::{Row, TargetKind},
    stats::quantile,
};

/// Nothing but a moment of rest and the bursts: the lag of a load is not in question.
fn bursts() -> Setup {
    let rest = Duration::from_millis(100);
    Setup { drain_bursts: 20, idle: rest, ..Setup::open(1_000, Arrivals::Constant, Duration::ZERO) }
}

/// A server with 5 % more work per message drains 5 % slower, and one whose generator has more work as fast as before.
pub(super) fn drain() -> Result<Vec<Answer>> {
    const BLOCKS: usize = 12;
    let setup = bursts();
    let base = ["--delay", "20us"];
    let ns_per_message = |trial: &Trial| Ok::<_, anyhow::Error>(1e9 / drain_rate(trial)?);
    let more = format!("{}ns", 20_000 + (0.05 * ns_per_message(&setup.fault_server(&base)?)?) as u64);
    let late = Setup { generator_delay: Duration::from_nanos(500), ..setup.clone() };
    let (mut rates, mut spun) = ([const { Vec::new() }; 4], [const { Vec::new() }; 2]);
    for block in 0..BLOCKS {
        let mut order = [0, 1, 2, 3];
        order.rotate_left(block % 4);
        for arm in order {
            let trial = match arm {
                0 => setup.fault_server(&base)?,
                1 => setup.fault_server(&["--delay", &more])?,
                2 => mio(&setup)?,
                _ => mio(&late)?,
            };
            rates[arm].push(drain_rate(&trial)?);
            if arm < spun.len() {
                let statement = statement(&trial)?;
                spun[arm].push(statement.spun_ns as f64 / statement.messages as f64);
            }
        }
    }
    let median = |values: &[f64]| quantile(values, 0.5).unwrap_or(f64::NAN);
    let base_ns = 1e9 / median(&rates[0]);
    let expected = base_ns / (base_ns + median(&spun[1]) - median(&spun[0]));
    Ok(vec![
        Answer::number(
            "drain, 5 % more work per message: ratio",
            expected,
            ratio(&rates[0], &rates[1])?.estimate,
            0.01,
        ),
        Answer::number("  0.5 us more in the generator: ratio", 1.0, ratio(&rates[2], &rates[3])?.estimate, 0.02),
    ])
}

fn drain_rate(trial: &Trial) -> Result<f64> {
    let Some(drain) = &trial.drain else { bail!("the trial has no drain window") };
    drain.rate_per_sec().ok_or_else(|| {
        let why = drain.reason.as_deref().unwrap_or("too few bursts");
        Spoiled(format!("no drain rate: {why}")).into()
    })
}

fn mio(setup: &Setup) -> Result<Trial> {
    let plan = setup.plan()?;
    believable(&plan, &Target::Server(server("mio", &plan)?))
}

/// The generator sends 5 us late to one of two arms, which are the same server: no claim about their latency is free of
/// it. What both arms have is in no comparison.
pub(super) fn send_delay() -> Result<Vec<Answer>> {
    let delay = Duration::from_micros(5);
    let for_one = is_flagged([Duration::ZERO, delay])?;
    let for_both = is_flagged([delay; 2])?;
    Ok(vec![
        Answer::fact("send delay of 5 us for one arm: flagged", for_one),
        Answer::fact("  for both arms: not flagged", !for_both),
    ])
}

/// Whether the comparison of two arms of mio, whose messages are delayed so long, has a reservation about a latency.
fn is_flagged(delays: [Duration; 2]) -> Result<bool> {
    const BLOCKS: u64 = 12;
    let setup = Setup::open(2_000, Arrivals::Constant, Duration::from_millis(250));
    let arms = ["first", "second"];
    let mut rows = Vec::new();
    for block in 1..=BLOCKS {
        for place in 0..arms.len() {
            let arm = (place + block as usize) % arms.len();
            let plan = Setup { generator_delay: delays[arm], seed: block, ..setup.clone() }.plan()?;
            let trial = believable(&plan, &Target::Server(server("mio", &plan)?))?;
            let position = Position { cell: None, block, attempt: 1, order_in_block: place as u64 + 1 };
            rows.push(row(&plan, arms[arm], position, &trial));
        }
    }
    let pairs = explore(&rows, &arms.map(str::to_owned), "");
    Ok(pairs.iter().any(|pair| pair.lag.is_some()))
}

/// The record of a trial of mio.
fn row(plan: &Plan, arm: &str, place: Position<'_>, trial: &Trial) -> Row {
    let conditions = Conditions::default();
    recording::row(&Entry {
        trial_id: place.block,
        place,
        arm,
        server: Some("mio"),
        target_kind: TargetKind::Server,
        padding_bytes: 0,
        plan,
        conditions: &conditions,
        syscalls_per_message: None,
        receive_lags: None,
        measured: Ok((trial, &assess(plan, trial, &conditions))),
    })
}

/// A server that works 20 us per message is the limit, and its rate does not follow a delay in the generator. A generator
/// that works 20 us per message is the limit, and the rate follows a further delay of its.
///
/// The shares are not exactly 0 and 1: a server whose messages come more slowly answers more of them per wake-up or has to
/// be woken more often, and both change what a message costs. On which side of one half they are is certain.
pub(super) fn closed_loop() -> Result<Vec<Answer>> {
    const TRIALS: usize = 7;
    const HALF: f64 = 0.5;
    /// A sixth of a message's time, so that the noise of the rates is small beside it, and a generator that is not the
    /// limit is far from becoming it.
    const DELAY: Duration = Duration::from_micros(5);
    let closed = Setup {
        connections: 64,
        load: Load::Closed { depth: 1 },
        peak: Duration::from_millis(800),
        peak_delay: DELAY,
        ..Setup::open(1, Arrivals::Constant, Duration::from_millis(50))
    };
    let busy = Setup { generator_delay: Duration::from_micros(20), ..closed.clone() };
    let (mut of_server, mut of_generator) = (Vec::new(), Vec::new());
    for _ in 0..TRIALS {
        of_server.push(share(&closed, &["--delay", "20us"])?);
        of_generator.push(share(&busy, &[])?);
    }
    let median = |shares: &[f64]| quantile(shares, 0.5).unwrap_or(f64::NAN);
    Ok(vec![
        Answer::fact("closed loop, busy server: it does not follow", median(&of_server) < HALF),
        Answer::fact("  busy generator: it follows", median(&of_generator) > HALF),
    ])
}

/// The generator's share of the throughput of the fault server with these arguments.
fn share(setup: &Setup, arguments: &[&str]) -> Result<f64> {
    let plan = setup.plan()?;
    let trial = setup.fault_server(arguments)?;
    generator_share(&row(&plan, "fault-server", Position::ALONE, &trial)).context("the closed loop has no two rates")
}
