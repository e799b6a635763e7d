//! B1 to B5 and C1.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use protocol::status::Status;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Signal, kill_process};
use servers::clock;

use crate::stats::quantile;

use super::{
    BUSY, Check, Options, QUIET, Skipped, Subject,
    client::{Client, Endpoint},
};

pub(super) const CHECKS: &[Check] = &[
    Check::together("B1", "a tick has the same text on all connections and counts them", same_text),
    Check::together("B1", "a tick counts its recipients, even while connections come and go", recipients),
    Check::together("B2", "a status waits for the end of the client's line", held_inside_a_line),
    Check::together("B2", "statuses stand at line boundaries under random segmentation", boundaries),
    Check::together("B3", "of several held statuses only the newest is sent", latest_wins),
    Check::together("B3", "statuses every 10 ms under load are neither lost nor duplicated", none_lost_under_load),
    Check::alone("B4", "tick k is due at start + k * interval over 200 ticks", no_drift),
    Check::alone("B4", "a server that was stopped skips ticks and sends no burst", no_burst),
    Check::alone("B4", "an interval of 0 turns broadcasts off", broadcasts_off),
    Check::together("B5", "a stuck client delays no other client's status or echo", a_stuck_client),
    Check::alone("C1", "lines that resemble a status are echoed like any other", lookalikes),
    Check::alone("S1", "an echo right behind a status is not held back (TCP_NODELAY)", echo_behind_a_status),
];

fn same_text(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut clients = connect(server.addr, 50)?;
    let mut seen: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for client in &mut clients {
        // The first ticks may have been sent before all clients were connected.
        let mut last = 0;
        while seen.len() < 5 || last < *seen.keys().next_back().unwrap_or(&0) {
            let line = client.line()?;
            let status = Status::parse(&line).context("received a line that is not a status")?;
            ensure!(status.emit_ns >= status.due_ns, "tick {} was emitted before it was due", status.tick);
            ensure!(status.emit_ns <= clock::now_ns(), "tick {} has an emission time in the future", status.tick);
            last = status.tick;
            let first = seen.entry(status.tick).or_insert_with(|| line.clone());
            ensure!(*first == line, "tick {} differs between connections", status.tick);
        }
    }
    let newest = seen.values().next_back().and_then(|line| Status::parse(line)).context("no tick was seen")?;
    ensure!(newest.active == 50, "{} active connections, but 50 are open", newest.active);
    Ok(())
}

fn recipients(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut observer = Client::connect(server.addr)?;
    observer.greet()?;
    // More than one chunk of a fan-out, so that connections come and go during one.
    let crowd = connect(server.addr, 100)?;
    for round in 0..300 {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        if round % 3 == 0 {
            client.reset()?;
        }
    }
    drop(crowd);
    let mut counted = 0;
    while {
        let active = observer.status()?.active;
        counted += active;
        active > 1
    } {}
    observer.end_input()?;
    counted += observer.rest()?.statuses.iter().map(|status| status.active).sum::<u64>();
    let counters = server.stop()?;
    let settled = counters.statuses_sent + counters.statuses_replaced + counters.statuses_dropped_at_eof;
    // The observer may have missed ticks before its first and after its last byte.
    ensure!(settled >= counted, "ticks counted {counted} recipients, but only {settled} statuses are accounted for");
    ensure!(settled <= counted + 2 * 300, "{settled} statuses for {counted} recipients: {counters:?}");
    ensure!(counters.accepts == 401, "{} of 401 connections were accepted", counters.accepts);
    Ok(())
}

fn held_inside_a_line(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let (mut client, mut other) = (Client::connect(server.addr)?, Client::connect(server.addr)?);
    client.greet()?;
    client.send(b"half ")?;
    // The other connection shows that ticks were sent.
    other.greet()?;
    let first = other.next_status()?;
    while other.next_status()?.tick < first.tick + 3 {}
    client.send(b"a line\n")?;
    client.expect_line(b"half a line\n")
}

