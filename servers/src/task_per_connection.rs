//! `tokio`, `tokio-current-thread` and `tokio-block-in-place`: one task per connection, on the multi-thread or the
//! current-thread runtime.
//!
//! The broadcaster itself writes a status to every socket, under the connection's lock, and wakes a connection's task
//! only if the socket is full. What a task does is in `connection_task.rs`.

use std::{
    collections::BTreeMap,
    io, net,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    Counters, Schedule, Service,
    limits::{ACCEPT_RETRY, FAN_OUT_CHUNK, SHUTDOWN_FLUSH},
    status::{Status, StatusLine},
    work::{Line, WORK_TURN},
};
use tokio::{
    net::TcpListener,
    runtime::{self, Handle, RuntimeFlavor},
    signal::unix::{SignalKind, signal},
    sync::{Notify, Semaphore, watch},
    task::{block_in_place, yield_now},
    time::{sleep, timeout},
};

use crate::{
    Config, clock,
    connection_task::{Connection, Place, serve_client},
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};

/// Serves `listener` on the number of worker threads in `config`.
pub(crate) fn run_multi_thread(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    run(runtime::Builder::new_multi_thread().worker_threads(config.workers.get()), listener, config, Duration::MAX)
}

/// The same, but before a long work a worker thread hands its other tasks to another thread.
pub(crate) fn run_block_in_place(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    run(runtime::Builder::new_multi_thread().worker_threads(config.workers.get()), listener, config, WORK_TURN)
}

/// Serves `listener` on this thread.
pub(crate) fn run_current_thread(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    run(&mut runtime::Builder::new_current_thread(), listener, config, Duration::MAX)
}

fn run(
    runtime: &mut runtime::Builder,
    listener: net::TcpListener,
    config: &Config,
    longest_in_task: Duration,
) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let runtime = runtime.enable_io().enable_time().build()?;
    let server = Arc::new(Server::new(config, runtime.handle(), longest_in_task));
    runtime.block_on(serve(Arc::clone(&server), listener, schedule))?;
    // Dropping tasks that did not finish in time counts the statuses they held.
    drop(runtime);
    Ok(std::mem::take(&mut lock(&server.registry).counters))
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
    // Cancelled or finished: in either case no further connection is accepted and no further status sent.
    drop((acceptor.await, broadcaster.await));
    server.next_due_ns.store(u64::MAX, Ordering::Relaxed);
    server.stopping.send_replace(true);
    for connection in server.connections(0, u64::MAX, usize::MAX) {
        lock(&connection.writer).stop();
    }
    drop(timeout(SHUTDOWN_FLUSH, server.places.acquire_many(server.max_connections)).await);
    Ok(())
}

/// How late the runtime's timer may be: it counts in milliseconds, rounded up. Tasks that wait for it before
/// that would only wait for the timer.
const TIMER_LATENESS_NS: u64 = 1_000_000;

/// What all tasks share.
pub(crate) struct Server {
    pub(crate) service: Service,
    worker: Worker,
    /// How often a task yields at the end of its turn.
    pub(crate) yields: u32,
    /// Longer work is done outside of the runtime.
    longest_in_task: Duration,
    /// When the next status is due: the broadcaster goes before further work.
    next_due_ns: AtomicU64,
    max_connections: u32,
    places: Arc<Semaphore>,
    /// Notified when a connection has ended and its descriptor is free.
    pub(crate) freed: Notify,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) registry: Mutex<Registry>,
}

#[derive(Default)]
/// The open connections, and the counters of those that ended.
pub(crate) struct Registry {
    /// The open connections in the order of their beginning. Each belongs to its task, which closes it.
    pub(crate) connections: BTreeMap<u64, Weak<Connection>>,
    pub(crate) next_id: u64,
    /// Number of statuses so far.
    pub(crate) emitted: u64,
    pub(crate) counters: Counters,
}

impl Server {
    fn new(config: &Config, runtime: &Handle, longest_in_task: Duration) -> Self {
        let places = config.max_connections.get().min(Semaphore::MAX_PERMITS);
        Self {
            service: config.service,
            worker: Worker::new(&config.service),
            // A worker of the multi-thread runtime runs the task that it has woken last before those that became ready
            // meanwhile; the second time those come first.
            yields: if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread { 1 } else { 2 },
            longest_in_task,
            next_due_ns: AtomicU64::new(u64::MAX),
            max_connections: u32::try_from(places).unwrap_or(u32::MAX),
            places: Arc::new(Semaphore::new(places)),
            freed: Notify::new(),
            stopping: watch::Sender::new(false),
            registry: Mutex::default(),
        }
    }

    /// At most `count` connections with numbers from `first` up to `end`.
    ///
    /// They are dropped without the registry's lock, which a connection takes when it ends.
    fn connections(&self, first: u64, end: u64, count: usize) -> Vec<Arc<Connection>> {
        let registry = lock(&self.registry);
        let present = registry.connections.range(first..end).filter_map(|(_, connection)| connection.upgrade());
        present.take(count).collect()
    }

    /// Whether a task should leave its work until the broadcaster had its turn.
    ///
    /// A runtime polls its ready tasks in turn, so a due fan-out would otherwise wait for the work of all of them (W2).
    pub(crate) fn has_due_status(&self) -> bool {
        self.worker.has_work()
            && clock::now_ns() >= self.next_due_ns.load(Ordering::Relaxed).saturating_add(TIMER_LATENESS_NS)
    }

    /// Works on the first line of `input`; returns what may be echoed, and its cost.
    pub(crate) fn work<'a>(&self, line: &mut Line, input: &'a [u8]) -> (&'a [u8], Duration) {
        let (piece, cost) = self.worker.split(line, input);
        if cost > self.longest_in_task {
            block_in_place(|| self.worker.spend(cost));
        } else {
            self.worker.spend(cost);
        }
        (piece, cost)
    }
}

async fn accept_all(server: Arc<Server>, listener: TcpListener) {
    let mut warning = Warning::default();
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&server.places).acquire_owned().await {
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
        lock(&server.registry).counters.accepts += 1;
        let place = Place { server: Arc::clone(&server), _permit: permit };
        tokio::spawn(serve_client(place, stream));
    }
}

async fn broadcast_all(server: Arc<Server>, mut schedule: Schedule) {
    while let Some(due_ns) = schedule.next_due_ns() {
        server.next_due_ns.store(due_ns, Ordering::Relaxed);
        // Not tokio's interval: MissedTickBehavior::Skip yields the oldest missed tick, but the protocol needs the newest.
        sleep(Duration::from_nanos(due_ns.saturating_sub(clock::now_ns()))).await;
        let emit_ns = clock::now_ns();
        let Some(tick) = schedule.take(emit_ns) else { continue };
        server.next_due_ns.store(u64::MAX, Ordering::Relaxed);
        let (line, end) = {
            let mut registry = lock(&server.registry);
            registry.counters.ticks += 1;
            registry.counters.ticks_skipped += tick.skipped;
            registry.emitted += 1;
            let active = registry.connections.len() as u64;
            (Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns }.line(), registry.next_id)
        };
        // Those counted are those with a lower number. A connection that ends before its turn accounts for the status itself.
        let mut next = 0;
        loop {
            let chunk = server.connections(next, end, FAN_OUT_CHUNK);
            let has_more = chunk.len() == FAN_OUT_CHUNK;
            for connection in chunk {
                next = connection.id + 1;
                lock(&connection.writer).send_status(StatusLine::clone(&line));
            }
            if !has_more {
                break;
            }
            yield_now().await;
        }
    }
}

/// Locks even if another task panicked while holding the lock: only that task's connection is over (F2).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
