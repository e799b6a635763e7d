//! H1 to H8.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use protocol::{Service, handshake::ACK_BYTES};
use rustix::process::{Signal, kill_process};

use super::{
    BUSY, Check, LONG, Options, PLAIN, QUIET, Served, Subject,
    client::{Client, Endpoint},
    idle::{greeted, sleeps},
    shutdown::exit,
    timing::{Doomed, closed_in_time, closed_promptly},
};

pub(super) const CHECKS: &[Check] = &[
    Check::alone("H1", "the first bytes are a hello, with a token of its own for every connection", tokens),
    Check::alone("H2", "an answer in pieces is welcome", answer_in_pieces),
    Check::alone("H2", "bytes that trickle in do not extend the time", trickle),
    Check::together("H3", "before its welcome a connection receives no status and is not counted", not_yet_open),
    Check::alone("H3", "the stream behind the welcome begins with a status or an echo, at a line's boundary", welcomed),
    Check::alone("H4", "input in the same segment as the answer is echoed behind the welcome", early_input),
    Check::alone("H4", "input and its end in the same segment as the answer are served", early_input_and_end),
    Check::alone("H5", "at the first wrong byte the server closes with a FIN, and counts it", wrong_answers),
    Check::alone("H5", "a client that leaves without its answer is counted", leaving),
    Check::together("H6", "200 silent clients are closed with a FIN, none before its time, and counted", silence),
    Check::alone("H6", "a server at rest closes a silent client at most 20 ms late", silence_at_rest),
    Check::together("H6", "a welcome ends the time of the handshake", no_time_after_the_welcome),
    Check::together("H7", "a connection in its handshake holds a place, and its failure gives it free", holds_a_place),
    Check::together("H7", "a handshake that runs out of time gives its place free", time_frees_a_place),
    Check::together("H7", "100 silent clients disturb no other connection", undisturbed),
    Check::at_rest("H7", "at rest, connections in their handshake cause no wake-up before their time", no_wakeups),
    Check::alone("H8", "on SIGTERM a connection in its handshake is closed and counted as neither", shutdown),
    Check::together("H8", "on SIGTERM it is closed at once, even while others are flushed", shutdown_at_once),
];

/// Long enough that no check waits for it.
const PATIENT: Service = Service { handshake: Some(LONG), ..PLAIN };

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

const IMPATIENT: Service = Service { handshake: Some(SHORT), ..PLAIN };

const PATIENT_AND_QUIET: Options = Options { service: PATIENT, ..QUIET };
const PATIENT_AND_BUSY: Options = Options { service: PATIENT, ..BUSY };
const IMPATIENT_AND_QUIET: Options = Options { service: IMPATIENT, ..QUIET };

fn tokens(subject: &Subject) -> Result<()> {
    const CONNECTIONS: usize = 100;
    let server = subject.start(PATIENT_AND_QUIET)?;
    let answers = (0..CONNECTIONS).map(|_| Client::knock(server.addr)?.hello()).collect::<Result<BTreeSet<_>>>()?;
    ensure!(answers.len() == CONNECTIONS, "{CONNECTIONS} connections had {} different tokens", answers.len());
    Ok(())
}

fn answer_in_pieces(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    let mut client = Client::knock(server.addr)?;
    for byte in client.hello()? {
        ensure!(client.is_silent()?, "received something before the answer was complete");
        client.send(&[byte])?;
        // A server that takes what arrives together for one answer must get it in several.
        thread::sleep(Duration::from_millis(1));
    }
    client.welcome()?;
    client.greet()
}

/// Sends all but the last byte of the answer, one after another, which takes more than twice the time allowed. Every
/// pause is much shorter than that time, so that a server that counts from the last byte never closes.
fn trickle(subject: &Subject) -> Result<()> {
    const TIME: Duration = Duration::from_millis(500);
    let server = subject.start(Options { service: Service { handshake: Some(TIME), ..PLAIN }, ..QUIET })?;
    let time = time(&server)?;
    let since = Instant::now();
    let mut client = Client::knock(server.addr)?;
    let mut answer = client.hello()?.into_iter().take(ACK_BYTES - 1);
    while !client.has_ended()? {
        let next = answer.next().context("an answer that came byte by byte had more than twice the time allowed")?;
        // The server may close meanwhile.
        if client.send(&[next]).is_err() {
            break;
        }
        thread::sleep(time / 8);
    }
    ensure!(since.elapsed() >= time, "closed after {:?}, before its time of {time:?}", since.elapsed());
    counts(server, 0, 1)
}

