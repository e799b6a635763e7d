//! Many clients of one server, driven from one thread in random turns.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    client::{Client, Gone},
    script::Script,
    server::PATIENCE,
};

/// The present clients, and the records of those that have left.
pub(crate) struct Crowd {
    addr: SocketAddr,
    pub(crate) random: ChaCha8Rng,
    pub(crate) clients: Vec<Client>,
    pub(crate) gone: Vec<Gone>,
    /// The server has been told to stop.
    pub(crate) stopping: bool,
}

impl Crowd {
    pub(crate) fn new(addr: SocketAddr, random: ChaCha8Rng) -> Self {
        Self { addr, random, clients: Vec::new(), gone: Vec::new(), stopping: false }
    }

    pub(crate) fn come(&mut self, script: Script) -> Result<()> {
        self.clients.push(Client::connect(self.addr, script)?);
        Ok(())
    }

    /// Lets clients with these scripts connect one by one, at most `together` at a time besides the present ones.
    pub(crate) fn play(&mut self, mut scripts: Vec<Script>, together: usize) -> Result<()> {
        let staying = self.clients.len();
        while !scripts.is_empty() {
            let has_room = self.clients.len() < staying + together;
            if has_room && (self.clients.len() == staying || self.random.random_ratio(1, 2)) {
                let script = scripts.pop().context("there are some left")?;
                self.come(script)?;
            } else {
                self.turns()?;
            }
        }
        Ok(())
    }

    /// Continues until an event has occurred.
    pub(crate) fn until(&mut self, what: &str, mut happened: impl FnMut(&Self) -> bool) -> Result<()> {
        while !happened(self) {
            self.turns().with_context(|| format!("waiting until {what}"))?;
        }
        Ok(())
    }

    /// Continues until all clients have left.
    pub(crate) fn until_empty(&mut self) -> Result<()> {
        self.until("all have gone", |crowd| crowd.clients.is_empty())
    }

    /// Waits until one client receives a status whose fan-out goes to all present clients.
    pub(crate) fn observe(&mut self, index: usize) -> Result<()> {
        let all = self.clients.len() as u64;
        let client = &mut self.clients[index];
        let before = client.last_status().map(|status| status.tick);
        let is_news = |client: &Client| {
            client.last_status().is_some_and(|status| Some(status.tick) != before && status.active == all)
        };
        while !is_news(client) {
            let timeout = Timespec { tv_sec: PATIENCE.as_secs() as _, tv_nsec: 0 };
            match poll(&mut [PollFd::new(&client.stream, client.interest())], Some(&timeout)) {
                Ok(0) => bail!("no status comes to a {}", client.describe()),
                Ok(_) | Err(Errno::INTR) => drop(client.turn(&mut self.random, PollFlags::IN, self.stopping)?),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until some clients are ready, and gives each of them a turn, in random order.
    fn turns(&mut self) -> Result<()> {
        let mut sockets: Vec<PollFd<'_>> =
            self.clients.iter().map(|client| PollFd::new(&client.stream, client.interest())).collect();
        let timeout = Timespec { tv_sec: PATIENCE.as_secs() as _, tv_nsec: 0 };
        match poll(&mut sockets, Some(&timeout)) {
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(ready) => ensure!(ready > 0, "nothing happens any more; the first {}", self.first()),
        }
        let flags = sockets.iter().map(PollFd::revents).enumerate();
        let mut ready: Vec<(usize, PollFlags)> = flags.filter(|(_, flags)| !flags.is_empty()).collect();
        ready.shuffle(&mut self.random);
        let mut leaving = Vec::new();
        for (index, flags) in ready {
            if let Some(gone) = self.clients[index].turn(&mut self.random, flags, self.stopping)? {
                self.gone.push(gone);
                leaving.push(index);
            }
        }
        // From the end, so that the client that is moved into a free place does not leave itself.
        leaving.sort_unstable();
        for index in leaving.into_iter().rev() {
            drop(self.clients.swap_remove(index));
        }
        Ok(())
    }

    fn first(&self) -> String {
        self.clients.first().map_or_else(String::new, Client::describe)
    }
}