fn boundaries(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let writers: Vec<_> = (0..8_u64)
        .map(|seed| {
            let addr = server.addr;
            thread::spawn(move || random_segments(Client::connect(addr)?, seed))
        })
        .collect();
    let mut statuses = 0;
    for writer in writers {
        statuses += writer.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    ensure!(statuses > 0, "no status arrived");
    Ok(())
}

/// Sends lines in pieces until 20 ticks have arrived, and checks that removing the statuses leaves the lines sent.
fn random_segments(mut client: Client, seed: u64) -> Result<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sent = Vec::new();
    let deadline_ns = clock::now_ns() + 200_000_000;
    while clock::now_ns() < deadline_ns {
        let mut piece: Vec<u8> = (0..random.random_range(1..300)).map(|_| random.random_range(b'a'..=b'z')).collect();
        if random.random_bool(0.5) {
            let at = random.random_range(0..piece.len());
            piece[at] = b'\n';
        }
        client.send(&piece)?;
        sent.extend_from_slice(&piece);
    }
    client.end_input()?;
    let transcript = client.rest()?;
    ensure!(transcript.echo == sent, "without its statuses, the stream differs from the bytes sent");
    Ok(transcript.statuses.len())
}

fn latest_wins(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let (mut client, mut other) = (Client::connect(server.addr)?, Client::connect(server.addr)?);
    client.greet()?;
    other.greet()?;
    client.send(b"open")?;
    // The line is incomplete; ticks may have arrived before it.
    let mut sent = 0;
    while client.peek()? == b'S' {
        sent = client.next_status()?.tick;
    }
    client.expect(b"open")?;
    // Every later tick that the other client receives is held here. Ticks are counted on arrival, as the server may skip some.
    let mut held = Vec::new();
    while held.len() < 10 {
        held.extend(Some(other.next_status()?.tick).filter(|&tick| tick > sent));
    }
    client.send(b"\n")?;
    client.expect(b"\n")?;
    let status = client.status()?;
    // The newest may still be on its way between threads or tasks.
    ensure!(
        status.tick >= held[8],
        "received tick {} after {held:?} had been sent to another client: an old status was kept",
        status.tick
    );
    drop((client, other));
    let counters = server.stop()?;
    ensure!(
        counters.statuses_replaced >= 8,
        "of {} held statuses, the replaced ones are not counted: {counters:?}",
        held.len()
    );
    Ok(())
}

fn none_lost_under_load(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let addr = server.addr;
            thread::spawn(move || -> Result<Vec<u64>> {
                let mut client = Client::connect(addr)?;
                let (mut ticks, mut number) = (Vec::new(), 0_u64);
                while ticks.len() < 50 {
                    let wanted = format!("message {number}\n").into_bytes();
                    client.send(&wanted)?;
                    loop {
                        let line = client.line()?;
                        match Status::parse(&line) {
                            Some(status) => ticks.push(status.tick),
                            None if line == wanted => break,
                            None => return Err(anyhow!("an echo was altered")),
                        }
                    }
                    number += 1;
                }
                client.end_input()?;
                ticks.extend(client.rest()?.statuses.iter().map(|status| status.tick));
                Ok(ticks)
            })
        })
        .collect();
    let mut missing = 0;
    for client in clients {
        let ticks = client.join().map_err(|_| anyhow!("a client panicked"))??;
        ensure!(ticks.is_sorted_by(|a, b| a < b), "ticks are duplicated or out of order: {ticks:?}");
        missing += ticks.last().zip(ticks.first()).map_or(0, |(last, first)| last - first + 1 - ticks.len() as u64);
    }
    let counters = server.stop()?;
    let explained = counters.statuses_replaced + 16 * counters.ticks_skipped;
    ensure!(
        missing <= explained,
        "{missing} statuses are missing, of which the counters explain {explained}: {counters:?}"
    );
    Ok(())
}

