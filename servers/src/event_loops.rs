//! `mio-multi`: one edge-triggered event loop per worker thread.
//!
//! Each loop is that of the `mio` server ([event_loop.rs](super::event_loop)) and owns its connections, so that no echo
//! takes a lock. The first loop accepts, and deals connections to all: with a listener per loop (SO_REUSEPORT) the kernel
//! would deal them by a hash, unevenly, into backlogs and limits of their own. What the loops have to agree on is in the
//! [census](super::census). Each has a timer, set to the same tick.

mod acceptor;
mod connection;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net,
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};
use protocol::{
    Counters, Schedule,
    limits::{FAN_OUT_CHUNK, READ_BUFFER_BYTES, TURN_BYTES},
    work::WORK_TURN,
};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use crate::{
    Config,
    census::{Census, Newest, Place},
    clock,
    event_loop::timer::Timer,
    linger::{Stage, Stop, is_settled},
    listen::{Warning, announce},
    shutdown,
    work::Worker,
};
use acceptor::{Acceptor, Ending, LISTENER, MAIL, Mail, Mailbox};
use connection::{Connection, KEY_MASK, Turn, Used, token};

const SIGNALS: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Connections accepted before I/O is served again.
const ACCEPT_CHUNK: usize = 64;

/// Work on messages before the poll is asked again for further connections, mail and signals.
const PASS_WORK: Duration = WORK_TURN.saturating_mul(10);

/// Minimum cost of an event, as the number of bytes that could be echoed in the same time. The clock is read once per
/// turn's worth of work.
const EVENT_BYTES: u64 = TURN_BYTES as u64 / 64;

