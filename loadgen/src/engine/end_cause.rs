//! Why a connection ended, and who is to blame.

use std::io::{self, ErrorKind};

use super::shortage;

/// Why a connection ended, with a description where something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// The client has done all it was to do.
    Completed,
    /// The server refused or closed the connection, or left it without an answer.
    Closed(String),
    /// The server does not echo, or its handshake is not the one that was asked for.
    NotAnEcho(String),
    /// This host could not carry the connection.
    Shortage(String),
}

impl EndCause {
    /// The cause of a failed system call; `what` failed, for example "cannot send".
    pub(crate) fn of(what: &str, error: &io::Error) -> Self {
        match error.kind() {
            _ if shortage::is_local(error) => Self::Shortage(shortage::explain(error)),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Closed("the server closed the connection, by a reset".to_owned())
            }
            _ => Self::Closed(format!("{what}: {error}")),
        }
    }

    /// The server answered `input`, which is no echo.
    pub(crate) fn not_an_echo(input: &[u8]) -> Self {
        Self::NotAnEcho(format!("the server does not echo: it answered {:?}", excerpt(input)))
    }

    /// A handshake was asked for, and the server began with `input`.
    pub(crate) fn no_hello(input: &[u8]) -> Self {
        let what = "the server does not begin with a hello, as with --handshake, but with";
        Self::NotAnEcho(format!("{what} {:?}", excerpt(input)))
    }

    /// The server sent `input` in return for the ack.
    pub(crate) fn no_welcome(input: &[u8]) -> Self {
        Self::NotAnEcho(format!("the server answered the ack of the handshake with {:?}", excerpt(input)))
    }

    /// No handshake was asked for.
    pub(crate) fn unexpected_hello() -> Self {
        Self::NotAnEcho("the server begins with a hello: it was started with --handshake, so ask for that".to_owned())
    }
}

/// The beginning of what a server sent.
fn excerpt(input: &[u8]) -> String {
    String::from_utf8_lossy(&input[..input.len().min(48)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_failed_call_is_blamed_on_the_side_at_fault() {
        let refused = EndCause::of("cannot connect", &Errno::CONNREFUSED.into());
        assert_eq!(refused, EndCause::Closed("cannot connect: Connection refused (os error 111)".to_owned()));
        let reset = EndCause::of("cannot send", &Errno::PIPE.into());
        assert_eq!(reset, EndCause::Closed("the server closed the connection, by a reset".to_owned()));
        let short = EndCause::of("cannot connect", &Errno::MFILE.into());
        assert_eq!(short, EndCause::Shortage("too many open files (ulimit -n)".to_owned()));
    }

    #[test]
    fn the_beginning_of_an_answer_that_is_no_echo_is_shown_printable() {
        let EndCause::NotAnEcho(text) = EndCause::not_an_echo(&[b'\n'; 100]) else { panic!() };
        assert_eq!(text, format!("the server does not echo: it answered \"{}\"", "\\n".repeat(48)));
    }
}
