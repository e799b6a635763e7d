//! `threads`: one blocking thread per connection plus a broadcaster.
//!
//! The reader itself echoes, under the connection's write lock, which is nearly always free: two system calls per
//! message and no hand-over to another thread. The broadcaster never waits for a connection: it puts the status into the
//! connection's slot and then tries the lock. If the reader holds the lock, the reader checks the slot after unlocking;
//! if the socket is full, the broadcaster sends when there is room. The registry is never locked while sending.
//!
//! What a connection waits for, its thread waits for: the handshake is a function that returns when it is over. Only a
//! wait with a deadline differs from one without.

mod connection;
mod shortage;

use std::{
    hash::RandomState,
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use protocol::{
    Counters, Schedule, Service,
    limits::{FAN_OUT_CHUNK, LINGER_PAUSE, SHUTDOWN_FLUSH},
    status::{Status, StatusLine},
};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::iterator::Signals;
use slab::Slab;
use socket2::SockRef;

use crate::{
    Config, clock,
    linger::is_settled,
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};
use connection::{Connection, Delivery, Patience, timespec};
use shortage::{Closed, Descriptor};

/// A reader's call stack is shallow; the rest of the usual 2 MiB would only be address space.
const STACK_BYTES: usize = 128 * 1024;

/// Serves `listener` with one thread per connection; this thread waits for the signal to stop.
pub(crate) fn run(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let mut signals = Signals::new(shutdown::SIGNALS)?;
    shutdown::exit_on_second_signal()?;
    let server = Arc::new(Server::new(config));

    let acceptor = {
        let (server, listener) = (Arc::clone(&server), listener.try_clone()?);
        spawn("acceptor", move || server.accept_all(&listener))?
    };
    if !config.status_interval.is_zero() {
        let server = Arc::clone(&server);
        spawn("broadcaster", move || server.broadcast_all(schedule))?;
    }

    announce(listener.local_addr()?)?;
    signals.forever().next();
    let signalled = Instant::now();
    {
        // Under the lock, so that an acceptor about to wait for a connection to end does not miss the notification.
        let _registry = lock(&server.registry);
        server.stopping.store(true, Ordering::Relaxed);
        server.ended.notify_all();
    }
    // A waiting accept returns at once, and new clients are refused.
    SockRef::from(&listener).shutdown(Shutdown::Both)?;
    drop(acceptor.join());
    Ok(server.drain(signalled))
}

struct Server {
    service: Service,
    // region: handshake
    /// Makes tokens. One for all: each thread would have to ask the kernel for its own.
    random: RandomState,
    tokens: AtomicU64,
    // endregion
    worker: Worker,
    places: usize,
    stopping: AtomicBool,
    registry: Mutex<Registry>,
    /// Held during a fan-out, so that shutdown can wait until the last fan-out is over and counted.
    fan_out: Mutex<()>,
    /// Notified when a connection has ended.
    ended: Condvar,
    closed: Arc<Closed>,
}

#[derive(Default)]
struct Registry {
    connections: Slab<Arc<Connection>>,
    counters: Counters,
}

impl Server {
    fn new(config: &Config) -> Self {
        Self {
            service: config.service,
            // region: handshake
            random: RandomState::new(),
            tokens: AtomicU64::new(0),
            // endregion
            worker: Worker::new(&config.service),
            places: shortage::places(config.max_connections.get()),
            stopping: AtomicBool::default(),
            registry: Mutex::default(),
            fan_out: Mutex::default(),
            ended: Condvar::new(),
            closed: Arc::default(),
        }
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut warning = Warning::default();
        while self.wait_for_place() {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, &mut warning),
                Err(error) if is_connection_error(&error) => {}
                Err(_) if self.stopping.load(Ordering::Relaxed) => return,
                Err(error) => {
                    warning.print("cannot accept", &error);
                    self.closed.wait();
                }
            }
        }
    }

    /// Registers a connection and starts its thread; if no thread is available, waits until one is (F3).
    fn admit(self: &Arc<Self>, stream: TcpStream, warning: &mut Warning) {
        let descriptor = Descriptor(Arc::clone(&self.closed));
        let connection = Arc::new(Connection::new(stream, self.service.handshake.is_none(), descriptor));
        let key = {
            let mut registry = lock(&self.registry);
            registry.counters.accepts += 1;
            registry.connections.insert(Arc::clone(&connection))
        };
        while !self.stopping.load(Ordering::Relaxed) {
            let (server, connection) = (Arc::clone(self), Arc::clone(&connection));
            let started = spawn("connection", move || {
                let _place = Place { server: &server, connection: &connection, key };
                connection.serve(&server);
            });
            match started {
                Ok(_) => return,
                Err(error) => warning.print("cannot start a thread", &error),
            }
            self.closed.wait();
        }
        drop(Place { server: self, connection: &connection, key });
    }

    /// Waits until there is room for a connection; false if the server is stopping.
    fn wait_for_place(&self) -> bool {
        let full = |registry: &mut Registry| {
            registry.connections.len() >= self.places && !self.stopping.load(Ordering::Relaxed)
        };
        drop(self.ended.wait_while(lock(&self.registry), full).unwrap_or_else(PoisonError::into_inner));
        !self.stopping.load(Ordering::Relaxed)
    }

    fn broadcast_all(&self, mut schedule: Schedule) {
        let mut owed = Vec::new();
        while let Some(due_ns) = schedule.next_due_ns() {
            wait_until(due_ns, &mut owed);
            let _fan_out = lock(&self.fan_out);
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            self.broadcast(&mut schedule, &mut owed);
        }
    }

    /// Sends the due tick, if any, and adds the connections whose sockets are full to `owed`.
    fn broadcast(&self, schedule: &mut Schedule, owed: &mut Vec<Arc<Connection>>) {
        let emit_ns = clock::now_ns();
        let Some(tick) = schedule.take(emit_ns) else { return };
        let mut recipients: Vec<Arc<Connection>> =
            lock(&self.registry).connections.iter().map(|(_, connection)| Arc::clone(connection)).collect();
        // region: handshake
        recipients.retain(|connection| connection.is_open());
        // endregion
        let active = recipients.len() as u64;
        let line = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns }.line();

        let mut counters = Counters { ticks: 1, ticks_skipped: tick.skipped, ..Counters::default() };
        owed.clear();
        for (index, connection) in recipients.into_iter().enumerate() {
            if index > 0 && index.is_multiple_of(FAN_OUT_CHUNK) {
                // Otherwise the threads that it wakes on its own CPU, and their messages, wait for its time slice to end (B5).
                thread::yield_now();
            }
            connection.leave(StatusLine::clone(&line), &mut counters);
            // The connection's own thread sees the error as well, and ends the connection.
            if let Ok(Delivery::Owed) = connection.deliver(Patience::None) {
                owed.push(connection);
            }
        }
        lock(&self.registry).counters.merge(&counters);
    }

    /// Flushes and ends all connections, within a time limit (F4).
    fn drain(&self, signalled: Instant) -> Counters {
        /// For the ends of connections that are cut off.
        const LAST: Duration = SHUTDOWN_FLUSH.checked_div(10).expect("10 is not 0");
        let deadline = signalled + SHUTDOWN_FLUSH - LAST;
        drop(lock(&self.fan_out));
        let mut registry = lock(&self.registry);
        while !registry.connections.is_empty() && Instant::now() < deadline {
            // Shutting down the receiving side wakes a reader. It is done only if the peer has acknowledged everything,
            // because a socket that does not receive answers further input with a reset, and all that was read is echoed.
            for (_, connection) in &registry.connections {
                let is_over = is_settled(&connection.stream) && !connection.at_work.load(Ordering::Relaxed);
                // region: handshake
                let is_over = is_over || !connection.is_open();
                // endregion
                if is_over {
                    drop(connection.stream.shutdown(Shutdown::Read));
                }
            }
            registry = self.wait_for_end(registry, LINGER_PAUSE);
        }
        for (_, connection) in &registry.connections {
            // The connection may just have ended.
            drop(connection.stream.shutdown(Shutdown::Both));
        }
        let mut registry = self.wait_for_end(registry, LAST);
        let mut counters = std::mem::take(&mut registry.counters);
        // Threads that are still at work will not report any more.
        registry.connections.iter().for_each(|(_, connection)| counters.merge(&connection.counters_so_far()));
        counters
    }

    /// Waits until no connection is left, for a limited time.
    fn wait_for_end<'a>(&self, registry: MutexGuard<'a, Registry>, patience: Duration) -> MutexGuard<'a, Registry> {
        let some_left = |registry: &mut Registry| !registry.connections.is_empty();
        self.ended.wait_timeout_while(registry, patience, some_left).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A connection's registry entry, removed on drop, even if its thread panics.
