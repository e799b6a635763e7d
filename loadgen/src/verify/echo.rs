//! E1, E2, E3.

use std::{io::Write, net::Shutdown, thread};

use anyhow::{Context, Result, anyhow, ensure};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{BUSY, Check, QUIET, Subject, client::Client};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("E1", "every byte value is echoed", every_byte_value),
    Check::alone("E1", "a single byte is echoed", a_single_byte),
    Check::alone("E1", "100 MiB of binary data in random pieces are echoed", a_large_stream),
    Check::alone("E2", "a line is echoed before it is complete", an_incomplete_line),
    Check::alone("E3", "data that arrives with the end of input is echoed before the close", read_then_eof),
    Check::alone("E3", "a slow reader gets everything after its half-close", half_close_with_slow_reader),
    Check::together("E3", "no status is queued after the end of input was read", no_status_after_eof),
];

fn every_byte_value(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect(server.addr)?;
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    client.send(&bytes)?;
    client.expect(&bytes)
}

fn a_single_byte(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect(server.addr)?;
    for byte in [b'x', 0, b'\n', 255] {
        client.send(&[byte])?;
        client.expect(&[byte])?;
    }
    Ok(())
}

fn a_large_stream(subject: &Subject) -> Result<()> {
    const BYTES: usize = 100 << 20;
    let server = subject.start(QUIET)?;
    let mut client = Client::connect(server.addr)?;
    let mut sender = client.stream.try_clone()?;
    let mut bytes = vec![0; 1 << 20];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut bytes);
    let sent = bytes.clone();
    let writer = thread::spawn(move || -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..BYTES / sent.len() {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(random.random_range(1..=200_000).min(rest.len()));
                sender.write_all(piece)?;
                rest = later;
            }
        }
        Ok(sender.shutdown(Shutdown::Write)?)
    });
    for megabyte in 0..BYTES / bytes.len() {
        client.expect(&bytes).with_context(|| format!("after {megabyte} MiB"))?;
    }
    ensure!(client.rest()?.echo.is_empty(), "more was echoed than was sent");
    writer.join().map_err(|_| anyhow!("the writer panicked"))?
}

fn an_incomplete_line(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect(server.addr)?;
    for piece in ["no ", "newline ", "yet"] {
        client.send(piece.as_bytes())?;
        client.expect(piece.as_bytes())?;
    }
    Ok(())
}

fn read_then_eof(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    // Often enough that data and end of input arrive in the same wake-up at least once.
    for size in [1, 5, 1_000, 70_000, 300_000].into_iter().cycle().take(100) {
        let mut client = Client::connect(server.addr)?;
        let bytes = vec![b'z'; size];
        client.send(&bytes)?;
        client.end_input()?;
        let echo = client.rest()?.echo;
        ensure!(echo.len() == size, "{} of {size} bytes were echoed before the close", echo.len());
    }
    Ok(())
}

fn half_close_with_slow_reader(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect_with(server.addr, 16 * 1024)?;
    let sent = client.stuff()?;
    client.end_input()?;
    let echo = client.rest()?.echo;
    ensure!(echo == sent, "{} of {} bytes were echoed", echo.len(), sent.len());
    Ok(())
}

fn no_status_after_eof(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut other = Client::connect(server.addr)?;
    for _ in 0..50 {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        // Inside a line, so that a status of the following ticks is held, and dropped at the end of input.
        client.send(b"open")?;
        other.status()?;
        client.end_input()?;
        let transcript = client.rest()?;
        ensure!(transcript.echo == b"open", "the stream ended with {:?}", String::from_utf8_lossy(&transcript.echo));
    }
    drop(other);
    let counters = server.stop()?;
    ensure!(counters.statuses_dropped_at_eof > 0, "no held status was counted as dropped: {counters:?}");
    Ok(())
}
