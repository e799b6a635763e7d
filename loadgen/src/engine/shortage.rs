//! Errors of a socket that are this host's and say nothing of the peer: no free port, no descriptor, no memory. Pure.

use std::io;

use rustix::io::Errno;

/// What the other side of a connection, or the way there, can be the cause of.
const PEER_ERRORS: [Errno; 11] = [
    Errno::CONNREFUSED,
    Errno::CONNRESET,
    Errno::CONNABORTED,
    Errno::PIPE,
    Errno::TIMEDOUT,
    Errno::HOSTUNREACH,
    Errno::HOSTDOWN,
    Errno::NETUNREACH,
    Errno::NETDOWN,
    Errno::PROTO,
    Errno::NOTCONN,
];

/// Whether an error of a socket is of this host's making.
pub fn is_local(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| !PEER_ERRORS.contains(&errno))
}

/// What is short, and what helps.
pub fn explain(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN) => "no free port (--source-addresses)".to_owned(),
        Some(Errno::MFILE) => "too many open files (ulimit -n)".to_owned(),
        Some(Errno::NFILE) => "too many open files on this host (fs.file-max)".to_owned(),
        Some(Errno::NOBUFS | Errno::NOMEM) => "no memory for sockets".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => "forbidden, perhaps by a firewall".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_is_told_from_what_the_peer_does() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::AGAIN, Errno::ACCESS] {
            assert!(is_local(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
            assert!(!is_local(&errno.into()), "{errno:?}");
        }
        // Made here for what the peer did.
        assert!(!is_local(&io::ErrorKind::UnexpectedEof.into()));
    }
}
