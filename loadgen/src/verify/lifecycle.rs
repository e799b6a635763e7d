//! F4 and I1.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use protocol::Counters;
use rustix::process::{Signal, kill_process};

use super::{BUSY, Check, Options, QUIET, Served, Subject, client::Client};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("F4", "SIGTERM closes, prints the counters and exits 0", terminate),
    Check::together("F4", "SIGINT does the same, under load", interrupt_under_load),
    Check::together("F4", "a second signal exits at once with 130", second_signal),
    Check::alone("F4", "signals that interrupt system calls are no errors", stops_and_continues),
    Check::together("I1", "without traffic and broadcasts nothing wakes up", no_wakeups),
    Check::together("I1", "at rest a tick costs a worker at most 4 wake-ups", few_wakeups_a_tick),
];

fn terminate(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    signal(&server, Signal::TERM)?;
    // Closed by FIN: nothing was unread.
    client.rest()?;
    let counters = exit(server, 0)?;
    ensure!(counters.accepts == 1 && counters.bytes_echoed == 6, "wrong counters: {counters:?}");
    Ok(())
}

fn interrupt_under_load(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let addr = server.addr;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let Ok(mut client) = Client::connect(addr) else { return };
                while client.greet().is_ok() {}
            })
        })
        .collect();
    Client::connect(addr)?.greet()?;
    signal(&server, Signal::INT)?;
    exit(server, 0)?;
    for client in clients {
        ensure!(client.join().is_ok(), "a client panicked");
    }
    Ok(())
}

fn second_signal(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    // It has something to flush, so the first signal does not end it at once.
    let mut stuck = Client::connect_small(server.addr)?;
    stuck.stuff()?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    signal(&server, Signal::TERM)?;
    // The end of this connection shows that the first one was taken.
    client.rest()?;
    signal(&server, Signal::TERM)?;
    let (code, _) = server.wait()?;
    ensure!(code == 130, "it exited with {code}");
    Ok(())
}

fn stops_and_continues(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    for _ in 0..50 {
        signal(&server, Signal::STOP)?;
        signal(&server, Signal::CONT)?;
        client.greet()?;
    }
    drop(client);
    server.stop()?;
    Ok(())
}

fn no_wakeups(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let _clients = greeted(&server, 50)?;
    let (wakeups, cpu_share) = activity(&server, Duration::from_secs(2))?;
    ensure!(wakeups <= 4, "{wakeups} wake-ups within 2 s");
    // Who never sleeps never wakes up either.
    ensure!(cpu_share < 0.05, "{:.0} % of a CPU while nothing happens", cpu_share * 100.0);
    Ok(())
}

fn few_wakeups_a_tick(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { workers: 1, ..BUSY })?;
    let mut clients = greeted(&server, 10)?;
    let first = clients[0].status()?.tick;
    let (wakeups, _) = activity(&server, Duration::from_secs(1))?;
    let mut ticks = 0;
    // What has come is read until the tick of now, which is a tick or two later than the count.
    while ticks < 100 {
        ticks = clients[0].status()?.tick - first;
    }
    ensure!(wakeups <= 4 * (ticks + 2), "{wakeups} wake-ups in about {ticks} ticks");
    Ok(())
}

/// Voluntary switches over a while, and the CPU time of that while as a share of it.
fn activity(server: &Served, length: Duration) -> Result<(u64, f64)> {
    let process = server.process()?;
    let (before, begun) = (process.usage()?, Instant::now());
    thread::sleep(length);
    let used = process.usage()?.since(&before);
    let wakeups = used.voluntary_switches.context("no thread ends while nothing happens")?;
    Ok((wakeups, used.cpu_ns as f64 / begun.elapsed().as_nanos() as f64))
}

fn greeted(server: &Served, count: usize) -> Result<Vec<Client>> {
    let connect = |_| {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        Ok(client)
    };
    (0..count).map(connect).collect()
}

fn signal(server: &Served, signal: Signal) -> Result<()> {
    server.is_ours()?;
    Ok(kill_process(server.pid()?, signal)?)
}

/// Waits for its exit with that code, and returns the counters that it printed last.
fn exit(server: Served, wanted: i32) -> Result<Counters> {
    let (code, last) = server.wait()?;
    ensure!(code == wanted, "it exited with {code}: {last}");
    serde_json::from_str(&last).with_context(|| format!("its last line is no counters: {last}"))
}
