//! Deadlines that pass, or come near, while the server works on a message (H2, T1). That it reads late what arrives in time
//! is not the client's fault.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use protocol::{Service, work::Work};

use super::{
    Check, Options, PLAIN, QUIET, Subject,
    client::Client,
    timing::{Doomed, attempts, closed_promptly},
};

pub(super) const CHECKS: &[Check] = &[
    Check::together("H2", "an answer that arrives in time is welcome, even if the server is at work meanwhile", answer),
    Check::alone("T1", "input that arrives in time is no silence, even if the server is at work meanwhile", input),
    Check::alone("T1", "a silence that begins with long work ends at most 20 ms late as well", punctual),
];

/// The time that a client has.
const TIME: Duration = Duration::from_millis(300);

/// Of a message, so that the client's time passes meanwhile.
const WORK: Work = Work::each(Duration::from_millis(800));

/// Time for a server to begin its work.
const BEGINNING: Duration = Duration::from_millis(50);

fn answer(subject: &Subject) -> Result<()> {
    let service = Service { work: WORK, handshake: Some(TIME), ..PLAIN };
    let server = subject.start(Options { service, ..QUIET })?;
    attempts(|| {
        let mut busy = Client::connect(server.addr)?;
        let since = Instant::now();
        let mut client = Client::knock(server.addr)?;
        let answer = client.hello()?;
        busy.send(b"a message\n")?;
        thread::sleep(BEGINNING);
        client.send(&answer)?;
        if since.elapsed() > TIME * 2 / 3 {
            return Ok(false);
        }
        client.welcome().context("an answer in time was not welcome")?;
        busy.expect(b"a message\n")?;
        Ok(true)
    })
}

fn input(subject: &Subject) -> Result<()> {
    let service = Service { work: WORK, idle_timeout: Some(TIME), ..PLAIN };
    let server = subject.start(Options { service, ..QUIET })?;
    attempts(|| {
        let mut client = Client::connect(server.addr)?;
        let since = Instant::now();
        client.send(b"first\n")?;
        thread::sleep(BEGINNING);
        client.send(b"second\n")?;
        if since.elapsed() > TIME * 2 / 3 {
            return Ok(false);
        }
        client.expect(b"first\nsecond\n").context("closed for a silence that there was not")?;
        Ok(true)
    })
}

/// The server is at rest again long before the time is over, even if other checks run beside this one.
fn punctual(subject: &Subject) -> Result<()> {
    const TIME: Duration = Duration::from_millis(900);
    const WORK: Work = Work::each(Duration::from_millis(200));
    let service = Service { work: WORK, idle_timeout: Some(TIME), ..PLAIN };
    let server = subject.start(Options { service, ..QUIET })?;
    let time = server.service.idle_timeout.context("the server was started with an idle timeout")?;
    closed_promptly(time, || {
        let mut client = Client::connect(server.addr)?;
        let since = Instant::now();
        client.send(b"a message\n")?;
        Ok(Doomed { client, since })
    })
}
