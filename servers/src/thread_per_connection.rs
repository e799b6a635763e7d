//! `threads`: one blocking thread per connection plus a broadcaster.
//!
//! The reader itself echoes, under the connection's write lock, which is nearly always free: two system calls per
//! message and no hand-over to another thread. The broadcaster never waits for a connection: it puts the status into the
//! connection's slot and then tries the lock. If the reader holds the lock, the reader checks the slot after unlocking;
//! if the socket is full, the broadcaster sends when there is room. The registry is never locked while sending.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use protocol::{
    Counters, Outgoing, Schedule,
    limits::{ACCEPT_RETRY, LINGER_PAUSE, SHUTDOWN_FLUSH},
    status::{Status, StatusLine},
};
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    process::{Resource, getrlimit},
    time::Timespec,
};
use signal_hook::iterator::Signals;
use slab::Slab;
use socket2::SockRef;

use crate::{
    Config, clock,
    linger::is_settled,
    listen::{Warning, announce, is_connection_error, log},
    shutdown,
};

/// A reader's call stack is shallow; the rest of the usual 2 MiB would only be address space.
const STACK_BYTES: usize = 128 * 1024;

/// Size of a reader's buffer: smaller than the event loop's single one, since there is one per connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// Serves `listener` with one thread per connection; this thread waits for the signal to stop.
pub(crate) fn run(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let mut signals = Signals::new(shutdown::SIGNALS)?;
    shutdown::exit_on_second_signal()?;
    let server = Arc::new(Server { places: places(config.max_connections.get()), ..Server::default() });

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
    {
        // Under the lock, so that an acceptor about to wait for a connection to end does not miss the notification.
        let _registry = lock(&server.registry);
        server.stopping.store(true, Ordering::Relaxed);
        server.ended.notify_all();
    }
    // A waiting accept returns at once, and new clients are refused.
    SockRef::from(&listener).shutdown(Shutdown::Both)?;
    drop(acceptor.join());
    Ok(server.drain())
}

#[derive(Default)]
struct Server {
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

struct Connection {
    stream: TcpStream,
    writer: Mutex<Writer>,
    slot: Mutex<Slot>,
    // The last field, hence dropped after the stream is closed, whichever thread drops the connection.
    _descriptor: Descriptor,
}

/// Tells an acceptor that is short of descriptors when a stream was closed.
#[derive(Default)]
struct Closed {
    /// A stream was closed since the last check.
    lately: Mutex<bool>,
    changed: Condvar,
}

/// Reports on drop that a stream's descriptor is free again.
struct Descriptor(Arc<Closed>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        *lock(&self.0.lately) = true;
        self.0.changed.notify_one();
    }
}

#[derive(Default)]
struct Writer {
    outgoing: Outgoing,
    counters: Counters,
}

/// A status from the broadcaster to the connection; a newer one replaces an older one.
#[derive(Default)]
struct Slot {
    line: Option<StatusLine>,
    closed: bool,
}

/// The outcome of an attempt to send pending output.
#[derive(PartialEq)]
enum Delivery {
    Done,
    /// The socket is full, with output pending.
    Owed,
}

