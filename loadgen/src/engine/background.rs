//! Clients that behave badly beside the measured ones: slow readers, and connections that come and go.
//!
//! They live in the same loop, so that nothing runs beside it, and have counts and histograms of their own: nothing of
//! theirs is in the figures of the measured clients.

mod flood;
mod tally;

use std::io::{self, ErrorKind, Read};

pub(super) use flood::Flood;
use mio::{Registry, event::Event};
use servers::clock;
use slab::Slab;
pub use tally::CohortTally;

use super::{
    Options,
    connection::Connection,
    message::MessageWriter,
    sizes::SizeCycle,
    tokens::{ConnectionId, EventSource, GENERATIONS},
};
use crate::plan::{CHURN_UNANSWERED, Cohorts, Kind};

/// How often a slow reader reads, and how much.
const SLOW_PAUSE_NS: u64 = 100_000_000;
const SLOW_READ_BYTES: usize = 1024;

/// What a slow reader sends each time, as long as the server takes it, and how often: all buffers on the way are full
/// within half a second, and no single write keeps the generator from its other work.
const SLOW_SEND_BYTES: usize = 64 * 1024;
const SLOW_SEND_PAUSE_NS: u64 = 5_000_000;

/// Bytes read with one call, and calls for one connection before others have their turn.
const READ_BYTES: usize = 64 * 1024;
const TURN_READS: usize = 4;

/// The bad clients of one thread.
#[derive(Debug)]
pub(super) struct Background {
    options: Options,
    registry: Registry,
    wanted: Cohorts,
    members: Slab<Member>,
    /// Members begun so far: the number of the next one.
    begun: u32,
    /// When the churn opens its next connection; `None` while they are not active.
    churn_next_ns: Option<u64>,
    /// When something has to be done although no socket is ready.
    next_due_ns: Option<u64>,
    /// Members that were not read to the end when it was their turn.
    unread: Vec<usize>,
    tallies: [CohortTally; 3],
    writer: MessageWriter,
    sizes: SizeCycle,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    connection: Connection,
    serial: u32,
    started_ns: u64,
    stage: Stage,
    /// When a slow reader acts next.
    next_ns: u64,
    /// When a slow reader reads next.
    next_read_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Probing,
    Open,
}

impl Background {
    pub(super) fn new(options: &Options, registry: Registry, wanted: Cohorts) -> Self {
        Self {
            options: options.clone(),
            registry,
            wanted,
            members: Slab::new(),
            begun: 0,
            churn_next_ns: None,
            next_due_ns: None,
            unread: Vec::new(),
            tallies: Default::default(),
            writer: MessageWriter::new(&options.payloads),
            sizes: SizeCycle::new(&options.payloads),
            buffer: vec![0; READ_BYTES].into(),
        }
    }

    /// Begins to behave badly.
    pub(super) fn start(&mut self, now_ns: u64) {
        for _ in 0..self.wanted.slow_readers {
            self.open(Kind::SlowReader, now_ns);
        }
        self.churn_next_ns = (self.wanted.churn_per_sec > 0.0).then_some(now_ns);
        self.next_due_ns = self.find_next_due_ns();
    }

    /// Closes everything.
    pub(super) fn stop(&mut self) {
        self.churn_next_ns = None;
        self.next_due_ns = None;
        self.unread.clear();
        self.members.clear();
    }

    /// What happened since this was last asked, in the order of [`Kind::ALL`].
    pub(super) fn take(&mut self) -> [CohortTally; 3] {
        std::mem::take(&mut self.tallies)
    }

