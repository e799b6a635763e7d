//! The coordinator waits for its generators.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use rustix::io::Errno;

use super::{
    Hosts,
    greeting::{Hello, Refusal, Welcome, token},
    host::Host,
    link::{Broken, Link},
};
use crate::{
    error::{GeneratorLost, Interrupted, Usage},
    interrupt, terminal,
    text::plain,
};

/// How long one that has connected may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that may wait for their turn; more are let go.
const WAITING_MAX: usize = 256;

/// Time between two looks at who has come.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for `patience` until `count` generators of this build have come to `listen`.
///
/// # Errors
/// [`Usage`] if nothing can listen there, [`GeneratorLost`] if too few come, [`Interrupted`] after a signal.
pub(crate) fn gather(listen: SocketAddr, count: u32, build: &str, patience: Duration) -> Result<Hosts> {
    let listener = TcpListener::bind(listen).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    let listener = listener.map_err(|error| Usage::from(cannot_listen(listen, &error)))?;
    // Those that come later are refused by the kernel, since this is dropped.
    let mut door = Door { listener, count, build, token: token(), waiting: Vec::new(), come: Vec::new() };
    let generators = if count == 1 { "1 generator".to_owned() } else { format!("{count} generators") };
    terminal::say(format_args!("waiting for {generators} on {listen}"));
    // `None` is beyond all time.
    let deadline = Instant::now().checked_add(patience);
    while (door.come.len() as u32) < count {
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let come = door.come.len();
            let were = if count == 1 { "was" } else { "were" };
            return Err(GeneratorLost(format!("{generators} {were} awaited and {come} came")).into());
        }
        door.look()?;
        thread::sleep(LOOK);
    }
    for host in &door.come {
        // One that is gone is missed by its first order.
        drop(host.1.send(&Welcome::Begin));
    }
    // In an order that does not depend on who was first, so that a resumed session deals the connections out alike.
    door.come.sort_by(|(one, _), (other, _)| one.host.cmp(&other.host));
    let hosts = door.come.into_iter().zip(1..).map(|((hello, link), number)| Host::new(hello, number, link));
    Ok(Hosts::new(listen.ip(), hosts.collect()))
}

fn cannot_listen(listen: SocketAddr, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!("--listen {listen}: another process listens there; name another port"),
        ErrorKind::AddrNotAvailable => {
            anyhow!("--listen {listen}: this host has no such address; name the one that the generators reach")
        }
        _ => anyhow!("--listen {listen}: {error}"),
    }
}

/// Where generators come in.
struct Door<'a> {
    listener: TcpListener,
    count: u32,
    build: &'a str,
    token: String,
    /// Those that have not said yet who they are.
    waiting: Vec<(Link, Instant)>,
    come: Vec<(Hello, Link)>,
}

impl Door<'_> {
    /// Lets in who has come since.
    fn look(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    // Accepted sockets are blocking, whatever the listener is.
                    if let Ok(link) = Link::new(stream)
                        && self.waiting.len() < WAITING_MAX
                    {
                        link.set_impatient()?;
                        self.waiting.push((link, Instant::now()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Those that are let go make room.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (mut link, since) in std::mem::take(&mut self.waiting) {
            match link.receive::<Hello>() {
                Ok(hello) => self.admit(hello, link)?,
                Err(Broken::TimeUp) if since.elapsed() < HELLO_PATIENCE => self.waiting.push((link, since)),
                Err(_) => say("ignored", &link, &"no generator of this build"),
            }
        }
        Ok(())
    }

    fn admit(&mut self, hello: Hello, mut link: Link) -> Result<()> {
        match hello.check(self.build, &self.token) {
            Ok(()) if self.come.len() >= self.count as usize => refuse(&link, Refusal::Full),
            Ok(()) => {
                link.trust()?;
                self.come.push((hello, link));
            }
            Err(refusal) => refuse(&link, refusal),
        }
        Ok(())
    }
}

fn refuse(link: &Link, refusal: Refusal) {
    drop(link.send(&Welcome::Refused(refusal)));
    say("refused", link, &refusal);
}

fn say(what: &str, link: &Link, why: &dyn std::fmt::Display) {
    let peer = link.peer().map_or_else(|_| "one that is gone".to_owned(), |peer| peer.to_string());
    terminal::say(format_args!("{what} {peer}: {}", plain(&why.to_string())));
}

/// Whether the failure to accept concerns one connection, and not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
