//! `mio`: one thread, one edge-triggered event loop.
//!
//! An edge-triggered event reports only once that a socket became ready, so a socket that is not drained needs another
//! reason to be visited: a connection that used up its turn goes to a run queue, one whose peer does not read is
//! visited again when it becomes writable, and a listener with clients left in its backlog when a connection ends.
//! A timer wakes the poll for the next tick or deadline.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net,
    time::Duration,
};

use mio::{Events, Interest, Poll, Registry, Token, event::Event, net::TcpListener};
use protocol::{
    Counters, Schedule,
    limits::{READ_BUFFER_BYTES, TURN_BYTES},
    work::WORK_TURN,
};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use crate::{
    Config, clock,
    deadlines::Deadlines,
    linger::{Stage, Stop, is_settled},
    listen::{Backlog, announce},
    shutdown,
    work::Worker,
};

mod connection;
mod expiry;
mod fan_out;
pub(crate) mod timer;

use connection::{Connection, Turn};
use fan_out::FanOut;
use timer::Timer;

const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);

/// Connections accepted before I/O is served again.
const ACCEPT_CHUNK: usize = 64;

/// What is done, in bytes, before the poll is asked again for further connections and signals.
const PASS_BYTES: u64 = 10 * TURN_BYTES as u64;

/// Minimum cost of an event, as the number of bytes that could be echoed in the same time. The clock is read once per
/// turn's worth of work.
const EVENT_BYTES: u64 = TURN_BYTES as u64 / 64;

/// Serves `listener` from this thread alone.
pub(crate) fn run(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    let (start_ns, addr) = (clock::now_ns(), listener.local_addr()?);
    let mut signals = Signals::new(shutdown::SIGNALS)?;
    shutdown::exit_on_second_signal()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let mut server = Server::new(listener, config, start_ns, poll.registry().try_clone()?)?;

    let mut events = Events::with_capacity(1024);
    announce(addr)?;
    while server.is_serving() {
        match poll.poll(&mut events, server.timeout(clock::now_ns())) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        // Before the events, so that connections that wait for their turn come first.
        server.take_turns();
        for event in &events {
            match event.token() {
                LISTENER => server.backlog.has_clients = server.listener.is_some(),
                SIGNALS => server.stop(clock::now_ns()),
                // The clock is read below in any case.
                TIMER => server.timer.rang(),
                token => server.on_ready(token, event),
            }
        }
        let now_ns = clock::now_ns();
        server.tick(now_ns);
        server.expire(now_ns);
        server.accept(now_ns);
    }
    Ok(server.finish())
}

struct Server {
    registry: Registry,
    /// `None` once the server stops.
    listener: Option<TcpListener>,
    backlog: Backlog,
    connections: Slab<Connection>,
    /// Connections accepted so far, and the serial number of the next one.
    accepted: u64,
    // region: handshake
    /// Time for the handshake, in nanoseconds.
    handshake_ns: Option<u64>,
    /// When handshakes time out.
    handshakes: Deadlines<Token>,
    /// Connections in their handshake.
    greeted: usize,
    /// Connections whose handshake is over, so far.
    opened: u64,
    // endregion
    // region: idle timeout
    /// How long a connection may be silent, in nanoseconds.
    silence_ns: Option<u64>,
    /// When silences may have lasted that long: input does not move these deadlines, they are corrected when they come.
    silences: Deadlines<Token>,
    // endregion
    schedule: Schedule,
    timer: Timer,
    fan_out: Option<FanOut>,
    /// Run queue: connections that used up their turn and may have more to read, each at most once.
    turns: VecDeque<Token>,
    /// The number of this pass. A connection has one turn in it.
    pass: u64,
    /// What was done in this pass, in bytes.
    done: u64,
    /// What was done since the clock was read, in bytes.
    since_look: u64,
    /// Read buffer shared by all connections, so that an idle one holds none.
    buffer: Box<[u8]>,
    worker: Worker,
    counters: Counters,
    /// If set, nothing more is accepted or echoed.
    stop: Option<Stop>,
}

