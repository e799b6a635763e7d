//! One connection of the event loop: its turns, in which it is read and echoed.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use protocol::{
    Counters, Outgoing,
    handshake::{Answer, Handshake, WELCOME},
    limits::TURN_BYTES,
    work::{Line, WORK_TURN},
};

use crate::{clock, linger::Stage, work::Worker};

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) outgoing: Outgoing,
    /// The message being received, as far as its work depends on it.
    line: Line,
    /// Input that waits for its work (W2). Nothing is read before it is used up. Usually empty, and not allocated.
    unworked: Vec<u8>,
    pub(super) serial: u64,
    /// The last write found the socket full.
    pub(super) blocked: bool,
    /// WRITABLE is registered (only while the socket is full).
    pub(super) watched: bool,
    /// The connection is in the run queue.
    pub(super) queued: bool,
    /// The pass in which it had its last turn.
    pub(super) driven: u64,
    /// The end of input was reported, so a short read does not mean that the socket is drained.
    pub(super) closing: bool,
    pub(super) stage: Stage,
    // region: handshake
    /// The handshake, until it is over.
    pub(super) handshake: Option<Handshake>,
    /// Its number among the connections that are open for statuses; before the handshake is over, beyond all of them.
    pub(super) opened: u64,
    // endregion
    // region: idle timeout
    /// When input was last read; `None` if the connection may be silent for ever.
    pub(super) heard_ns: Option<u64>,
    // endregion
}

/// The outcome of a connection's turn.
pub(super) enum Turn {
    /// Nothing to do until the next event.
    Drained,
    /// The turn is used up, and there may be more to do.
    Unfinished,
    /// The connection is over.
    Closed,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, serial: u64) -> Self {
        Self {
            stream,
            outgoing: Outgoing::default(),
            line: Line::default(),
            unworked: Vec::new(),
            serial,
            blocked: false,
            watched: false,
            queued: false,
            driven: 0,
            closing: false,
            stage: Stage::Open,
            // region: handshake
            handshake: None,
            opened: u64::MAX,
            // endregion
            // region: idle timeout
            heard_ns: None,
            // endregion
        }
    }

    /// Writes pending output, then reads, works and echoes, until the input is drained, the socket full or the turn over.
    /// The CPU time of the work is added to `spent`.
    pub(super) fn drive(
        &mut self,
        buffer: &mut [u8],
        worker: &Worker,
        spent: &mut Duration,
        counters: &mut Counters,
    ) -> io::Result<Turn> {
        self.write(&[], counters)?;
        if !self.unworked.is_empty() && !self.blocked {
            let mut input = mem::take(&mut self.unworked);
            let echoed = self.echo(&input, worker, spent, counters)?;
            input.drain(..echoed);
            self.unworked = if input.is_empty() { Vec::new() } else { input };
        }
        let mut turn_bytes = 0;
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        while !self.blocked {
            if self.unworked.is_empty() && self.stage.is_over(&self.stream)? {
                return Ok(Turn::Closed);
            }
            if turn_bytes >= TURN_BYTES || *spent >= WORK_TURN {
                return Ok(Turn::Unfinished);
            }
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.stage = Stage::Ended;
                    self.outgoing.end_of_input(counters);
                }
                Ok(count) => {
                    turn_bytes += count;
                    // region: idle timeout
                    if let Some(heard_ns) = &mut self.heard_ns {
                        *heard_ns = clock::now_ns();
                    }
                    // endregion
                    let input = &buffer[..count];
                    // region: handshake
                    let input = self.shake_hands(input)?;
                    // endregion
                    if self.stage == Stage::Open {
                        let echoed = self.echo(input, worker, spent, counters)?;
                        self.unworked.extend_from_slice(&input[echoed..]);
                    }
                    // A short read means drained (epoll(7)), unless the end of input is still to be read.
                    if count < buffer.len() && !self.closing && !self.blocked && self.unworked.is_empty() {
                        return Ok(Turn::Drained);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::Drained)
    }

    /// Works on the messages in `input` and echoes each, until the socket is full or the turn over. Returns the number of
    /// bytes that are done with.
    fn echo(
        &mut self,
        input: &[u8],
        worker: &Worker,
        spent: &mut Duration,
        counters: &mut Counters,
    ) -> io::Result<usize> {
        let mut rest = input;
        while !rest.is_empty() && !self.blocked && *spent < WORK_TURN {
            let (first, cost) = worker.first_line(&mut self.line, rest);
            *spent += cost;
            self.write(first, counters)?;
            rest = &rest[first.len()..];
        }
        Ok(input.len() - rest.len())
    }

    // region: handshake
    /// Takes the client's part of the handshake from its input; returns what is to be echoed.
    fn shake_hands<'a>(&mut self, input: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(handshake) = &mut self.handshake else { return Ok(input) };
        match handshake.receive(input) {
            Answer::Incomplete => Ok(&[]),
            Answer::Wrong => Err(ErrorKind::InvalidData.into()),
            Answer::Complete(behind) => {
                self.send_at_once(WELCOME)?;
                self.handshake = None;
                Ok(behind)
            }
        }
    }

    /// Sends a line of the handshake. An empty socket has room for it.
    pub(super) fn send_at_once(&mut self, line: &[u8]) -> io::Result<()> {
        let count = self.stream.write(line)?;
        if count == line.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
    // endregion

    /// Writes pending output and `input`; if the socket is full, keeps the rest and sets `blocked`.
    pub(super) fn write(&mut self, mut input: &[u8], counters: &mut Counters) -> io::Result<()> {
        self.blocked = false;
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(());
            }
            let asked = next.len();
            let count = match self.stream.write(next) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            input = self.outgoing.sent(input, count, counters);
            if count < asked {
                self.outgoing.keep(input, counters);
                self.blocked = true;
                return Ok(());
            }
        }
    }

    /// Watches for writability while the socket is full, and no longer.
    pub(super) fn watch(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
        if self.blocked != self.watched {
            let writable = self.blocked.then_some(Interest::WRITABLE);
            let interest = writable.map_or(Interest::READABLE, |writable| Interest::READABLE | writable);
            // Registering again also reports room that became free in the meantime.
            registry.reregister(&mut self.stream, token, interest)?;
            self.watched = self.blocked;
        }
        Ok(())
    }
}
