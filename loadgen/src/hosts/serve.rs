//! The generator's side: it finds its coordinator, and carries out its orders.

use std::{
    io,
    net::{IpAddr, TcpStream, ToSocketAddrs},
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use serde::{Serialize, de::DeserializeOwned};
use servers::clock;

use super::{
    greeting::{Hello, Welcome},
    host::{FromHost, ToHost},
    link::{Broken, Link, send},
};
use crate::{
    error::{Interrupted, Unreachable, Usage},
    interrupt,
};

/// Time between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one attempt may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Time between two looks for a signal.
const LOOK: Duration = Duration::from_millis(200);

/// A generator that was admitted.
#[derive(Debug)]
pub(crate) struct Joined {
    link: Link,
    /// The coordinator's address: the only one that is ever loaded.
    pub(crate) server: IpAddr,
}

/// Looks for the coordinator at `HOST:PORT` for `patience`, and waits until it begins.
///
/// # Errors
/// [`Usage`] if it refuses this generator, [`Unreachable`] if there is none, [`Interrupted`] after a signal.
pub(crate) fn join(place: &str, hello: &Hello, patience: Duration) -> Result<Joined> {
    // `None` is beyond all time.
    let deadline = Instant::now().checked_add(patience);
    loop {
        match attempt(place, hello) {
            Ok(joined) => return Ok(joined),
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Again(why)) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Err(Unreachable(format!("{place}: no coordinator within {patience:?}: {why}")).into());
            }
            Err(Attempt::Again(_)) if interrupt::requested() => return Err(Interrupted.into()),
            Err(Attempt::Again(_)) => thread::sleep(PAUSE),
        }
    }
}

/// Why an attempt failed.
enum Attempt {
    Again(String),
    Final(anyhow::Error),
}

fn attempt(place: &str, hello: &Hello) -> Result<Joined, Attempt> {
    let again = |error: io::Error| Attempt::Again(error.to_string());
    let mut tried = "it has no address".to_owned();
    let mut connected = None;
    for addr in place.to_socket_addrs().map_err(again)? {
        match TcpStream::connect_timeout(&addr, CONNECT).and_then(Link::new) {
            Ok(link) => {
                connected = Some((addr, link));
                break;
            }
            Err(error) => tried = error.to_string(),
        }
    }
    let (addr, mut link) = connected.ok_or(Attempt::Again(tried))?;
    link.send(hello).map_err(again)?;
    link.set_patience(Some(LOOK)).map_err(again)?;
    loop {
        match link.receive() {
            Ok(Welcome::Begin) => break,
            Ok(Welcome::Refused(refusal)) => {
                return Err(Attempt::Final(Usage::from(anyhow!("{place} refused this generator: {refusal}"))));
            }
            Err(Broken::TimeUp) if interrupt::requested() => return Err(Attempt::Final(Interrupted.into())),
            Err(Broken::TimeUp) => {}
            Err(Broken::Nonsense) => {
                return Err(Attempt::Final(Unreachable(format!("{place}: no coordinator of this build")).into()));
            }
            // It came too late for this session, or that one was given up.
            Err(broken) => return Err(Attempt::Again(broken.to_string())),
        }
    }
    link.trust().map_err(again)?;
    Ok(Joined { link, server: addr.ip() })
}

/// Carries out orders until the coordinator ends the session.
///
/// # Errors
/// [`Interrupted`] after a signal to this process; or if the coordinator is gone.
pub(crate) fn serve<C, R>(joined: Joined, mut carry_out: impl FnMut(C) -> Result<R>) -> Result<()>
where
    C: DeserializeOwned + Send + 'static,
    R: Serialize,
{
    let answers = joined.link.sender()?;
    let (sender, orders) = mpsc::channel();
    let listen = move || listen(joined.link, &sender);
    thread::Builder::new().name("coordinator".to_owned()).spawn(listen)?;
    loop {
        match orders.recv_timeout(LOOK) {
            Ok(Heard::Order(order)) => {
                let answer = match carry_out(order) {
                    // What a signal to this process cut short is no answer.
                    _ if interrupt::signalled() => FromHost::Failed("it was interrupted".to_owned()),
                    Ok(answer) => FromHost::Answer(answer),
                    Err(error) => FromHost::Failed(format!("{error:#}")),
                };
                // If the coordinator is gone, the other thread tells.
                drop(send(&answers, &answer));
            }
            Ok(Heard::End) => return Ok(()),
            Ok(Heard::Gone(why)) => bail!("the coordinator is gone: {why}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the coordinator is gone"),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if interrupt::signalled() {
            return Err(Interrupted.into());
        }
    }
}

/// What the coordinator said.
enum Heard<C> {
    Order(C),
    End,
    Gone(String),
}

/// Answers pings at once, and passes the rest on.
fn listen<C: DeserializeOwned>(mut link: Link, heard: &Sender<Heard<C>>) {
    loop {
        let next = match link.receive::<ToHost<C>>() {
            Ok(ToHost::Ping) => match link.send(&FromHost::<()>::Pong { now_ns: clock::now_ns() }) {
                Ok(()) => continue,
                Err(error) => Heard::Gone(error.to_string()),
            },
            Ok(ToHost::Stop) => {
                interrupt::relay();
                continue;
            }
            Ok(ToHost::End) => Heard::End,
            Ok(ToHost::Order(order)) => Heard::Order(order),
            Err(broken) => Heard::Gone(broken.to_string()),
        };
        let is_last = !matches!(next, Heard::Order(_));
        if is_last {
            // A window that is going on ends now.
            interrupt::relay();
        }
        if heard.send(next).is_err() || is_last {
            return;
        }
    }
}