struct Place<'a> {
    server: &'a Server,
    connection: &'a Connection,
    key: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let counters = self.connection.finish();
        let mut registry = lock(&self.server.registry);
        registry.connections.remove(self.key);
        registry.counters.merge(&counters);
        drop(registry);
        self.server.ended.notify_all();
    }
}

/// Waits for a time, sending pending output as soon as its sockets have room.
fn wait_until(due_ns: u64, owed: &mut Vec<Arc<Connection>>) {
    while let Some(left_ns) = due_ns.checked_sub(clock::now_ns()).filter(|left_ns| *left_ns > 0) {
        if owed.is_empty() {
            thread::sleep(Duration::from_nanos(left_ns));
            continue;
        }
        let mut sockets: Vec<PollFd<'_>> =
            owed.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::OUT)).collect();
        // After EINTR the clock is read again.
        let timeout = timespec(Duration::from_nanos(left_ns));
        let ready = poll(&mut sockets, Some(&timeout)).is_ok_and(|ready| ready > 0);
        if ready {
            let woken: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
            let mut woken = woken.into_iter();
            owed.retain(|connection| {
                !woken.next().unwrap_or(true)
                    || connection.deliver(Patience::None).is_ok_and(|done| done == Delivery::Owed)
            });
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run)
}

/// Locks even if another thread panicked while holding the lock: only that thread's connection is over (F2).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
