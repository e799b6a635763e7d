//! `tokio-per-core`: one current-thread runtime per worker thread, one task per connection.
//!
//! A connection stays on the thread that it was dealt to, as with actix and pingora, so what the tasks of a thread share
//! needs neither locks nor atomics: a runtime's own broadcaster writes a status to every socket, and wakes a connection's
//! task only if the socket is full. The first runtime accepts and deals; the runtimes agree through the
//! [census](super::census). `LocalRuntime` runs tasks that are not `Send` without the second run queue of a `LocalSet`.

use std::{
    cell::{Cell, RefCell},
    io, net,
    num::NonZeroUsize,
    panic::resume_unwind,
    rc::Rc,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use protocol::{
    Counters, Schedule,
    limits::{ACCEPT_RETRY, FAN_OUT_CHUNK, READ_BUFFER_BYTES, SHUTDOWN_FLUSH},
};
use rustix::net::{SocketFlags, accept_with};
use slab::Slab;
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, LocalOptions, LocalRuntime},
    signal::unix::{SignalKind, signal},
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::{spawn_local, yield_now},
    time::{sleep, timeout},
};

use crate::{
    Config,
    census::{Census, Newest, Place},
    clock,
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};

mod connection;

use connection::{Connection, Member};

/// How late the runtime's timer may be: it counts in milliseconds, rounded up. Tasks that wait for it before
/// that would only wait for the timer.
const TIMER_LATENESS_NS: u64 = 1_000_000;

/// An accepted connection on its way to its runtime.
type Dealt = (net::TcpStream, Place);

/// Serves `listener` on the number of runtimes in `config`, the first of them on this thread.
pub(crate) fn run(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let (freed, failed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wake = Arc::clone(&freed);
    let census = Census::new(config.workers.get(), schedule, move || wake.notify_one());
    let worker = Worker::new(&config.service);

    let (ready, are_ready) = std_mpsc::channel();
    let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
    for _ in 1..config.workers.get() {
        let (mailbox, inbox) = unbounded_channel();
        let (census, ending, ready) = (Arc::clone(&census), Ending(Arc::clone(&failed)), ready.clone());
        mailboxes.push(mailbox);
        // A local runtime cannot be built on another thread.
        threads.push(thread::Builder::new().name("runtime".to_owned()).spawn(move || {
            let _ending = ending;
            let runtime = build()?;
            if ready.send(()).is_err() {
                return Ok(Counters::default());
            }
            drop(ready);
            let core = Rc::new(Core::new(census, worker));
            core.serve(runtime, async {
                core.adopt_all(inbox).await;
                Ok(())
            })
        })?);
    }
    drop(ready);
    let mut counters = Counters::default();
    // Until every thread is ready or has ended. Without its mailbox, a thread stops.
    if are_ready.iter().count() == threads.len() {
        let core = Rc::new(Core::new(Arc::clone(&census), worker));
        let runtime = build()?;
        counters = core.serve(runtime, core.lead(listener, config.max_connections, mailboxes, &freed, &failed))?;
    } else {
        drop(mailboxes);
    }
    for thread in threads {
        counters.merge(&thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
    }
    counters.merge(&census.counters());
    Ok(counters)
}

fn build() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())
}

