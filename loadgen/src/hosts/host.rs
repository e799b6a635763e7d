//! A generator on another host, as the coordinator sees it.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use servers::clock;

use super::{
    clock::{Clock, ClockMap, Sample},
    greeting::Hello,
    link::{Broken, Link},
};
use crate::error::GeneratorLost;

/// Round trips of a probe of the clock, of which the quickest counts.
const ROUND_TRIPS: usize = 32;

/// How long a host may take for one of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two looks for a signal.
const LOOK: Duration = Duration::from_millis(100);

/// What the coordinator sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToHost<C> {
    /// What time is it?
    Ping,
    /// A signal came: end what is going on, and send nothing further.
    Stop,
    /// The session is over.
    End,
    /// An order of the engine.
    Order(C),
}

/// What a generator sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum FromHost<R> {
    /// The time by its clock.
    Pong { now_ns: u64 },
    /// The answer to an order.
    Answer(R),
    /// An order could not be carried out.
    Failed(String),
}

/// A generator on another host.
#[derive(Debug)]
pub(crate) struct Host {
    /// What it said of itself.
    pub(crate) hello: Hello,
    /// Its place among the generators, from 1.
    number: usize,
    link: Link,
    clock: Clock,
    is_lost: bool,
}

/// What is known of a host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostClock {
    pub(crate) map: ClockMap,
    /// By how much a time may be wrong, in nanoseconds: half of the quickest round trip, and what was not foreseen since the
    /// last probe.
    pub(crate) error_ns: u64,
}

impl Host {
    pub(super) fn new(hello: Hello, number: usize, link: Link) -> Self {
        Self { hello, number, link, clock: Clock::default(), is_lost: false }
    }

    /// Its number and name, as messages call it.
    pub(crate) fn name(&self) -> String {
        format!("generator {} ({})", self.number, self.hello.host)
    }

    /// Compares its clock with this host's.
    ///
    /// # Errors
    /// [`GeneratorLost`] if it does not answer.
    pub(crate) fn probe_clock(&mut self) -> io::Result<HostClock> {
        self.link.set_patience(Some(PATIENCE))?;
        let mut best: Option<Sample> = None;
        for _ in 0..ROUND_TRIPS {
            let before_ns = clock::now_ns();
            self.send(&ToHost::<()>::Ping)?;
            let there_ns = match self.link.receive::<FromHost<()>>() {
                Ok(FromHost::Pong { now_ns }) => now_ns,
                Ok(FromHost::Failed(why)) => return Err(self.lost(&why)),
                Ok(FromHost::Answer(())) => return Err(self.lost(&Broken::Nonsense)),
                Err(broken) => return Err(self.lost(&broken)),
            };
            let sample = Sample::of(before_ns, there_ns, clock::now_ns());
            if best.is_none_or(|best| sample.error_ns < best.error_ns) {
                best = Some(sample);
            }
        }
        let best = best.expect("there is more than no round trip");
        let error_ns = best.error_ns + self.clock.add(best);
        Ok(HostClock { map: self.clock.map(), error_ns })
    }

    /// Sends an order, whose answer is to be taken with [`answer`](Self::answer).
    ///
    /// # Errors
    /// [`GeneratorLost`] if it is gone.
    pub(crate) fn order<C: Serialize>(&mut self, order: &C) -> io::Result<()> {
        self.send(&ToHost::Order(order))
    }

    /// The answer to the order, if it comes soon.
    ///
    /// # Errors
    /// [`GeneratorLost`] if it has not come by `deadline_ns`, the host is gone, or the order failed.
    pub(super) fn answer<R: DeserializeOwned>(&mut self, deadline_ns: u64) -> io::Result<Option<R>> {
        self.ensure_there()?;
        let left = Duration::from_nanos(deadline_ns.saturating_sub(clock::now_ns()));
        self.link.set_patience(Some(left.min(LOOK)))?;
        match self.link.receive() {
            Ok(FromHost::Answer(answer)) => Ok(Some(answer)),
            Ok(FromHost::Failed(why)) => Err(self.lost(&why)),
            Ok(FromHost::Pong { .. }) => Err(self.lost(&Broken::Nonsense)),
            Err(Broken::TimeUp) if !left.is_zero() => Ok(None),
            Err(broken) => Err(self.lost(&broken)),
        }
    }

    /// Tells it of a signal. If it is gone, its answer will tell.
    pub(super) fn stop(&mut self) {
        drop(self.link.send(&ToHost::<()>::Stop));
    }

    /// Tells it that the session is over. If it is gone, it need not be told.
    pub(super) fn end(&mut self) {
        if !self.is_lost {
            drop(self.link.send(&ToHost::<()>::End));
        }
    }

    fn send<C: Serialize>(&mut self, message: &ToHost<C>) -> io::Result<()> {
        self.ensure_there()?;
        self.link.send(message).map_err(|error| self.lost(&error))
    }

    /// One that is lost stays lost: what it sends later belongs to nothing.
    fn ensure_there(&mut self) -> io::Result<()> {
        if self.is_lost { Err(self.lost(&"it was lost before")) } else { Ok(()) }
    }

    fn lost(&mut self, why: &dyn std::fmt::Display) -> io::Error {
        self.is_lost = true;
        io::Error::other(GeneratorLost(format!("{} is lost: {why}", self.name())))
    }
}
