//! `io-uring`: one thread and one ring (io_uring(7)). The kernel is asked for operations, not for readiness, and one
//! system call submits those of many connections and waits for the next completions.
//!
//! Every connection has at most one read, one send or wait for room under way. A read takes its buffer only when there is
//! input, so an idle connection holds none. A send that finds the socket full completes at once instead of waiting in the
//! kernel, where no newer status could replace an older one (B3). A connection is removed only when nothing of it is
//! under way, so no completion ever concerns a successor. The wait's timeout ends at the next tick.
//!
//! Clients are accepted with accept(2), upon a poll: an accept within the ring would take its descriptor, and fail for
//! want of one, before there is a client (F3).

mod connection;
mod ring;

use std::{
    collections::VecDeque,
    io,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::OnceLock,
    time::Duration,
};

use protocol::{
    Counters, Schedule,
    limits::FAN_OUT_CHUNK,
    status::{Status, StatusLine},
    work::WORK_TURN,
};
use rustix::{
    event::PollFlags,
    net::{SocketFlags, accept_with},
};
use signal_hook::low_level::pipe;
use slab::Slab;

use self::{
    connection::{Connection, Io, TOKEN_MASK},
    ring::{Buffers, CANCELLATION, Completion, Ring},
};
use crate::{
    Config, clock,
    linger::{Stage, Stop, is_settled},
    listen::{Backlog, announce},
    shutdown,
    work::Worker,
};

const LISTENER: u64 = CANCELLATION - 1;
const SIGNALS: u64 = CANCELLATION - 2;

const KEY_MASK: u64 = 0xffff_ffff;

/// Completions handled before what they led to is submitted and the clock read.
const PASS: usize = 64;

/// Connections accepted before I/O is served again.
const ACCEPT_CHUNK: usize = 64;

/// Serves `listener` from this thread alone.
pub(crate) fn run(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    let (start_ns, addr) = (clock::now_ns(), listener.local_addr()?);
    let (stop, write) = UnixStream::pair()?;
    for signal in shutdown::SIGNALS {
        pipe::register(signal, write.try_clone()?)?;
    }
    shutdown::exit_on_second_signal()?;
    let mut server = Server::new(listener, config, start_ns)?;
    server.io.ring.poll(&stop, PollFlags::IN, false, SIGNALS);
    server.watch_listener();
    server.io.ring.submit()?;

    announce(addr)?;
    while server.is_serving() {
        server.io.ring.wait(server.timeout(clock::now_ns()))?;
        for _ in 0..server.io.ring.completed().min(PASS) {
            let Some(completion) = server.io.ring.take() else { break };
            server.complete(&completion);
            if server.io.worked >= WORK_TURN {
                break;
            }
        }
        let now_ns = clock::now_ns();
        server.tick(now_ns);
        server.accept(now_ns);
        server.feed_starved();
    }
    Ok(server.finish())
}

/// Why this host cannot run the server, if it cannot.
pub(crate) fn refusal() -> Option<String> {
    // Once, since buffers are never freed.
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    let set_up = || Ring::new().and_then(|ring| Buffers::new(&ring)).err().map(|error| error.to_string());
    REFUSAL.get_or_init(set_up).clone()
}

struct Server {
    io: Io,
    /// `None` once the server stops.
    listener: Option<TcpListener>,
    backlog: Backlog,
    connections: Slab<Connection>,
    /// Connections accepted so far, and the serial number of the next one.
    accepted: u64,
    schedule: Schedule,
    fan_out: Option<FanOut>,
    /// If set, nothing more is accepted or echoed.
    stop: Option<Stop>,
}

/// A fan-out under way, to the connections that were open when it began.
struct FanOut {
    line: StatusLine,
    cursor: usize,
    before_serial: u64,
}

impl FanOut {
    /// Whether the fan-out counts the connection and has not reached it yet (B1).
    fn awaits(&self, key: usize, connection: &Connection) -> bool {
        key >= self.cursor && connection.serial < self.before_serial
    }
}

