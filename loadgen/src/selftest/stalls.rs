//! A server that stands still, and a generator that does.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use servers::clock;

use super::{Answer, Setup, believable, known, load};
use crate::{
    measure::{
        launch::server,
        target::{OWN_EXECUTABLE, Target},
        trial::Trial,
    },
    plan::{Arrivals, Load, Plan},
    record::{Outcome, ReasonKind, Row, Validity},
};

const STALL: Duration = Duration::from_millis(50);
const PERIOD: Duration = Duration::from_millis(500);

/// SIGSTOP of an unmodified server, again and again: the open loop sees it as theory predicts, the closed one does not.
pub(super) fn of_the_server() -> Result<Vec<Answer>> {
    const RATE: u64 = 2_000;
    let setup = Setup::open(RATE, Arrivals::Constant, PERIOD * 8);
    let (trial, stall_ns) = stalled(&Setup { peak: PERIOD, ..setup.clone() }.plan()?)?;
    let loaded = load(&trial)?;
    // CPU time per message of a busy server, as it is while it catches up.
    let peak = trial.peak.as_ref().context("the trial has no peak window")?;
    let cpu_ns = peak.server.as_ref().map_or(0, |usage| usage.cpu_ns) as f64;
    let echoed = [Some(&peak.plain), peak.delayed.as_ref()].into_iter().flatten().map(|it| it.tally.counts.echoed);
    let utilisation = RATE as f64 / 1e9 * cpu_ns / echoed.sum::<u64>().max(1) as f64;
    let answer = |quantile: f64| {
        let expected = known::stalled_ns(stall_ns, PERIOD.as_nanos() as f64, utilisation, quantile);
        let got = loaded.window.tally.response.value_at_quantile(quantile) as f64;
        Answer::time(format!("stalls of 50 ms every 500 ms: p{}", quantile * 100.0), expected, got, 0.03 * stall_ns)
    };
    let mut answers: Vec<Answer> = [0.94, 0.97, 0.99].map(answer).into();

    let closed = Setup { connections: 1, load: Load::Closed { depth: 1 }, ..setup };
    let (trial, stall_ns) = stalled(&closed.plan()?)?;
    let blind = load(&trial)?.window.tally.service.value_at_quantile(0.99) as f64;
    answers.push(Answer::time("the same in a closed loop: p99 is blind", 0.0, blind, 0.03 * stall_ns));
    Ok(answers)
}

/// A trial of mio that is stopped regularly, and the mean duration of its stops in nanoseconds.
fn stalled(plan: &Plan) -> Result<(Trial, f64)> {
    let running = Target::Server(server("mio", plan)?).start()?;
    let pid = running.pid().and_then(Pid::from_raw).context("a child has a process")?;
    let over = AtomicBool::new(false);
    let target = Target::Address { addr: running.addr, pid: running.pid() };
    let (trial, stalls) = thread::scope(|scope| {
        let stopper = scope.spawn(|| stop_regularly(pid, &over));
        let trial = believable(plan, &target);
        over.store(true, Ordering::Relaxed);
        (trial, stopper.join().unwrap_or_default())
    });
    running.stop()?;
    Ok((trial?, stalls.iter().sum::<u64>() as f64 / stalls.len().max(1) as f64))
}

/// Stops the process once per period, without drift; returns the durations in nanoseconds.
fn stop_regularly(pid: Pid, over: &AtomicBool) -> Vec<u64> {
    let begun_ns = clock::now_ns();
    let mut stalls = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let period = stalls.len() as u64 + 1;
        sleep_until(begun_ns + period * PERIOD.as_nanos() as u64);
        let stopped_ns = clock::now_ns();
        // The process may be gone: then the trial reports it.
        let _ = kill_process(pid, Signal::STOP);
        sleep_until(stopped_ns + STALL.as_nanos() as u64);
        let _ = kill_process(pid, Signal::CONT);
        stalls.push(clock::now_ns() - stopped_ns);
    }
    stalls
}

fn sleep_until(at_ns: u64) {
    thread::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::now_ns())));
}

/// SIGSTOP of a generator: it marks its own trial as invalid, and does not blame the server.
pub(super) fn of_the_generator() -> Result<Vec<Answer>> {
    const PAUSE: Duration = Duration::from_millis(100);
    let arguments = "run --server mio --rate 5k --idle 0s --warmup 100ms --duration 2s --json --no-calibration";
    let generator = Command::new(OWN_EXECUTABLE)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = Pid::from_child(&generator);
    // Somewhere in its two seconds of load.
    thread::sleep(Duration::from_millis(1_000));
    kill_process(pid, Signal::STOP)?;
    thread::sleep(PAUSE);
    kill_process(pid, Signal::CONT)?;
    let output = generator.wait_with_output()?;
    let row = Row::from_json(&output.stdout).context("the generator printed no record")?;
    let lag_ns = row.send_lag_ns.max.unwrap_or(0) as f64;
    let lagged = row.invalid_reasons.iter().any(|reason| reason.kind == ReasonKind::SendLag);
    Ok(vec![
        Answer::time("generator stopped for 100 ms: send lag, max", PAUSE.as_nanos() as f64, lag_ns, 5e6),
        Answer::fact("  the trial is invalid, with this reason", row.validity == Validity::Invalid && lagged),
        Answer::fact("  the server is not blamed", row.outcome == Outcome::Ok),
        Answer::fact("  the exit code says so", output.status.code() == Some(5)),
    ])
}
