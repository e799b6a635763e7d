//! The kernel's time stamps of what arrives: how long an echo waited until the generator read it.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd},
};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use nix::{
    cmsg_space,
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns},
        time::TimeSpec,
    },
};
use rustix::time::{ClockId, clock_gettime};

use super::tally::histogram;

/// Reads from sockets whose arrivals the kernel stamps, and records the receive lag: a reading of CLOCK_REALTIME directly
/// after the read, less the stamp, which is of the same clock (SO_TIMESTAMPNS, socket(7)).
///
/// TCP is a stream: the stamp is that of the last segment that a read took bytes from (tcp_update_recv_tstamps in
/// net/ipv4/tcp.c), so a read of several segments has one lag, that of its youngest.
#[derive(Debug)]
pub(crate) struct ArrivalStamps {
    /// Room for the control message.
    control: Vec<u8>,
    /// Of the last read; `None` if it has no stamp, or the clock was set back.
    last_ns: Option<u64>,
    lag: Histogram<u64>,
}

impl ArrivalStamps {
    pub(crate) fn new() -> Self {
        Self { control: cmsg_space!(TimeSpec), last_ns: None, lag: histogram(3) }
    }

    /// Asks the kernel to stamp what arrives on a socket.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn request(socket: &impl AsFd) -> io::Result<()> {
        Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
    }

    /// Reads as read(2) does.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub(crate) fn read(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut self.control), MsgFlags::empty())?;
        let now = clock_gettime(ClockId::Realtime);
        let stamp = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        self.last_ns = stamp.and_then(|stamp| {
            let ns = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
            let lag_ns = ns(now.tv_sec, now.tv_nsec) - ns(stamp.tv_sec(), stamp.tv_nsec());
            u64::try_from(lag_ns).ok()
        });
        Ok(received.bytes)
    }

    /// Records the lag of the last read, which brought echoes.
    pub(crate) fn record(&mut self) {
        if let Some(lag_ns) = self.last_ns.take() {
            // More than a minute is a clock that was set.
            let _ = self.lag.record(lag_ns.max(1));
        }
    }

    /// The lags since this was last called.
    pub(crate) fn take(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.lag, histogram(3))
    }
}

mod outq {
    nix::ioctl_read_bad!(siocoutq, nix::libc::TIOCOUTQ, nix::libc::c_int);
}

/// Bytes sent on a socket that the peer's host has not acknowledged (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// If the kernel does not tell.
pub(super) fn unacknowledged(socket: &impl AsRawFd) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ, which Linux calls TIOCOUTQ as well, writes an int.
    unsafe { outq::siocoutq(socket.as_raw_fd(), &raw mut bytes)? };
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write},
        net::{Ipv4Addr, TcpListener},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Both ends of a connection, the first one with stamps.
    fn connection() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let near = TcpStream::from_std(near);
        ArrivalStamps::request(&near).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Reads until something is there.
    fn read(stamps: &mut ArrivalStamps, stream: &TcpStream, buffer: &mut [u8]) -> usize {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match stamps.read(stream, buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {}
                result => return result.unwrap(),
            }
        }
    }

    #[test]
    fn bytes_that_wait_have_the_lag_of_their_wait() {
        const WAIT: Duration = Duration::from_millis(20);
        let (near, mut far) = connection();
        let (mut stamps, mut buffer) = (ArrivalStamps::new(), [0; 16]);
        // The kernel begins to stamp a moment after it was asked: until then a stamp is that of the read.
        let deadline = Instant::now() + Duration::from_secs(10);
        while stamps.lag.max() < WAIT.as_nanos() as u64 {
            assert!(Instant::now() < deadline, "{:?}", stamps.lag.max());
            far.write_all(b"echo\n").unwrap();
            // This is the lag itself, not a wait for an event.
            thread::sleep(WAIT);
            assert_eq!((read(&mut stamps, &near, &mut buffer), &buffer[..5]), (5, &b"echo\n"[..]));
            stamps.record();
        }
        assert!(!stamps.take().is_empty() && stamps.take().is_empty(), "lags are taken once");
    }

    #[test]
    fn what_brought_no_echo_and_the_end_of_the_stream_have_no_lag() {
        let (near, mut far) = connection();
        let (mut stamps, mut buffer) = (ArrivalStamps::new(), [0; 16]);
        assert!(stamps.read(&near, &mut buffer).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        far.write_all(b"status\n").unwrap();
        assert_eq!(read(&mut stamps, &near, &mut buffer), 7);
        drop(far);
        assert_eq!(read(&mut stamps, &near, &mut buffer), 0);
        stamps.record();
        assert!(stamps.take().is_empty());
    }
}
