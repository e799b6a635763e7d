//! A connection of an event loop.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use protocol::{
    Counters, Outgoing,
    limits::TURN_BYTES,
    work::{Line, WORK_TURN},
};

use crate::{census::Place, linger::Stage, work::Worker};

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) outgoing: Outgoing,
    pub(super) serial: u64,
    /// The last write found the socket full.
    pub(super) blocked: bool,
    /// WRITABLE is registered (only while the socket is full).
    watched: bool,
    /// The connection is in the run queue.
    pub(super) queued: bool,
    /// The end of input was reported, so a short read does not mean that the socket is drained.
    pub(super) closing: bool,
    pub(super) stage: Stage,
    /// The line that has begun.
    line: Line,
    /// Input that was read but not worked on.
    rest: Vec<u8>,
    // The last field, hence dropped after the stream is closed.
    pub(super) place: Place,
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

/// The part of a turn that was used.
#[derive(Default)]
pub(super) struct Used {
    bytes: usize,
    pub(super) work: Duration,
}

impl Used {
    fn is_all(&self) -> bool {
        self.bytes >= TURN_BYTES || self.work >= WORK_TURN
    }

    /// All of it as bytes, of which a turn has as many whether they are read or worked on.
    pub(super) fn as_bytes(&self) -> u64 {
        self.bytes as u64 + (self.work.as_nanos() * TURN_BYTES as u128 / WORK_TURN.as_nanos()) as u64
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, place: Place, serial: u64) -> Self {
        Self {
            stream,
            outgoing: Outgoing::default(),
            serial,
            blocked: false,
            watched: false,
            queued: false,
            closing: false,
            stage: Stage::Open,
            line: Line::default(),
            rest: Vec::new(),
            place,
        }
    }

    /// Writes pending output, then reads and echoes, until the input is drained, the socket full or the turn over.
    pub(super) fn drive(
        &mut self,
        buffer: &mut [u8],
        worker: &Worker,
        used: &mut Used,
        counters: &mut Counters,
    ) -> io::Result<Turn> {
        self.write(&[], counters)?;
        let rest = mem::take(&mut self.rest);
        self.echo(&rest, worker, used, counters)?;
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        while !self.blocked {
            if self.rest.is_empty() && self.stage.is_over(&self.stream)? {
                return Ok(Turn::Closed);
            }
            if !self.rest.is_empty() || used.is_all() {
                return Ok(Turn::Unfinished);
            }
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.stage = Stage::Ended;
                    self.outgoing.end_of_input(counters);
                }
                Ok(count) => {
                    used.bytes += count;
                    if self.stage == Stage::Open {
                        self.echo(&buffer[..count], worker, used, counters)?;
                    }
                    // A short read means drained (epoll(7)), unless the end of input is still to be read.
                    if count < buffer.len() && !self.closing && !self.blocked && self.rest.is_empty() {
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

    /// Works on `input`, line by line, and writes it; what is left when the turn is over or the socket full is kept.
    fn echo(&mut self, mut input: &[u8], worker: &Worker, used: &mut Used, counters: &mut Counters) -> io::Result<()> {
        while !input.is_empty() {
            if self.blocked || used.work >= WORK_TURN {
                self.rest = input.to_vec();
                return Ok(());
            }
            let (first, cost) = worker.first_line(&mut self.line, input);
            used.work += cost;
            self.write(first, counters)?;
            input = &input[first.len()..];
        }
        Ok(())
    }

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
    pub(super) fn watch(&mut self, key: usize, registry: &Registry) -> io::Result<()> {
        if self.blocked != self.watched {
            let writable = self.blocked.then_some(Interest::WRITABLE);
            let interest = writable.map_or(Interest::READABLE, |writable| Interest::READABLE | writable);
            // Registering again also reports room that became free in the meantime.
            registry.reregister(&mut self.stream, token(key, self.serial), interest)?;
            self.watched = self.blocked;
        }
        Ok(())
    }
}

pub(super) const KEY_MASK: usize = 0xffff_ffff;

/// A connection's slab key and, in the upper half, its serial number, so that a stale event never reaches a successor.
pub(super) fn token(key: usize, serial: u64) -> Token {
    Token(key | (serial as usize) << 32)
}