fn not_yet_open(subject: &Subject) -> Result<()> {
    const SILENT: usize = 10;
    const TICKS: u64 = 20;
    let server = subject.start(PATIENT_AND_BUSY)?;
    let mut other = Client::connect(server.addr)?;
    other.greet()?;
    let mut silent = hellos(server.addr, SILENT)?;
    let first = other.next_status()?.tick;
    loop {
        let status = other.next_status()?;
        ensure!(status.active == 1, "{} active connections, of which {SILENT} were not welcomed", status.active);
        if status.tick >= first + TICKS {
            break;
        }
    }
    for (client, _) in &mut silent {
        ensure!(client.is_silent()?, "received something behind the hello without an answer to it");
    }
    let (mut client, answer) = silent.pop().context("there is one")?;
    client.send(&answer)?;
    client.welcome()?;
    client.greet()?;
    while other.next_status()?.active != 2 {}
    let open = client.next_status()?.active;
    ensure!(open == 2, "{open} active connections, but 2 were welcomed");
    drop((client, silent, other));
    let counters = server.stop()?;
    let settled = counters.statuses_sent + counters.statuses_replaced + counters.statuses_dropped_at_eof;
    ensure!(
        settled <= 2 * counters.ticks && counters.accepts == SILENT as u64 + 1,
        "more statuses than 2 welcomed connections get, or not every connection is counted as accepted: {counters:?}"
    );
    Ok(())
}

fn welcomed(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_BUSY)?;
    for round in 0..30 {
        let mut client = Client::connect(server.addr)?;
        if round % 3 == 0 {
            // Nothing was sent, so the stream is empty and a status may come.
            client.status().context("no status came behind the welcome")?;
        }
        let lines = format!("first {round}\nsecond");
        client.send(lines.as_bytes())?;
        client.end_input()?;
        let echo = client.rest()?.echo;
        ensure!(echo == lines.as_bytes(), "sent {lines:?}, received {:?}", String::from_utf8_lossy(&echo));
    }
    Ok(())
}

fn early_input(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    for early in [&b"early\n"[..], b"no end yet", b"\n", b"\0\xff", b"one\ntwo\nthree"] {
        let mut client = Client::knock(server.addr)?;
        let answer = client.hello()?;
        client.send(&[&answer[..], early].concat())?;
        client.welcome()?;
        client.expect(early)?;
        client.send(b" and more\n")?;
        client.expect(b" and more\n")?;
    }
    // The end of the answer in the same segment as what is behind it.
    let mut client = Client::knock(server.addr)?;
    let answer = client.hello()?;
    client.send(&answer[..9])?;
    thread::sleep(Duration::from_millis(1));
    client.send(&[&answer[9..], b"early\n"].concat())?;
    client.welcome()?;
    client.expect(b"early\n")
}

fn early_input_and_end(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    let (mut bytes, mut connections) = (0, 0);
    for size in [0, 1, 100, 70_000, 300_000].into_iter().cycle().take(50) {
        let mut client = Client::knock(server.addr)?;
        let answer = client.hello()?;
        client.send(&[&answer[..], &vec![b'z'; size]].concat())?;
        client.end_input()?;
        client.welcome()?;
        let echo = client.rest()?.echo;
        ensure!(echo.len() == size, "{} of {size} early bytes were echoed before the close", echo.len());
        (bytes, connections) = (bytes + size as u64, connections + 1);
    }
    let counters = server.stop()?;
    let counted = (counters.bytes_echoed, counters.accepts, counters.handshakes_failed);
    // Neither the hello nor the welcome is an echo.
    ensure!(counted == (bytes, connections, 0), "{bytes} bytes on {connections} connections were echoed: {counters:?}");
    Ok(())
}

