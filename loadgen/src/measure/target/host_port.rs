//! The address of a running server.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::{event::PollFlags, io::Errno};
use socket2::{Domain, Protocol, Socket, Type};

use super::wait::{OnSignal, Waited, wait};
use crate::error::Interrupted;
use crate::error::Unreachable;

/// Limit for an address to answer when there are others to be tried.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host and port as they were written, with every address that they resolve to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    text: String,
    addrs: Vec<SocketAddr>,
}

impl HostPort {
    /// Resolves `HOST:PORT`.
    ///
    /// # Errors
    /// One line with an example of an address.
    pub(crate) fn resolve(text: &str) -> Result<Self, String> {
        let found = text.to_socket_addrs().map_err(|error| format!("{error}; write for example 127.0.0.1:9000"))?;
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for addr in found {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        if addrs.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(Self { text: text.to_owned(), addrs })
    }

    /// The first address that takes a connection. A single address is not tried, so that the server
    /// sees measured clients only.
    ///
    /// # Errors
    /// [`Unreachable`], naming each, if none does; [`Interrupted`] if a signal comes first.
    pub(crate) fn reach(&self) -> Result<SocketAddr> {
        if let [addr] = self.addrs[..] {
            return Ok(addr);
        }
        let mut refused = Vec::new();
        for addr in &self.addrs {
            match connect(addr) {
                Ok(true) => return Ok(*addr),
                Ok(false) => return Err(Interrupted.into()),
                Err(error) => refused.push(format!("{addr}: {error}")),
            }
        }
        Err(Unreachable(format!("{}: no address answers: {}", self.text, refused.join(", "))).into())
    }
}

/// Whether a connection was made before a signal came.
fn connect(addr: &SocketAddr) -> io::Result<bool> {
    let socket = Socket::new(Domain::for_address(*addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&(*addr).into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        result => return result.map(|()| true),
    }
    match wait(socket.as_fd(), PollFlags::OUT, Instant::now() + PATIENCE, OnSignal::End)? {
        Waited::Ready => socket.take_error()?.map_or(Ok(true), Err),
        Waited::TimeUp => Err(io::ErrorKind::TimedOut.into()),
        Waited::Interrupted => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn every_address_of_a_name_is_tried_until_one_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (served, port) = (listener.local_addr().unwrap(), listener.local_addr().unwrap().port());
        let silent = [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], port))];
        let place = HostPort { text: "name".to_owned(), addrs: [&silent[..], &[served]].concat() };
        assert_eq!(place.reach().unwrap(), served);

        let error = HostPort { text: "name:9".to_owned(), addrs: silent.to_vec() }.reach().unwrap_err();
        let text = error.to_string();
        assert!(error.is::<Unreachable>() && text.starts_with("name:9: "), "{text}");
        assert!(silent.iter().all(|addr| text.contains(&addr.to_string())), "{text}");
    }

    #[test]
    fn an_address_is_given_once_and_alone_is_not_tried() {
        assert_eq!(HostPort::resolve("127.0.0.1:1").unwrap().reach().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(HostPort::resolve("127.0.0.1").is_err_and(|error| error.contains("127.0.0.1:9000")));
    }
}
