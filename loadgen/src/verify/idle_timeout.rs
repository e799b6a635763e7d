//! T1 to T3.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use protocol::{Service, status::Status, work::Work};

use super::{
    BUSY, Check, LONG, Options, PLAIN, QUIET, Served, Skipped, Subject,
    client::{Client, Endpoint},
    idle::{activity, greeted, sleeps},
    timing::{Doomed, attempts, closed_in_time, closed_promptly},
};
use crate::observe::Syscalls;

pub(super) const CHECKS: &[Check] = &[
    Check::together("T1", "100 silent clients are closed with a FIN, none before its time, and counted", silence),
    Check::alone("T1", "the time begins with the last byte read", last_byte),
    Check::alone("T1", "a server at rest closes a silent client at most 20 ms late", silence_at_rest),
    Check::alone("T1", "with a handshake, the time begins with the welcome", behind_a_welcome),
    Check::alone("T1", "messages that are worked on for longer are echoed before the close", worked_on),
    Check::alone("T1", "a client that leaves or is closed at the end is not counted", leaving),
    Check::together("T1", "a client closed for its silence gives its place free", frees_a_place),
    Check::alone("T2", "a single byte begins the time anew, each time", any_byte),
    Check::together("T2", "one client's bytes do not keep another open", others_bytes),
    Check::alone("T2", "statuses that are sent do not begin the time anew", statuses),
    Check::at_rest("T3", "without traffic the server does not wake up before the time", no_wakeups),
    Check::at_rest("T3", "at rest, a connection causes at most two wake-ups in its time", few_wakeups),
    Check::alone("T3", "a message costs no further system call", no_system_calls),
];

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

const fn timeout(time: Duration) -> Options {
    Options { service: Service { idle_timeout: Some(time), ..PLAIN }, ..QUIET }
}

fn silence(subject: &Subject) -> Result<()> {
    const CLIENTS: usize = 100;
    let server = subject.start(timeout(SHORT))?;
    let silent = (0..CLIENTS).map(|_| arrived(server.addr)).collect::<Result<Vec<_>>>()?;
    closed_in_time(silent, time(&server)?, subject.patience)?;
    counts(server, CLIENTS as u64)
}

/// What is counted from the accept, or from any other byte than the last, comes too early.
fn last_byte(subject: &Subject) -> Result<()> {
    for (bytes, times) in [(&b"a line\n"[..], 1), (b"no end", 1), (b"x", 3)] {
        attempts(|| {
            let server = subject.start(timeout(SHORT))?;
            let time = time(&server)?;
            let mut doomed = arrived(server.addr)?;
            for _ in 0..times {
                thread::sleep(time / 3);
                if doomed.since.elapsed() > time * 2 / 3 {
                    return Ok(false);
                }
                doomed.since = Instant::now();
                doomed.client.send(bytes)?;
                doomed.client.expect(bytes)?;
            }
            closed_in_time(vec![doomed], time, subject.patience)?;
            Ok(true)
        })?;
    }
    Ok(())
}

fn silence_at_rest(subject: &Subject) -> Result<()> {
    let server = subject.start(timeout(SHORT))?;
    closed_promptly(time(&server)?, || arrived(server.addr))
}

/// Half of the time passes before the welcome.
fn behind_a_welcome(subject: &Subject) -> Result<()> {
    let service = Service { handshake: Some(LONG), idle_timeout: Some(SHORT), ..PLAIN };
    let server = subject.start(Options { service, ..QUIET })?;
    let time = time(&server)?;
    let mut client = Client::knock(server.addr)?;
    let answer = client.hello()?;
    thread::sleep(time * 2);
    let since = Instant::now();
    client.send(&answer)?;
    client.welcome().context("the time of the handshake is another (H6)")?;
    closed_in_time(vec![Doomed { client, since }], time, subject.patience)?;
    let counters = server.stop()?;
    let counted = (counters.idle_timeouts, counters.handshakes_timed_out, counters.handshakes_failed);
    ensure!(counted == (1, 0, 0), "one client was silent behind its welcome: {counters:?}");
    Ok(())
}

/// Many messages of one segment, whose work takes twice the time.
fn worked_on(subject: &Subject) -> Result<()> {
    const MESSAGES: u32 = 20;
    let work = Work::each(2 * SHORT / MESSAGES);
    let service = Service { work, idle_timeout: Some(SHORT), ..PLAIN };
    let server = subject.start(Options { service, ..QUIET })?;
    let mut client = Client::connect(server.addr)?;
    let lines = b"a message\n".repeat(MESSAGES as usize);
    let since = Instant::now();
    client.send(&lines)?;
    client.expect(&lines)?;
    closed_in_time(vec![Doomed { client, since }], time(&server)?, subject.patience)?;
    counts(server, 1)
}

fn leaving(subject: &Subject) -> Result<()> {
    let server = subject.start(timeout(LONG))?;
    for round in 0..20 {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        if round % 2 == 0 {
            client.reset()?;
        } else {
            client.end_input()?;
            client.rest()?;
        }
    }
    let mut open = Client::connect(server.addr)?;
    open.greet()?;
    counts(server, 0)
}

fn frees_a_place(subject: &Subject) -> Result<()> {
    const PLACES: u32 = 4;
    let server = subject.start(Options { max_connections: Some(PLACES), ..timeout(SHORT) })?;
    let _silent = (0..PLACES).map(|_| Client::connect(server.addr)).collect::<Result<Vec<_>>>()?;
    let mut outside = Client::wait_outside(server.addr)?;
    outside.served_at_last(server.addr)
}