/// Stops the server when a thread ends, for whatever reason: its share of the clients would not be served.
struct Ending(Arc<Notify>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What the tasks of a thread share. No borrow of it is held across an await.
struct Core {
    census: Arc<Census>,
    worker: Worker,
    /// When the next status is due: the broadcaster goes before further work.
    next_due_ns: Cell<u64>,
    connections: RefCell<Slab<Rc<RefCell<Connection>>>>,
    newest: RefCell<Option<Newest>>,
    counters: RefCell<Counters>,
    /// Read buffer shared by the tasks, so that an idle one holds none.
    buffer: RefCell<Box<[u8]>>,
    warning: RefCell<Warning>,
    stopping: Cell<bool>,
    /// Notified when a connection has ended while the server is stopping.
    ended: Notify,
}

impl Core {
    fn new(census: Arc<Census>, worker: Worker) -> Self {
        Self {
            census,
            worker,
            next_due_ns: Cell::new(u64::MAX),
            connections: RefCell::default(),
            newest: RefCell::default(),
            counters: RefCell::default(),
            buffer: RefCell::new(vec![0; READ_BUFFER_BYTES].into()),
            warning: RefCell::default(),
            stopping: Cell::new(false),
            ended: Notify::new(),
        }
    }

    /// Serves connections until `stop` is over, and ends those that are left.
    fn serve(
        self: &Rc<Self>,
        runtime: LocalRuntime,
        stop: impl Future<Output = io::Result<()>>,
    ) -> io::Result<Counters> {
        runtime.block_on(async {
            let broadcaster = spawn_local(Rc::clone(self).broadcast_all());
            stop.await?;
            broadcaster.abort();
            self.drain().await;
            io::Result::Ok(())
        })?;
        // Dropping tasks that did not finish in time counts the statuses they held.
        drop(runtime);
        Ok(self.counters.take())
    }

    /// Accepts until a signal arrives or a thread fails. Dropping the mailboxes stops the other threads.
    async fn lead(
        self: &Rc<Self>,
        listener: net::TcpListener,
        max_connections: NonZeroUsize,
        mailboxes: Vec<UnboundedSender<Dealt>>,
        freed: &Notify,
        failed: &Notify,
    ) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        shutdown::exit_on_second_signal()?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        // SAFETY: a listener of the standard library keeps its descriptor, and keeps it open, until it is dropped.
        let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
        announce(addr)?;
        tokio::select! {
            () = self.accept_all(listener, max_connections.get(), mailboxes, freed) => {}
            () = failed.notified() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    async fn accept_all(
        self: &Rc<Self>,
        listener: AsyncFd<net::TcpListener>,
        max_connections: usize,
        mailboxes: Vec<UnboundedSender<Dealt>>,
        freed: &Notify,
    ) {
        // Connections that have ended since the last count are not noticed before the limit.
        let mut open = 0;
        loop {
            while open >= max_connections {
                open = self.census.open_or_await(max_connections);
                if open >= max_connections {
                    freed.notified().await;
                }
            }
            // Not tokio's listener, which would register the stream with this runtime.
            let accepted = listener.async_io(Interest::READABLE, |listener| {
                Ok(accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
            });
            match accepted.await {
                Ok(stream) => {
                    let place;
                    (place, open) = self.census.admit();
                    match place.worker().checked_sub(1) {
                        None => self.adopt(stream.into(), place),
                        // A thread that has ended drops the connection, and with it its place.
                        Some(other) => drop(mailboxes[other].send((stream.into(), place))),
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    self.warning.borrow_mut().print("cannot accept", &error);
                    // Whichever connection ends frees a descriptor.
                    self.census.open_or_await(0);
                    drop(timeout(ACCEPT_RETRY, freed.notified()).await);
                }
            }
        }
    }

    /// Adopts connections until the first runtime stops accepting.
    async fn adopt_all(self: &Rc<Self>, mut inbox: UnboundedReceiver<Dealt>) {
        while let Some((stream, place)) = inbox.recv().await {
            self.adopt(stream, place);
        }
    }

    fn adopt(self: &Rc<Self>, stream: net::TcpStream, place: Place) {
        let connection = match Connection::new(stream, place) {
            Ok(connection) => Rc::new(RefCell::new(connection)),
            Err(error) => return self.warning.borrow_mut().print("cannot register a connection", &error),
        };
        // If it was counted before a fan-out and arrives behind it.
        self.send_status(&mut connection.borrow_mut());
        let key = self.connections.borrow_mut().insert(Rc::clone(&connection));
        spawn_local(Member { connection, key, core: Rc::clone(self) }.serve());
    }

    async fn broadcast_all(self: Rc<Self>) {
        let mut next_ns = self.census.next_due_ns();
        while let Some(due_ns) = next_ns {
            self.next_due_ns.set(due_ns);
            sleep(Duration::from_nanos(due_ns.saturating_sub(clock::now_ns()))).await;
            self.next_due_ns.set(u64::MAX);
            let is_new;
            (is_new, next_ns) = self.census.tick(&mut self.newest.borrow_mut());
            if is_new {
                self.fan_out().await;
            }
        }
    }

    /// The runtime polls its ready tasks in turn, so a due fan-out would otherwise wait for the work of all of them (W2).
    fn has_due_status(&self) -> bool {
        self.worker.has_work() && clock::now_ns() >= self.next_due_ns.get().saturating_add(TIMER_LATENESS_NS)
    }

    /// Sends the newest status in chunks, so that I/O is served in between (B5).
    async fn fan_out(&self) {
        let (mut key, mut left) = (0, FAN_OUT_CHUNK);
        // Keys lie below the capacity, and a vacant slot costs next to nothing.
        while key < self.connections.borrow().capacity() {
            if left == 0 {
                left = FAN_OUT_CHUNK;
                yield_now().await;
            }
            let connection = self.connections.borrow().get(key).cloned();
            left -= usize::from(connection.is_some_and(|connection| self.send_status(&mut connection.borrow_mut())));
            key += 1;
        }
    }

    /// Sends the newest status to a connection that it counts, unless that was done; returns whether it was to be sent.
    fn send_status(&self, connection: &mut Connection) -> bool {
        let (newest, mut counters) = (self.newest.borrow(), self.counters.borrow_mut());
        let line = newest.as_ref().and_then(|newest| connection.place.claim(newest, &mut counters));
        line.map(|line| connection.send_status(line, &mut counters)).is_some()
    }

    /// Stops echoing; queued output is still flushed (F4). A place accounts for a status that has not been claimed.
    async fn drain(&self) {
        self.stopping.set(true);
        self.next_due_ns.set(u64::MAX);
        for (_, connection) in self.connections.borrow().iter() {
            connection.borrow_mut().stop(&mut self.counters.borrow_mut());
        }
        let all_ended = async {
            while !self.connections.borrow().is_empty() {
                self.ended.notified().await;
            }
        };
        drop(timeout(SHUTDOWN_FLUSH, all_ended).await);
    }
}
