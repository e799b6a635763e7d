//! Punctual wake-ups. A timeout of epoll is rounded up to whole milliseconds, and one in nanoseconds (epoll_pwait2(2)) is not
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
    /// When it expires, or has expired.
    set_ns: u64,
}

impl Timer {
    pub(super) fn new(epoll: &OwnedFd, token: u64) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(epoll, &timer, EventData::new_u64(token), READABLE)?;
        Ok(Self { timer, set_ns: 0 })
    }

    /// Wakes the loop at `due_ns` at the latest. Returns the time at which it has to wake up by itself,
    /// normally none.
    ///
    /// A timer set for an earlier time is left alone: to wake up once too often costs less than to set it for each of many
    /// deadlines that are met. It need not be read: each expiry is a new edge.
    pub(super) fn set(&mut self, due_ns: u64, now_ns: u64) -> Option<u64> {
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
    pub(super) fn rang(&mut self) {
        self.set_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use rustix::{buffer::spare_capacity, event::epoll::CreateFlags};

    #[test]
    fn the_loop_wakes_at_the_earliest_time_set_not_before_and_once() {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let mut timer = Timer::new(&epoll, 7).unwrap();
        for _ in 0..3 {
            let now_ns = clock::now_ns();
            let due_ns = now_ns + 2_000_000;
            for set_ns in [now_ns + 3_600_000_000_000, due_ns, now_ns + 20_000_000_000] {
                assert_eq!(timer.set(set_ns, now_ns), None);
            }
            let mut events: Vec<epoll::Event> = Vec::with_capacity(2);
            let patience = Duration::from_secs(10).try_into().unwrap();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&patience)).unwrap();
            assert!(clock::now_ns() >= due_ns);
            assert_eq!(events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [7]);
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&Timespec::default())).unwrap();
            assert!(events.is_empty());
        }
    }
}
