//! Misbehaving clients beside the measured ones: slow readers, and connections that come and go.
//!
//! They run in the same loop as the measured clients, so that no thread competes with it, and have counts and histograms
//! of their own: nothing of theirs is in the figures of the measured clients.

mod flood;
mod tally;

use std::{mem, time::Duration};

pub(crate) use flood::Flood;
use mio::Registry;
use servers::clock;
pub(crate) use tally::CohortTally;

use super::{
    Options,
    clients::{Behaviour, Client, Clients, Stage},
    connection::Received,
    echo_verifier::Found,
    end_cause::EndCause,
    tokens::{ConnectionId, EventSource, GENERATIONS},
};
use crate::plan::{CohortKind, Cohorts};

/// How often a slow reader reads, and how much.
const SLOW_READ_INTERVAL_NS: u64 = 100_000_000;
const SLOW_READ_BYTES: usize = 1024;

/// How often a slow reader sends as long as the server takes it, and how much: all buffers on the way are full within
/// half a second, and no single write keeps the generator from its other work.
const SLOW_SEND_INTERVAL_NS: u64 = 5_000_000;
const SLOW_SEND_BYTES: usize = 64 * 1024;

/// Size of the buffer that every connection reads into.
const BUFFER_BYTES: usize = 64 * 1024;

/// What background clients record and do.
#[derive(Debug)]
pub(crate) struct Background {
    wanted: Cohorts,
    /// Clients opened so far.
    begun: u32,
    /// When the churn opens its next connection; `None` while it is not active.
    churn_next_ns: Option<u64>,
    /// When the next client has something to do although its socket is not ready.
    next_due_ns: Option<u64>,
    tallies: [CohortTally; 3],
}

/// The state of a background client.
#[derive(Debug)]
pub(crate) struct BackgroundState {
    kind: CohortKind,
    /// Distinguishes the client from earlier ones at the same index.
    generation: u32,
    /// When a slow reader sends next.
    next_send_ns: u64,
    /// When a slow reader reads next.
    next_read_ns: u64,
}

/// The background clients of one thread: the slow readers come first, then places for the churn.
pub(crate) type BackgroundClients = Clients<Background>;

impl Background {
    fn tally(&mut self, kind: CohortKind) -> &mut CohortTally {
        &mut self.tallies[kind as usize]
    }
}

impl Behaviour for Background {
    type State = BackgroundState;

    fn on_send(&mut self, client: &Client<BackgroundState>, count: usize, _intended_ns: u64, _now_ns: u64) {
        self.tally(client.state.kind).sent += count as u64;
    }

    fn on_found(&mut self, _stage: Stage, state: &mut BackgroundState, found: Found, now_ns: u64) {
        self.tally(state.kind).record(found, now_ns);
    }

    fn on_first_echo(&mut self, client: &Client<BackgroundState>, received: &Received<'_>) -> Result<(), EndCause> {
        let kind = client.state.kind;
        let tally = self.tally(kind);
        tally.record_opened(client.started_ns, received.now_ns);
        if kind != CohortKind::Churn {
            return Ok(());
        }
        if tally.opened.is_multiple_of(3) {
            // Without lingering, the close is a reset.
            let lingering = client.connection.socket().set_linger(Some(Duration::ZERO));
            lingering.map_err(|error| EndCause::of("cannot close", &error))?;
        }
        Err(EndCause::Completed)
    }

    fn on_welcome(&mut self, client: &Client<BackgroundState>, now_ns: u64) {
        self.tally(client.state.kind).record_welcome(client.started_ns, now_ns);
    }

    fn reads_at_once(&self, client: &Client<BackgroundState>) -> bool {
        (client.state.kind, client.stage) != (CohortKind::SlowReader, Stage::Open)
    }

    fn on_end(&mut self, client: Client<BackgroundState>, cause: EndCause) {
        self.tally(client.state.kind).record_end(cause);
    }
}

impl BackgroundClients {
    /// The background clients of one thread, before [`Self::start`].
    pub(crate) fn background(options: &Options, registry: Registry, wanted: Cohorts) -> Self {
        let background =
            Background { wanted, begun: 0, churn_next_ns: None, next_due_ns: None, tallies: Default::default() };
        let churn = options.cohorts.churn_unanswered().div_ceil(options.threads as usize);
        let capacity = wanted.slow_readers as usize + churn;
        Self::new(options, registry, background, capacity, BUFFER_BYTES)
    }

    /// Begins the background load.
    pub(crate) fn start(&mut self, now_ns: u64) {
        for index in 0..self.slow_readers() {
            self.begin(index, CohortKind::SlowReader, now_ns);
        }
        self.behaviour.churn_next_ns = (self.behaviour.wanted.churn_per_sec > 0.0).then_some(now_ns);
        self.behaviour.next_due_ns = self.find_next_due_ns();
    }