/// Serves `listener` on the number of loops in `config`, the first of them on this thread.
pub(crate) fn run(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    let (schedule, addr) = (Schedule::new(clock::now_ns(), config.status_interval), listener.local_addr()?);
    let mut signals = Signals::new(shutdown::SIGNALS)?;
    shutdown::exit_on_second_signal()?;
    let mut polls = (0..config.workers.get()).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let (mailboxes, inboxes) = polls.iter().map(Mailbox::new).collect::<io::Result<(Vec<_>, Vec<_>)>>()?;
    let first = mailboxes[0].clone();
    let census = Census::new(polls.len(), schedule, move || first.wake());
    polls[0].registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let acceptor = Acceptor::new(listener, config, mailboxes.clone(), polls[0].registry())?;

    let worker = Worker::new(&config.service);
    let loops = polls.drain(..).zip(inboxes).map(|(poll, inbox)| EventLoop::new(poll, inbox, &census, worker));
    let mut loops = loops.collect::<io::Result<Vec<_>>>()?.into_iter();
    let first = loops.next().map(|first| EventLoop { acceptor: Some(acceptor), ..first });
    let threads: Vec<_> = loops
        .map(|own| {
            let ending = Ending(mailboxes[0].clone());
            thread::Builder::new().name("event loop".to_owned()).spawn(move || {
                let _ending = ending;
                own.run()
            })
        })
        .collect::<io::Result<_>>()?;
    announce(addr)?;
    let mut counters = first.map_or(Ok(Counters::default()), EventLoop::run)?;
    for thread in threads {
        counters.merge(&thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
    }
    counters.merge(&census.counters());
    Ok(counters)
}

struct EventLoop {
    poll: Poll,
    timer: Timer,
    inbox: mpsc::Receiver<Mail>,
    /// `None` on all loops but the first, and once the server stops.
    acceptor: Option<Acceptor>,
    census: Arc<Census>,
    connections: Slab<Connection>,
    /// Connections adopted so far, and the serial number of the next one.
    adopted: u64,
    /// When the next tick is due.
    due_ns: Option<u64>,
    newest: Option<Newest>,
    /// The slab key at which the fan-out of the newest status continues, if one is under way.
    fan_out: Option<usize>,
    /// Run queue: connections that used up their turn and may have more to read, each at most once.
    turns: VecDeque<Token>,
    /// Work on messages in this pass.
    worked: Duration,
    /// What was done since the clock was read, in bytes.
    since_look: u64,
    /// Read buffer shared by the loop's connections, so that an idle one holds none.
    buffer: Box<[u8]>,
    worker: Worker,
    warning: Warning,
    counters: Counters,
    /// If set, nothing more is accepted or echoed.
    stop: Option<Stop>,
}

impl EventLoop {
    fn new(poll: Poll, inbox: mpsc::Receiver<Mail>, census: &Arc<Census>, worker: Worker) -> io::Result<Self> {
        Ok(Self {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            inbox,
            acceptor: None,
            census: Arc::clone(census),
            connections: Slab::new(),
            adopted: 0,
            due_ns: census.next_due_ns(),
            newest: None,
            fan_out: None,
            turns: VecDeque::new(),
            worked: Duration::ZERO,
            since_look: 0,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            worker,
            warning: Warning::default(),
            counters: Counters::default(),
            stop: None,
        })
    }

    fn run(mut self) -> io::Result<Counters> {
        let mut events = Events::with_capacity(1024);
        while self.is_serving() {
            let timeout = self.timeout(clock::now_ns());
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            // Before the events, which skip connections that are queued again: one turn per connection and pass.
            self.take_turns();
            for event in &events {
                match event.token() {
                    LISTENER => self.acceptor.iter_mut().for_each(|acceptor| acceptor.backlog.has_clients = true),
                    SIGNALS => self.stop_all(),
                    MAIL => self.read_mail(),
                    // The clock is read below.
                    TIMER => {}
                    token => self.on_ready(token, event),
                }
            }
            let now_ns = clock::now_ns();
            self.tick(now_ns);
            self.accept(now_ns);
        }
        Ok(self.finish())
    }

    fn is_serving(&self) -> bool {
        self.stop.is_none_or(|stop| !self.connections.is_empty() && clock::now_ns() < stop.by_ns)
    }

    /// How long the poll may wait: not at all if work is left, otherwise until the timer rings for the next event of the
    /// clock.
    fn timeout(&mut self, now_ns: u64) -> Option<Duration> {
        let accepts = self.acceptor.as_ref().is_some_and(Acceptor::is_ready);
        if accepts || self.fan_out.is_some() || !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        let tick_ns = self.due_ns.filter(|_| self.stop.is_none());
        let retry_ns = self.acceptor.as_ref().and_then(|acceptor| acceptor.backlog.retry_ns);
        let look_ns = self.stop.map(|stop| stop.look_ns);
        let next_ns = [tick_ns, retry_ns, look_ns].into_iter().flatten().min()?;
        if next_ns <= now_ns {
            return Some(Duration::ZERO);
        }
        self.timer.set(next_ns, now_ns).map(|next_ns| Duration::from_nanos(next_ns - now_ns))
    }

    fn read_mail(&mut self) {
        while let Ok(mail) = self.inbox.try_recv() {
            match mail {
                Mail::Connection(stream, place) => self.adopt(stream, place),
                Mail::Stop => self.stop_all(),
            }
        }
        // The acceptor is woken when a connection that it waits for has ended.
        self.acceptor.iter_mut().for_each(|acceptor| acceptor.backlog.freed());
    }

    /// Accepts clients from the backlog, as long as there is room, and deals them to the loops.
    fn accept(&mut self, now_ns: u64) {
        for _ in 0..ACCEPT_CHUNK {
            let Some(acceptor) = &mut self.acceptor else { return };
            let Some((stream, place)) = acceptor.next(&self.census, now_ns) else { return };
            match place.worker() {
                0 => self.adopt(stream, place),
                other => acceptor.mailboxes[other].send(Mail::Connection(stream, place)),
            }
        }
    }

    fn adopt(&mut self, mut stream: TcpStream, place: Place) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let own = token(key, self.adopted);
        if let Err(error) = self.poll.registry().register(&mut stream, own, Interest::READABLE) {
            return self.warning.print("cannot register a connection", &error);
        }
        entry.insert(Connection::new(stream, place, self.adopted));
        self.adopted += 1;
        // If it was counted before a fan-out and arrives behind it.
        self.send_status(key);
    }

    fn on_ready(&mut self, token: Token, event: &Event) {
        let Some(key) = self.key(token) else { return };
        let connection = &mut self.connections[key];
        connection.closing |= event.is_read_closed() || event.is_error();
        // While the socket is full, input waits until there is room.
        if connection.queued || connection.blocked && !event.is_writable() && !event.is_error() {
            return;
        }
        if self.worked < PASS_WORK {
            self.drive(key);
        } else {
            self.queue(key);
        }
    }

    /// Gives one turn to each connection in the run queue, as far as the pass has time.
    fn take_turns(&mut self) {
        self.worked = Duration::ZERO;
        for _ in 0..self.turns.len() {
            if self.worked >= PASS_WORK {
                return;
            }
            let Some(key) = self.turns.pop_front().and_then(|token| self.key(token)) else { continue };
            self.connections[key].queued = false;
            self.drive(key);
        }
    }

    /// Gives a connection a turn, and looks at the clock if enough was done since the last look.
    fn drive(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let mut used = Used::default();
        let turn = connection.drive(&mut self.buffer, &self.worker, &mut used, &mut self.counters);
        let turn = turn.and_then(|turn| connection.watch(key, self.poll.registry()).map(|()| turn));
        match turn {
            Ok(Turn::Drained) => {}
            Ok(Turn::Unfinished) => self.queue(key),
            // An error concerns this connection alone (F2).
            Ok(Turn::Closed) | Err(_) => self.close(key),
        }
        self.worked += used.work;
        self.since_look += EVENT_BYTES + used.as_bytes();
        if self.since_look >= TURN_BYTES as u64 {
            self.tick(clock::now_ns());
        }
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
        connection.outgoing.abandon(&mut self.counters);
        connection.place.leave();
    }

    /// The connection of a token; `None` if it is gone, even if a successor has taken its slot.
    fn key(&self, wanted: Token) -> Option<usize> {
        let key = wanted.0 & KEY_MASK;
        let connection = self.connections.get(key)?;
        (token(key, connection.serial) == wanted).then_some(key)
    }

    /// Begins the fan-out of a due tick or continues the current one, by one chunk, so that I/O is served in between (B5).
    fn tick(&mut self, now_ns: u64) {
        self.since_look = 0;
        if self.stop.is_some() {
            return self.close_settled(now_ns);
        }
        if self.fan_out.is_none() && self.due_ns.is_some_and(|due_ns| due_ns <= now_ns) {
            let (is_new, due_ns) = self.census.tick(&mut self.newest);
            self.due_ns = due_ns;
            self.fan_out = is_new.then_some(0);
        }
        let Some(mut cursor) = self.fan_out.take() else { return };
        let mut left = FAN_OUT_CHUNK;
        // Keys lie below the capacity, and a vacant slot costs next to nothing.
        while cursor < self.connections.capacity() {
            if left == 0 {
                self.fan_out = Some(cursor);
                return;
            }
            left -= usize::from(self.send_status(cursor));
            cursor += 1;
        }
    }

    /// Sends the newest status to a connection that it counts, unless that was done; returns whether it was to be sent.
    fn send_status(&mut self, key: usize) -> bool {
        let (Some(newest), Some(connection)) = (&self.newest, self.connections.get_mut(key)) else { return false };
        let Some(line) = connection.place.claim(newest, &mut self.counters) else { return false };
        connection.outgoing.offer(line, &mut self.counters);
        if !connection.blocked {
            let sent = connection.write(&[], &mut self.counters);
            if sent.and_then(|()| connection.watch(key, self.poll.registry())).is_err() {
                self.close(key);
            }
        }
        true
    }

    /// Stops the server if this is the first loop, or else this loop.
    fn stop_all(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            // Behind the connections that were sent to them.
            acceptor.mailboxes.iter().skip(1).for_each(|mailbox| mailbox.send(Mail::Stop));
        }
        if self.stop.is_none() {
            self.stop(clock::now_ns());
        }
    }

    /// Stops echoing; queued output is still flushed (F4). A place accounts for a status that has not been claimed.
    fn stop(&mut self, now_ns: u64) {
        self.stop = Some(Stop::new(now_ns));
        self.fan_out = None;
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.stage = Stage::Leaving;
            connection.outgoing.end_of_input(&mut self.counters);
            self.drive(key);
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
