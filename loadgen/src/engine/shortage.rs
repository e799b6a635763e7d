//! Socket errors that this host causes and that say nothing about the peer: no free port, descriptor or memory. Pure.

use std::io;

use rustix::io::Errno;

/// Errors that the peer or the network can cause.
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

/// Whether this host is the cause of a socket error.
pub(crate) fn is_local(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| !PEER_ERRORS.contains(&errno))
}

/// What this host lacks, and the option or limit that helps.
pub(crate) fn explain(error: &io::Error) -> String {
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
    fn shortages_of_this_host_are_distinguished_from_what_the_peer_does() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::AGAIN, Errno::ACCESS] {
            assert!(is_local(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::PIPE, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
            assert!(!is_local(&errno.into()), "{errno:?}");
        }
        // An error without a number is made by a program, and the peer's doing.
        assert!(!is_local(&io::ErrorKind::UnexpectedEof.into()));
    }
}
