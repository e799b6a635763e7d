//! Clients that behave badly beside the measured ones: slow readers, connections that come and go, floods.
//!
//! They live in the same loop, so that nothing runs beside it, and have counts and histograms of their own: nothing of
//! theirs is in the figures of the measured clients.

use std::io::{self, ErrorKind, Read};

use hdrhistogram::Histogram;
use mio::{Registry, Token, event::Event};
use servers::clock;
use slab::Slab;

use super::{
    Options,
    connection::Connection,
    ledger::Found,
    message::{Message, Size},
    under_way::Sent,
};

/// Tokens from here on belong to cohorts.
const TOKENS: usize = 1 << 62;

/// Connection numbers from here on belong to cohorts, so that no message of theirs is taken for another's.
const IDS: u32 = 1 << 31;

/// How often a slow reader reads, and how much.
const SLOW_PAUSE_NS: u64 = 100_000_000;
const SLOW_READ_BYTES: usize = 1024;

/// What a slow reader sends each time, as long as the server takes it, and how often: all buffers on the way are full
/// within half a second, and no single write keeps the generator from its other work.
const SLOW_SEND_BYTES: usize = 64 * 1024;
const SLOW_SEND_PAUSE_NS: u64 = 5_000_000;

/// What a flooder has under way, and how often it sends what has come back anew: 64 MB/s. Any faster, and the generator
/// would be busy with the flood.
const FLOOD_BYTES: usize = 64 * 1024;
const FLOOD_PAUSE_NS: u64 = 1_000_000;

/// Connections of the churn that may be unanswered; while there are as many no further one is begun.
const CHURN_UNANSWERED: usize = 64;

/// What each kind of bad client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sends what the server takes and reads 1 KiB ten times a second
    SlowReader,
    /// Connects, has one message echoed and closes, every third time by a reset
    Churn,
    /// Sends 64 KiB every millisecond, unless the server has not returned the last ones
    Flooder,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::SlowReader, Self::Churn, Self::Flooder];

    /// As it is called in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::Churn => "churn",
            Self::Flooder => "flooder",
        }
    }
}

/// How many bad clients there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohorts {
    /// Slow readers.
    pub slow_readers: u32,
    /// Connections a second that come and go.
    pub churn_per_sec: u64,
    /// Flooders.
    pub flooders: u32,
}

impl Cohorts {
    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The most connections that they have open at a time.
    pub fn connections(&self) -> u32 {
        let churn = if self.churn_per_sec > 0 { CHURN_UNANSWERED as u32 } else { 0 };
        self.slow_readers + self.flooders + churn
    }

    /// The part of one of several threads.
    pub(super) fn part(&self, index: u32, threads: u32) -> Self {
        let part = |count: u32| (index..count).step_by(threads as usize).len() as u32;
        let churn_per_sec = self.churn_per_sec / u64::from(threads)
            + u64::from(u64::from(index) < self.churn_per_sec % u64::from(threads));
        Self { slow_readers: part(self.slow_readers), churn_per_sec, flooders: part(self.flooders) }
    }
}

/// What one kind of bad client experienced in a window.
#[derive(Clone, Debug)]
pub struct CohortTally {
    /// Received - first write attempt, in nanoseconds.
    pub service: Histogram<u64>,
    /// connect() until the first echo, in nanoseconds.
    pub connect: Histogram<u64>,
    /// Connections that were opened and had their first echo.
    pub opened: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that came back unaltered.
    pub echoed: u64,
    /// Status lines received.
    pub statuses: u64,
    /// Lines that are no echo, in the wrong order, or doubled.
    pub wrong: u64,
    /// Connections that were refused, or that the server closed.
    pub closed: u64,
}

impl CohortTally {
    fn new() -> Self {
        // The bounds are constants that the crate accepts.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("valid bounds");
        let (service, connect) = (histogram(), histogram());
        Self { service, connect, opened: 0, sent: 0, echoed: 0, statuses: 0, wrong: 0, closed: 0 }
    }

    /// Adds what another thread counted.
    pub(super) fn add(&mut self, other: &Self) {
        // They have the same bounds, and nothing is beyond them.
        self.service.add(&other.service).expect("histograms of the same bounds");
        self.connect.add(&other.connect).expect("histograms of the same bounds");
        self.opened += other.opened;
        self.sent += other.sent;
        self.echoed += other.echoed;
        self.statuses += other.statuses;
        self.wrong += other.wrong;
        self.closed += other.closed;
    }
}

