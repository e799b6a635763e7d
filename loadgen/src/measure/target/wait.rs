//! Waiting for a descriptor with a deadline.

use std::{io, os::fd::BorrowedFd, time::Instant};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::interrupt;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The descriptor is ready.
    Ready,
    /// The time is up.
    TimeUp,
    /// A signal requests a stop.
    Interrupted,
}

/// The effect of a signal on a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnSignal {
    /// The wait goes on for the rest of the time.
    Continue,
    /// The wait ends as interrupted.
    End,
}

/// Waits until a descriptor is ready or the time is up.
pub(super) fn wait(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    deadline: Instant,
    on_signal: OnSignal,
) -> io::Result<Waited> {
    let wake = interrupt::wake().filter(|_| on_signal == OnSignal::End);
    let mut waited_for = vec![PollFd::from_borrowed_fd(fd, events)];
    waited_for.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waited_for, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(Waited::TimeUp),
            Ok(_) if waited_for.get(1).is_some_and(|wake| !wake.revents().is_empty()) => {
                return Ok(Waited::Interrupted);
            }
            Ok(_) => return Ok(Waited::Ready),
        }
    }
}