/// A host that pauses for longer than the time is why this has several attempts.
fn any_byte(subject: &Subject) -> Result<()> {
    const TIMES: u32 = 4;
    const PIECES: u32 = 3;
    let server = subject.start(timeout(2 * SHORT))?;
    let time = time(&server)?;
    attempts(|| {
        let mut client = Client::connect(server.addr)?;
        let mut last = Instant::now();
        for byte in (b'a'..=b'z').cycle().take((TIMES * PIECES) as usize) {
            thread::sleep(time / PIECES);
            if last.elapsed() > time * 2 / 3 {
                return Ok(false);
            }
            last = Instant::now();
            client.send(&[byte])?;
            client.expect(&[byte]).context("closed although it went on sending")?;
        }
        Ok(true)
    })
}

fn others_bytes(subject: &Subject) -> Result<()> {
    let server = subject.start(timeout(SHORT))?;
    let time = time(&server)?;
    attempts(|| {
        let mut silent = arrived(server.addr)?;
        let mut busy = Client::connect(server.addr)?;
        let mut last = Instant::now();
        while !silent.client.has_ended()? {
            if last.elapsed() > time * 2 / 3 {
                return Ok(false);
            }
            last = Instant::now();
            busy.greet()?;
            ensure!(silent.since.elapsed() < 10 * time, "a silent client is kept open by another that sends");
            thread::sleep(time / 30);
        }
        ensure!(silent.since.elapsed() >= time, "a silent client was closed before its time");
        busy.greet()?;
        Ok(true)
    })
}

fn statuses(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { status_interval: BUSY.status_interval, ..timeout(SHORT) })?;
    let time = time(&server)?;
    // Ten times as long as the time.
    let most = 10 * time.as_nanos() / BUSY.status_interval.as_nanos();
    let Doomed { mut client, since } = arrived(server.addr)?;
    let (mut first, mut ticks) = (None, 0);
    while let Some(line) = client.line_or_end()? {
        let tick = Status::parse(&line).context("received a line that is not a status")?.tick;
        ticks = tick - *first.get_or_insert(tick);
        ensure!(u128::from(ticks) < most, "after {ticks} ticks of silence the connection is open");
    }
    ensure!(since.elapsed() >= time, "closed before its time");
    ensure!(ticks > 0, "no status came");
    counts(server, 1)
}

fn no_wakeups(subject: &Subject) -> Result<()> {
    let server = subject.start(timeout(LONG))?;
    let _clients = greeted(&server, 50)?;
    sleeps(&server)
}

/// The last input came at about half of the time; a timer that was set before it expires once and is set anew. A timer
/// wheel wakes up twice for that: first to move the timer to a finer wheel.
fn few_wakeups(subject: &Subject) -> Result<()> {
    const CLIENTS: u64 = 20;
    let server = subject.start(Options { workers: Some(1), ..timeout(Duration::from_secs(2)) })?;
    server.pid()?;
    let time = time(&server)?;
    attempts(|| {
        let mut clients = Vec::new();
        let begun = Instant::now();
        for _ in 0..CLIENTS {
            clients.extend(greeted(&server, 1)?);
            thread::sleep(time / 100);
        }
        thread::sleep((time / 2).saturating_sub(begun.elapsed()));
        let last = Instant::now();
        clients.iter_mut().try_for_each(Client::greet)?;
        // Beyond the first time, within the second.
        let until = begun + time * 14 / 10;
        let (wakeups, _) = activity(&server, until.saturating_duration_since(Instant::now()))?;
        if last.elapsed() > time * 95 / 100 {
            return Ok(false);
        }
        ensure!(wakeups <= 2 * CLIENTS + 4, "{wakeups} wake-ups of {CLIENTS} silent connections within their time");
        clients.iter_mut().try_for_each(Client::greet)?;
        Ok(true)
    })
}

/// A timer of the kernel that is moved with each message shows as a system call.
fn no_system_calls(subject: &Subject) -> Result<()> {
    const MESSAGES: u64 = 2_000;
    let calls = |options| -> Result<u64> {
        let server = subject.start(options)?;
        let mut calls = Syscalls::count(server.pids()?)
            .map_err(|error| Skipped(format!("this host does not let system calls be counted: {error}")))?;
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        let before = calls.so_far()?;
        (0..MESSAGES).try_for_each(|_| client.greet())?;
        Ok(calls.so_far()? - before)
    };
    let (with, without) = (calls(timeout(LONG))?, calls(QUIET)?);
    ensure!(
        with <= without + MESSAGES / 4,
        "{MESSAGES} messages took {with} system calls with --idle-timeout and {without} without"
    );
    Ok(())
}

/// A connection from whose beginning the time is counted, and which has been accepted.
fn arrived(addr: Endpoint) -> Result<Doomed> {
    let since = Instant::now();
    Ok(Doomed { client: Client::connect(addr)?, since })
}

/// The silence that the server allows.
fn time(server: &Served) -> Result<Duration> {
    server.service.idle_timeout.context("the server was started with an idle timeout")
}

/// Stops the server, which must have counted these.
fn counts(server: Served, timeouts: u64) -> Result<()> {
    let counters = server.stop()?;
    ensure!(counters.idle_timeouts == timeouts, "{timeouts} clients were silent for too long: {counters:?}");
    Ok(())
}