/// The bad clients of one thread.
#[derive(Debug)]
pub(super) struct Mob {
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
    tallies: [CohortTally; 3],
    message: Message,
    sizes: Box<[Size]>,
    buffer: Box<[u8]>,
    batch: Vec<u8>,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    connection: Connection,
    serial: u32,
    started_ns: u64,
    stage: Stage,
    /// When a slow reader or a flooder acts next.
    next_ns: u64,
    /// When a slow reader reads next.
    next_read_ns: u64,
    /// Messages that came back to a flooder, to be sent anew.
    owed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Probing,
    Open,
}

impl Mob {
    pub(super) fn new(options: &Options, registry: Registry, wanted: Cohorts) -> Self {
        Self {
            options: options.clone(),
            registry,
            wanted,
            members: Slab::new(),
            begun: 0,
            churn_next_ns: None,
            next_due_ns: None,
            tallies: std::array::from_fn(|_| CohortTally::new()),
            message: Message::new(&options.payloads),
            sizes: options.closed_sizes(),
            buffer: vec![0; FLOOD_BYTES].into(),
            batch: Vec::new(),
        }
    }

    pub(super) fn is_mine(token: Token) -> bool {
        token.0 >= TOKENS && token.0 < usize::MAX - 1
    }

    /// Begins to behave badly.
    pub(super) fn start(&mut self, now_ns: u64) {
        for _ in 0..self.wanted.slow_readers {
            self.open(Kind::SlowReader, now_ns);
        }
        for _ in 0..self.wanted.flooders {
            self.open(Kind::Flooder, now_ns);
        }
        self.churn_next_ns = (self.wanted.churn_per_sec > 0).then_some(now_ns);
        self.next_due_ns = self.find_next_due_ns();
    }

    /// Closes everything.
    pub(super) fn stop(&mut self) {
        self.churn_next_ns = None;
        self.next_due_ns = None;
        self.members.clear();
    }

    /// What happened since this was last asked, in the order of [`Kind::ALL`].
    pub(super) fn take(&mut self) -> [CohortTally; 3] {
        std::mem::replace(&mut self.tallies, std::array::from_fn(|_| CohortTally::new()))
    }

