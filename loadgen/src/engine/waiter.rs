//! Waiting for sockets and for a point in time.

use std::{io, os::fd::AsRawFd, time::Duration};

use mio::{Events, Interest, Poll, Registry, event::Event, unix::SourceFd};
use rustix::{
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};

use super::tokens::EventSource;
use crate::{interrupt, plan::Pacing};

/// A poll with a timer of nanosecond resolution: the poll's own timeout is rounded up to whole milliseconds.
#[derive(Debug)]
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    armed_ns: u64,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), EventSource::Timer.token(), Interest::READABLE)?;
        if let Some(wake) = interrupt::wake_fd() {
            poll.registry().register(&mut SourceFd(&wake), EventSource::Signal.token(), Interest::READABLE)?;
        }
        Ok(Self { poll, events: Events::with_capacity(1024), timer, armed_ns: 0 })
    }

    pub(crate) fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Waits until sockets are ready or a signal comes, at most until `until_ns`; returns the events.
    pub(crate) fn wait(&mut self, pacing: Pacing, until_ns: u64) -> io::Result<impl Iterator<Item = &Event>> {
        let timeout = match pacing {
            Pacing::Spin => Some(Duration::ZERO),
            Pacing::Timer => {
                self.arm(until_ns)?;
                None
            }
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        Ok(self.events.iter().filter(|event| event.token() != EventSource::Timer.token()))
    }

    /// Sets the timer. It need not be read: each expiry is a new edge, and arming the timer anew makes it unreadable.
    fn arm(&mut self, until_ns: u64) -> io::Result<()> {
        if self.armed_ns == until_ns {
            return Ok(());
        }
        let expiry = Timespec { tv_sec: (until_ns / 1_000_000_000) as _, tv_nsec: (until_ns % 1_000_000_000) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: expiry };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.armed_ns = until_ns;
        Ok(())
    }
}
