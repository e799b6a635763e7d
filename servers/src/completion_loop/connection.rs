//! One connection of the completion loop: what it holds, and which operation it prepares next.

use std::{collections::VecDeque, io, net::TcpStream, time::Duration};

use protocol::{Counters, Outgoing, status::StatusLine, work::Line};
use rustix::{event::PollFlags, io::Errno};

use super::ring::{Buffers, Completion, Filled, Ring};
use crate::{linger::Stage, work::Worker};

/// The operations of a connection, each a bit beside its token.
const RECV: u64 = 1 << 60;
const SEND: u64 = 1 << 61;
/// A wait for room in the full socket.
const ROOM: u64 = 1 << 62;

/// A connection's slab key and, above it, the lower bits of its serial number.
pub(super) const TOKEN_MASK: u64 = RECV - 1;

/// What the connections share.
pub(super) struct Io {
    pub(super) ring: Ring,
    pub(super) buffers: Buffers,
    /// Connections whose read found no free buffer.
    pub(super) starved: VecDeque<u64>,
    pub(super) worker: Worker,
    /// Work since the clock was read.
    pub(super) worked: Duration,
    pub(super) counters: Counters,
}

/// A connection, with at most one read, one send or wait for room under way.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The number of connections accepted before.
    pub(super) serial: u64,
    pub(super) token: u64,
    pub(super) stage: Stage,
    outgoing: Outgoing,
    /// Worked on and being sent.
    input: Input,
    /// Read, while earlier input is still being sent.
    received: Option<Filled>,
    /// Read and copied, because the socket is full or the turn over.
    rest: Vec<u8>,
    /// The beginning of a line that was worked on.
    line: Line,
    /// A status that came while a send was under way.
    late: Option<StatusLine>,
    /// The operations that have not completed.
    under_way: u64,
    /// The last read left input, so the next one need not wait.
    likely: bool,
    /// The connection is in the queue for a free buffer.
    starved: bool,
    /// The connection is removed as soon as nothing is under way.
    closing: bool,
}

/// A part of what was read: of a buffer, or without one of the connection's `rest`.
#[derive(Default)]
struct Input {
    buffer: Option<Filled>,
    sent: usize,
    length: usize,
}

impl Input {
    fn unsent<'a>(&'a self, rest: &'a [u8], buffers: &'a Buffers) -> &'a [u8] {
        let bytes = self.buffer.as_ref().map_or(rest, |filled| buffers.bytes(filled));
        &bytes[self.sent..self.length]
    }
}

impl Connection {
    /// A new connection, whose first read is prepared.
    pub(super) fn new(stream: TcpStream, key: usize, serial: u64, io: &mut Io) -> Self {
        let mut connection = Self {
            stream,
            serial,
            token: key as u64 | (serial << 32 & TOKEN_MASK),
            stage: Stage::Open,
            outgoing: Outgoing::default(),
            input: Input::default(),
            received: None,
            rest: Vec::new(),
            line: Line::default(),
            late: None,
            under_way: 0,
            likely: true,
            starved: false,
            closing: false,
        };
        connection.read(io);
        connection
    }

    /// Handles the completion of one of its operations; true if the connection is over.
    pub(super) fn complete(
        &mut self,
        completion: &Completion,
        filled: Option<Filled>,
        io: &mut Io,
    ) -> io::Result<bool> {
        let operation = completion.user_data & !TOKEN_MASK;
        self.under_way &= !operation;
        match operation {
            RECV => self.on_received(completion, filled, io)?,
            SEND => self.on_sent(completion.result, io)?,
            _ => {}
        }
        self.advance(io)
    }

    /// Reads again, once there are buffers.
    pub(super) fn feed(&mut self, io: &mut Io) -> io::Result<bool> {
        self.starved = false;
        self.advance(io)
    }

    /// Sends a status; true if the connection is over.
    ///
    /// During a send it waits for the completion, before which `outgoing` must not change.
    pub(super) fn send_status(&mut self, line: &StatusLine, io: &mut Io) -> io::Result<bool> {
        let line = StatusLine::clone(line);
        if !self.is_under_way(SEND) {
            self.outgoing.offer(line, &mut io.counters);
        } else if self.late.replace(line).is_some() {
            io.counters.statuses_replaced += 1;
        }
        self.advance(io)
    }

    /// Stops echoing, since the server stops; what is queued is still sent.
    pub(super) fn leave(&mut self, io: &mut Io) -> io::Result<bool> {
        self.stage = Stage::Leaving;
        self.advance(io)
    }

    /// Cancels its operations; true if there are none, so that it can be removed, or else after the last completion.
    pub(super) fn close(&mut self, io: &mut Io) -> bool {
        if !self.closing {
            self.closing = true;
            // A send completes by itself when it is submitted.
            for operation in [RECV, ROOM].into_iter().filter(|operation| self.is_under_way(*operation)) {
                io.ring.cancel(self.token | operation);
            }
        }
        self.under_way == 0
    }

    /// Drops the statuses that it holds, and gives back its buffers.
    pub(super) fn abandon(mut self, io: &mut Io) {
        self.outgoing.abandon(&mut io.counters);
        io.counters.statuses_dropped_at_eof += u64::from(self.late.is_some());
        self.input.buffer.into_iter().chain(self.received).for_each(|filled| io.buffers.give_back(filled));
    }

