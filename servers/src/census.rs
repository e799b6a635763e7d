//! What several event loops have to agree on: the open connections and the newest status (B1, B4).
//!
//! The loops share one lock, which is taken when a connection opens or closes and at a tick, never for an echo. The loop
//! that takes it first at a tick decides the status, and the others find it there. Each loop writes the text for itself:
//! a shared one would have its reference count changed by all CPUs at once, for every recipient.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::{
    Counters, Schedule,
    status::{Status, StatusLine},
};

/// The connections of all loops, and the newest status.
pub(crate) struct Census {
    state: Mutex<State>,
    /// Wakes the acceptor.
    wake: Box<dyn Fn() + Send + Sync>,
}

struct State {
    schedule: Schedule,
    /// Open connections of each loop, those included that are on their way to it.
    open: Vec<usize>,
    /// The loop that comes first among those with equally few connections.
    turn: usize,
    newest: Option<Status>,
    /// Number of statuses so far.
    emitted: u64,
    /// The acceptor waits for a connection to end.
    awaited: bool,
    counters: Counters,
}

/// A loop's copy of the newest status.
#[derive(Debug)]
pub(crate) struct Newest {
    line: StatusLine,
    /// Number of statuses so far, this one included.
    emitted: u64,
}

/// A connection's entry, removed on drop.
///
/// To be dropped after the connection's stream, so that an acceptor short of descriptors is woken when one is free.
pub(crate) struct Place {
    census: Arc<Census>,
    worker: usize,
    /// Number of statuses for which the connection is no longer accountable.
    seen: u64,
}

impl Census {
    /// For a number of loops; `wake` is called when a connection has ended that the acceptor waits for.
    pub(crate) fn new(loops: usize, schedule: Schedule, wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let state = State {
            schedule,
            open: vec![0; loops],
            turn: 0,
            newest: None,
            emitted: 0,
            awaited: false,
            counters: Counters::default(),
        };
        Arc::new(Self { state: Mutex::new(state), wake: Box::new(wake) })
    }

    /// Counts an accepted connection and deals it to the loop with the fewest, the next in turn if several have as few:
    /// round-robin, until connections end.
    ///
    /// Returns its place and the number of open connections.
    pub(crate) fn admit(self: &Arc<Self>) -> (Place, usize) {
        let mut state = self.lock();
        let loops = state.open.len();
        let in_turn = (0..loops).map(|step| (state.turn + step) % loops);
        let worker = in_turn.min_by_key(|worker| state.open[*worker]).unwrap_or(0);
        state.turn = (worker + 1) % loops;
        state.open[worker] += 1;
        state.counters.accepts += 1;
        (Place { census: Arc::clone(self), worker, seen: state.emitted }, state.open())
    }

    /// The number of open connections; if it is not below the limit, the acceptor is woken when one ends.
    pub(crate) fn open_or_await(&self, limit: usize) -> usize {
        let mut state = self.lock();
        state.awaited |= state.open() >= limit;
        state.open()
    }

    /// When the next tick is due, or `None` if broadcasts are off.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.lock().schedule.next_due_ns()
    }

    /// Counts a due tick and its recipients, unless another loop has done so. Then updates `newest`, a loop's copy.
    ///
    /// Returns whether the status is a new one, and when the next tick is due.
    pub(crate) fn tick(&self, now_ns: u64, newest: &mut Option<Newest>) -> (bool, Option<u64>) {
        let mut state = self.lock();
        if let Some(tick) = state.schedule.take(now_ns) {
            state.counters.ticks += 1;
            state.counters.ticks_skipped += tick.skipped;
            state.emitted += 1;
            let active = state.open() as u64;
            state.newest = Some(Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns: now_ns });
        }
        let (status, emitted, due_ns) = (state.newest, state.emitted, state.schedule.next_due_ns());
        drop(state);
        let seen = newest.as_ref().map_or(0, |newest| newest.emitted);
        if let Some(status) = status.filter(|_| emitted > seen) {
            *newest = Some(Newest { line: status.line(), emitted });
        }
        (emitted > seen, due_ns)
    }

    /// The counts of connections, of ticks, and of statuses that no loop could send.
    pub(crate) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    /// Locks even if another thread panicked: every change is made in one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&self) -> usize {
        self.open.iter().sum()
    }
}

impl Place {
    /// The loop that the connection was dealt to.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// The status to send, if it counts the connection and has not been claimed; older ones were replaced by it (B3).
    pub(crate) fn claim(&mut self, newest: &Newest, counters: &mut Counters) -> Option<StatusLine> {
        let missed = newest.emitted.checked_sub(self.seen).filter(|missed| *missed > 0)?;
        self.seen = newest.emitted;
        counters.statuses_replaced += missed - 1;
        Some(StatusLine::clone(&newest.line))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.census.lock();
        // Statuses that counted the connection but never reached it: the last one would still be held.
        let missed = state.emitted - self.seen;
        state.counters.statuses_replaced += missed.saturating_sub(1);
        state.counters.statuses_dropped_at_eof += missed.min(1);
        state.open[self.worker] -= 1;
        let awaited = std::mem::take(&mut state.awaited);
        drop(state);
        if awaited {
            (self.census.wake)();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Place").field("worker", &self.worker).field("seen", &self.seen).finish_non_exhaustive()
    }
}