    /// When something has to be done although no socket is ready.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.next_due_ns
    }

    fn find_next_due_ns(&self) -> Option<u64> {
        let timed = self.members.iter().filter(|(_, member)| member.kind != Kind::Churn);
        let unread = (!self.unread.is_empty()).then_some(0);
        timed.map(|(_, member)| member.next_ns).chain(self.churn_next_ns).chain(unread).min()
    }

    /// Does what is due; says whether there was anything.
    pub(super) fn act(&mut self, now_ns: u64) -> bool {
        if self.next_due_ns.is_none_or(|due_ns| now_ns < due_ns) {
            return false;
        }
        while let Some(next_ns) = self.churn_next_ns.filter(|next_ns| *next_ns <= now_ns) {
            let unanswered = self.members.iter().filter(|(_, member)| member.kind == Kind::Churn).count();
            if unanswered < CHURN_UNANSWERED {
                self.open(Kind::Churn, now_ns);
            }
            self.churn_next_ns = Some(next_ns + ((1e9 / self.wanted.churn_per_sec) as u64).max(1));
        }
        let due = |(_, member): &(usize, &Member)| member.kind != Kind::Churn && member.next_ns <= now_ns;
        let timed: Vec<usize> = self.members.iter().filter(due).map(|(key, _)| key).collect();
        for key in timed {
            self.drive(key, Self::act_slowly);
        }
        for key in std::mem::take(&mut self.unread) {
            if self.members.contains(key) {
                self.drive(key, |background, key| background.read(key, true));
            }
        }
        self.next_due_ns = self.find_next_due_ns();
        true
    }

    /// Takes care of a ready socket.
    pub(super) fn on_event(&mut self, key: usize, generation: u32, event: &Event) {
        // An event may be of a predecessor that is gone.
        if self.members.get(key).is_none_or(|member| member.serial % GENERATIONS != generation) {
            return;
        }
        self.drive(key, |background, key| background.on_ready(key, event));
        if !self.unread.is_empty() {
            self.next_due_ns = Some(0);
        }
    }

    /// Does something with a member, and drops it if that fails or says that it is over.
    fn drive(&mut self, key: usize, action: impl FnOnce(&mut Self, usize) -> io::Result<bool>) {
        match action(self, key) {
            Ok(true) => {}
            Ok(false) => drop(self.members.remove(key)),
            Err(error) => {
                let member = self.members.remove(key);
                self.tallies[member.kind as usize].record_end(&error);
            }
        }
    }

    fn open(&mut self, kind: Kind, now_ns: u64) {
        let entry = self.members.vacant_entry();
        let serial = self.begun;
        self.begun += 1;
        let source = EventSource::Background { index: entry.key(), generation: serial % GENERATIONS };
        match Connection::open(&self.options, ConnectionId::background(serial), source, &self.registry) {
            Ok(connection) => {
                if kind == Kind::SlowReader {
                    // It also has little room in the kernel. If that is refused it is only less slow.
                    drop(socket2::SockRef::from(&connection.stream).set_recv_buffer_size(SLOW_READ_BYTES));
                }
                let started_ns = clock::now_ns();
                entry.insert(Member {
                    kind,
                    connection,
                    serial,
                    started_ns,
                    stage: Stage::Connecting,
                    next_ns: now_ns + SLOW_SEND_PAUSE_NS,
                    next_read_ns: now_ns + SLOW_PAUSE_NS,
                });
            }
            Err(error) => self.tallies[kind as usize].record_end(&error),
        }
    }

    /// `false` if the member has done what it was for.
    fn on_ready(&mut self, key: usize, event: &Event) -> io::Result<bool> {
        let member = &mut self.members[key];
        if member.stage == Stage::Connecting {
            if let Some(error) = member.connection.stream.take_error()? {
                return Err(error);
            }
            member.stage = Stage::Probing;
            self.send(key, 1)?;
            // The same edge may say that the server has spoken or hung up already, and no other one will.
        } else if event.is_writable() && !member.connection.has_room() {
            member.connection.flush(clock::now_ns(), &mut self.writer)?;
        }
        if event.is_readable() || event.is_read_closed() {
            return self.read(key, event.is_read_closed() || event.is_error());
        }
        Ok(true)
    }

    /// A slow reader reads a little, and sends as long as the server takes it.
    fn act_slowly(&mut self, key: usize) -> io::Result<bool> {
        let member = &mut self.members[key];
        let now_ns = member.next_ns;
        member.next_ns += SLOW_SEND_PAUSE_NS;
        if member.stage != Stage::Open {
            return Ok(true);
        }
        if member.connection.has_room() {
            let count = SLOW_SEND_BYTES / self.writer.bytes_max();
            self.send(key, count.max(1))?;
        }
        let member = &mut self.members[key];
        if now_ns < member.next_read_ns {
            return Ok(true);
        }
        member.next_read_ns += SLOW_PAUSE_NS;
        match self.receive(key, SLOW_READ_BYTES) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            result => result.map(|_| true),
        }
    }

    /// Reads until the socket is drained; a slow reader lets it lie, but for its first echo.
    fn read(&mut self, key: usize, closing: bool) -> io::Result<bool> {
        for _ in 0..TURN_READS {
            let member = &self.members[key];
            if (member.kind, member.stage) == (Kind::SlowReader, Stage::Open) {
                return Ok(true);
            }
            let (count, done) = match self.receive(key, READ_BYTES) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                result => result?,
            };
            if done > 0 && self.members[key].stage == Stage::Probing && !self.on_first_echo(key)? {
                return Ok(false);
            }
            // Less than asked for: drained (epoll(7)), unless the end is still to be read.
            if count < READ_BYTES && !closing {
                return Ok(true);
            }
        }
        self.unread.push(key);
        Ok(true)
    }

    fn on_first_echo(&mut self, key: usize) -> io::Result<bool> {
        let member = &mut self.members[key];
        member.stage = Stage::Open;
        let tally = &mut self.tallies[member.kind as usize];
        tally.record_opened(member.started_ns, clock::now_ns());
        if member.kind == Kind::Churn && tally.opened.is_multiple_of(3) {
            // Closed by a reset: no lingering, and nothing to flush.
            socket2::SockRef::from(&member.connection.stream).set_linger(Some(std::time::Duration::ZERO))?;
        }
        Ok(member.kind != Kind::Churn)
    }

    fn send(&mut self, key: usize, count: usize) -> io::Result<()> {
        let member = &mut self.members[key];
        self.tallies[member.kind as usize].sent += count as u64;
        let sizes = self.sizes.take(count);
        let now_ns = clock::now_ns();
        member.connection.send(sizes, now_ns, now_ns, &mut self.writer)
    }

    /// Reads once and checks it; returns how many bytes came, and how many messages with them.
    fn receive(&mut self, key: usize, bytes: usize) -> io::Result<(usize, usize)> {
        let member = &mut self.members[key];
        let count = member.connection.stream.read(&mut self.buffer[..bytes])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let now_ns = clock::now_ns();
        let tally = &mut self.tallies[member.kind as usize];
        let done =
            member.connection.check(&mut self.writer, &self.buffer[..count], |found| tally.record(found, now_ns))?;
        Ok((count, done))
    }
}
