//! F4, and the counters after a shutdown.

use std::{collections::BTreeMap, io::Write, net::Shutdown, thread, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};
use protocol::{Counters, limits::SHUTDOWN_FLUSH};
use rustix::process::{Signal, kill_process};

use super::{
    BUSY, Candidate, Check, Options, QUIET, Served, Subject,
    client::{Client, Transcript},
};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("F4", "on SIGTERM the server closes, prints its counters and exits with 0", terminate),
    Check::together("F4", "on SIGINT under load it does the same", interrupt_under_load),
    Check::together("F4", "on a second signal it exits at once with 130", second_signal),
    Check::alone("F4", "an interrupted system call is not an error", stops_and_continues),
    Check::alone("F4", "SIGTERM right after `listening on` is an ordinary shutdown", at_once),
    Check::alone("F4", "echoed data arrives even if the client goes on sending", lingering),
    Check::together("F4", "after SIGTERM during a fan-out every status is accounted for", within_a_fan_out),
];

fn terminate(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    signal(&server, Signal::TERM)?;
    // A close by FIN: no input was unread.
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
    // There is output to flush, so the first signal does not end the server at once.
    let mut stuck = Client::connect_small(server.addr)?;
    stuck.stuff()?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    signal(&server, Signal::TERM)?;
    // The end of this connection shows that the first signal was handled.
    client.rest()?;
    signal(&server, Signal::TERM)?;
    let (code, _) = server.wait()?;
    ensure!(code == 130, "the server exited with {code}");
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

/// The handlers must be installed before that line is printed; otherwise the signal would kill the server.
fn at_once(subject: &Subject) -> Result<()> {
    let rounds = if matches!(subject.candidate, Candidate::Server { .. }) { 100 } else { 10 };
    for round in 0..rounds {
        let server = subject.start(BUSY)?;
        signal(&server, Signal::TERM)?;
        exit(server, 0).with_context(|| format!("in start {round}"))?;
    }
    Ok(())
}

/// Closing the server's socket with unread input would send a reset, which discards data already sent.
fn lingering(subject: &Subject) -> Result<()> {
    const WANTED: usize = 4;
    /// The flush has a deadline, which the server may miss on a busy host: such an attempt is inconclusive.
    const ATTEMPTS: usize = 12;
    let mut kept = 0;
    for _ in 0..ATTEMPTS {
        let server = subject.start(QUIET)?;
        // With a larger buffer, everything sent would be in the client's kernel before the close.
        let mut client = Client::connect_with(server.addr, 128 * 1024)?;
        client.stuff()?;
        let mut source = client.stream.try_clone()?;
        let sender = thread::spawn(move || while source.write_all(&[b'g'; 64 * 1024]).is_ok() {});
        signal(&server, Signal::TERM)?;
        let begun = Instant::now();
        let received = client.received_until_the_end();
        let in_time = begun.elapsed() < SHUTDOWN_FLUSH / 2;
        drop(client.stream.shutdown(Shutdown::Both));
        sender.join().map_err(|_| anyhow!("a sender panicked"))?;
        let echoed = exit(server, 0)?.bytes_echoed;
        ensure!(received == echoed || !in_time, "{echoed} bytes were echoed, of which {received} arrived");
        kept += usize::from(received == echoed);
        if kept == WANTED {
            return Ok(());
        }
    }
    Err(anyhow!("in {ATTEMPTS} attempts the client read fast enough in {kept} only"))
}

fn within_a_fan_out(subject: &Subject) -> Result<()> {
    const ROUNDS: usize = 4;
    const CONNECTIONS: usize = 600;
    for _ in 0..ROUNDS {
        let server = subject.start(Options { max_connections: Some(1_000), ..BUSY })?;
        // The first client sees every tick from the start.
        let mut clients = (0..CONNECTIONS).map(|_| Client::connect(server.addr)).collect::<Result<Vec<_>>>()?;
        let mut seen = BTreeMap::new();
        loop {
            let status = clients[0].status()?;
            seen.insert(status.tick, status.active);
            if status.active == CONNECTIONS as u64 {
                break;
            }
        }
        signal(&server, Signal::TERM)?;
        for client in clients {
            let Transcript { statuses, .. } = client.rest()?;
            seen.extend(statuses.iter().map(|status| (status.tick, status.active)));
        }
        let counters = exit(server, 0)?;
        let counted: u64 = seen.values().sum();
        let settled = counters.statuses_sent + counters.statuses_replaced + counters.statuses_dropped_at_eof;
        // Ticks without recipients, at the beginning or the end, are known only to the server.
        let unseen = counters.ticks.checked_sub(seen.len() as u64);
        let unseen = unseen.with_context(|| format!("{} ticks were seen: {counters:?}", seen.len()))?;
        ensure!(
            counted <= settled && settled <= counted + unseen * CONNECTIONS as u64,
            "ticks counted {counted} recipients and {unseen} more were emitted, but {settled} statuses are accounted for"
        );
    }
    Ok(())
}

fn signal(server: &Served, signal: Signal) -> Result<()> {
    server.is_ours()?;
    Ok(kill_process(server.pid()?, signal)?)
}

/// Waits until the server exits with the code `wanted`, and returns its counters.
pub(super) fn exit(server: Served, wanted: i32) -> Result<Counters> {
    let (code, last) = server.wait()?;
    ensure!(code == wanted, "the server exited with {code}: {last}");
    serde_json::from_str(&last).with_context(|| format!("the last line does not hold counters: {last}"))
}