impl Server {
    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut warning = Warning::default();
        while self.wait_for_place() {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, &mut warning),
                Err(error) if is_connection_error(&error) => {}
                Err(_) if self.stopping.load(Ordering::Relaxed) => return,
                Err(error) => {
                    warning.print("cannot accept", &error);
                    self.wait_for_change();
                }
            }
        }
    }

    /// Registers a connection and starts its thread; if no thread is available, waits until one is (F3).
    fn admit(self: &Arc<Self>, stream: TcpStream, warning: &mut Warning) {
        let _descriptor = Descriptor(Arc::clone(&self.closed));
        let connection = Arc::new(Connection { stream, writer: Mutex::default(), slot: Mutex::default(), _descriptor });
        let key = {
            let mut registry = lock(&self.registry);
            registry.counters.accepts += 1;
            registry.connections.insert(Arc::clone(&connection))
        };
        while !self.stopping.load(Ordering::Relaxed) {
            let (server, connection) = (Arc::clone(self), Arc::clone(&connection));
            let started = spawn("connection", move || {
                let _place = Place { server: &server, connection: &connection, key };
                connection.echo_all(&server.stopping);
            });
            match started {
                Ok(_) => return,
                Err(error) => warning.print("cannot start a thread", &error),
            }
            self.wait_for_change();
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

    /// After a shortage, waits until a connection is closed or a pause is over.
    fn wait_for_change(&self) {
        let Closed { lately, changed } = &*self.closed;
        let waited = changed.wait_timeout_while(lock(lately), ACCEPT_RETRY, |lately| !*lately);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
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
        let recipients: Vec<Arc<Connection>> =
            lock(&self.registry).connections.iter().map(|(_, connection)| Arc::clone(connection)).collect();
        let active = recipients.len() as u64;
        let line = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns }.line();

        let mut counters = Counters { ticks: 1, ticks_skipped: tick.skipped, ..Counters::default() };
        owed.clear();
        for connection in recipients {
            connection.leave(StatusLine::clone(&line), &mut counters);
            // The connection's own thread sees the error as well, and ends the connection.
            if let Ok(Delivery::Owed) = connection.deliver(SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                owed.push(connection);
            }
        }
        lock(&self.registry).counters.merge(&counters);
    }

    /// Flushes and ends all connections, within a time limit (F4).
    fn drain(&self) -> Counters {
        let deadline = Instant::now() + SHUTDOWN_FLUSH;
        drop(lock(&self.fan_out));
        let mut registry = lock(&self.registry);
        while !registry.connections.is_empty() && Instant::now() < deadline {
            // Shutting down the receiving side wakes a reader. It is done only if the peer has acknowledged everything,
            // because a socket that does not receive answers further input with a reset.
            for (_, connection) in registry.connections.iter().filter(|(_, connection)| is_settled(&connection.stream))
            {
                drop(connection.stream.shutdown(Shutdown::Read));
            }
            registry = self.wait_for_end(registry, LINGER_PAUSE);
        }
        for (_, connection) in &registry.connections {
            // The connection may just have ended.
            drop(connection.stream.shutdown(Shutdown::Both));
        }
        std::mem::take(&mut self.wait_for_end(registry, SHUTDOWN_FLUSH / 10).counters)
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

impl Connection {
    /// Echoes until the end of input; once the server is stopping, input is discarded (F4).
    fn echo_all(&self, stopping: &AtomicBool) {
        // Not written beforehand, so pages that no message has needed are not resident.
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            buffer.clear();
            match recv(&self.stream, spare_capacity(&mut buffer), RecvFlags::empty()) {
                Ok((0, _)) => return,
                Ok(_) if stopping.load(Ordering::Relaxed) => self.hang_up(),
                Ok(_) if self.echo(&buffer).is_ok() => {}
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Writes `input` back. While the peer does not read this blocks, but only the connection's own thread.
    fn echo(&self, input: &[u8]) -> io::Result<()> {
        lock(&self.writer).send(&self.stream, input, SendFlags::NOSIGNAL)?;
        if lock(&self.slot).line.is_some() {
            self.deliver(SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Puts a status into the slot.
    fn leave(&self, line: StatusLine, counters: &mut Counters) {
        let mut slot = lock(&self.slot);
        if slot.closed {
            counters.statuses_dropped_at_eof += 1;
        } else if slot.line.replace(line).is_some() {
            counters.statuses_replaced += 1;
        }
    }

    /// Sends the status in the slot, unless another thread holds the lock.
    ///
    /// No status is left behind: a thread that fills the slot tries the lock afterwards, and a thread that holds the
    /// lock checks the slot after unlocking. Either the attempt succeeds, or the holder's check comes later and finds it.
    fn deliver(&self, flags: SendFlags) -> io::Result<Delivery> {
        loop {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(Delivery::Done),
            };
            let Writer { outgoing, counters } = &mut *writer;
            if let Some(line) = lock(&self.slot).line.take() {
                outgoing.offer(line, counters);
            }
            let delivery = writer.send(&self.stream, &[], flags)?;
            drop(writer);
            if lock(&self.slot).line.is_none() {
                return Ok(delivery);
            }
        }
    }

    /// Stops sending and returns the connection's counters.
    fn finish(&self) -> Counters {
        self.hang_up();
        std::mem::take(&mut lock(&self.writer).counters)
    }

    /// Finishes a partly sent status, drops others, and shuts down the sending side. A second call does nothing.
    fn hang_up(&self) {
        let mut writer = lock(&self.writer);
        let Writer { outgoing, counters } = &mut *writer;
        outgoing.end_of_input(counters);
        // An error no longer matters.
        drop(writer.send(&self.stream, &[], SendFlags::NOSIGNAL));
        let Writer { outgoing, counters } = &mut *writer;
        outgoing.abandon(counters);
        let mut slot = lock(&self.slot);
        slot.closed = true;
        counters.statuses_dropped_at_eof += u64::from(slot.line.take().is_some());
        // The broadcaster may keep the connection alive a little longer; the peer should not wait for it.
        drop(self.stream.shutdown(Shutdown::Write));
    }
}

impl Writer {
    /// Sends pending output and then `input`; without DONTWAIT, blocks until all is sent.
    fn send(&mut self, stream: &TcpStream, mut input: &[u8], flags: SendFlags) -> io::Result<Delivery> {
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(Delivery::Done);
            }
            match send(stream, next, flags) {
                Ok(count) => input = self.outgoing.sent(input, count, &mut self.counters),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Delivery::Owed),
                Err(error) => return Err(error.into()),
            }
        }
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
        // A wait shorter than a tick's interval fits into a timespec; after EINTR the clock is read again.
        let timeout = Timespec { tv_sec: (left_ns / 1_000_000_000) as _, tv_nsec: (left_ns % 1_000_000_000) as _ };
        let ready = poll(&mut sockets, Some(&timeout)).is_ok_and(|ready| ready > 0);
        if ready {
            let woken: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
            let mut woken = woken.into_iter();
            owed.retain(|connection| {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                !woken.next().unwrap_or(true) || connection.deliver(flags).is_ok_and(|done| done == Delivery::Owed)
            });
        }
    }
}

/// The limit of connections: beyond the host's own limits, starting a thread would abort the process (F3).
fn places(max_connections: usize) -> usize {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let descriptors = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
    let limits = [
        ("descriptors", descriptors.saturating_sub(64)),
        ("kernel.pid_max", read("kernel/pid_max").map_or(usize::MAX, |max| max / 2)),
        // A thread has four mappings: its stack and its signal stack, each with a guard page.
        ("vm.max_map_count", read("vm/max_map_count").map_or(usize::MAX, |max| (max / 4).saturating_sub(512))),
    ];
    let (name, limit) = limits.into_iter().min_by_key(|(_, limit)| *limit).unwrap_or(("", usize::MAX));
    // If not even one is possible, the first client's failure shows it.
    let places = limit.min(max_connections).max(1);
    if places < max_connections {
        let connections = if places == 1 { "connection" } else { "connections" };
        log(format_args!("serving at most {places} {connections} at a time instead of {max_connections}: {name}"));
    }
    places
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run)
}

/// Locks even if another thread panicked while holding the lock: only that thread's connection is over (F2).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
