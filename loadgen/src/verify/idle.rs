//! I1.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{BUSY, Check, Options, QUIET, Served, Subject, client::Client};

pub(super) const CHECKS: &[Check] = &[
    Check::together("I1", "without traffic and broadcasts the server does not wake up", no_wakeups),
    Check::together("I1", "at rest, a worker wakes up at most 4 times per tick", few_wakeups_a_tick),
];

fn no_wakeups(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let _clients = greeted(&server, 50)?;
    sleeps(&server)
}

/// Holds a server at rest to at most 2 wake-ups a second.
pub(super) fn sleeps(server: &Served) -> Result<()> {
    let (wakeups, cpu_share) = activity(server, Duration::from_secs(2))?;
    ensure!(wakeups <= 4, "{wakeups} wake-ups within 2 s");
    // A server that never sleeps never wakes up either.
    ensure!(cpu_share < 0.05, "{:.0} % of a CPU while idle", cpu_share * 100.0);
    Ok(())
}

fn few_wakeups_a_tick(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { workers: Some(1), ..BUSY })?;
    let mut clients = greeted(&server, 10)?;
    let first = clients[0].status()?.tick;
    let (wakeups, _) = activity(&server, Duration::from_secs(1))?;
    let mut ticks = 0;
    // Reads up to the current tick, which is a tick or two later than the count.
    while ticks < 100 {
        ticks = clients[0].status()?.tick - first;
    }
    ensure!(wakeups <= 4 * (ticks + 2), "{wakeups} wake-ups in about {ticks} ticks");
    Ok(())
}

/// Voluntary context switches over `length`, and CPU time as a share of it.
pub(super) fn activity(server: &Served, length: Duration) -> Result<(u64, f64)> {
    let process = server.process()?;
    let (before, begun) = (process.usage()?, Instant::now());
    thread::sleep(length);
    let used = process.usage()?.since(&before);
    let wakeups = used.voluntary_switches.context("a thread ended while the server was idle")?;
    Ok((wakeups, used.cpu_ns as f64 / begun.elapsed().as_nanos() as f64))
}

pub(super) fn greeted(server: &Served, count: usize) -> Result<Vec<Client>> {
    let connect = |_| {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        Ok(client)
    };
    (0..count).map(connect).collect()
}
