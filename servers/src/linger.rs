//! The end of a connection whose peer may still be sending (F4).
//!
//! Closing a socket with unread input resets the connection (RFC 1122, 4.2.2.13), and on a reset the kernel discards
//! unsent data. A server that stops therefore shuts down its sending side first, then reads and discards input until
//! the peer's FIN, as RFC 9112, 9.6 describes for HTTP.

use std::{io, net::Shutdown};

use protocol::limits::{LINGER_PAUSE, SHUTDOWN_FLUSH};
use rustix::{fd::AsFd, io::ioctl_fionread};
use socket2::SockRef;

/// The phase of a connection that is driven step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Input is echoed.
    Open,
    /// The end of input was read: the connection is closed as soon as nothing is left to send.
    Ended,
    /// The server is stopping: the sending side is shut down as soon as nothing is left to send.
    Leaving,
    /// The sending side is shut down; input is discarded until the peer's FIN.
    Lingering,
}

impl Stage {
    /// Whether a connection with nothing left to send is over; if the server is stopping, it begins to linger instead.
    pub(crate) fn is_over(&mut self, socket: impl AsFd) -> io::Result<bool> {
        if *self != Self::Leaving || is_settled(&socket) {
            return Ok(matches!(self, Self::Ended | Self::Leaving));
        }
        *self = Self::Lingering;
        SockRef::from(&socket).shutdown(Shutdown::Write)?;
        Ok(false)
    }
}

/// A server's shutdown, in nanoseconds of its clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// The deadline, even if connections are left.
    pub(crate) by_ns: u64,
    /// When to look for connections whose peers have acknowledged everything, yet neither send nor close.
    pub(crate) look_ns: u64,
}

impl Stop {
    pub(crate) fn new(now_ns: u64) -> Self {
        let by_ns = now_ns + SHUTDOWN_FLUSH.as_nanos() as u64;
        Self { by_ns, look_ns: now_ns }.after_a_look(now_ns)
    }

    /// Schedules the next look, one pause later.
    pub(crate) fn after_a_look(self, now_ns: u64) -> Self {
        Self { look_ns: self.by_ns.min(now_ns + LINGER_PAUSE.as_nanos() as u64), ..self }
    }
}

/// Whether a close loses no data: the peer has acknowledged everything, and no input is unread.
pub(crate) fn is_settled(socket: impl AsFd) -> bool {
    ioctl_fionread(&socket).is_ok_and(|unread| unread == 0) && unacknowledged(&socket) == Some(0)
}

/// Bytes in the send queue that the peer has not acknowledged, a FIN included (SIOCOUTQ, tcp(7)); `None` if unknown.
#[cfg(target_os = "linux")]
fn unacknowledged(socket: impl AsFd) -> Option<u32> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    use std::ffi::c_int;

    /// TIOCOUTQ for terminals; the number is the same on all architectures but these.
    #[cfg(not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc", target_arch = "sparc64")))]
    const SIOCOUTQ: Opcode = 0x5411;
    #[cfg(any(target_arch = "mips", target_arch = "mips64"))]
    const SIOCOUTQ: Opcode = 0x7472;
    #[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
    const SIOCOUTQ: Opcode = 0x4004_7473;

    // SAFETY: the opcode reads one int (tcp(7)), which is the getter's type.
    let unacknowledged = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    unacknowledged.ok().map(c_int::cast_unsigned)
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged(_socket: impl AsFd) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn a_connection_with_unread_input_or_unacknowledged_output_is_not_settled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(is_settled(&server));

        client.write_all(b"unread").unwrap();
        // Peeking waits until the byte has arrived.
        server.peek(&mut [0; 6]).unwrap();
        assert!(!is_settled(&server));
        server.read_exact(&mut [0; 6]).unwrap();
        assert!(is_settled(&server));

        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 64 * 1024]).is_ok() {}
        assert!(!is_settled(&server));
    }
}
