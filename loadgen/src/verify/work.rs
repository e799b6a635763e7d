//! W1 and W2.

use std::{
    io::Write,
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use protocol::{
    Counters, Service,
    limits::{SHUTDOWN_FLUSH, UNSENT_BYTES_MAX},
    status::Status,
    work::Work,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Signal, kill_process};

use super::{BUSY, Check, Options, QUIET, Served, Skipped, Subject, client::Client, shutdown::exit};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("W1", "worked-on messages are echoed unaltered and in order, with statuses between lines", in_order),
    Check::alone("W1", "a message costs the server as much CPU time as asked for, and without work none", cpu_time),
    Check::alone("W1", "the CPU time is spent before the echo", before_the_echo),
    Check::alone("W1", "the messages that belong to a share are those of the specification's hash", shares),
    Check::alone("W1", "a message in pieces costs once, with its last byte", pieces),
    Check::alone("W1", "messages that arrive with the end of input are worked on and echoed", end_of_input),
    Check::together(
        "W2",
        "in the middle of a batch of long messages, others are served and ticks are sent",
        long_messages,
    ),
    Check::together(
        "W2",
        "in the middle of a batch of short messages, others are served and ticks are sent",
        short_messages,
    ),
    Check::alone("W2", "on SIGTERM, messages that were read are still worked on and echoed", read_before_the_end),
    Check::alone(
        "W2",
        "messages that wait for their turn are bounded, and at SIGTERM all that was echoed arrives",
        bounded,
    ),
];

const fn working(work: Work) -> Options {
    Options { service: Service::working(work), ..QUIET }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A batch that takes the server about that long.
const BATCH: Duration = ms(300);

/// Attempts of a check whose measurement a busy host may spoil; what is wrong by design is wrong in each.
const ATTEMPTS: usize = 5;

fn in_order(subject: &Subject) -> Result<()> {
    let work = Work::each(Duration::from_micros(50)).with_share(20_000, ms(2));
    let server = subject.start(Options { status_interval: BUSY.status_interval, ..working(work) })?;
    for seed in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut client = Client::connect(server.addr)?;
        let lines = messages(0..1_000).collect::<Vec<_>>().concat();
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(random.random_range(1..=3_000).min(rest.len()));
            client.send(piece)?;
            rest = later;
        }
        client.end_input()?;
        let transcript = client.rest()?;
        ensure!(transcript.echo == lines, "without its statuses, the stream differs from the messages sent");
        ensure!(!transcript.statuses.is_empty(), "no status came while the server worked");
    }
    Ok(())
}

fn cpu_time(subject: &Subject) -> Result<()> {
    agrees(subject, working(Work::each(ms(3))), |server| {
        let (lines, cost) = batch(server.service.work, |_| true, BATCH)?;
        Ok((cpu_of(server, &lines)?, cost))
    })?;
    // The exchange itself costs next to nothing, unless the subject works on everything.
    let server = match subject.start(QUIET) {
        Ok(server) if server.service.work.is_none() => server,
        Ok(_) => return Ok(()),
        Err(error) if error.is::<Skipped>() => return Ok(()),
        Err(error) => return Err(error),
    };
    let (lines, cost) = batch(Work::each(ms(3)), |_| true, BATCH)?;
    let spent = cpu_of(&server, &lines)?;
    ensure!(spent < cost / 2 || subject.declares("I1"), "without --work, {} messages cost {spent:?}", lines.len());
    Ok(())
}

/// When the echo arrives, the CPU time has been spent.
fn before_the_echo(subject: &Subject) -> Result<()> {
    agrees(subject, working(Work::each(ms(200))), |server| {
        let message = messages(0..1).next().context("there is one")?;
        let cost = server.service.work.cost(message.trim_ascii_end());
        enough(cost, ms(50))?;
        Ok((cpu_of(server, &[message])?, cost))
    })
}

fn shares(subject: &Subject) -> Result<()> {
    let work = Work::default().with_share(100_000, ms(10));
    agrees(subject, working(work), |server| {
        let work = server.service.work;
        let (heavy, cost) = batch(work, |line| work.is_heavy(line), BATCH)?;
        Ok((cpu_of(server, &heavy)?, cost))
    })?;
    let server = subject.start(working(work))?;
    let work = server.service.work;
    let light: Vec<_> = messages(0..10_000).filter(|line| !work.is_heavy(line.trim_ascii_end())).take(100).collect();
    let cost: Duration = light.iter().map(|line| work.cost(line.trim_ascii_end())).sum();
    let spent = cpu_of(&server, &light)?;
    let as_heavy = work.cost(first_heavy(work)?.trim_ascii_end()) * light.len() as u32;
    ensure!(
        spent < cost + (as_heavy - cost) / 4 || subject.declares("I1"),
        "{} messages outside of the shares cost {spent:?} instead of {cost:?}",
        light.len()
    );
    Ok(())
}