fn wrong_answers(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    let mut other = Client::connect(server.addr)?;
    let mut stale = *b"ack 0123456789abcdef\n";
    let mut wrong = 0;
    for kind in 0..9 {
        let mut client = Client::knock(server.addr)?;
        let answer = client.hello()?;
        let mut flipped = answer;
        let (what, bytes): (_, Vec<u8>) = match kind {
            0 => ("a wrong first byte", b"b".to_vec()),
            1 => ("an empty line", b"\n".to_vec()),
            2 => ("a wrong first digit", vec![b'a', b'c', b'k', b' ', other_digit(answer[4])]),
            3 => {
                flipped[ACK_BYTES - 2] = other_digit(answer[ACK_BYTES - 2]);
                ("a wrong last digit", flipped.to_vec())
            }
            4 => ("another connection's token", stale.to_vec()),
            5 => ("a longer line", [&answer[..ACK_BYTES - 1], b"0"].concat()),
            6 => ("CR LF", [&answer[..ACK_BYTES - 1], b"\r\n"].concat()),
            7 => ("the line of the server", [b"hello", &answer[3..]].concat()),
            _ => ("capital letters", answer.to_ascii_uppercase()),
        };
        client.send(&bytes)?;
        let end = client.rest().with_context(|| format!("after {what} the connection was not closed by a FIN"))?;
        ensure!(end.echo.is_empty(), "after {what}, received {:?}", String::from_utf8_lossy(&end.echo));
        (stale, wrong) = (answer, wrong + 1);
        other.greet()?;
    }
    counts(server, wrong, 0)
}

fn other_digit(digit: u8) -> u8 {
    if digit == b'0' { b'1' } else { b'0' }
}

/// With a single place, the next client gets its hello once the one before is over, even if that one cannot see it.
fn leaving(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { max_connections: Some(1), ..PATIENT_AND_QUIET })?;
    for sent in [0, 1, 10, ACK_BYTES - 1] {
        let mut client = Client::knock(server.addr)?;
        let answer = client.hello()?;
        client.send(&answer[..sent])?;
        client.end_input()?;
        client.rest().with_context(|| format!("after {sent} bytes and the end of input"))?;
    }
    for _ in 0..20 {
        let mut client = Client::knock(server.addr)?;
        client.hello()?;
        client.reset()?;
    }
    Client::connect(server.addr)?.greet()?;
    counts(server, 24, 0)
}

fn silence(subject: &Subject) -> Result<()> {
    const CLIENTS: usize = 200;
    let server = subject.start(IMPATIENT_AND_QUIET)?;
    let mut other = Client::connect(server.addr)?;
    let silent = (0..CLIENTS)
        .map(|_| {
            let since = Instant::now();
            let mut client = Client::knock(server.addr)?;
            client.hello()?;
            Ok(Doomed { client, since })
        })
        .collect::<Result<Vec<_>>>()?;
    other.greet()?;
    closed_in_time(silent, time(&server)?, subject.patience)?;
    other.greet()?;
    counts(server, 0, CLIENTS as u64)
}

fn silence_at_rest(subject: &Subject) -> Result<()> {
    let server = subject.start(IMPATIENT_AND_QUIET)?;
    closed_promptly(time(&server)?, || {
        let since = Instant::now();
        let mut client = Client::knock(server.addr)?;
        client.hello()?;
        Ok(Doomed { client, since })
    })
}

fn no_time_after_the_welcome(subject: &Subject) -> Result<()> {
    let server = subject.start(IMPATIENT_AND_QUIET)?;
    let mut welcomed = greeted(&server, 20)?;
    // Closed later than those would be, if their time went on.
    let mut silent = Client::knock(server.addr)?;
    silent.hello()?;
    silent.rest()?;
    welcomed.iter_mut().try_for_each(Client::greet).context("a welcomed client was closed")?;
    counts(server, 0, 1)
}

