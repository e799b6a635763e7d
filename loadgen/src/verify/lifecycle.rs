//! F4 and I1.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use protocol::Counters;
use rustix::process::{Pid, Signal, kill_process};

use super::{BUSY, Check, Options, QUIET, Subject, client::Client};
use crate::{observe::Process, target::Running};

pub(super) const CHECKS: &[Check] = &[
    Check { clause: "F4", name: "SIGTERM closes, prints the counters and exits 0", run: terminate },
    Check { clause: "F4", name: "SIGINT does the same, under load", run: interrupt_under_load },
    Check { clause: "F4", name: "a second signal exits at once with 130", run: second_signal },
    Check { clause: "F4", name: "signals that interrupt system calls are no errors", run: stops_and_continues },
    Check { clause: "I1", name: "without traffic and broadcasts nothing wakes up", run: no_wakeups },
    Check { clause: "I1", name: "at rest a tick costs a worker at most 4 wake-ups", run: few_wakeups_a_tick },
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
    let wakeups = wakeups(&server, Duration::from_secs(2))?;
    ensure!(wakeups <= 4, "{wakeups} wake-ups within 2 s");
    Ok(())
}

fn few_wakeups_a_tick(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { workers: 1, ..BUSY })?;
    let mut clients = greeted(&server, 10)?;
    let first = clients[0].status()?.tick;
    let wakeups = wakeups(&server, Duration::from_secs(1))?;
    let mut ticks = 0;
    // What has come is read until the tick of now, which is a tick or two later than the count.
    while ticks < 100 {
        ticks = clients[0].status()?.tick - first;
    }
    ensure!(wakeups <= 4 * (ticks + 2), "{wakeups} wake-ups in about {ticks} ticks");
    Ok(())
}

/// Voluntary switches over a while.
fn wakeups(server: &Running, length: Duration) -> Result<u64> {
    let process = Process::open(server.pid.context("the server was started here")?)?;
    let before = process.usage()?;
    thread::sleep(length);
    process.usage()?.since(&before).voluntary_switches.context("no thread ends while nothing happens")
}

fn greeted(server: &Running, count: usize) -> Result<Vec<Client>> {
    let connect = |_| {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        Ok(client)
    };
    (0..count).map(connect).collect()
}

fn signal(server: &Running, signal: Signal) -> Result<()> {
    let pid = server.pid.and_then(Pid::from_raw).context("the server was started here")?;
    Ok(kill_process(pid, signal)?)
}

/// Waits for its exit with that code, and returns the counters that it printed last.
fn exit(server: Running, wanted: i32) -> Result<Counters> {
    let (code, last) = server.wait()?;
    ensure!(code == wanted, "it exited with {code}: {last}");
    serde_json::from_str(&last).with_context(|| format!("its last line is no counters: {last}"))
}
