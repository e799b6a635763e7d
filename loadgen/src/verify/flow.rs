//! F1, F2, F3.

use std::{
    collections::{BTreeSet, VecDeque},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{BUSY, Check, Options, QUIET, Served, Skipped, Subject, client::Client};
use crate::{observe::Process, stats::quantile};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("F1", "the server stops reading from a client that does not read, and loses nothing", resumes),
    Check::together("F1", "clients that do not read take bounded memory", bounded_memory),
    Check::alone("F2", "1000 resets affect no other connection", resets),
    Check::together(
        "F3",
        "when descriptors run out, the server does not spin, and serves waiting clients later",
        descriptor_shortage,
    ),
    Check::together("F3", "a close wakes an acceptor that waits out a shortage", close_ends_shortage),
    Check::together(
        "F3",
        "when no thread can be started, present clients are served at once and waiting ones later",
        thread_shortage,
    ),
    Check::together("F3", "beyond the limit, clients wait and are served when a connection ends", limit),
];

fn resumes(subject: &Subject) -> Result<()> {
    let server = subject.start(QUIET)?;
    let mut client = Client::connect_with(server.addr, 16 * 1024)?;
    let sent = client.stuff()?;
    client.expect(&sent)?;
    // The server has resumed reading without further input from the client.
    client.send(b"more\n")?;
    client.expect(b"more\n")?;
    drop(client);
    let counters = server.stop()?;
    let limit = protocol::limits::UNSENT_BYTES_MAX as u64;
    ensure!(counters.backlog_max_bytes <= limit, "one connection held {} bytes", counters.backlog_max_bytes);
    Ok(())
}

fn bounded_memory(subject: &Subject) -> Result<()> {
    const CLIENTS: u64 = 20;
    let server = subject.start(BUSY)?;
    let process = server.process()?;
    let mut probe = Client::connect(server.addr)?;
    probe.greet()?;
    let before = process.memory().rss_bytes.context("cannot read the memory of the server")?;
    let addr = server.addr;
    let stuck: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect_small(addr)?;
                client.stuff()?;
                Ok(client)
            })
        })
        .collect();
    let join = |client: thread::JoinHandle<Result<Client>>| client.join().map_err(|_| anyhow!("a client panicked"))?;
    let _stuck = stuck.into_iter().map(join).collect::<Result<Vec<Client>>>()?;
    let after = process.memory().rss_bytes.context("cannot read the memory of the server")?;
    let each = after.saturating_sub(before) / CLIENTS;
    // The clause's limit, and the same again for the allocator and a thread's stack.
    ensure!(each <= 2 * protocol::limits::UNSENT_BYTES_MAX as u64, "a stuck client takes {each} bytes");
    probe.greet()
}

fn resets(subject: &Subject) -> Result<()> {
    let server = subject.start(BUSY)?;
    let mut other = Client::connect(server.addr)?;
    other.greet()?;
    for _ in 0..1_000 {
        let mut client = Client::connect(server.addr)?;
        client.send(b"unread\n")?;
        client.reset()?;
    }
    other.greet()?;
    other.end_input()?;
    other.rest()?;
    server.stop()?;
    Ok(())
}

fn limit(subject: &Subject) -> Result<()> {
    const PLACES: u32 = 4;
    let server = subject.start(Options { max_connections: Some(PLACES), ..QUIET })?;
    let mut served = (0..PLACES).map(|_| Client::connect(server.addr)).collect::<Result<Vec<_>>>()?;
    for client in &mut served {
        client.greet()?;
    }
    // Their connects succeed through the kernel's backlog, and they are served as soon as others leave.
    let mut waiting = (0..PLACES).map(|_| Client::wait_outside(server.addr)).collect::<Result<Vec<_>>>()?;
    for client in &mut served {
        client.greet()?;
    }
    for client in &mut waiting {
        ensure!(client.is_silent()?, "a client beyond the limit was served");
    }
    for (leaving, client) in served.into_iter().zip(&mut waiting) {
        drop(leaving);
        client.served_at_last(server.addr)?;
    }
    Ok(())
}

fn descriptor_shortage(subject: &Subject) -> Result<()> {
    const ROOM: usize = 20;
    const WAITING: usize = 5;
    let server = subject.start(QUIET)?;
    let mut served = short_of_descriptors(&server, ROOM)?;
    let mut waiting = (0..WAITING).map(|_| Client::wait_outside(server.addr)).collect::<Result<Vec<_>>>()?;
    no_spinning(subject, &server.process()?)?;
    for client in &mut served {
        client.greet()?;
    }
    for client in &mut waiting {
        ensure!(client.is_silent()?, "a client was served without a descriptor");
    }
    served.truncate(served.len() - WAITING);
    for client in &mut waiting {
        client.served_at_last(server.addr)?;
    }
    Ok(())
}