    /// Opens no further connection of the churn.
    pub(crate) fn end_churn(&mut self) {
        self.behaviour.churn_next_ns = None;
        self.behaviour.next_due_ns = self.find_next_due_ns();
    }

    /// Whether a connection of the churn is open.
    pub(crate) fn has_churn(&self) -> bool {
        self.clients[self.slow_readers()..].iter().any(Option::is_some)
    }

    /// Closes every connection.
    pub(crate) fn stop(&mut self) {
        self.behaviour.churn_next_ns = None;
        self.behaviour.next_due_ns = None;
        self.clear();
    }

    /// What was recorded since this was last called, in the order of [`CohortKind::ALL`].
    pub(crate) fn take_tallies(&mut self) -> [CohortTally; 3] {
        mem::take(&mut self.behaviour.tallies)
    }

    /// Whether an event of that generation belongs to the client at that index, and not to one that has ended.
    pub(crate) fn is_current(&self, index: usize, generation: u32) -> bool {
        self.clients[index].as_ref().is_some_and(|client| client.state.generation == generation)
    }

    /// When the next client has something to do although its socket is not ready.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.behaviour.next_due_ns
    }

    /// Opens, sends and reads what is due; returns whether anything was.
    pub(crate) fn act(&mut self, now_ns: u64) -> bool {
        if self.next_due_ns().is_none_or(|due_ns| now_ns < due_ns) {
            return false;
        }
        self.churn(now_ns);
        for index in 0..self.slow_readers() {
            if let Err(cause) = self.act_slowly(index, now_ns) {
                self.end(index, cause);
            }
        }
        self.behaviour.next_due_ns = self.find_next_due_ns();
        true
    }

    fn slow_readers(&self) -> usize {
        self.behaviour.wanted.slow_readers as usize
    }

    fn find_next_due_ns(&self) -> Option<u64> {
        let slow_readers = self.clients[..self.slow_readers()].iter().flatten();
        slow_readers.map(|client| client.state.next_send_ns).chain(self.behaviour.churn_next_ns).min()
    }

    /// Opens the connection of the churn that is due, and skips those for which too many others are unanswered. Only one:
    /// to connect takes some 30 us, and messages that come due meanwhile are sent before the next.
    fn churn(&mut self, now_ns: u64) {
        while let Some(due_ns) = self.behaviour.churn_next_ns.filter(|due_ns| *due_ns <= now_ns) {
            let interval_ns = ((1e9 / self.behaviour.wanted.churn_per_sec) as u64).max(1);
            self.behaviour.churn_next_ns = Some(due_ns + interval_ns);
            let free = (self.slow_readers()..self.clients.len()).find(|index| self.clients[*index].is_none());
            if let Some(index) = free {
                self.begin(index, CohortKind::Churn, now_ns);
                return;
            }
        }
    }

    fn begin(&mut self, index: usize, kind: CohortKind, now_ns: u64) {
        let serial = self.behaviour.begun;
        self.behaviour.begun = serial.wrapping_add(1);
        let state = BackgroundState {
            kind,
            generation: serial % GENERATIONS,
            next_send_ns: now_ns + SLOW_SEND_INTERVAL_NS,
            next_read_ns: now_ns + SLOW_READ_INTERVAL_NS,
        };
        let source = EventSource::Background { index, generation: state.generation };
        match self.open(index, ConnectionId::background(serial), source, state) {
            Ok(client) if kind == CohortKind::SlowReader => {
                // A small buffer in the kernel as well. If that is refused, the client is only less slow.
                drop(client.connection.socket().set_recv_buffer_size(SLOW_READ_BYTES));
            }
            Ok(_) => {}
            Err(cause) => self.behaviour.tally(kind).record_end(cause),
        }
    }

    /// Lets a slow reader send if that is due and the server takes it, and read a little if that is due as well.
    fn act_slowly(&mut self, index: usize, now_ns: u64) -> Result<(), EndCause> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        let due_ns = client.state.next_send_ns;
        if now_ns < due_ns {
            return Ok(());
        }
        client.state.next_send_ns += SLOW_SEND_INTERVAL_NS;
        if client.stage != Stage::Open {
            return Ok(());
        }
        let reads = due_ns >= client.state.next_read_ns;
        if reads {
            client.state.next_read_ns += SLOW_READ_INTERVAL_NS;
        }
        if client.connection.has_room() {
            let count = SLOW_SEND_BYTES / self.writer.bytes_max();
            self.send(index, count.max(1), clock::now_ns())?;
        }
        if reads {
            self.receive(index, SLOW_READ_BYTES)?;
        }
        Ok(())
    }
}