fn pieces(subject: &Subject) -> Result<()> {
    const PIECES: u32 = 50;
    let server = subject.start(working(Work::each(ms(20))))?;
    let mut client = Client::connect(server.addr)?;
    let process = server.process()?;
    let before = process.usage()?.cpu_ns;
    let mut line = Vec::new();
    for piece in 0..PIECES {
        let piece = format!("piece {piece} ").into_bytes();
        client.send(&piece)?;
        // Echoed at once (E2): the message has no end yet.
        client.expect(&piece)?;
        line.extend(piece);
    }
    client.send(b"\n")?;
    client.expect(b"\n")?;
    let spent = Duration::from_nanos(process.usage()?.cpu_ns - before);
    let cost = server.service.work.cost(&line);
    enough(cost, ms(10))?;
    ensure!(
        spent < cost * PIECES / 4 || subject.declares("I1"),
        "a message of {cost:?} that came in {PIECES} pieces cost {spent:?}"
    );
    ensure!(spent > cost / 2, "a message of {cost:?} that came in {PIECES} pieces cost {spent:?}");
    Ok(())
}

fn end_of_input(subject: &Subject) -> Result<()> {
    let server = subject.start(working(Work::each(ms(2))))?;
    for count in [1, 2, 30, 60] {
        let mut client = Client::connect(server.addr)?;
        let mut lines = messages(0..count).collect::<Vec<_>>().concat();
        lines.extend(b"no end");
        client.send(&lines)?;
        client.end_input()?;
        let echo = client.rest()?.echo;
        ensure!(echo == lines, "{} of {} bytes were echoed before the close", echo.len(), lines.len());
    }
    Ok(())
}

fn long_messages(subject: &Subject) -> Result<()> {
    beside_a_batch(subject, Work::each(ms(5)), 5)
}

/// Many messages of one read: a server that works on a whole read in one turn serves others only a few times.
fn short_messages(subject: &Subject) -> Result<()> {
    beside_a_batch(subject, Work::each(Duration::from_micros(50)), 20)
}

/// Sends a batch at once, and counts its echoes when another client has had that many exchanges and statuses.
///
/// It waits for events and compares their order; this client's own delays are why it has several attempts.
fn beside_a_batch(subject: &Subject, work: Work, exchanges: usize) -> Result<()> {
    const TICKS: u64 = 3;
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        let server = subject.start(Options { status_interval: BUSY.status_interval, ..working(work) })?;
        let (lines, _) = batch(server.service.work, |_| true, BATCH)?;
        let (mut client, mut other) = (Client::connect(server.addr)?, Client::connect(server.addr)?);
        client.greet()?;
        other.greet()?;
        let first = other.next_status()?.tick;
        client.send(&lines.concat())?;
        for _ in 0..exchanges {
            other.greet()?;
        }
        while other.next_status()?.tick < first + TICKS {}
        let echoed = client.lines_so_far()?;
        // The rest of the batch comes without further input.
        client.end_input()?;
        let rest = client.rest()?.echo.split(|byte| *byte == b'\n').count() - 1;
        ensure!(echoed + rest == lines.len(), "{} of {} messages were echoed", echoed + rest, lines.len());
        if echoed < lines.len() * 3 / 4 {
            return Ok(());
        }
        failure = Some(anyhow!(
            "{exchanges} exchanges and {TICKS} ticks took as long as {echoed} of the {} messages of another client's batch",
            lines.len()
        ));
    }
    failure.map_or(Ok(()), Err)
}

/// A client that sends much more than it reads: what waits for its turn counts as unsent (F1), and what was echoed before
/// the end arrives (F4), however much was left.
fn bounded(subject: &Subject) -> Result<()> {
    const LINES: u64 = 600_000;
    let read: Vec<Vec<u8>> = messages(0..50).collect();
    let mut missing = None;
    for _ in 0..ATTEMPTS {
        let server = subject.start(working(Work::each(ms(1))))?;
        server.is_ours()?;
        let mut client = Client::connect(server.addr)?;
        let mut source = client.stream.try_clone()?;
        // The server closes in between.
        let sender = thread::spawn(move || drop(source.write_all(&messages(0..LINES).collect::<Vec<_>>().concat())));
        read.iter().try_for_each(|line| client.expect(line))?;
        kill_process(server.pid()?, Signal::TERM)?;
        let begun = Instant::now();
        let received = client.received_until_the_end() + read.concat().len() as u64;
        let in_time = begun.elapsed() < SHUTDOWN_FLUSH / 2;
        drop(client.stream.shutdown(Shutdown::Both));
        sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        let Counters { bytes_echoed, backlog_max_bytes, .. } = exit(server, 0)?;
        ensure!(backlog_max_bytes <= UNSENT_BYTES_MAX as u64, "one connection held {backlog_max_bytes} bytes");
        if received == bytes_echoed {
            return Ok(());
        }
        // The flush has a deadline, which the server may miss on a busy host.
        let found = format!("{bytes_echoed} bytes were counted as echoed, and {received} arrived");
        ensure!(!in_time && received < bytes_echoed, found);
        missing = Some(found);
    }
    missing.map_or(Ok(()), |found| Err(anyhow!("in each of {ATTEMPTS} attempts: {found}")))
}

