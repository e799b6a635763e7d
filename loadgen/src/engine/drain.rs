//! The clients of the drain window: connections beside the measured ones, on each of which one message is sent while the
//! server stands still, and that spin for the echoes once it goes on.

use std::{io, time::Duration};

use servers::clock;

use super::{
    Options,
    broadcast::ReceivedTick,
    shard::Shard,
    window::{Common, ShardWindow, Window},
};
use crate::plan::{Cohorts, Pacing};

/// How long the ramp may make no progress before the connections that there are suffice.
const RAMP_PATIENCE: Duration = Duration::from_secs(2);

/// Connections for bursts, on the calling thread.
#[derive(Debug)]
pub(crate) struct BurstClients {
    shard: Shard,
    ramp: ShardWindow,
    connections: u32,
    why_no_more: Option<String>,
    begun_ns: u64,
}

impl BurstClients {
    /// Opens up to `count` connections beside those of an engine with these options. One counts from its first echo.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a timer. A server or a host that carries fewer connections is no error.
    pub(crate) fn connect(options: &Options, count: u32) -> io::Result<Self> {
        let first = options.connections;
        let options = Options {
            connections: first + count,
            threads: 1,
            pacing: Pacing::Spin,
            cohorts: Cohorts::default(),
            ..options.clone()
        };
        let mut shard = Shard::new(&options, first, 1)?;
        let (ramp, why_no_more) = shard.connect_some(RAMP_PATIENCE)?;
        shard.begin_bursts();
        let connections = shard.live();
        Ok(Self { shard, ramp, connections, why_no_more, begun_ns: clock::now_ns() })
    }

    /// Connections that were opened.
    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    /// Why there are no more of them.
    pub(crate) fn why_no_more(&self) -> Option<&str> {
        self.why_no_more.as_deref()
    }

    /// Whether every one of them is still open.
    pub(crate) fn are_complete(&self) -> bool {
        self.shard.live() == self.connections
    }

    /// The first failure of a connection.
    pub(crate) fn first_problem(&self) -> Option<&str> {
        self.shard.first_problem()
    }

    /// Whether a signal came.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.shard.is_interrupted()
    }

    /// The newest tick that any of them has received.
    pub(crate) fn newest_tick(&self) -> Option<ReceivedTick> {
        self.shard.newest_tick().copied()
    }

    /// Receives until `until_ns` what comes between bursts.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn receive_until(&mut self, until_ns: u64) -> io::Result<()> {
        self.shard.receive_until(until_ns)
    }

    /// Sends one message on every connection; returns whether the kernel took all of them whole.
    pub(crate) fn send(&mut self) -> bool {
        self.shard.start_burst()
    }

    /// Whether an echo has come, which a server that stands still cannot have sent.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn has_echo(&mut self) -> io::Result<bool> {
        Ok(self.shard.look_for_echoes()? < self.shard.live() as usize)
    }

    /// Spins until every message of the burst has come back, and returns when the last one came; `None` if one has not by
    /// `until_ns`, or a signal came.
    ///
    /// # Errors
    /// If polling fails.
    pub(crate) fn spin_for_echoes(&mut self, until_ns: u64) -> io::Result<Option<u64>> {
        self.shard.spin_for_echoes(until_ns)
    }

    /// Ends the window and closes the connections.
    pub(super) fn finish(mut self, ticks_seen: &mut Vec<u64>) -> io::Result<Window> {
        let planned_ns = clock::now_ns() - self.begun_ns;
        let bursts = self.shard.end_bursts()?;
        let common = Common {
            start_ns: self.begun_ns,
            planned_ns,
            live: self.shard.live(),
            flooded: None,
            // Bursts avoid ticks.
            fan_out_span_ns: 0,
            ticks_seen,
        };
        Ok(Window::merge(vec![self.ramp, bursts], common))
    }
}