impl Server {
    fn new(listener: TcpListener, config: &Config, start_ns: u64) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let ring = Ring::new()?;
        let io = Io {
            buffers: Buffers::new(&ring)?,
            ring,
            starved: VecDeque::new(),
            worker: Worker::new(&config.service),
            worked: Duration::ZERO,
            counters: Counters::default(),
        };
        Ok(Self {
            io,
            listener: Some(listener),
            backlog: Backlog::new(config.max_connections.get()),
            connections: Slab::new(),
            accepted: 0,
            schedule: Schedule::new(start_ns, config.status_interval),
            fan_out: None,
            stop: None,
        })
    }

    fn is_serving(&self) -> bool {
        self.stop.is_none_or(|stop| !self.connections.is_empty() && clock::now_ns() < stop.by_ns)
    }

    /// How long to wait for a completion: not at all if work is left, otherwise until the next event of the clock.
    fn timeout(&self, now_ns: u64) -> Option<Duration> {
        let can_feed = !self.io.starved.is_empty() && self.io.buffers.free() > 0;
        if self.fan_out.is_some() || can_feed || self.backlog.is_ready(self.connections.len()) {
            return Some(Duration::ZERO);
        }
        let tick_ns = self.schedule.next_due_ns().filter(|_| self.stop.is_none());
        let look_ns = self.stop.map(|stop| stop.look_ns);
        let next_ns = [tick_ns, self.backlog.retry_ns, look_ns].into_iter().flatten().min()?;
        Some(Duration::from_nanos(next_ns.saturating_sub(now_ns)))
    }

    fn complete(&mut self, completion: &Completion) {
        let filled = self.io.buffers.filled(completion);
        match completion.user_data {
            LISTENER => {
                self.backlog.has_clients = self.listener.is_some();
                if !completion.goes_on() {
                    self.watch_listener();
                }
            }
            SIGNALS => self.stop(clock::now_ns()),
            CANCELLATION => {}
            operation => {
                let Some(key) = self.key(operation & TOKEN_MASK) else { return };
                let done = self.connections[key].complete(completion, filled, &mut self.io);
                self.settle(key, done);
            }
        }
    }

    /// Closes a connection that is over or failed; an error concerns it alone (F2).
    fn settle(&mut self, key: usize, is_over: io::Result<bool>) {
        if is_over.unwrap_or(true) {
            self.close(key);
        }
    }

    /// Removes the connection, at once or after the completions of its operations, which are cancelled.
    fn close(&mut self, key: usize) {
        if self.connections[key].close(&mut self.io) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        let connection = self.connections.remove(key);
        let is_awaited = self.fan_out.as_ref().is_some_and(|fan_out| fan_out.awaits(key, &connection));
        self.io.counters.statuses_dropped_at_eof += u64::from(is_awaited);
        connection.abandon(&mut self.io);
        self.backlog.freed();
    }

    /// The connection of a token; `None` if it is gone.
    fn key(&self, token: u64) -> Option<usize> {
        let key = (token & KEY_MASK) as usize;
        self.connections.get(key).is_some_and(|connection| connection.token == token).then_some(key)
    }

    /// Lets connections read again for which there are buffers now.
    fn feed_starved(&mut self) {
        for _ in 0..self.io.buffers.free().min(self.io.starved.len()) {
            let Some(key) = self.io.starved.pop_front().and_then(|token| self.key(token)) else { continue };
            let fed = self.connections[key].feed(&mut self.io);
            self.settle(key, fed);
        }
    }

    /// Begins the fan-out of a due tick or continues the current one, by one chunk, so that I/O is served in between (B5).
    fn tick(&mut self, now_ns: u64) {
        self.io.worked = Duration::ZERO;
        if self.stop.is_some() {
            return self.close_settled(now_ns);
        }
        if self.fan_out.is_none()
            && let Some(tick) = self.schedule.take(now_ns)
        {
            self.io.counters.ticks += 1;
            self.io.counters.ticks_skipped += tick.skipped;
            let active = self.connections.len() as u64;
            let status = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns: now_ns };
            self.fan_out = Some(FanOut { line: status.line(), cursor: 0, before_serial: self.accepted });
        }
        let Some(mut fan_out) = self.fan_out.take() else { return };
        let mut left = FAN_OUT_CHUNK;
        // Keys lie below the capacity, and a vacant slot costs next to nothing.
        while fan_out.cursor < self.connections.capacity() {
            if left == 0 {
                self.fan_out = Some(fan_out);
                return;
            }
            let key = fan_out.cursor;
            fan_out.cursor += 1;
            if let Some(connection) = self.connections.get_mut(key)
                && connection.serial < fan_out.before_serial
            {
                left -= 1;
                let sent = connection.send_status(&fan_out.line, &mut self.io);
                self.settle(key, sent);
            }
        }
    }

    fn watch_listener(&mut self) {
        if let Some(listener) = &self.listener {
            self.io.ring.poll(listener, PollFlags::IN, true, LISTENER);
        }
    }

    /// Accepts clients from the backlog, as long as there is room.
    fn accept(&mut self, now_ns: u64) {
        for _ in 0..ACCEPT_CHUNK {
            let Some(listener) = &self.listener else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let accept = || Ok(TcpStream::from(accept_with(listener, flags)?));
            let Some(stream) = self.backlog.next(self.connections.len(), now_ns, accept) else { return };
            let entry = self.connections.vacant_entry();
            let connection = Connection::new(stream, entry.key(), self.accepted, &mut self.io);
            entry.insert(connection);
            self.accepted += 1;
            self.io.counters.accepts += 1;
        }
    }

    /// Stops accepting and echoing; queued output is still flushed (F4).
    fn stop(&mut self, now_ns: u64) {
        self.stop = Some(Stop::new(now_ns));
        self.listener = None;
        self.backlog.close();
        // The poll holds the listening socket.
        self.io.ring.cancel(LISTENER);
        if let Some(fan_out) = self.fan_out.take() {
            let awaited = self.connections.iter().filter(|(key, connection)| fan_out.awaits(*key, connection));
            self.io.counters.statuses_dropped_at_eof += awaited.count() as u64;
        }
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let left = self.connections[key].leave(&mut self.io);
            self.settle(key, left);
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
        let keys = |server: &Self| server.connections.iter().map(|(key, _)| key).collect::<Vec<_>>();
        keys(&self).into_iter().for_each(|key| self.close(key));
        // Sends that have completed count, even at the deadline.
        while let Some(completion) = self.io.ring.take() {
            self.complete(&completion);
        }
        // What is prepared is never submitted, and reads under way use only buffers that are never freed.
        keys(&self).into_iter().for_each(|key| self.remove(key));
        self.io.counters
    }
}
