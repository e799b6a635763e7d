//! `tokio-channel`: one task per connection on tokio's multi-thread runtime, and a channel between it and the
//! broadcaster, which shows what the channel costs.
//!
//! Statuses travel through `watch` channels, which keep only the latest. There are several, because a channel wakes all
//! its tasks at once, and new input would queue behind every one of them; the broadcaster yields between channels (B5).
//! A task reads into a buffer of its worker thread and writes from there at once, so that an idle task holds none;
//! `readable().await` and `try_read` would need a second recvfrom per message. The future that waits for the next status
//! is kept across echoes, since creating it takes the channel's locks.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, ErrorKind},
    net::{self, Shutdown},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use protocol::{
    Counters, Outgoing, Schedule, Tick,
    limits::{ACCEPT_RETRY, FAN_OUT_CHUNK, LINGER_PAUSE, READ_BUFFER_BYTES, SHUTDOWN_FLUSH, TURN_BYTES},
    status::{Status, StatusLine},
    work::{Line, WORK_TURN},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::yield_now,
    time::{sleep, timeout},
};

use crate::{
    Config, clock,
    linger::is_settled,
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};

/// Serves `listener` on the number of worker threads in `config`.
pub(crate) fn run(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let workers = config.workers.get();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(workers).enable_io().enable_time().build()?;
    let server = Arc::new(Server::new(config.max_connections.get(), Worker::new(&config.service)));
    runtime.block_on(serve(Arc::clone(&server), listener, schedule))?;
    // Dropping tasks that did not finish in time counts the statuses they held.
    drop(runtime);
    Ok(std::mem::take(&mut lock(&server.state).counters))
}

async fn serve(server: Arc<Server>, listener: net::TcpListener, schedule: Schedule) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    shutdown::exit_on_second_signal()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let addr = listener.local_addr()?;

    // Spawned, because a future in block_on runs on no worker and would hand over every connection through a queue.
    let acceptor = tokio::spawn(accept_all(Arc::clone(&server), listener));
    let broadcaster = tokio::spawn(broadcast_all(Arc::clone(&server), schedule));
    announce(addr)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    acceptor.abort();
    broadcaster.abort();
    // Cancelled or finished: in either case no further connection is accepted and no further tick sent.
    drop((acceptor.await, broadcaster.await));
    for channel in &server.channels {
        channel.send_modify(|latest| latest.stopping = true);
    }
    drop(timeout(SHUTDOWN_FLUSH, server.places.acquire_many(server.max_connections)).await);
    Ok(())
}

struct Server {
    worker: Worker,
    max_connections: u32,
    places: Arc<Semaphore>,
    /// Notified when a connection has ended and its descriptor is free.
    freed: Notify,
    /// Assigned to connections in turn.
    channels: Vec<watch::Sender<Latest>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    active: u64,
    accepted: usize,
    /// Number of statuses so far; a channel receives the newest a little later.
    emitted: u64,
    counters: Counters,
}

/// The message to every connection: the newest status, or that the server is stopping.
#[derive(Clone, Default)]
struct Latest {
    line: Option<StatusLine>,
    /// Number of statuses so far, including this one, from which a receiver computes how many it missed.
    emitted: u64,
    stopping: bool,
}

impl Server {
    fn new(max_connections: usize, worker: Worker) -> Self {
        let max_connections = u32::try_from(max_connections.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let channels = (max_connections as usize).div_ceil(FAN_OUT_CHUNK).min(CHANNELS_MAX);
        Self {
            worker,
            max_connections,
            places: Arc::new(Semaphore::new(max_connections as usize)),
            freed: Notify::new(),
            channels: (0..channels).map(|_| watch::Sender::default()).collect(),
            state: Mutex::default(),
        }
    }

    /// Counts a tick and its recipients.
    fn emit(&self, tick: &Tick, emit_ns: u64) -> Latest {
        let mut state = lock(&self.state);
        state.counters.ticks += 1;
        state.counters.ticks_skipped += tick.skipped;
        state.emitted += 1;
        let line = Status { active: state.active, tick: tick.number, due_ns: tick.due_ns, emit_ns }.line();
        Latest { line: Some(line), emitted: state.emitted, stopping: false }
    }
}

async fn accept_all(server: Arc<Server>, listener: TcpListener) {
    let mut warning = Warning::default();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&server.places).acquire_owned().await {
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    warning.print("cannot accept", &error);
                    drop(timeout(ACCEPT_RETRY, server.freed.notified()).await);
                }
            }
        };
        // Counted and subscribed in one step, before the task runs, so that a tick's count is that of its recipients.
        let place = Place { server: Arc::clone(&server), _permit: place };
        let (connection, statuses) = Connection::new(stream, place);
        tokio::spawn(connection.serve(statuses));
    }
}

