//! Waiting with a timeout in nanoseconds, for punctual ticks: epoll_pwait2(2), which is newer than epoll (Linux 5.11).

use std::{io, mem::MaybeUninit, os::fd::AsRawFd, ptr, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event},
    },
    fd::OwnedFd,
    io::Errno,
};

/// Waits for events, and knows whether the kernel rounds timeouts.
#[derive(Default)]
pub(super) struct Waiter {
    rounds: bool,
}

impl Waiter {
    /// Waits until there are events, which replace the old ones, or the timeout is over.
    pub(super) fn wait(
        &mut self,
        epoll: &OwnedFd,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<()> {
        events.clear();
        if !self.rounds {
            match wait_exactly(epoll, events, timeout) {
                // An old kernel, or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => self.rounds = true,
                result => return result,
            }
        }
        let timeout = timeout.map(whole_milliseconds);
        epoll::wait(epoll, spare_capacity(events), timeout.as_ref())?;
        Ok(())
    }
}

/// The call itself, which rustix makes only if it is built for no older kernel.
fn wait_exactly(epoll: &OwnedFd, events: &mut Vec<Event>, timeout: Option<Duration>) -> rustix::io::Result<()> {
    const { assert!(size_of::<Event>() == size_of::<libc::epoll_event>()) };
    // The kernel's timespec has 64 bits for each part everywhere.
    let timeout = timeout.map(|timeout| [timeout.as_secs().cast_signed(), i64::from(timeout.subsec_nanos())]);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let room: &mut [MaybeUninit<Event>] = events.spare_capacity_mut();
    let signals = ptr::null::<libc::sigset_t>();
    // SAFETY: the kernel writes at most as many events as there is room for, and reads a timeout that outlives the call.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            room.as_mut_ptr(),
            room.len(),
            timeout,
            signals,
            0_usize,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    };
    // SAFETY: the list was empty, and the kernel has written so many events.
    unsafe { events.set_len(count) };
    Ok(())
}

/// Rounds up: a wait that ends before the tick would have to be repeated.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let ms = timeout.as_nanos().div_ceil(1_000_000) as u64;
    Timespec { tv_sec: (ms / 1_000) as _, tv_nsec: (ms % 1_000 * 1_000_000) as _ }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll::{CreateFlags, EventData, EventFlags};
    use std::{io::Write, os::unix::net::UnixStream, time::Instant};

    #[test]
    fn a_wait_lasts_as_long_as_its_timeout_or_until_an_event_with_and_without_rounding() {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        epoll::add(&epoll, &reader, EventData::new_u64(7), EventFlags::IN | EventFlags::ET).unwrap();
        for rounds in [false, true] {
            let mut waiter = Waiter { rounds };
            let mut events = Vec::with_capacity(2);
            let (begun, timeout) = (Instant::now(), Duration::from_micros(300));
            waiter.wait(&epoll, &mut events, Some(timeout)).unwrap();
            assert!(events.is_empty() && begun.elapsed() >= timeout);
            writer.write_all(b"x").unwrap();
            waiter.wait(&epoll, &mut events, None).unwrap();
            let tokens: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
            assert_eq!(tokens, [7]);
            waiter.wait(&epoll, &mut events, Some(Duration::ZERO)).unwrap();
            assert!(events.is_empty(), "the events of the last wait are gone");
        }
    }

    #[test]
    fn an_error_is_reported() {
        let (not_an_epoll, _peer) = UnixStream::pair().unwrap();
        let not_an_epoll = OwnedFd::from(not_an_epoll);
        for rounds in [false, true] {
            let error = Waiter { rounds }.wait(&not_an_epoll, &mut Vec::with_capacity(1), None);
            assert_eq!(error, Err(Errno::INVAL));
        }
    }
}
