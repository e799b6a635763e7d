//! Punctual wake-ups. A poll's own timeout is rounded up to whole milliseconds, and the kernel allows itself a slack of one
//! thousandth of it. A timer (timerfd_create(2)) has neither.

use std::io;
#[cfg(target_os = "linux")]
use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

#[cfg(target_os = "linux")]
use mio::{Interest, unix::SourceFd};
use mio::{Registry, Token};
#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer that is an event source of the poll.
#[cfg(target_os = "linux")]
pub(crate) struct Timer {
    timer: OwnedFd,
    /// When it expires, or has expired.
    set_ns: u64,
}

#[cfg(target_os = "linux")]
impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_ns: 0 })
    }

    /// Wakes the poll at `due_ns` at the latest. Returns the time at which it has to wake up by itself,
    /// normally none.
    ///
    /// A timer set for an earlier time is left alone: to wake up once too often costs less than to set it for each of many
    /// deadlines that are met. It need not be read: each expiry is a new edge.
    pub(crate) fn set(&mut self, due_ns: u64, now_ns: u64) -> Option<u64> {
        if due_ns < self.set_ns || self.set_ns <= now_ns {
            let due = Duration::from_nanos(due_ns);
            let it_value = Timespec { tv_sec: due.as_secs() as _, tv_nsec: due.subsec_nanos() as _ };
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            if timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once).is_err() {
                return Some(due_ns);
            }
            self.set_ns = due_ns;
        }
        None
    }

    /// Reports that it has rung, so that it is set anew in any case.
    pub(crate) fn rang(&mut self) {
        self.set_ns = 0;
    }
}

/// Elsewhere the poll's timeout has to do.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn set(&mut self, due_ns: u64, _: u64) -> Option<u64> {
        Some(due_ns)
    }

    pub(crate) fn rang(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_poll_wakes_at_the_earliest_time_set_not_before_and_once() {
        let mut poll = Poll::new().unwrap();
        let mut timer = Timer::new(poll.registry(), Token(7)).unwrap();
        let mut events = Events::with_capacity(2);
        for _ in 0..3 {
            let now_ns = clock::now_ns();
            let due_ns = now_ns + 2_000_000;
            for set_ns in [now_ns + 3_600_000_000_000, due_ns, now_ns + 20_000_000_000] {
                assert_eq!(timer.set(set_ns, now_ns), None);
            }
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(clock::now_ns() >= due_ns);
            assert_eq!(events.iter().map(|event| event.token().0).collect::<Vec<_>>(), [7]);
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            assert!(events.is_empty());
        }
    }
}
