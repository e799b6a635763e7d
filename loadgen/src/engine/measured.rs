//! The measured connections, and what is done when one of them is ready.

mod endings;

use std::{
    io::{ErrorKind, Read},
    mem,
};

use mio::{Registry, event::Event};
use servers::clock;

use super::{
    Options, Slot,
    broadcast::{Arrival, Broadcasts},
    connection::{Connection, End, excerpt},
    echo_verifier::Found,
    littles_law::LittlesLaw,
    message::{MessageWriter, SizeIndex},
    sizes::SizeCycle,
    tokens::{ConnectionId, EventSource},
};
use crate::engine::tally::Tally;

/// Slots sent before answers have their turn again, should the generator be behind.
const SEND_CHUNK: usize = 64;

/// SizeIndex of the buffer that every connection reads into.
const BUFFER_BYTES: usize = 256 * 1024;

/// Buffers read from one connection before others have their turn: a server may send without end.
const TURN_READS: usize = 4;

/// What there is to send.
#[derive(Debug)]
pub(super) enum Work {
    None,
    /// Slots at their times.
    Open {
        slots: Vec<Slot>,
        next: usize,
        start_ns: u64,
    },
    /// A new message for each that comes back, until a time.
    Closed {
        until_ns: u64,
    },
}

/// The measured connections of one thread.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) tally: Tally,
    pub(super) work: Work,
    pub(super) broadcasts: Broadcasts,
    pub(super) littles_law: LittlesLaw,
    /// Intended time and response of every message of an open loop, both in nanoseconds.
    pub(super) responses: Vec<(u64, u64)>,
    options: Options,
    registry: Registry,
    /// Numbers of the connections of this thread: first, first + step, first + 2 * step ...
    first: u32,
    step: u32,
    /// How many there are to be.
    wanted: usize,
    clients: Vec<Client>,
    /// Clients that have echoed and are open.
    live: u32,
    /// Connections opened that have not echoed yet.
    probing: usize,
    /// Clients that were not read to the end when it was their turn.
    unread: Vec<usize>,
    first_problem: Option<String>,
    first_shortage: Option<String>,
    writer: MessageWriter,
    /// Sizes of a closed loop's messages, in turn.
    sizes: SizeCycle,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Client {
    /// `None` once it has failed.
    connection: Option<Connection>,
    started_ns: u64,
    stage: Stage,
    /// Number of the newest tick that it got; 0 for none.
    last_tick: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The first message is under way.
    Probing,
    Ready,
}

impl Clients {
    /// Those connections whose number is `first` modulo `step`.
    pub(super) fn new(options: &Options, registry: Registry, first: u32, step: u32) -> Self {
        let wanted = (first..options.connections).step_by(step as usize).len();
        Self {
            tally: Tally::default(),
            work: Work::None,
            broadcasts: Broadcasts::default(),
            littles_law: LittlesLaw::default(),
            responses: Vec::new(),
            options: options.clone(),
            registry,
            first,
            step,
            wanted,
            clients: Vec::with_capacity(wanted),
            live: 0,
            probing: 0,
            unread: Vec::new(),
            first_problem: None,
            first_shortage: None,
            writer: MessageWriter::new(&options.payloads),
            sizes: SizeCycle::new(&options.payloads),
            buffer: vec![0; BUFFER_BYTES].into(),
        }
    }

    /// Whether there are to be any connections at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted > 0
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Connections that are still to be opened or to echo for the first time.
    pub(super) fn unanswered(&self) -> usize {
        self.wanted - self.clients.len() + self.probing
    }

    pub(super) fn in_flight(&self) -> usize {
        self.littles_law.in_flight()
    }

    pub(super) fn first_problem(&self) -> Option<&str> {
        self.first_problem.as_deref()
    }

    /// What this host lacked when it first could not carry a connection.
    pub(super) fn first_shortage(&self) -> Option<&str> {
        self.first_shortage.as_deref()
    }