fn no_drift(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    let first = client.next_status()?;
    loop {
        let status = client.next_status()?;
        let due_ns = first.due_ns + (status.tick - first.tick) * 10_000_000;
        ensure!(status.due_ns == due_ns, "tick {} is due {} ns off", status.tick, status.due_ns.abs_diff(due_ns));
        if status.tick >= first.tick + 200 {
            return Ok(());
        }
    }
}

fn no_burst(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    server.is_ours()?;
    let pid = server.pid()?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    let before = client.next_status()?;
    kill_process(pid, Signal::STOP)?;
    thread::sleep(Duration::from_millis(200));
    let resumed_ns = clock::now_ns();
    kill_process(pid, Signal::CONT)?;
    let mut last = before;
    // The statuses already in the socket, then one overdue status, then the next ones on time.
    for _ in 0..10 {
        let status = client.next_status()?;
        ensure!(status.tick > last.tick, "tick {} came after tick {}", status.tick, last.tick);
        let burst = status.emit_ns >= resumed_ns && status.due_ns + 20_000_000 < resumed_ns;
        ensure!(!burst, "tick {} was overdue, yet sent", status.tick);
        last = status;
    }
    drop(client);
    let counters = server.stop()?;
    ensure!(counters.ticks_skipped >= 15, "skipped ticks are not counted: {counters:?}");
    Ok(())
}

fn broadcasts_off(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect(server.addr)?;
    client.greet()?;
    client.end_input()?;
    ensure!(client.rest()?.statuses.is_empty(), "a status came");
    let counters = server.stop()?;
    ensure!(counters.ticks == 0, "ticks were counted: {counters:?}");
    Ok(())
}

fn a_stuck_client(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { status_interval: Duration::from_millis(20), ..BUSY })?;
    let mut stuck = Client::connect_small(server.addr)?;
    stuck.stuff()?;
    let mut clients = connect(server.addr, 100)?;
    let first = clients[0].next_status()?.tick;
    for client in &mut clients {
        client.greet()?;
        while client.next_status()?.tick < first + 5 {}
    }
    Ok(())
}

fn lookalikes(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    for line in ["Server status:\n", "server status: 1\n", " Server status: 1\n", "\n", "S\n"] {
        client.send(line.as_bytes())?;
        client.expect_line(line.as_bytes())?;
    }
    Ok(())
}

/// With Nagle's algorithm on, an echo behind a status waits until the status is acknowledged, which the client delays by
/// some 40 ms, a thousand round trips. Comparing with other echoes of the same connection cancels the host's speed.
fn echo_behind_a_status(subject: &Subject) -> Result<()> {
    if subject.declares("I1") {
        return Err(Skipped("the server never sleeps (I1) and competes with its client for the CPU".to_owned()).into());
    }
    let server = subject.start(BUSY)?;
    let mut client = Client::connect(server.addr)?;
    let (mut behind_ns, mut alone_ns) = (Vec::new(), Vec::new());
    while behind_ns.len() < 31 {
        let begun_ns = clock::now_ns();
        client.send(b"hello\n")?;
        let mut behind = false;
        while Status::parse(&client.line()?).is_some() {
            behind = true;
        }
        let took_ns = (clock::now_ns() - begun_ns) as f64;
        if behind { behind_ns.push(took_ns) } else { alone_ns.push(took_ns) }
    }
    // A busy host delays some of the echoes, Nagle's algorithm most of them.
    let median = |times: &[f64]| quantile(times, 0.5).context("there were no echoes without a status");
    let (behind_ns, alone_ns) = (median(&behind_ns)?, median(&alone_ns)?);
    ensure!(
        behind_ns < 500.0 * alone_ns,
        "an echo takes {:.0} us behind a status, otherwise {:.0} us",
        behind_ns / 1e3,
        alone_ns / 1e3
    );
    Ok(())
}

/// Opens connections and waits until all are accepted.
fn connect(addr: Endpoint, count: usize) -> Result<Vec<Client>> {
    let mut clients = (0..count).map(|_| Client::connect(addr)).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.greet()?;
    }
    Ok(clients)
}