async fn broadcast_all(server: Arc<Server>, mut schedule: Schedule) {
    while let Some(due_ns) = schedule.next_due_ns() {
        // Not tokio's interval: MissedTickBehavior::Skip yields the oldest missed tick, but the protocol needs the newest.
        sleep(Duration::from_nanos(due_ns.saturating_sub(clock::now_ns()))).await;
        let emit_ns = clock::now_ns();
        let Some(tick) = schedule.take(emit_ns) else { continue };
        let latest = server.emit(&tick, emit_ns);
        let mut woken = 0;
        for channel in server.channels.iter().filter(|channel| channel.receiver_count() > 0) {
            channel.send_modify(|held| held.clone_from(&latest));
            woken += channel.receiver_count();
            if woken >= FAN_OUT_CHUNK {
                woken = 0;
                yield_now().await;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    outgoing: Outgoing,
    counters: Counters,
    line: Line,
    /// Input that has been read and waits for the connection's next turn.
    rest: Vec<u8>,
    /// Bytes read in this turn.
    turn_bytes: usize,
    /// Work done in this turn.
    turn_work: Duration,
    /// Number of emitted statuses for which this connection is no longer accountable.
    emitted_seen: u64,
    // The last field, hence dropped after the stream is closed.
    place: Place,
}

/// A connection's share of the limits, released on drop.
struct Place {
    server: Arc<Server>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.freed.notify_one();
    }
}

impl Connection {
    fn new(stream: TcpStream, place: Place) -> (Self, watch::Receiver<Latest>) {
        let server = &place.server;
        let mut state = lock(&server.state);
        state.active += 1;
        state.accepted += 1;
        // The newest status does not count this connection, but its channel may not have received it yet.
        let emitted_seen = state.emitted;
        let statuses = server.channels[state.accepted % server.channels.len()].subscribe();
        drop(state);
        let connection = Self {
            stream,
            outgoing: Outgoing::default(),
            counters: Counters { accepts: 1, ..Counters::default() },
            line: Line::default(),
            rest: Vec::new(),
            turn_bytes: 0,
            turn_work: Duration::ZERO,
            emitted_seen,
            place,
        };
        (connection, statuses)
    }

    /// Echoes until the peer's end of input, an error or shutdown; an error affects no other connection (F2).
    async fn serve(mut self, statuses: watch::Receiver<Latest>) {
        let mut next_status = pin!(next(statuses));
        let (mut ended, mut stopping) = (false, false);
        while !(ended && self.rest.is_empty() && self.outgoing.is_flushed()) {
            // Neither branch loses data when the other completes first: each does its work within one poll.
            tokio::select! {
                echoed = self.echo() => match echoed {
                    Ok(Some(0)) => ended = true,
                    Ok(count) => self.turn_bytes += count.unwrap_or(0),
                    Err(_) => return,
                },
                (latest, statuses) = &mut next_status, if !ended => {
                    next_status.set(next(statuses));
                    (ended, stopping) = (latest.stopping, latest.stopping);
                    if self.take_status(latest).is_err() {
                        return;
                    }
                }
            }
            if ended {
                self.outgoing.end_of_input(&mut self.counters);
            }
            if self.turn_bytes >= TURN_BYTES || self.turn_work >= WORK_TURN {
                (self.turn_bytes, self.turn_work) = (0, Duration::ZERO);
                yield_now().await;
            }
        }
        if stopping {
            // An error merely ends the wait.
            drop(self.linger().await);
        }
    }

    /// Shuts down the sending side and discards input until the peer's FIN (F4).
    async fn linger(&mut self) -> io::Result<()> {
        if is_settled(&self.stream) {
            return Ok(());
        }
        SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
        loop {
            match timeout(LINGER_PAUSE, poll_fn(|context| self.poll_drop(context))).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(dropped) => _ = dropped?,
                // The peer is silent; it may have acknowledged everything.
                Err(_) if is_settled(&self.stream) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    /// Reads and discards input; returns the number of bytes, 0 at the end of input.
    fn poll_drop(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Writes pending output or, if there is none, reads and echoes.
    ///
    /// Returns the number of bytes read, 0 at the end of input; `None` if it only wrote.
    async fn echo(&mut self) -> io::Result<Option<usize>> {
        let polled = |context: &mut Context<'_>| {
            let echoed = self.poll_echo(context);
            if echoed.is_pending() {
                // A task that waits has ended its turn.
                (self.turn_bytes, self.turn_work) = (0, Duration::ZERO);
            }
            echoed
        };
        poll_fn(polled).await
    }

    fn poll_echo(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        if !self.outgoing.is_flushed() {
            ready!(self.stream.poll_write_ready(context))?;
            return Poll::Ready(self.write(&[]).map(|()| None));
        }
        if !self.rest.is_empty() {
            let input = std::mem::take(&mut self.rest);
            return Poll::Ready(self.work_and_write(&input).map(|()| None));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let input = buffer.filled();
            Poll::Ready(self.work_and_write(input).map(|()| Some(input.len())))
        })
    }

    /// Works on messages and echoes each, until the input or the turn is over.
    fn work_and_write(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() && self.turn_work < WORK_TURN {
            let (piece, cost) = self.place.server.worker.first_line(&mut self.line, input);
            self.turn_work += cost;
            self.write(piece)?;
            input = &input[piece.len()..];
        }
        self.rest = input.to_vec();
        Ok(())
    }

    /// Writes as much of the pending output and `input` as the socket accepts, and keeps the rest.
    fn write(&mut self, mut input: &[u8]) -> io::Result<()> {
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(());
            }
            match self.stream.try_write(next) {
                Ok(count) => input = self.outgoing.sent(input, count, &mut self.counters),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing.keep(input, &mut self.counters);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take_status(&mut self, latest: Latest) -> io::Result<()> {
        let missed = latest.emitted.saturating_sub(self.emitted_seen);
        self.emitted_seen = latest.emitted.max(self.emitted_seen);
        match latest.line {
            Some(line) if missed > 0 => {
                self.counters.statuses_replaced += missed - 1;
                let blocked = !self.outgoing.is_flushed();
                self.outgoing.offer(line, &mut self.counters);
                if blocked { Ok(()) } else { self.write(&[]) }
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outgoing.abandon(&mut self.counters);
        let mut state = lock(&self.place.server.state);
        // Statuses that counted this connection but never reached it: the last one would still be held.
        let missed = state.emitted - self.emitted_seen;
        self.counters.statuses_replaced += missed.saturating_sub(1);
        self.counters.statuses_dropped_at_eof += missed.min(1);
        state.active -= 1;
        state.counters.merge(&self.counters);
    }
}

/// Waits for the next change and returns the receiver, so that the future can be kept and armed again.
async fn next(mut statuses: watch::Receiver<Latest>) -> (Latest, watch::Receiver<Latest>) {
    // The server owns the sender, which therefore outlives every connection.
    drop(statuses.changed().await);
    let latest = statuses.borrow_and_update().clone();
    (latest, statuses)
}

// The runtime runs 61 tasks before it polls for I/O and resumes the broadcaster
// (tokio::runtime::Builder::event_interval). A channel with more tasks would make the run queue grow despite the yields.
const _: () = assert!(FAN_OUT_CHUNK < 61);

/// Beyond some 30,000 connections, each channel has more than a chunk of them.
const CHANNELS_MAX: usize = 1024;

thread_local! {
    /// Read buffer shared by the tasks of a worker, one at a time.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
