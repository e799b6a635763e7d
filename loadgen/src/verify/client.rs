//! A client of the protocol on a blocking socket, with a deadline for every operation.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use memchr::memchr;
use protocol::{
    handshake::{ACK_BYTES, WELCOME, ack},
    status::{PREFIX, Status},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Skipped;
use crate::{engine::shortage, error::Interrupted, interrupt};

/// The server's address, and how to deal with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    pub(super) addr: SocketAddr,
    /// Time limit of an operation.
    pub(super) patience: Duration,
    /// Connections begin with a handshake (H1 to H3).
    pub(super) shakes_hands: bool,
}

/// Time limit of an operation. No check waits for it to pass, so it only has to be long enough for a slow host.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Number of such waits before a client gives up, so that a peer that sends a little at a time cannot hold it for ever.
const PATIENCES: u32 = 6;

/// More than any check has in flight.
const RECEIVED_BYTES_MAX: usize = 128 << 20;

/// Longer than any line of a check.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    patience: Duration,
    deadline: Instant,
    /// Received bytes that are not yet consumed.
    received: Vec<u8>,
}

/// A complete stream, split as C1 defines.
pub(super) struct Transcript {
    /// The stream without its status lines.
    pub(super) echo: Vec<u8>,
    pub(super) statuses: Vec<Status>,
}

impl Client {
    /// A connection that is open: any handshake is over.
    pub(super) fn connect(to: Endpoint) -> Result<Self> {
        let mut client = Self::knock(to)?;
        if to.shakes_hands {
            client.shake_hands()?;
        }
        Ok(client)
    }

