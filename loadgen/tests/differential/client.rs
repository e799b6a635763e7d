//! A client that follows its script on a non-blocking socket.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use protocol::status::Status;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rustix::{
    event::PollFlags,
    net::{SendFlags, send},
};
use servers::clock;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    script::{Ending, Reading, Script},
    stream::{Stream, show},
};

/// A connection and its progress.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    script: Script,
    written: usize,
    writes_done: usize,
    /// Number of bytes of the current write that are sent.
    write_position: usize,
    /// Number of urgent bytes sent, which are not in the script.
    urgent: usize,
    input_ended: bool,
    received: Stream,
    times: Times,
}

/// Times by CLOCK_MONOTONIC, each taken before or after the event, so that it is a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before the connect began.
    pub(crate) connect_ns: u64,
    /// After the first bytes had arrived, hence after the accept; the end of time if none arrived.
    pub(crate) served_ns: u64,
    /// Before the client began to leave.
    pub(crate) going_ns: u64,
    /// After the client had seen the server's close.
    pub(crate) closed_ns: u64,
}

/// The record of a client that has left.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) ending: Ending,
    pub(crate) written: u64,
    pub(crate) echoed: u64,
    pub(crate) statuses: Vec<Status>,
    pub(crate) times: Times,
}

/// The outcome of a client's turn.
#[derive(PartialEq)]
enum Turn {
    Goes,
    Stays,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr, script: Script) -> Result<Self> {
        let connect_ns = clock::now_ns();
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = script.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
            // The server's send buffer initially has room for a number of segments, which are large on loopback.
            socket.set_tcp_mss(1_448)?;
        }
        socket.connect(&addr.into()).with_context(|| format!("cannot connect to {addr}"))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            stream: socket.into(),
            script,
            written: 0,
            writes_done: 0,
            write_position: 0,
            urgent: 0,
            input_ended: false,
            received: Stream::default(),
            times: Times { connect_ns, served_ns: u64::MAX, going_ns: u64::MAX, closed_ns: u64::MAX },
        })
    }

    /// The events that the client waits for.
    pub(crate) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, !self.has_written_all());
        interest
    }

    pub(crate) fn last_status(&self) -> Option<Status> {
        self.received.statuses.last().copied()
    }

    /// Everything sent has been echoed.
    pub(crate) fn is_answered(&self) -> bool {
        self.has_written_all() && self.received.echo.len() == self.script.bytes.len()
    }

    /// One turn: a write, a read, or neither. Returns the client's record if it has left.
    ///
    /// With `stopping`, the server has been told to stop and may close at any time.
    pub(crate) fn turn(&mut self, random: &mut ChaCha8Rng, ready: PollFlags, stopping: bool) -> Result<Option<Gone>> {
        let turn = self.act(random, ready, stopping);
        match turn.with_context(|| self.describe())? {
            Turn::Stays => Ok(None),
            Turn::Goes => self.leave(stopping).with_context(|| self.describe()).map(Some),
        }
    }

    pub(crate) fn describe(&self) -> String {
        let Script { bytes, ending, reading, receive_buffer_bytes, .. } = &self.script;
        let (length, written, echoed) = (bytes.len(), self.written, self.received.echo.len());
        format!(
            "client ({length} bytes, {ending:?}, {reading:?}, receive buffer {receive_buffer_bytes:?}): wrote {written}, \
             got back {echoed} and {} statuses",
            self.received.statuses.len()
        )
    }

    fn has_written_all(&self) -> bool {
        self.written == self.script.bytes.len() && self.input_ended
    }

    fn act(&mut self, random: &mut ChaCha8Rng, ready: PollFlags, stopping: bool) -> Result<Turn> {
        if let Ending::Reset(after) = self.script.ending
            && self.written >= after
        {
            return Ok(Turn::Goes);
        }
        if !self.has_written_all() && random.random_range(0..8) < self.script.eagerness {
            match self.write() {
                Err(error) if !stopping => return Err(error),
                _ => {}
            }
        }
        // A socket that is too full to be reported writable may still accept a little.
        let is_stuck = self.has_written_all() || !ready.contains(PollFlags::OUT);
        let reads = stopping || is_stuck || self.script.reading != Reading::WhenStuck;
        if reads && self.read(random, stopping)? == Turn::Goes {
            return Ok(Turn::Goes);
        }
        let leaves = self.script.ending == Ending::Leave && self.is_answered();
        Ok(if leaves { Turn::Goes } else { Turn::Stays })
    }

    /// Continues the current write or begins the next one; the last one is the end of input.
    fn write(&mut self) -> Result<()> {
        let bytes = &self.script.bytes;
        if self.written == bytes.len() {
            self.input_ended = true;
            if self.script.ending == Ending::HalfClose {
                self.times.going_ns = clock::now_ns();
                self.stream.shutdown(Shutdown::Write).context("cannot shut down the sending side")?;
            }
            return Ok(());
        }
        if self.script.is_urgent && send(&self.stream, b"!", SendFlags::OOB | SendFlags::NOSIGNAL).is_ok() {
            self.urgent += 1;
        }
        let left = bytes.len() - self.written;
        let wanted = self.script.writes.get(self.writes_done).map_or(left, |count| count - self.write_position);
        match self.stream.write(&bytes[self.written..][..wanted.min(left)]) {
            Ok(count) => {
                self.written += count;
                self.write_position += count;
                if count == wanted {
                    self.writes_done += 1;
                    self.write_position = 0;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("cannot send"),
        }
        Ok(())
    }

    fn read(&mut self, random: &mut ChaCha8Rng, stopping: bool) -> Result<Turn> {
        let mut buffer = [0; 64 * 1024];
        let room = match self.script.reading {
            Reading::Slow(_) if !random.random_ratio(1, 4) => return Ok(Turn::Stays),
            Reading::Slow(bytes) => bytes,
            Reading::Eager | Reading::WhenStuck => buffer.len(),
        };
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => {
                self.times.closed_ns = clock::now_ns();
                ensure!(stopping || self.times.going_ns < u64::MAX, "the server closed without a reason");
                Ok(Turn::Goes)
            }
            Ok(count) => {
                self.times.served_ns = self.times.served_ns.min(clock::now_ns());
                self.received.push(&buffer[..count])?;
                Ok(Turn::Stays)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(Turn::Stays),
            // A stopping server may close with unread input, which resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && stopping => Ok(Turn::Goes),
            Err(error) => Err(error).context("cannot receive"),
        }
    }

    /// Ends the connection and compares the echo with the bytes sent.
    fn leave(&mut self, stopping: bool) -> Result<Gone> {
        let closed_by_server = self.times.closed_ns < u64::MAX;
        self.times.going_ns = self.times.going_ns.min(clock::now_ns());
        if closed_by_server {
            // A stopping server need not wait for a slow reader to receive the rest of a status.
            self.received.end().or_else(|error| if stopping { Ok(()) } else { Err(error) })?;
        } else if matches!(self.script.ending, Ending::Reset(_)) {
            SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        }
        // A write that failed half-way may have sent more bytes than counted, but never other ones.
        let (echo, sent) = (&self.received.echo, &self.script.bytes[..self.written]);
        // The echo of urgent data is out of scope; only its effect on other connections is checked.
        if self.urgent == 0 && !sent.starts_with(echo) {
            let same = echo.iter().zip(sent).take_while(|(echoed, sent)| echoed == sent).count();
            let [sent, echoed] = [sent, &echo[..]].map(|bytes| show(&bytes[same..bytes.len().min(same + 40)]));
            bail!("behind byte {same} it sent {sent}, and got {echoed}");
        }
        if closed_by_server && !stopping && echo.len() < sent.len() {
            bail!("the server closed after {} of {} bytes", echo.len(), sent.len());
        }
        Ok(Gone {
            ending: self.script.ending,
            written: (self.written + self.urgent) as u64,
            echoed: echo.len() as u64,
            statuses: std::mem::take(&mut self.received.statuses),
            times: self.times,
        })
    }
}
