//! Bursts: one message on every connection, for a server that stands still.

use std::{io, time::Duration};

use servers::clock;

use super::Shard;
use crate::{
    engine::{recorder::WindowRecorder, window::ShardWindow},
    plan::Pacing,
};

/// Time between two looks for what has not arrived.
const ARRIVAL_LOOK: Duration = Duration::from_micros(200);

impl Shard {
    /// Begins a window of bursts.
    pub(crate) fn begin_bursts(&mut self) {
        self.begin(WindowRecorder::new(clock::now_ns(), 0, Vec::new()));
    }

    /// Sends one message on every connection; returns whether every socket took its message whole.
    pub(crate) fn start_burst(&mut self) -> bool {
        self.measured.start_burst()
    }

    /// Waits until the server's host has acknowledged every byte that was sent; false if it has not by `until_ns`.
    pub(crate) fn wait_for_arrival(&mut self, until_ns: u64) -> io::Result<bool> {
        while !self.measured.have_arrived()? {
            if clock::now_ns() >= until_ns {
                return Ok(false);
            }
            std::thread::sleep(ARRIVAL_LOOK);
        }
        Ok(true)
    }

    /// Messages that have not come back, after a look at what is there.
    pub(crate) fn look_for_echoes(&mut self) -> io::Result<usize> {
        self.wait(Pacing::Spin, 0)?;
        Ok(self.measured.in_flight())
    }

    /// Spins until every message has come back, and returns when the last one came; `None` if one has not by `until_ns`.
    pub(crate) fn spin_for_echoes(&mut self, until_ns: u64) -> io::Result<Option<u64>> {
        self.run(Pacing::Spin, until_ns, |measured| measured.in_flight() == 0)?;
        Ok((self.measured.in_flight() == 0).then(|| self.measured.last_done_ns()))
    }

    /// Ends a window of bursts: what has not come back is waited for as at the end of a load.
    pub(crate) fn end_bursts(&mut self) -> io::Result<ShardWindow> {
        self.measured.end_sending(clock::now_ns());
        self.finish(Pacing::Timer)
    }
}