    /// Goes on with the ramp: at most `limit` connections are unanswered.
    pub(super) fn open_more(&mut self, limit: usize) {
        while self.probing < limit && self.clients.len() < self.wanted {
            let index = self.clients.len();
            let id = self.first + index as u32 * self.step;
            let started_ns = clock::now_ns();
            let (connection, problem) = match Connection::open(
                &self.options,
                ConnectionId::measured(id),
                EventSource::Measured(index),
                &self.registry,
            ) {
                Ok(connection) => (Some(connection), None),
                Err(error) => (None, Some(error)),
            };
            self.clients.push(Client { connection, started_ns, stage: Stage::Connecting, last_tick: 0 });
            self.probing += 1;
            if let Some(error) = problem {
                self.fail(index, End::of("cannot connect", &error));
            }
        }
    }

    /// Takes care of a ready socket; returns the clock's reading if it had to look.
    pub(super) fn on_event(&mut self, index: usize, event: &Event) -> Option<u64> {
        let client = &mut self.clients[index];
        let connection = client.connection.as_mut()?;
        if client.stage == Stage::Connecting {
            if let Ok(Some(error)) | Err(error) = connection.stream.take_error() {
                self.fail(index, End::of("cannot connect", &error));
                return None;
            }
            client.stage = Stage::Probing;
            let now_ns = clock::now_ns();
            self.send(index, 1, now_ns, now_ns);
            // The same edge may say that the server has spoken or hung up already, and no other one will.
        } else if event.is_writable() && !connection.has_room() {
            self.flush(index);
        }
        if event.is_readable() || event.is_read_closed() {
            return self.read(index, event.is_read_closed() || event.is_error());
        }
        None
    }

    /// Goes on with connections that had more to read than one turn takes; says whether there are any.
    pub(super) fn read_on(&mut self) -> bool {
        let unread = mem::take(&mut self.unread);
        for index in &unread {
            self.read(*index, true);
        }
        !unread.is_empty()
    }

