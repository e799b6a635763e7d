//! The clients of the drain window: connections beside the measured ones, on each of which one message is sent while the
//! server stands still, and that spin for the echoes once it goes on.

use std::{fmt, io, time::Duration};

use serde::{Deserialize, Serialize};
use servers::clock;

use super::{
    Options, State,
    shard::Shard,
    window::{HostWindow, ShardWindow},
};
use crate::{
    hosts::ClockMap,
    plan::{Cohorts, Pacing},
};

/// How long the ramp may make no progress before the connections that there are suffice.
const RAMP_PATIENCE: Duration = Duration::from_secs(2);

/// How long the messages of a burst may be on their way.
const ARRIVAL: Duration = Duration::from_secs(1);

/// What became of the messages of a burst while the server stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The kernel took all of them whole.
    pub(crate) whole: bool,
    /// All of them have arrived at the server's host.
    pub(crate) arrived: bool,
    /// An echo has come, which a server that stands still cannot have sent.
    pub(crate) answered: bool,
}

/// Connections for bursts, on this host or on others.
pub(crate) trait Bursts: fmt::Debug {
    /// Connections that were opened.
    fn connections(&self) -> u32;

    /// Why there are no more of them.
    fn why_no_more(&self) -> Option<&str>;

    /// How they stand.
    fn state(&self) -> &State;

    /// Receives until `until_ns` what comes between bursts.
    fn receive_until(&mut self, until_ns: u64) -> io::Result<()>;

    /// Sends one message on every connection, and looks whether an echo has come.
    fn send(&mut self) -> io::Result<Sent>;

    /// Gets ready for the echoes, before the server goes on; they are waited for until `until_ns`.
    fn await_echoes(&mut self, until_ns: u64) -> io::Result<()>;

    /// When the last echo came; `None` if one has not come in time, or a signal came.
    fn last_echo_ns(&mut self) -> io::Result<Option<u64>>;

    /// Closes the connections; returns what was recorded of them, host by host, and when it began.
    fn finish(self: Box<Self>) -> io::Result<(Vec<HostWindow>, u64)>;

    /// By how much the time of the last echo may be wrong, in nanoseconds.
    fn clock_error_ns(&self) -> u64 {
        0
    }

    /// Whether every one of them is still open.
    fn are_complete(&self) -> bool {
        self.state().live == self.connections()
    }
}

/// Connections for bursts, on the calling thread.
#[derive(Debug)]
pub(super) struct BurstClients {
    shard: Shard,
    state: State,
    ramp: ShardWindow,
    connections: u32,
    why_no_more: Option<String>,
    begun_ns: u64,
    until_ns: u64,
}

impl BurstClients {
    /// Opens up to `count` connections beside those of an engine with these options, as the one at `index` of several hosts
    /// that share them. One counts from its first echo.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer. A server or a host that carries fewer connections is no error.
    pub(super) fn connect(
        options: &Options,
        count: u32,
        [index, hosts]: [u32; 2],
        server_clock: ClockMap,
    ) -> io::Result<Self> {
        let first = options.connections;
        let options = Options {
            connections: first + count,
            threads: hosts,
            pacing: Pacing::Spin,
            cohorts: Cohorts::default(),
            ..options.clone()
        };
        let mut shard = Shard::new(&options, first + index, hosts)?;
        shard.set_server_clock(server_clock);
        let (ramp, why_no_more) = shard.connect_some(RAMP_PATIENCE)?;
        shard.begin_bursts();
        let connections = shard.live();
        let state = State::of(std::slice::from_ref(&shard));
        Ok(Self { shard, state, ramp, connections, why_no_more, begun_ns: clock::now_ns(), until_ns: 0 })
    }

    fn note(&mut self) {
        self.state = State::of(std::slice::from_ref(&self.shard));
    }
}

impl Bursts for BurstClients {
    fn connections(&self) -> u32 {
        self.connections
    }

    fn why_no_more(&self) -> Option<&str> {
        self.why_no_more.as_deref()
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn receive_until(&mut self, until_ns: u64) -> io::Result<()> {
        self.shard.receive_until(until_ns)?;
        self.note();
        Ok(())
    }

    fn send(&mut self) -> io::Result<Sent> {
        let whole = self.shard.start_burst();
        // What does not fit cannot arrive before the server reads.
        let arrived = whole && self.shard.wait_for_arrival(clock::now_ns() + ARRIVAL.as_nanos() as u64)?;
        let in_flight = self.shard.look_for_echoes()?;
        self.note();
        Ok(Sent { whole, arrived, answered: in_flight < self.shard.live() as usize })
    }

    fn await_echoes(&mut self, until_ns: u64) -> io::Result<()> {
        self.until_ns = until_ns;
        Ok(())
    }

    fn last_echo_ns(&mut self) -> io::Result<Option<u64>> {
        let last_ns = self.shard.spin_for_echoes(self.until_ns)?;
        self.note();
        Ok(last_ns)
    }

    fn finish(mut self: Box<Self>) -> io::Result<(Vec<HostWindow>, u64)> {
        let bursts = self.shard.end_bursts()?;
        // Bursts avoid ticks.
        let window = HostWindow::of(vec![self.ramp, bursts], 0, clock::now_ns());
        Ok((vec![window], self.begun_ns))
    }
}