    fn on_received(&mut self, completion: &Completion, mut filled: Option<Filled>, io: &mut Io) -> io::Result<()> {
        self.likely = completion.left_input();
        let result = match completion.result {
            Ok(0) => {
                self.stage = Stage::Ended;
                Ok(())
            }
            Ok(_) => {
                if self.stage == Stage::Open && !self.closing {
                    self.received = filled.take();
                }
                Ok(())
            }
            Err(Errno::NOBUFS) => {
                (self.starved, self.likely) = (true, true);
                io.starved.push_back(self.token);
                Ok(())
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        };
        filled.into_iter().for_each(|filled| io.buffers.give_back(filled));
        result
    }

    fn on_sent(&mut self, result: Result<usize, Errno>, io: &mut Io) -> io::Result<()> {
        let count = match result {
            Ok(count) => count,
            Err(Errno::AGAIN) => 0,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let input = self.input.unsent(&self.rest, &io.buffers);
        let asked = self.outgoing.next(input).len();
        let input = self.outgoing.sent(input, count, &mut io.counters);
        if count < asked {
            self.outgoing.keep(input, &mut io.counters);
            io.ring.poll(&self.stream, PollFlags::OUT, false, self.token | ROOM);
            self.under_way |= ROOM;
        } else if !input.is_empty() {
            self.input.sent = self.input.length - input.len();
            return Ok(());
        }
        let Input { buffer, length, .. } = std::mem::take(&mut self.input);
        match buffer {
            Some(filled) => io.buffers.give_back(filled),
            None if length == self.rest.len() => self.rest = Vec::new(),
            None => drop(self.rest.drain(..length)),
        }
        Ok(())
    }

    /// Prepares the next send and the next read, unless something else has to complete first; true if the connection is
    /// over.
    fn advance(&mut self, io: &mut Io) -> io::Result<bool> {
        if self.closing || self.is_under_way(SEND) {
            return Ok(self.closing);
        }
        if self.stage != Stage::Open {
            self.outgoing.end_of_input(&mut io.counters);
        }
        if let Some(line) = self.late.take() {
            self.outgoing.offer(line, &mut io.counters);
        }
        if self.is_under_way(ROOM) {
            self.set_aside(io);
            return Ok(false);
        }
        let cost = if self.input.length == 0 { self.next_input(io) } else { Duration::ZERO };
        let input = self.input.unsent(&self.rest, &io.buffers);
        let next = self.outgoing.next(input);
        let is_last = next.len() == input.len();
        if next.is_empty() {
            if self.stage.is_over(&self.stream)? {
                return Ok(true);
            }
        } else {
            // SAFETY: the bytes lie in a buffer, in `outgoing` or in `rest`, which do not change while a send is under
            // way: the check above, `send_status` and `close` see to that. A move of the connection does not move them.
            unsafe { io.ring.send(&self.stream, next, self.token | SEND) };
            self.under_way |= SEND;
        }
        // Submitted together with the send, the next read costs no system call of its own.
        if is_last {
            self.read(io);
        }
        if !cost.is_zero() {
            // An echo does not wait for the work on other connections' messages.
            io.worked += cost;
            drop(io.ring.submit());
        }
        Ok(false)
    }

    /// Takes input to be sent next, which is worked on; returns its cost.
    fn next_input(&mut self, io: &mut Io) -> Duration {
        if !self.rest.is_empty() {
            self.set_aside(io);
            let (first, cost) = io.worker.first_line(&mut self.line, &self.rest);
            self.input = Input { buffer: None, sent: 0, length: first.len() };
            return cost;
        }
        let Some(filled) = self.received.take() else { return Duration::ZERO };
        let bytes = io.buffers.bytes(&filled);
        let (first, cost) = io.worker.first_line(&mut self.line, bytes);
        let length = first.len();
        // Copied, so that the buffer is free after this turn.
        self.rest.extend_from_slice(&bytes[length..]);
        self.input = Input { buffer: Some(filled), sent: 0, length };
        cost
    }

    /// Copies what was read, so that its buffer is free while the connection waits.
    fn set_aside(&mut self, io: &mut Io) {
        if let Some(filled) = self.received.take() {
            self.rest.extend_from_slice(io.buffers.bytes(&filled));
            io.buffers.give_back(filled);
            let unsent = (self.outgoing.unsent_bytes() + self.rest.len()) as u64;
            io.counters.backlog_max_bytes = io.counters.backlog_max_bytes.max(unsent);
        }
    }

    /// Prepares a read, if all earlier input is being sent or has been.
    fn read(&mut self, io: &mut Io) {
        let sending = if self.input.buffer.is_some() { 0 } else { self.input.length };
        let is_free = !self.is_under_way(RECV) && !self.starved;
        if is_free && self.stage != Stage::Ended && self.received.is_none() && self.rest.len() == sending {
            io.ring.recv(&self.stream, self.likely, self.token | RECV);
            self.under_way |= RECV;
        }
    }

    fn is_under_way(&self, operation: u64) -> bool {
        self.under_way & operation != 0
    }
}