fn holds_a_place(subject: &Subject) -> Result<()> {
    let server = subject.start(Options { max_connections: Some(2), ..PATIENT_AND_QUIET })?;
    let mut other = Client::connect(server.addr)?;
    for leaves in 0..3 {
        let mut inside = Client::knock(server.addr)?;
        let answer = inside.hello()?;
        let mut outside = Client::knock(server.addr)?;
        (0..20).try_for_each(|_| other.greet())?;
        ensure!(outside.is_silent()?, "a client was accepted beyond the limit");
        match leaves {
            0 => drop(inside),
            1 => inside.send(b"wrong")?,
            _ => {
                inside.send(&answer)?;
                inside.welcome()?;
                other.greet()?;
                ensure!(outside.is_silent()?, "a welcomed client lost its place");
                drop(inside);
            }
        }
        outside.shake_hands().context("a client outside was not accepted when a place became free")?;
        outside.greet()?;
        outside.end_input()?;
        outside.rest()?;
    }
    counts(server, 2, 0)
}

fn time_frees_a_place(subject: &Subject) -> Result<()> {
    const PLACES: u32 = 4;
    let server = subject.start(Options { max_connections: Some(PLACES), ..IMPATIENT_AND_QUIET })?;
    let _silent = hellos(server.addr, PLACES as usize)?;
    let mut outside = Client::knock(server.addr)?;
    outside.shake_hands().context("a client outside was not accepted")?;
    outside.greet()
}

fn undisturbed(subject: &Subject) -> Result<()> {
    const SILENT: usize = 100;
    let server = subject.start(PATIENT_AND_BUSY)?;
    let mut other = Client::connect(server.addr)?;
    let mut silent = hellos(server.addr, SILENT)?;
    for (client, answer) in &mut silent {
        client.send(&answer[..7])?;
        other.greet()?;
    }
    let first = other.next_status()?.tick;
    while other.next_status()?.tick < first + 5 {}
    // They were not forgotten.
    for (client, answer) in &mut silent {
        client.send(&answer[7..])?;
        client.welcome()?;
    }
    silent.iter_mut().try_for_each(|(client, _)| client.greet())
}

fn no_wakeups(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    let _open = greeted(&server, 10)?;
    let _silent = hellos(server.addr, 50)?;
    sleeps(&server)
}

fn shutdown(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_BUSY)?;
    server.is_ours()?;
    let silent = hellos(server.addr, 5)?;
    kill_process(server.pid()?, Signal::TERM)?;
    for (client, _) in silent {
        ensure!(client.rest()?.echo.is_empty(), "received something behind the hello");
    }
    let counters = exit(server, 0)?;
    let counted = (counters.accepts, counters.handshakes_failed, counters.handshakes_timed_out);
    ensure!(counted == (5, 0, 0), "5 handshakes were neither failed nor out of time: {counters:?}");
    Ok(())
}

/// While the output of a client that does not read is flushed, the server is still there for a second signal.
fn shutdown_at_once(subject: &Subject) -> Result<()> {
    let server = subject.start(PATIENT_AND_QUIET)?;
    server.is_ours()?;
    let mut stuck = Client::connect_small(server.addr)?;
    stuck.stuff()?;
    let silent = hellos(server.addr, 5)?;
    kill_process(server.pid()?, Signal::TERM)?;
    silent.into_iter().try_for_each(|(client, _)| client.rest().map(drop))?;
    kill_process(server.pid()?, Signal::TERM)?;
    let (code, _) = server.wait()?;
    ensure!(
        code == 130,
        "connections in their handshake were closed with the last others, not at once: exit code {code}"
    );
    Ok(())
}

/// Clients that have read their hello, with the answers that they owe.
fn hellos(addr: Endpoint, count: usize) -> Result<Vec<(Client, [u8; ACK_BYTES])>> {
    let knock = |_| {
        let mut client = Client::knock(addr)?;
        let answer = client.hello()?;
        Ok((client, answer))
    };
    (0..count).map(knock).collect()
}

/// The time that the server gives to a handshake.
fn time(server: &Served) -> Result<Duration> {
    server.service.handshake.context("the server was started with a handshake")
}

/// Stops the server, which must have counted these.
fn counts(server: Served, failed: u64, timed_out: u64) -> Result<()> {
    let counters = server.stop()?;
    let counted = (counters.handshakes_failed, counters.handshakes_timed_out);
    ensure!(counted == (failed, timed_out), "{failed} handshakes failed and {timed_out} timed out: {counters:?}");
    Ok(())
}
