//! F2 and B4 beside flooding clients.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, ensure};
use protocol::limits::TURN_BYTES;
use rustix::net::{SendFlags, send};

use super::{
    BUSY, Check, Options, QUIET, Skipped, Subject,
    client::{Client, Endpoint},
};
use crate::stats::quantile;

pub(super) const CHECKS: &[Check] = &[
    Check::alone("F2", "a flood on one connection does not starve another", served_beside_a_flood),
    Check::together("F2", "beside 4 floods, an event loop serves all connections in turn", one_turn_a_pass),
    Check::together("F2", "urgent data affects no other connection", urgent_data),
    Check::together("B4", "beside 4 floods, ticks are sent and not skipped", ticks_beside_floods),
];

const FLOODERS: usize = 4;

fn served_beside_a_flood(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let _flooder = Flooder::start(server.addr)?;
    let mut client = Client::connect(server.addr)?;
    (0..200).try_for_each(|_| client.greet())
}

/// Measures how much of a flood is echoed while another client waits for its echo. The amount does not depend on the
/// host's speed: one or two turns, plus the bytes in flight. A connection queued several times would get several turns.
fn one_turn_a_pass(subject: &Subject) -> Result<()> {
    const EXCHANGES: usize = 200;
    let server = subject.start(QUIET)?;
    if server.process()?.usage()?.threads.len() > 1 {
        return Err(Skipped("the server has several threads, among which the kernel schedules".to_owned()).into());
    }
    let (flooders, mut client) = flooded(server.addr)?;
    let mut waits = Vec::new();
    for _ in 0..EXCHANGES {
        let before: Vec<u64> = flooders.iter().map(Flooder::received).collect();
        client.greet()?;
        let echoed = flooders.iter().zip(before).map(|(flooder, before)| flooder.received() - before);
        waits.push(echoed.max().unwrap_or(0) as f64);
    }
    let bytes = quantile(&waits, 0.5).unwrap_or(f64::INFINITY);
    ensure!(
        bytes <= 8.0 * TURN_BYTES as f64,
        "while a client waited, {:.1} MiB of another client's flood were echoed",
        bytes / f64::from(1 << 20)
    );
    Ok(())
}

/// The host may delay a server by several ticks, but not repeatedly.
fn ticks_beside_floods(subject: &Subject) -> Result<()> {
    const TICKS: usize = 100;
    let server = subject.start(Options { status_interval: Duration::from_millis(20), ..BUSY })?;
    let (_flooders, mut client) = flooded(server.addr)?;
    let ticks = (0..=TICKS).map(|_| Ok(client.next_status()?.tick)).collect::<Result<Vec<u64>>>()?;
    let gaps = ticks.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    ensure!(gaps <= TICKS / 4, "ticks were skipped before {gaps} of {TICKS} ticks");
    Ok(())
}

/// The urgent byte may be missing and later bytes may wait (E1), but the server and other connections continue.
fn urgent_data(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let (urgent, mut other) = (Client::connect(server.addr)?, Client::connect(server.addr)?);
    other.greet()?;
    for _ in 0..100 {
        send(&urgent.stream, b"urgent", SendFlags::OOB)?;
        other.greet()?;
    }
    urgent.end_input()?;
    urgent.rest()?;
    other.greet()?;
    server.stop()?;
    Ok(())
}

/// Running floods, and a client beside them.
fn flooded(addr: Endpoint) -> Result<(Vec<Flooder>, Client)> {
    const UNDER_WAY: u64 = 4 << 20;
    let mut client = Client::connect(addr)?;
    let flooders = (0..FLOODERS).map(|_| Flooder::start(addr)).collect::<Result<Vec<_>>>()?;
    while flooders.iter().any(|flooder| flooder.received() < UNDER_WAY) {
        client.greet()?;
    }
    Ok((flooders, client))
}

/// A client that writes and reads as fast as it can.
struct Flooder {
    stream: TcpStream,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flooder {
    fn start(addr: Endpoint) -> Result<Self> {
        let stream = Client::connect(addr)?.stream;
        let received = Arc::new(AtomicU64::new(0));
        let (mut source, mut sink, count) = (stream.try_clone()?, stream.try_clone()?, Arc::clone(&received));
        let writer = thread::spawn(move || {
            let piece = vec![b'f'; 1 << 20];
            while source.write_all(&piece).is_ok() {}
        });
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(bytes @ 1..) = sink.read(&mut buffer) {
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { stream, received, threads: vec![writer, reader] })
    }

    /// Number of bytes echoed so far.
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        // The connection may be closed already.
        drop(self.stream.shutdown(Shutdown::Both));
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}
