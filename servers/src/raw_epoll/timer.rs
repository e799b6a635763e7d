//! Punctual ticks. A timeout of epoll is rounded up to whole milliseconds, and one in nanoseconds (epoll_pwait2(2)) is not
//! punctual either: the kernel allows itself a slack of one thousandth of the timeout. A timer has none.

use std::{io, time::Duration};

use rustix::{
    event::epoll::{self, EventData},
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};

use super::READABLE;

/// A timer among the descriptors that epoll watches (timerfd_create(2)).
pub(super) struct Timer {
    timer: OwnedFd,
    due_ns: Option<u64>,
}

impl Timer {
    pub(super) fn new(epoll: &OwnedFd, token: u64) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(epoll, &timer, EventData::new_u64(token), READABLE)?;
        Ok(Self { timer, due_ns: None })
    }

    /// Wakes the loop at `due_ns`. Returns the time that is left to the timeout, normally none.
    ///
    /// The timer need not be read: each expiry is a new edge.
    pub(super) fn set(&mut self, due_ns: Option<u64>) -> Option<u64> {
        if due_ns != self.due_ns {
            // Zero turns the timer off.
            let due = Duration::from_nanos(due_ns.unwrap_or(0));
            let it_value = Timespec { tv_sec: due.as_secs() as _, tv_nsec: due.subsec_nanos() as _ };
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            if timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once).is_err() {
                return due_ns;
            }
            self.due_ns = due_ns;
        }
        None
    }
}
