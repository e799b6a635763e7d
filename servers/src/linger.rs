//! The end of a connection whose peer may still be sending (F4).
//!
//! Closing over unread input resets the connection (RFC 1122, 4.2.2.13), and a reset makes the kernel throw away what it
//! has not sent yet. So a server that ends shuts down its sending side, and reads and drops what still comes until the
//! peer's FIN, as RFC 9112, 9.6 describes it for HTTP.

use rustix::{fd::AsFd, io::ioctl_fionread};

/// Whether a close takes nothing back: the peer has acknowledged all that was sent, and nothing that it sent is unread.
pub(crate) fn is_settled(socket: impl AsFd) -> bool {
    ioctl_fionread(&socket).is_ok_and(|unread| unread == 0) && unacknowledged(&socket) == Some(0)
}

/// Bytes in the send queue that the peer has not acknowledged, a FIN included (SIOCOUTQ, tcp(7)); `None` if unknown.
#[cfg(target_os = "linux")]
fn unacknowledged(socket: impl AsFd) -> Option<u32> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    use std::ffi::c_int;

    /// Called TIOCOUTQ for terminals; the same number on all architectures but these.
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
    fn unread_input_and_what_a_full_peer_has_not_taken_keep_a_connection_from_being_settled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(is_settled(&server));

        client.write_all(b"unread").unwrap();
        // It has arrived once it can be seen.
        server.peek(&mut [0; 6]).unwrap();
        assert!(!is_settled(&server));
        server.read_exact(&mut [0; 6]).unwrap();
        assert!(is_settled(&server));

        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 64 * 1024]).is_ok() {}
        assert!(!is_settled(&server));
    }
}