    /// When something has to be done although no socket is ready.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.next_due_ns
    }

    fn find_next_due_ns(&self) -> Option<u64> {
        let timed = self.members.iter().filter(|(_, member)| member.kind != Kind::Churn);
        timed.map(|(_, member)| member.next_ns).chain(self.churn_next_ns).min()
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
            self.churn_next_ns = Some(next_ns + 1_000_000_000 / self.wanted.churn_per_sec);
        }
        let due = |(_, member): &(usize, &Member)| member.kind != Kind::Churn && member.next_ns <= now_ns;
        let timed: Vec<usize> = self.members.iter().filter(due).map(|(key, _)| key).collect();
        for key in timed {
            match self.members[key].kind {
                Kind::SlowReader => self.drive(key, Self::act_slowly),
                Kind::Flooder | Kind::Churn => self.drive(key, Self::flood),
            }
        }
        self.next_due_ns = self.find_next_due_ns();
        true
    }

    /// Takes care of a ready socket.
    pub(super) fn on_event(&mut self, event: &Event) {
        let (key, serial) = (event.token().0 & 0xffff_ffff, (event.token().0 - TOKENS) >> 32);
        // An event may be of a predecessor that is gone.
        if self.members.get(key).is_none_or(|member| member.serial & 0x00ff_ffff != serial as u32) {
            return;
        }
        let (writable, readable) = (event.is_writable(), event.is_readable() || event.is_read_closed());
        self.drive(key, |mob, key| mob.on_ready(key, writable, readable));
    }

    /// Does something with a member, and drops it if that fails or says that it is over.
    fn drive(&mut self, key: usize, action: impl FnOnce(&mut Self, usize) -> io::Result<bool>) {
        match action(self, key) {
            Ok(true) => {}
            Ok(false) => drop(self.members.remove(key)),
            Err(_) => {
                let member = self.members.remove(key);
                self.tallies[member.kind as usize].closed += 1;
            }
        }
    }

    fn open(&mut self, kind: Kind, now_ns: u64) {
        let entry = self.members.vacant_entry();
        let serial = self.begun;
        self.begun += 1;
        let token = Token(TOKENS + ((serial as usize & 0x00ff_ffff) << 32) + entry.key());
        match Connection::open(&self.options, IDS + serial % IDS, token, &self.registry) {
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
                    next_ns: now_ns + if kind == Kind::SlowReader { SLOW_SEND_PAUSE_NS } else { FLOOD_PAUSE_NS },
                    next_read_ns: now_ns + SLOW_PAUSE_NS,
                    owed: 0,
                });
            }
            Err(_) => self.tallies[kind as usize].closed += 1,
        }
    }

    /// `false` if the member has done what it was for.
    fn on_ready(&mut self, key: usize, writable: bool, readable: bool) -> io::Result<bool> {
        let member = &mut self.members[key];
        if member.stage == Stage::Connecting {
            if let Some(error) = member.connection.stream.take_error()? {
                return Err(error);
            }
            if writable {
                member.stage = Stage::Probing;
                self.send(key, 1)?;
            }
            return Ok(true);
        }
        if writable && !member.connection.has_room() {
            member.connection.flush(clock::now_ns(), &mut self.message, &mut self.batch)?;
        }
        // A slow reader lets it lie, but for its first echo.
        let slow = member.kind == Kind::SlowReader && member.stage == Stage::Open;
        if readable && !slow { self.read(key) } else { Ok(true) }
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
            let count = SLOW_SEND_BYTES / self.message.bytes_max();
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

    /// A flooder sends anew what came back.
    fn flood(&mut self, key: usize) -> io::Result<bool> {
        let member = &mut self.members[key];
        member.next_ns = clock::now_ns() + FLOOD_PAUSE_NS;
        match std::mem::take(&mut member.owed) {
            0 => Ok(true),
            owed => self.send(key, owed).map(|()| true),
        }
    }

    /// Reads once: all that is under way fits into the buffer, and whatever else comes is a new event.
    fn read(&mut self, key: usize) -> io::Result<bool> {
        let done = match self.receive(key, FLOOD_BYTES) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result?,
        };
        let member = &mut self.members[key];
        match (member.stage, member.kind) {
            (Stage::Probing, _) if done > 0 => self.on_first_echo(key),
            _ => {
                member.owed += done;
                Ok(true)
            }
        }
    }

    fn on_first_echo(&mut self, key: usize) -> io::Result<bool> {
        let member = &mut self.members[key];
        member.stage = Stage::Open;
        let tally = &mut self.tallies[member.kind as usize];
        tally.opened += 1;
        // A time that does not fit is beyond a minute: the trial's own gates have spoken by then.
        let _ = tally.connect.record((clock::now_ns() - member.started_ns).max(1));
        match member.kind {
            Kind::Churn => {
                if tally.opened.is_multiple_of(3) {
                    // Closed by a reset: no lingering, and nothing to flush.
                    socket2::SockRef::from(&member.connection.stream).set_linger(Some(std::time::Duration::ZERO))?;
                }
                Ok(false)
            }
            Kind::Flooder => {
                member.owed = (FLOOD_BYTES / self.message.bytes_max()).max(1);
                Ok(true)
            }
            Kind::SlowReader => Ok(true),
        }
    }

    fn send(&mut self, key: usize, count: usize) -> io::Result<()> {
        let member = &mut self.members[key];
        self.tallies[member.kind as usize].sent += count as u64;
        let sizes = self.sizes.iter().copied().cycle().take(count);
        let now_ns = clock::now_ns();
        member.connection.send(sizes, now_ns, now_ns, &mut self.message, &mut self.batch)
    }

    /// Reads once and checks it; returns how many messages came back.
    fn receive(&mut self, key: usize, bytes: usize) -> io::Result<usize> {
        let member = &mut self.members[key];
        let count = member.connection.stream.read(&mut self.buffer[..bytes])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let now_ns = clock::now_ns();
        let tally = &mut self.tallies[member.kind as usize];
        let before = member.connection.ledger.outstanding();
        let mut report = |found| match found {
            Found::Echo(Sent { tried_ns, .. }) => {
                tally.echoed += 1;
                let _ = tally.service.record(now_ns.saturating_sub(tried_ns).max(1));
            }
            Found::Status(_) => tally.statuses += 1,
            Found::Corrupt | Found::Duplicate | Found::Reordered(_) => tally.wrong += 1,
        };
        let followed = member.connection.ledger.receive(&mut self.message, &self.buffer[..count], &mut report);
        followed.map_err(|_| ErrorKind::InvalidData)?;
        Ok(before - member.connection.ledger.outstanding())
    }
}