impl Server {
    fn new(listener: net::TcpListener, config: &Config, start_ns: u64, registry: Registry) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener: Some(listener),
            backlog: Backlog::new(config.max_connections.get()),
            timer: Timer::new(&registry, TIMER)?,
            registry,
            connections: Slab::new(),
            accepted: 0,
            // region: handshake
            handshake_ns: config.service.handshake.map(|limit| limit.as_nanos() as u64),
            handshakes: Deadlines::new(),
            greeted: 0,
            opened: 0,
            // endregion
            // region: idle timeout
            silence_ns: config.service.idle_timeout.map(|limit| limit.as_nanos() as u64),
            silences: Deadlines::new(),
            // endregion
            schedule: Schedule::new(start_ns, config.status_interval),
            fan_out: None,
            turns: VecDeque::new(),
            pass: 0,
            done: 0,
            since_look: 0,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            worker: Worker::new(&config.service),
            counters: Counters::default(),
            stop: None,
        })
    }

    fn is_serving(&self) -> bool {
        self.stop.is_none_or(|stop| !self.connections.is_empty() && clock::now_ns() < stop.by_ns)
    }

    /// How long the poll may wait: not at all if work is left, otherwise until the timer rings for the next event of the
    /// clock.
    fn timeout(&mut self, now_ns: u64) -> Option<Duration> {
        if self.fan_out.is_some() || !self.turns.is_empty() || self.backlog.is_ready(self.connections.len()) {
            return Some(Duration::ZERO);
        }
        let tick_ns = self.schedule.next_due_ns().filter(|_| self.stop.is_none());
        let look_ns = self.stop.map(|stop| stop.look_ns);
        let next_ns = [tick_ns, self.backlog.retry_ns, look_ns, self.next_deadline_ns()].into_iter().flatten().min()?;
        if next_ns <= now_ns {
            return Some(Duration::ZERO);
        }
        self.timer.set(next_ns, now_ns).map(|next_ns| Duration::from_nanos(next_ns - now_ns))
    }

    fn on_ready(&mut self, token: Token, event: &Event) {
        let Some(key) = self.key(token) else { return };
        let connection = &mut self.connections[key];
        connection.closing |= event.is_read_closed() || event.is_error();
        // While the socket is full, input waits until there is room.
        if connection.queued || connection.blocked && !event.is_writable() && !event.is_error() {
            return;
        }
        if self.done < PASS_BYTES && connection.driven < self.pass {
            self.drive(key);
        } else {
            self.queue(key);
        }
    }

    /// Gives one turn to each connection in the run queue, as far as the pass has time.
    fn take_turns(&mut self) {
        (self.pass, self.done) = (self.pass + 1, 0);
        for _ in 0..self.turns.len() {
            if self.done >= PASS_BYTES {
                return;
            }
            let Some(key) = self.turns.pop_front().and_then(|token| self.key(token)) else { continue };
            self.connections[key].queued = false;
            self.drive(key);
        }
    }

    fn drive(&mut self, key: usize) {
        let before = self.counters.bytes_echoed;
        self.connections[key].driven = self.pass;
        let spent = self.take_turn(key);
        let done = EVENT_BYTES + (self.counters.bytes_echoed - before) + bytes_worth(spent);
        self.done += done;
        self.since_look += done;
        if self.since_look >= TURN_BYTES as u64 {
            self.tick(clock::now_ns());
        }
    }

    /// Drives a connection and returns the time spent on its messages.
    fn take_turn(&mut self, key: usize) -> Duration {
        let mut spent = Duration::ZERO;
        let connection = &mut self.connections[key];
        // region: handshake
        let is_greeted = connection.handshake.is_some();
        // endregion
        let turn = connection.drive(&mut self.buffer, &self.worker, &mut spent, &mut self.counters);
        let turn = turn.and_then(|turn| connection.watch(token(key, connection.serial), &self.registry).map(|()| turn));
        // region: handshake
        if is_greeted && connection.handshake.is_none() {
            self.greeted -= 1;
            self.open(key);
        }
        // endregion
        let connection = &mut self.connections[key];
        match turn {
            Ok(Turn::Drained) => {}
            Ok(Turn::Unfinished) => self.queue(key),
            // An error concerns this connection alone (F2).
            Ok(Turn::Closed) | Err(_) => {
                // region: handshake
                self.counters.handshakes_failed += u64::from(connection.handshake.is_some());
                // endregion
                self.close(key);
            }
        }
        spent
    }

    /// Puts a connection into the run queue, unless it is there.
    fn queue(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.queued {
            connection.queued = true;
            self.turns.push_back(token(key, connection.serial));
        }
    }

    fn close(&mut self, key: usize) {
        let mut connection = self.connections.remove(key);
        // region: handshake
        self.greeted -= usize::from(connection.handshake.is_some());
        // endregion
        connection.outgoing.abandon(&mut self.counters);
        let is_awaited = self.fan_out.as_ref().is_some_and(|fan_out| fan_out.awaits(key, &connection));
        self.counters.statuses_dropped_at_eof += u64::from(is_awaited);
        self.backlog.freed();
    }

    fn key(&self, token: Token) -> Option<usize> {
        find(&self.connections, token).map(|_| token.0 & KEY_MASK)
    }

    /// Accepts clients from the backlog, as long as there is room.
    fn accept(&mut self, now_ns: u64) {
        for _ in 0..ACCEPT_CHUNK {
            let Some(listener) = &self.listener else { return };
            let accepted = self.backlog.next(self.connections.len(), now_ns, || listener.accept());
            let Some((mut stream, _)) = accepted else { return };
            let serial = self.accepted;
            let entry = self.connections.vacant_entry();
            if let Err(error) = self.registry.register(&mut stream, token(entry.key(), serial), Interest::READABLE) {
                self.backlog.refused(&error, now_ns);
                continue;
            }
            let key = entry.key();
            entry.insert(Connection::new(stream, serial));
            self.accepted += 1;
            self.counters.accepts += 1;
            // region: handshake
            if let Some(limit_ns) = self.handshake_ns {
                self.greet(key, limit_ns);
                continue;
            }
            // endregion
            self.open(key);
        }
    }

    /// Counts the connection, which receives statuses from here on (B1).
    fn open(&mut self, key: usize) {
        self.connections[key].opened = self.opened;
        self.opened += 1;
        // region: idle timeout
        if let Some(limit_ns) = self.silence_ns {
            self.watch_silence(key, limit_ns);
        }
        // endregion
    }

    /// Stops accepting and echoing; queued output is still flushed (F4).
    fn stop(&mut self, now_ns: u64) {
        self.stop = Some(Stop::new(now_ns));
        self.listener = None;
        self.backlog.close();
        // region: idle timeout
        self.silences = Deadlines::new();
        // endregion
        if let Some(fan_out) = self.fan_out.take() {
            let awaited = self.connections.iter().filter(|(key, connection)| fan_out.awaits(*key, connection));
            self.counters.statuses_dropped_at_eof += awaited.count() as u64;
        }
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            // region: handshake
            if connection.handshake.is_some() {
                self.close(key);
                continue;
            }
            // endregion
            connection.stage = Stage::Leaving;
            connection.outgoing.end_of_input(&mut self.counters);
            if !connection.queued {
                self.drive(key);
            }
        }
    }

    /// Periodically closes connections whose peers have acknowledged everything, yet neither send nor close.
    fn close_settled(&mut self, now_ns: u64) {
        let Some(stop) = self.stop.filter(|stop| now_ns >= stop.look_ns) else { return };
        self.stop = Some(stop.after_a_look(now_ns));
        let is_over = |connection: &Connection| connection.stage == Stage::Lingering && is_settled(&connection.stream);
        let over = self.connections.iter().filter(|(_, connection)| is_over(connection));
        let keys: Vec<usize> = over.map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
    }

    fn finish(mut self) -> Counters {
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
        self.counters
    }
}

const KEY_MASK: usize = 0xffff_ffff;

/// A connection's slab key and, in the upper half, its serial number, so that a stale event never reaches a successor.
fn token(key: usize, serial: u64) -> Token {
    Token(key | (serial as usize) << 32)
}

/// The connection of a token; `None` if it is gone, even if a successor has taken its slot.
fn find(connections: &Slab<Connection>, wanted: Token) -> Option<&Connection> {
    let key = wanted.0 & KEY_MASK;
    connections.get(key).filter(|connection| token(key, connection.serial) == wanted)
}

/// Work as the number of bytes that count as much: a turn's worth for a turn's worth.
fn bytes_worth(work: Duration) -> u64 {
    work.as_nanos() as u64 * TURN_BYTES as u64 / WORK_TURN.as_nanos() as u64
}