/// Measures the time from a close to the echo of the client that waited for the descriptor. It is compared with the time
/// after descriptors become free without a close, and with connecting without a shortage: an acceptor that merely
/// retries after a pause takes as long as the first, and far longer than the second.
fn close_ends_shortage(subject: &Subject) -> Result<()> {
    const ROUNDS: usize = 15;
    const OF_UNTOLD: f64 = 0.6;
    const OF_FREE: f64 = 8.0;
    let [told, untold, free] = [subject.start(QUIET)?, subject.start(QUIET)?, subject.start(QUIET)?];
    let mut served_told = VecDeque::from(short_of_descriptors(&told, 3)?);
    let mut served_untold = short_of_descriptors(&untold, 3)?;
    let [mut after_a_close, mut after_a_wait, mut without_shortage] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let mut waiting = waiting_client(&told, served_told.make_contiguous())?;
        let begun = Instant::now();
        drop(served_told.pop_front());
        waiting.served_at_last(told.addr)?;
        after_a_close.push(begun.elapsed().as_secs_f64());
        served_told.push_back(waiting);

        let mut waiting = waiting_client(&untold, &mut served_untold)?;
        let begun = Instant::now();
        leave_descriptors(untold.pid()?, 1)?;
        waiting.served_at_last(untold.addr)?;
        after_a_wait.push(begun.elapsed().as_secs_f64());
        served_untold.push(waiting);

        let begun = Instant::now();
        Client::connect(free.addr)?.greet()?;
        without_shortage.push(begun.elapsed().as_secs_f64());
    }
    let median = |times: &[f64]| quantile(times, 0.5).context("there was no round");
    let close = median(&after_a_close)?;
    let (of_untold, of_free) = (close / median(&after_a_wait)?, close / median(&without_shortage)?);
    ensure!(
        of_untold <= OF_UNTOLD || of_free <= OF_FREE,
        "serving takes {of_untold:.1} times as long after a close as without one, and {of_free:.0} times as long as without a shortage"
    );
    Ok(())
}

/// A client that waits for a server without free descriptors.
fn waiting_client(short: &Served, served: &mut [Client]) -> Result<Client> {
    let waiting = Client::wait_outside(short.addr)?;
    // Once other clients have been served, the server has tried to accept.
    for client in served.iter_mut().take(3) {
        client.greet()?;
    }
    Ok(waiting)
}

/// Clients that are served; all but the first take the last `room` descriptors of the server.
fn short_of_descriptors(server: &Served, room: usize) -> Result<Vec<Client>> {
    server.is_ours()?;
    let mut served = vec![Client::connect(server.addr)?];
    served[0].greet()?;
    leave_descriptors(server.pid()?, room)?;
    for _ in 0..room {
        let mut client = Client::connect(server.addr)?;
        client.greet()?;
        served.push(client);
    }
    Ok(served)
}

/// Limits the descriptors of a process so that it can open `room` more.
fn leave_descriptors(pid: Pid, room: usize) -> Result<()> {
    // The limit applies to descriptor numbers: the lowest limit that leaves this many numbers free.
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))?;
    let open: BTreeSet<u64> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let free = (0..).filter(|number| !open.contains(number)).nth(room).context("no free number")?;
    let limit = Rlimit { current: Some(free), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(Some(pid), Resource::Nofile, limit)?;
    Ok(())
}

fn thread_shortage(subject: &Subject) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Err(
            Skipped("the kernel does not limit the threads of root (setrlimit(2), RLIMIT_NPROC)".to_owned()).into()
        );
    }
    let server = subject.start(QUIET)?;
    server.is_ours()?;
    let pid = server.pid()?;
    let mut served = Client::connect(server.addr)?;
    served.greet()?;
    // The user already has more than one thread, so the server can start no further one.
    let limit = getrlimit(Resource::Nproc);
    prlimit(Some(pid), Resource::Nproc, Rlimit { current: Some(1), ..limit })?;
    let mut waiting = (0..3).map(|_| Client::wait_outside(server.addr)).collect::<Result<Vec<_>>>()?;
    no_spinning(subject, &server.process()?)?;
    served.greet()?;
    prlimit(Some(pid), Resource::Nproc, limit)?;
    for client in &mut waiting {
        client.served_at_last(server.addr)?;
    }
    served.greet()
}

/// The server waits out the shortage without using CPU time.
fn no_spinning(subject: &Subject, process: &Process) -> Result<()> {
    let (before, begun) = (process.usage()?.cpu_ns, Instant::now());
    thread::sleep(Duration::from_millis(500));
    let share = (process.usage()?.cpu_ns - before) as f64 / begun.elapsed().as_nanos() as f64;
    // A reference model that never sleeps declares that (I1); this check is about others.
    ensure!(share < 0.3 || subject.declares("I1"), "{:.0} % of a CPU while clients wait", share * 100.0);
    Ok(())
}