    /// A connection that the server may not have accepted yet; any handshake is still to come.
    pub(super) fn knock(to: Endpoint) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to.addr, to.patience).map_err(|error| refused(to.addr, error))?;
        Self::new(stream, to.patience)
    }

    /// A client that has said what it can, and waits for the server; see [`served_at_last`](Self::served_at_last).
    pub(super) fn wait_outside(to: Endpoint) -> Result<Self> {
        let mut client = Self::knock(to)?;
        if !to.shakes_hands {
            client.send(b"hello\n")?;
        }
        Ok(client)
    }

    /// Waits for the server to serve a client that waited outside.
    pub(super) fn served_at_last(&mut self, by: Endpoint) -> Result<()> {
        if by.shakes_hands {
            self.shake_hands()?;
            self.send(b"hello\n")?;
        }
        self.expect_line(b"hello\n")
    }

    /// The client's part of the handshake.
    pub(super) fn shake_hands(&mut self) -> Result<()> {
        let ack = self.hello()?;
        self.send(&ack)?;
        self.welcome()
    }

    /// Reads the server's hello, which must come first, and returns the answer to it.
    pub(super) fn hello(&mut self) -> Result<[u8; ACK_BYTES]> {
        let line = self.line().context("no hello came, with which a handshake begins")?;
        ack(&line).with_context(|| {
            format!("expected `hello` with a token of 16 hexadecimal digits, received {}", show(&line))
        })
    }

    pub(super) fn welcome(&mut self) -> Result<()> {
        let line = self.line().context("no welcome came")?;
        ensure!(line == WELCOME, "expected the welcome, received {}", show(&line));
        Ok(())
    }

    /// With the smallest receive buffer that the kernel allows; otherwise the kernel buffers megabytes for a client that
    /// does not read.
    pub(super) fn connect_small(to: Endpoint) -> Result<Self> {
        Self::connect_with(to, 1)
    }

    /// With a receive buffer of this many bytes, which the kernel then does not resize. A client that reads in the end needs
    /// more than the minimum: with a window smaller than a segment, TCP sends only on its timers.
    pub(super) fn connect_with(to: Endpoint, receive_bytes: usize) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(to.addr), Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| refused(to.addr, error))?;
        socket.set_recv_buffer_size(receive_bytes)?;
        socket.connect_timeout(&to.addr.into(), to.patience).map_err(|error| refused(to.addr, error))?;
        let mut client = Self::new(socket.into(), to.patience)?;
        if to.shakes_hands {
            client.shake_hands()?;
        }
        Ok(client)
    }

    fn new(stream: TcpStream, patience: Duration) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, patience, deadline: Instant::now() + patience * PATIENCES, received: Vec::new() })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// Sends a line and waits for its echo, skipping statuses: afterwards the connection is known to be accepted and served.
    pub(super) fn greet(&mut self) -> Result<()> {
        self.send(b"hello\n")?;
        self.expect_line(b"hello\n")
    }

    /// The next line that is not a status must be `wanted`.
    pub(super) fn expect_line(&mut self, wanted: &[u8]) -> Result<()> {
        loop {
            let line = self.line()?;
            if Status::parse(&line).is_none() {
                let is_hello = ack(&line).is_some();
                ensure!(!is_hello, "it begins with a handshake, of which nothing was said here (--handshake)");
                ensure!(line == wanted, "sent {}, received {}", show(wanted), show(&line));
                return Ok(());
            }
        }
    }

    /// The next bytes must be `wanted`; for streams without statuses.
    pub(super) fn expect(&mut self, wanted: &[u8]) -> Result<()> {
        while self.received.len() < wanted.len() {
            ensure!(self.fill()? > 0, "the connection ended after {} of {} bytes", self.received.len(), wanted.len());
        }
        let rest = self.received.split_off(wanted.len());
        let got = std::mem::replace(&mut self.received, rest);
        ensure!(got == wanted, "sent {}, received {}", show(wanted), show(&got));
        Ok(())
    }

    /// The next status, which must come before any other line.
    pub(super) fn status(&mut self) -> Result<Status> {
        let line = self.line()?;
        Status::parse(&line).with_context(|| format!("expected a status line, received {}", show(&line)))
    }

    /// The next status, skipping other lines.
    pub(super) fn next_status(&mut self) -> Result<Status> {
        loop {
            if let Some(status) = Status::parse(&self.line()?) {
                return Ok(status);
            }
        }
    }

    /// The rest of the stream until the server closes, which must be by FIN.
    pub(super) fn rest(mut self) -> Result<Transcript> {
        while self.fill()? > 0 {}
        take_apart(&self.received)
    }

    /// The next byte, without consuming it.
    pub(super) fn peek(&mut self) -> Result<u8> {
        while self.received.is_empty() {
            ensure!(self.fill()? > 0, "the connection ended");
        }
        Ok(self.received[0])
    }

    /// Number of bytes received until the connection ends, by FIN or RST.
    pub(super) fn received_until_the_end(&mut self) -> u64 {
        let mut bytes = 0;
        loop {
            bytes += std::mem::take(&mut self.received).len() as u64;
            // A reset also ends the connection.
            if !self.fill().is_ok_and(|count| count > 0) {
                return bytes;
            }
        }
    }

    /// Whether nothing has arrived so far.
    pub(super) fn is_silent(&mut self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let silent = self.received.is_empty()
            && self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false)?;
        Ok(silent)
    }

    pub(super) fn end_input(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("cannot shut down the sending side")
    }

    /// Closes by RST.
    pub(super) fn reset(self) -> Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    /// Sends without reading until neither the server nor the kernel accepts more, and returns the bytes sent.
    pub(super) fn stuff(&mut self) -> Result<Vec<u8>> {
        let mut sent = Vec::new();
        // The socket must stay full for a while: the server may still be reading, and with a window this small TCP
        // occasionally pauses for a retransmission timeout (200 ms).
        self.stream.set_write_timeout(Some(Duration::from_millis(700)))?;
        let piece: Vec<u8> = (0..64 * 1024).map(|index| b'a' + (index % 23) as u8).collect();
        loop {
            match self.stream.write(&piece) {
                Ok(count) => sent.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => return Err(error).context("cannot send to the server, whose output is not read"),
            }
            ensure!(
                sent.len() < 64 << 20,
                "the server accepted 64 MiB from a client that does not read: there is no backpressure"
            );
        }
        self.stream.set_write_timeout(Some(self.patience))?;
        Ok(sent)
    }

    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        self.line_or_end()?.context("the connection ended")
    }

    /// The next line; `None` at the end of the stream, which must be by FIN.
    pub(super) fn line_or_end(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(newline) = memchr(b'\n', &self.received) {
                let rest = self.received.split_off(newline + 1);
                return Ok(Some(std::mem::replace(&mut self.received, rest)));
            }
            ensure!(self.received.len() < LINE_BYTES_MAX, "received a line without end: {}", show(&self.received));
            if self.fill()? == 0 {
                let received = &self.received;
                ensure!(received.is_empty(), "the connection ended inside a line: {}", show(received));
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> Result<usize> {
        let mut buffer = [0; 64 * 1024];
        ensure!(self.received.len() < RECEIVED_BYTES_MAX, "received bytes without end: {}", show(&self.received));
        loop {
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
            ensure!(
                Instant::now() < self.deadline,
                "not over after {} s: {}",
                (self.patience * PATIENCES).as_secs(),
                show(&self.received)
            );
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    bail!("received nothing for {} s after {}", self.patience.as_secs(), show(&self.received))
                }
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
    }
}

/// An error of connecting; a shortage on this host is not the server's failure.
fn refused(addr: SocketAddr, error: std::io::Error) -> anyhow::Error {
    if shortage::is_local(&error) {
        return Skipped(format!("this host ran short: {}", shortage::explain(&error))).into();
    }
    anyhow::Error::new(error).context(format!("cannot connect to {addr}"))
}

/// Separates statuses from echo.
fn take_apart(stream: &[u8]) -> Result<Transcript> {
    let mut transcript = Transcript { echo: Vec::new(), statuses: Vec::new() };
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(PREFIX) {
            let status = Status::parse(line).with_context(|| format!("not a status line: {}", show(line)))?;
            transcript.statuses.push(status);
        } else {
            transcript.echo.extend_from_slice(line);
        }
    }
    Ok(transcript)
}

/// The last of the bytes, printable.
fn show(bytes: &[u8]) -> String {
    let end = &bytes[bytes.len().saturating_sub(80)..];
    format!("{} bytes ending in {:?}", bytes.len(), String::from_utf8_lossy(end))
}
