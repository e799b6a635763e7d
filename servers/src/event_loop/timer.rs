//! Punctual ticks. A poll's own timeout is rounded up to whole milliseconds, and the kernel allows itself a slack of one
//! thousandth of it. A timer (timerfd_create(2)) has neither.

#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
use std::{io, time::Duration};

#[cfg(target_os = "linux")]
use mio::{Interest, unix::SourceFd};
use mio::{Registry, Token};
#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer that is an event source of the poll.
#[cfg(target_os = "linux")]
pub(super) struct Timer {
    timer: OwnedFd,
    due_ns: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, due_ns: None })
    }

    /// Wakes the poll at `due_ns`. Returns the time that is left to the poll's timeout, normally none.
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

/// Elsewhere the poll's timeout has to do.
#[cfg(not(target_os = "linux"))]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn set(&mut self, due_ns: Option<u64>) -> Option<u64> {
        due_ns
    }
}
