//! The generators on other hosts: how they are gathered and reached, and how their clocks differ from this host's.
//!
//! The coordinator is the process that runs the trials, on the server's host. It has one TCP connection to each generator,
//! which carries lines of JSON; while a window is measured, nothing travels on it. What the lines ask for is up to the
//! caller: the engine, which treats a host as it treats a thread.
//!
//! # Layout
//!
//! | file | what it does |
//! |---|---|
//! | `link` | lines of JSON on a TCP connection, with a deadline |
//! | `greeting` | who a generator is, and whether it may take part |
//! | `gather` | the coordinator waits for its generators |
//! | `host` | a generator, as the coordinator sees it |
//! | `clock` | the offset between two clocks, and the time of one on the other |
//! | `serve` | the generator's side: finds its coordinator, and carries out its orders |

mod clock;
mod gather;
mod greeting;
mod host;
mod link;
mod serve;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use self::{
    clock::ClockMap,
    gather::gather,
    greeting::Hello,
    host::{Host, HostClock},
    serve::{join, serve},
};
use crate::interrupt;

/// The generators of a session, until this is dropped for the last time: then they are told that it is over.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// What the measured server listens on.
    listen: IpAddr,
    hosts: Arc<Mutex<Links>>,
}

/// The generators, in the order in which connections are dealt to them.
pub(crate) struct Links {
    hosts: Vec<Host>,
    /// They were told that a signal came.
    stopped: bool,
}

impl Hosts {
    fn new(listen: IpAddr, hosts: Vec<Host>) -> Self {
        Self { listen, hosts: Arc::new(Mutex::new(Links { hosts, stopped: false })) }
    }

    /// The address of this host that the generators reach.
    pub(crate) fn listen(&self) -> IpAddr {
        self.listen
    }

    /// The links to them, for one conversation.
    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each of them said of itself.
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.links().hosts.iter().map(|host| host.hello.clone()).collect()
    }
}

impl Links {
    /// The generators.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Host> {
        self.hosts.iter_mut()
    }

    /// Number of generators.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// An answer of each, in order. What a signal ends here, it ends there as well.
    ///
    /// # Errors
    /// [`GeneratorLost`](crate::error::GeneratorLost) if one has not answered by `deadline_ns`, is gone, or failed.
    pub(crate) fn answers<R: serde::de::DeserializeOwned>(&mut self, deadline_ns: u64) -> std::io::Result<Vec<R>> {
        let mut answers = Vec::new();
        for index in 0..self.hosts.len() {
            loop {
                if interrupt::requested() && !self.stopped {
                    self.stopped = true;
                    self.hosts.iter_mut().for_each(Host::stop);
                }
                if let Some(answer) = self.hosts[index].answer(deadline_ns)? {
                    answers.push(answer);
                    break;
                }
            }
        }
        Ok(answers)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.hosts.iter_mut().for_each(Host::end);
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.hosts.iter().map(|host| &host.hello.host)).finish()
    }
}