/// They came in one segment, so that the server has read all when it echoes the first; and they do not take long.
fn read_before_the_end(subject: &Subject) -> Result<()> {
    const WORK: Duration = ms(5);
    let server = subject.start(working(Work::each(WORK)))?;
    server.is_ours()?;
    let mut client = Client::connect(server.addr)?;
    let lines = messages(0..10).collect::<Vec<_>>().concat();
    client.send(&lines)?;
    client.peek()?;
    kill_process(server.pid()?, Signal::TERM)?;
    let echo = client.rest()?.echo;
    ensure!(echo == lines, "{} of {} bytes that the server had read were echoed", echo.len(), lines.len());
    let counters = exit(server, 0)?;
    ensure!(counters.bytes_echoed == lines.len() as u64, "{} bytes were echoed: {counters:?}", lines.len());
    Ok(())
}

/// The CPU time that a measurement finds and the one that it should find agree, in one of several attempts, each with a
/// server that has calibrated its work anew.
fn agrees(
    subject: &Subject,
    options: Options,
    measure: impl Fn(&Served) -> Result<(Duration, Duration)>,
) -> Result<()> {
    /// The self-test holds 2 %; here neighbours make a CPU slower and faster at any time.
    const AT_LEAST: f64 = 0.8;
    const AT_MOST: f64 = 2.0;
    let mut found = Vec::new();
    for _ in 0..ATTEMPTS {
        let (spent, cost) = measure(&subject.start(options)?)?;
        let ratio = spent.as_secs_f64() / cost.as_secs_f64();
        if ratio >= AT_LEAST && (ratio <= AT_MOST || subject.declares("I1")) {
            return Ok(());
        }
        found.push(format!("{ratio:.2}"));
    }
    Err(anyhow!("the server spent {} of the CPU time that its messages cost", found.join(", ")))
}

/// CPU time of the server while a client sends these and waits for the echo of each.
fn cpu_of(server: &Served, lines: &[Vec<u8>]) -> Result<Duration> {
    let process = server.process()?;
    let mut client = Client::connect(server.addr)?;
    let before = process.usage()?.cpu_ns;
    for line in lines {
        client.send(line)?;
        client.expect_line(line)?;
    }
    Ok(Duration::from_nanos(process.usage()?.cpu_ns - before))
}

/// Messages of one kind that cost so much together, with their cost.
fn batch(work: Work, is_wanted: impl Fn(&[u8]) -> bool, total: Duration) -> Result<(Vec<Vec<u8>>, Duration)> {
    const MOST: u64 = 100_000;
    let (mut lines, mut cost) = (Vec::new(), Duration::ZERO);
    for line in messages(0..MOST) {
        let text = line.trim_ascii_end();
        if is_wanted(text) {
            cost += work.cost(text);
            lines.push(line);
        }
        if cost >= total {
            return Ok((lines, cost));
        }
    }
    Err(Skipped(format!("--work {work} is too little to be seen: {} messages cost {cost:?}", lines.len())).into())
}

fn first_heavy(work: Work) -> Result<Vec<u8>> {
    let heavy = messages(0..100_000).find(|line| work.is_heavy(line.trim_ascii_end()));
    heavy.with_context(|| Skipped(format!("--work {work} has no share that costs more than the others")))
}

fn enough(cost: Duration, wanted: Duration) -> Result<()> {
    if cost >= wanted {
        return Ok(());
    }
    Err(Skipped(format!("needs --work of at least {wanted:?} for a message")).into())
}

fn messages(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Vec<u8>> {
    numbers.map(|number| format!("message {number}\n").into_bytes())
}

impl Client {
    /// Number of lines that have arrived so far, without statuses. They are consumed.
    fn lines_so_far(&mut self) -> Result<usize> {
        let mut lines = 0;
        while !self.is_silent()? {
            lines += usize::from(Status::parse(&self.line()?).is_none());
        }
        Ok(lines)
    }
}
