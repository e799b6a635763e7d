//! The connections, and what is done when one of them is ready.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use servers::clock;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Options, SeenTick, Slot,
    ledger::{Found, Ledger, Sent},
    message::Message,
};
use crate::tally::Tally;

/// Connections opened and not yet answered: connect completes before accept, so more would only fill the backlog.
pub(super) const RAMP: usize = 64;

/// Slots sent before answers have their turn again, should the generator be behind.
const SEND_CHUNK: usize = 64;

/// Size of the buffer that every connection reads into.
const BUFFER_BYTES: usize = 256 * 1024;

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

/// All connections of one engine.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) tally: Tally,
    pub(super) work: Work,
    options: Options,
    registry: Registry,
    connections: Vec<Connection>,
    /// Connections that have echoed and are open.
    live: u32,
    /// Connections opened that have not echoed yet.
    probing: usize,
    in_flight: usize,
    newest_tick: Option<SeenTick>,
    first_problem: Option<String>,
    message: Message,
    buffer: Box<[u8]>,
    batch: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    /// `None` once it has failed.
    stream: Option<TcpStream>,
    ledger: Ledger,
    /// What a full socket did not take.
    unsent: Vec<u8>,
    started_ns: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The first message is under way.
    Probing,
    Ready,
}

impl Clients {
    pub(super) fn new(options: &Options, registry: Registry) -> Self {
        Self {
            tally: Tally::new(),
            work: Work::None,
            options: options.clone(),
            registry,
            connections: Vec::with_capacity(options.connections as usize),
            live: 0,
            probing: 0,
            in_flight: 0,
            newest_tick: None,
            first_problem: None,
            message: Message::new(options.payload_bytes),
            buffer: vec![0; BUFFER_BYTES].into(),
            batch: Vec::new(),
        }
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Connections that are still to be opened or to echo for the first time.
    pub(super) fn unanswered(&self) -> usize {
        self.options.connections as usize - self.connections.len() + self.probing
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn newest_tick(&self) -> Option<SeenTick> {
        self.newest_tick
    }

    pub(super) fn first_problem(&self) -> Option<&str> {
        self.first_problem.as_deref()
    }

    /// Goes on with the ramp.
    pub(super) fn open_more(&mut self) {
        while self.probing < RAMP && self.connections.len() < self.options.connections as usize {
            let id = self.connections.len();
            let stream = open(&self.options).and_then(|mut stream| {
                self.registry.register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)?;
                Ok(stream)
            });
            let (stream, problem) = match stream {
                Ok(stream) => (Some(stream), None),
                Err(error) => (None, Some(error)),
            };
            self.connections.push(Connection {
                stream,
                ledger: Ledger::new(id as u32),
                unsent: Vec::new(),
                started_ns: clock::now_ns(),
                stage: Stage::Connecting,
            });
            self.probing += 1;
            if let Some(error) = problem {
                self.fail(id, &format!("cannot connect: {error}"));
            }
        }
    }

    /// Ends the ramp: connections that have not answered count as failed.
    pub(super) fn give_up_unanswered(&mut self) {
        for id in 0..self.connections.len() {
            match self.connections[id].stage {
                Stage::Connecting => self.fail(id, "the connection is not answered"),
                Stage::Probing => self.fail(id, "the connection is accepted but nothing is echoed"),
                Stage::Ready => {}
            }
        }
        let never_opened = self.options.connections as usize - self.connections.len();
        self.tally.counts.connect_failed += never_opened as u64;
    }

    /// Takes care of a ready socket; returns the clock's reading if it had to look.
    pub(super) fn on_event(&mut self, event: &Event) -> Option<u64> {
        let id = event.token().0;
        let connection = &mut self.connections[id];
        let stream = connection.stream.as_ref()?;
        if connection.stage == Stage::Connecting {
            if let Ok(Some(error)) | Err(error) = stream.take_error() {
                self.fail(id, &broken("cannot connect", &error));
            } else if event.is_writable() {
                connection.stage = Stage::Probing;
                let now_ns = clock::now_ns();
                self.send(id, 1, now_ns, now_ns);
            }
            return None;
        }
        if event.is_writable() && !connection.unsent.is_empty() {
            self.flush(id);
        }
        if event.is_readable() || event.is_read_closed() {
            return self.read(id, event.is_read_closed() || event.is_error());
        }
        None
    }

    /// When the next slot is due.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        match &self.work {
            Work::Open { slots, next, start_ns } => slots.get(*next).map(|slot| start_ns + slot.due_ns),
            Work::Closed { .. } | Work::None => None,
        }
    }

    /// Sends the slots that are due. None is skipped or moved: one that is late keeps its intended time.
    pub(super) fn send_due(&mut self, mut now_ns: u64) {
        for _ in 0..SEND_CHUNK {
            let Work::Open { slots, next, start_ns } = &mut self.work else { return };
            let Some(slot) = slots.get(*next) else { return };
            let intended_ns = *start_ns + slot.due_ns;
            if intended_ns > now_ns {
                return;
            }
            let id = slot.connection as usize;
            *next += 1;
            self.tally.counts.handled += 1;
            if self.connections[id].stream.is_some() {
                if self.connections[id].unsent.is_empty() {
                    self.tally.record_send(intended_ns, now_ns);
                }
                self.send(id, 1, intended_ns, now_ns);
            }
            now_ns = clock::now_ns();
        }
    }

    /// Puts `depth` messages under way on every connection.
    pub(super) fn start_closed_loop(&mut self, depth: u32, until_ns: u64) {
        self.work = Work::Closed { until_ns };
        for id in 0..self.connections.len() {
            if self.connections[id].stream.is_some() {
                let now_ns = clock::now_ns();
                self.send(id, depth as usize, now_ns, now_ns);
            }
        }
    }

    /// What has not come back is lost.
    pub(super) fn settle(&mut self) {
        for connection in &mut self.connections {
            self.tally.counts.lost += connection.ledger.settle(&mut self.message);
        }
        self.in_flight = 0;
    }

    /// Sends messages with one write, or queues them behind what a full socket has not taken.
    fn send(&mut self, id: usize, count: usize, intended_ns: u64, now_ns: u64) {
        let connection = &mut self.connections[id];
        let Some(stream) = &mut connection.stream else { return };
        let queued = !connection.unsent.is_empty();
        let sent = Sent { intended_ns, tried_ns: if queued { 0 } else { now_ns } };
        self.batch.clear();
        for _ in 0..count {
            self.batch.extend_from_slice(connection.ledger.send(&mut self.message, sent));
        }
        self.in_flight += count;
        if connection.stage == Stage::Ready {
            self.tally.counts.sent += count as u64;
        }
        if queued {
            connection.unsent.extend_from_slice(&self.batch);
            return;
        }
        match write(stream, &self.batch) {
            Ok(written) => connection.unsent.extend_from_slice(&self.batch[written..]),
            Err(error) => self.fail(id, &broken("cannot send", &error)),
        }
    }

    fn flush(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let Some(stream) = &mut connection.stream else { return };
        connection.ledger.tried(clock::now_ns());
        match write(stream, &connection.unsent) {
            Ok(written) if written == connection.unsent.len() => connection.unsent = Vec::new(),
            Ok(written) => drop(connection.unsent.drain(..written)),
            Err(error) => self.fail(id, &broken("cannot send", &error)),
        }
    }

    /// Reads until the socket is drained; returns when the last of it was received.
    fn read(&mut self, id: usize, closing: bool) -> Option<u64> {
        let mut buffer = mem::take(&mut self.buffer);
        let mut last_ns = None;
        while let Some(stream) = &mut self.connections[id].stream {
            match stream.read(&mut buffer) {
                Ok(0) => self.fail(id, "the server closed the connection"),
                Ok(count) => {
                    let now_ns = clock::now_ns();
                    last_ns = Some(now_ns);
                    self.receive(id, &buffer[..count], now_ns);
                    // Less than asked for: drained (epoll(7)), unless the end is still to be read.
                    if count < buffer.len() && !closing {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.fail(id, &broken("cannot receive", &error)),
            }
        }
        self.buffer = buffer;
        last_ns
    }

    /// Checks and counts what came, and in a closed loop sends the next.
    fn receive(&mut self, id: usize, input: &[u8], now_ns: u64) {
        let connection = &mut self.connections[id];
        let (tally, newest_tick) = (&mut self.tally, &mut self.newest_tick);
        let probing = connection.stage == Stage::Probing;
        let before = connection.ledger.outstanding();
        let mut corrupt = false;
        let mut report = |found| match found {
            // The first echo of a connection is no message of any window.
            Found::Echo(_) | Found::Reordered(_) | Found::Duplicate if probing => {}
            Found::Echo(sent) => tally.record_echo(sent.intended_ns, sent.tried_ns, now_ns),
            Found::Reordered(sent) => {
                tally.counts.reordered += 1;
                tally.record_echo(sent.intended_ns, sent.tried_ns, now_ns);
            }
            Found::Duplicate => tally.counts.duplicate += 1,
            Found::Corrupt => {
                tally.counts.corrupt += 1;
                corrupt = true;
            }
            Found::Status(status) => {
                tally.record_status(status.due_ns, now_ns);
                if newest_tick.is_none_or(|newest| newest.number < status.tick) {
                    *newest_tick = Some(SeenTick { number: status.tick, due_ns: status.due_ns });
                    tally.record_tick(status.due_ns, status.emit_ns);
                }
            }
        };
        let followed = connection.ledger.receive(&mut self.message, input, &mut report);
        let done = before - connection.ledger.outstanding();
        self.in_flight -= done;
        if followed.is_err() || (corrupt && probing) {
            self.fail(id, &format!("the server does not echo: it answered {}", excerpt(input)));
        } else if probing && done > 0 {
            self.on_first_echo(id, now_ns);
        } else if matches!(self.work, Work::Closed { until_ns } if now_ns < until_ns) && done > 0 {
            self.send(id, done, now_ns, now_ns);
        }
    }

    fn on_first_echo(&mut self, id: usize, now_ns: u64) {
        let connection = &mut self.connections[id];
        connection.stage = Stage::Ready;
        self.tally.record_connect(connection.started_ns, now_ns);
        self.probing -= 1;
        self.live += 1;
    }

    /// Ends a connection for good; what it has not got back is lost.
    fn fail(&mut self, id: usize, problem: &str) {
        let connection = &mut self.connections[id];
        connection.stream = None;
        connection.unsent = Vec::new();
        self.in_flight -= connection.ledger.outstanding();
        let lost = connection.ledger.settle(&mut self.message);
        if connection.stage == Stage::Ready {
            self.live -= 1;
            self.tally.counts.reset += 1;
            self.tally.counts.lost += lost;
        } else {
            self.probing -= 1;
            self.tally.counts.connect_failed += 1;
            // It is over: it must not be found unanswered again.
            connection.stage = Stage::Ready;
        }
        self.first_problem.get_or_insert_with(|| problem.to_owned());
    }
}

/// Begins to connect, with the same socket options as the servers set.
fn open(options: &Options) -> io::Result<TcpStream> {
    let addr: SocketAddr = options.addr;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(congestion) = &options.congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Writes as much as the socket takes.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// What happened to a connection, in words.
fn broken(what: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "the server closed the connection, by a reset".to_owned()
        }
        _ => format!("{what}: {error}"),
    }
}

/// The beginning of an answer, printable.
fn excerpt(input: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&input[..input.len().min(48)]))
}