    /// Whether something waits to be read that no event will announce.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// When the next slot is due.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        match &self.work {
            Work::Open { slots, next, start_ns } => slots.get(*next).map(|slot| start_ns + slot.due_ns),
            Work::Closed { .. } | Work::None => None,
        }
    }

    /// Nothing that is due from then on is sent any more.
    pub(super) fn stop_at(&mut self, at_ns: u64) {
        match &mut self.work {
            Work::Open { slots, start_ns, .. } => {
                slots.truncate(slots.partition_point(|slot| *start_ns + slot.due_ns < at_ns));
                self.tally.counts.scheduled = slots.len() as u64;
            }
            Work::Closed { until_ns } => *until_ns = at_ns.min(*until_ns),
            Work::None => {}
        }
    }

    /// Sends the slots that are due; says whether there were any. None is skipped or moved: one that is late keeps its
    /// intended time.
    pub(super) fn send_due(&mut self, mut now_ns: u64) -> bool {
        for sent in 0..SEND_CHUNK {
            let Work::Open { slots, next, start_ns } = &mut self.work else { return sent > 0 };
            let Some(&slot) = slots.get(*next) else { return sent > 0 };
            let intended_ns = *start_ns + slot.due_ns;
            if intended_ns > now_ns {
                return sent > 0;
            }
            *next += 1;
            self.tally.counts.handled += 1;
            self.send_slot((slot.connection / self.step) as usize, slot.size, intended_ns, now_ns);
            now_ns = clock::now_ns();
        }
        true
    }

    fn send_slot(&mut self, index: usize, size: SizeIndex, intended_ns: u64, now_ns: u64) {
        let Some(connection) = &mut self.clients[index].connection else { return };
        if connection.has_room() {
            self.tally.record_send(intended_ns, now_ns);
        }
        self.tally.counts.sent += 1;
        self.littles_law.begin(1, intended_ns, now_ns);
        let sent = connection.send([size].into_iter(), intended_ns, now_ns, &mut self.writer);
        if let Err(error) = sent {
            self.fail(index, End::of("cannot send", &error));
        }
    }

    /// Puts `depth` messages under way on every connection.
    pub(super) fn start_closed_loop(&mut self, depth: u32, until_ns: u64) {
        self.work = Work::Closed { until_ns };
        for index in 0..self.clients.len() {
            let now_ns = clock::now_ns();
            self.send(index, depth as usize, now_ns, now_ns);
        }
    }

    /// Sends messages of a closed loop.
    fn send(&mut self, index: usize, count: usize, intended_ns: u64, now_ns: u64) {
        let client = &mut self.clients[index];
        let Some(connection) = &mut client.connection else { return };
        if client.stage == Stage::Ready {
            self.tally.counts.sent += count as u64;
        }
        self.littles_law.begin(count, intended_ns, now_ns);
        let sizes = self.sizes.take(count);
        if let Err(error) = connection.send(sizes, intended_ns, now_ns, &mut self.writer) {
            self.fail(index, End::of("cannot send", &error));
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(connection) = &mut self.clients[index].connection else { return };
        if let Err(error) = connection.flush(clock::now_ns(), &mut self.writer) {
            self.fail(index, End::of("cannot send", &error));
        }
    }

    /// Reads until the socket is drained; returns when the last of it was received.
    fn read(&mut self, index: usize, closing: bool) -> Option<u64> {
        let mut buffer = mem::take(&mut self.buffer);
        let mut last_ns = None;
        let mut reads = 0;
        while let Some(connection) = &mut self.clients[index].connection {
            if reads == TURN_READS {
                self.unread.push(index);
                break;
            }
            reads += 1;
            match connection.stream.read(&mut buffer) {
                Ok(0) => self.fail(index, End::Closed("the server closed the connection".to_owned())),
                Ok(count) => {
                    let now_ns = clock::now_ns();
                    last_ns = Some(now_ns);
                    self.receive(index, &buffer[..count], now_ns);
                    // Less than asked for: drained (epoll(7)), unless the end is still to be read.
                    if count < buffer.len() && !closing {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.fail(index, End::of("cannot receive", &error)),
            }
        }
        self.buffer = buffer;
        last_ns
    }

    /// Checks and counts what came, and in a closed loop sends the next.
    fn receive(&mut self, index: usize, input: &[u8], now_ns: u64) {
        let Client { connection: Some(connection), stage, last_tick, .. } = &mut self.clients[index] else { return };
        let (tally, broadcasts, responses) = (&mut self.tally, &mut self.broadcasts, &mut self.responses);
        let probing = *stage == Stage::Probing;
        let open = matches!(self.work, Work::Open { .. } | Work::None);
        let before = connection.verifier.outstanding();
        let mut corrupt = false;
        let mut report = |found| match found {
            // The first echo of a connection is no message of any window.
            Found::Echo(_) | Found::Reordered(_) | Found::Duplicate if probing => {}
            Found::Echo(sent) | Found::Reordered(sent) => {
                tally.counts.reordered += u64::from(matches!(found, Found::Reordered(_)));
                if open {
                    tally.record_echo(sent.intended_ns, sent.tried_ns, now_ns);
                    responses.push((sent.intended_ns, now_ns.saturating_sub(sent.intended_ns)));
                } else {
                    tally.record_closed_echo(sent.tried_ns, now_ns);
                }
            }
            Found::Duplicate => tally.counts.duplicate += 1,
            Found::Corrupt => {
                tally.counts.corrupt += 1;
                corrupt = true;
            }
            Found::Status(status) => {
                tally.record_status(status.due_ns, now_ns);
                match broadcasts.receive(&status, last_tick, now_ns) {
                    Arrival::Next => {}
                    Arrival::Duplicate => tally.counts.statuses_duplicate += 1,
                    Arrival::Reordered => tally.counts.statuses_reordered += 1,
                }
            }
        };
        let followed = connection.verifier.receive(&mut self.writer.messages_of(connection.id), input, &mut report);
        let done = before - connection.verifier.outstanding();
        self.littles_law.end(done, now_ns);
        if followed.is_err() || (corrupt && probing) {
            self.fail(index, End::NoEcho(format!("the server does not echo: it answered {}", excerpt(input))));
        } else if probing && done > 0 {
            self.on_first_echo(index, now_ns);
        } else if matches!(self.work, Work::Closed { until_ns } if now_ns < until_ns) && done > 0 {
            self.send(index, done, now_ns, now_ns);
        }
    }

    fn on_first_echo(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        client.stage = Stage::Ready;
        self.tally.record_connect(client.started_ns, now_ns);
        self.tally.counts.opened += 1;
        self.probing -= 1;
        self.live += 1;
    }
}
