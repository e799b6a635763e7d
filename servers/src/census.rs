//! What several event loops have to agree on: the open connections and the newest status (B1, B4).
//!
//! The loops share one lock, which is taken when a connection opens or closes and at a tick, never for an echo. The loop
//! that takes it first at a tick decides the status, and the others find it there. Each loop writes the text for itself:
//! a shared one would have its reference count changed by all CPUs at once, for every recipient.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use protocol::{
    Counters, Schedule,
    status::{Status, StatusLine},
};

use crate::clock;

/// The connections of all loops, and the newest status.
pub(crate) struct Census {
    state: Mutex<State>,
    /// The acceptor waits for a connection to end.
    awaited: AtomicBool,
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
    counters: Counters,
}

/// A loop's copy of the newest status.
pub(crate) struct Newest {
    line: StatusLine,
    /// Number of statuses so far, this one included.
    emitted: u64,
}

/// A connection's entry.
///
/// It is removed before the connection's stream is closed, so that no tick counts a connection that its client knows to
/// be closed. It is dropped afterwards, so that an acceptor short of descriptors is woken when one is free.
pub(crate) struct Place {
    census: Arc<Census>,
    worker: usize,
    /// Number of statuses for which the connection is no longer accountable.
    seen: u64,
    /// The entry was removed.
    has_left: bool,
}

impl Census {
    /// For a number of loops; `wake` is called when a connection has ended that the acceptor waits for.
    pub(crate) fn new(loops: usize, schedule: Schedule, wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let state =
            State { schedule, open: vec![0; loops], turn: 0, newest: None, emitted: 0, counters: Counters::default() };
        Arc::new(Self { state: Mutex::new(state), awaited: AtomicBool::new(false), wake: Box::new(wake) })
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
        (Place { census: Arc::clone(self), worker, seen: state.emitted, has_left: false }, state.open())
    }

    /// The number of open connections; if it is not below the limit, the acceptor is woken when one ends.
    pub(crate) fn open_or_await(&self, limit: usize) -> usize {
        // Set under the lock, so that a connection that is still counted finds it set when it ends.
        let state = self.lock();
        if state.open() >= limit {
            self.awaited.store(true, Ordering::SeqCst);
        }
        state.open()
    }

    /// When the next tick is due, or `None` if broadcasts are off.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.lock().schedule.next_due_ns()
    }

    /// Counts a due tick and its recipients, unless another loop has done so. Then updates `newest`, a loop's copy.
    ///
    /// Returns whether the status is a new one, and when the next tick is due.
    pub(crate) fn tick(&self, newest: &mut Option<Newest>) -> (bool, Option<u64>) {
        self.tick_by(clock::now_ns, newest)
    }

    fn tick_by(&self, clock: impl Fn() -> u64, newest: &mut Option<Newest>) -> (bool, Option<u64>) {
        let mut state = self.lock();
        // Read under the lock, so that it is later than every connection that is counted.
        state.tick(clock());
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

    /// Locks even if another thread panicked: no change is left half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self, now_ns: u64) {
        let Some(tick) = self.schedule.take(now_ns) else { return };
        self.counters.ticks += 1;
        self.counters.ticks_skipped += tick.skipped;
        self.emitted += 1;
        let active = self.open() as u64;
        self.newest = Some(Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns: now_ns });
    }

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

    /// Removes the entry: no later tick counts the connection.
    pub(crate) fn leave(&mut self) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        let mut state = self.census.lock();
        // Statuses that counted the connection but never reached it: the last one would still be held.
        let missed = state.emitted - self.seen;
        state.counters.statuses_replaced += missed.saturating_sub(1);
        state.counters.statuses_dropped_at_eof += missed.min(1);
        state.open[self.worker] -= 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        if self.census.awaited.swap(false, Ordering::SeqCst) {
            (self.census.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    fn census(loops: usize) -> Arc<Census> {
        Census::new(loops, Schedule::new(0, INTERVAL), || {})
    }

    /// A tick that is due, as the loop sees it.
    fn tick(census: &Census, number: u64, newest: &mut Option<Newest>) -> bool {
        census.tick_by(|| number * INTERVAL.as_nanos() as u64, newest).0
    }

    fn active(newest: Option<&Newest>) -> u64 {
        Status::parse(&newest.expect("a status").line).expect("a status line").active
    }

    #[test]
    fn connections_are_dealt_in_turn() {
        let census = census(3);
        let places: Vec<Place> = (0..7).map(|_| census.admit().0).collect();
        assert_eq!(places.iter().map(Place::worker).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_loop_whose_connections_have_ended_gets_the_next_ones() {
        let census = census(3);
        let mut places: Vec<Place> = (0..9).map(|_| census.admit().0).collect();
        places.retain(|place| place.worker() != 1);
        assert_eq!(
            [(); 4].map(|()| {
                let (place, _) = census.admit();
                let worker = place.worker();
                places.push(place);
                worker
            }),
            [1, 1, 1, 2]
        );
    }

    #[test]
    fn all_loops_send_the_same_text_whichever_is_first() {
        let census = census(2);
        let (mut place, _) = census.admit();
        let [mut first, mut second] = [None, None];
        assert!(tick(&census, 1, &mut first));
        // Opened between two loops' ticks: it is not counted, and nothing is sent to it.
        let (mut late, open) = census.admit();
        assert_eq!(open, 2);
        assert!(tick(&census, 1, &mut second));
        assert!(!tick(&census, 1, &mut first), "the tick was taken");
        let (first, second) = (first.expect("a status"), second.expect("a status"));
        assert_eq!(first.line, second.line);
        assert_eq!(active(Some(&first)), 1);

        let mut counters = Counters::default();
        assert_eq!(place.claim(&second, &mut counters), Some(StatusLine::clone(&first.line)));
        assert_eq!(place.claim(&second, &mut counters), None, "it was sent before");
        assert_eq!(late.claim(&second, &mut counters), None);
        drop((place, late));
        assert_eq!(counters, Counters::default());
        assert_eq!(census.counters(), Counters { accepts: 2, ticks: 1, ..Counters::default() });
    }

    #[test]
    fn a_connection_that_never_reaches_its_loop_is_accounted_for() {
        let census = census(2);
        let (_place, _) = census.admit();
        let (lost, _) = census.admit();
        for number in 1..=3 {
            tick(&census, number, &mut None);
        }
        drop(lost);
        let mut newest = None;
        tick(&census, 4, &mut newest);
        assert_eq!(active(newest.as_ref()), 1);
        let Counters { statuses_replaced, statuses_dropped_at_eof, .. } = census.counters();
        assert_eq!((statuses_replaced, statuses_dropped_at_eof), (2, 1));
    }

    #[test]
    fn the_acceptor_is_woken_once_by_the_first_end_that_it_waits_for() {
        let (woken, limit) = (Arc::new(AtomicUsize::new(0)), 2);
        let wakes = Arc::clone(&woken);
        let census = Census::new(3, Schedule::new(0, INTERVAL), move || _ = wakes.fetch_add(1, Ordering::SeqCst));
        let mut places: Vec<Place> = (0..3).map(|_| census.admit().0).collect();
        drop(places.pop());
        assert_eq!(woken.load(Ordering::SeqCst), 0, "no acceptor is waiting");
        assert_eq!(census.open_or_await(limit), 2);
        let mut place = places.pop().expect("a place");
        place.leave();
        assert_eq!(woken.load(Ordering::SeqCst), 0, "the descriptor is not free yet");
        drop((place, places));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert_eq!(census.open_or_await(limit), 0);
        drop(census.admit());
        assert_eq!(woken.load(Ordering::SeqCst), 1, "there was room");
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Open,
        Close(usize),
        /// A loop looks at the clock, and begins to send if there is a new status.
        Look(usize),
        /// A loop sends to the next of its connections.
        Send(usize),
        Pass,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => Just(Event::Open),
            2 => any::<usize>().prop_map(Event::Close),
            4 => any::<usize>().prop_map(Event::Look),
            6 => any::<usize>().prop_map(Event::Send),
            2 => Just(Event::Pass),
        ];
        proptest::collection::vec(event, 0..200)
    }

    proptest! {
        #[test]
        fn every_status_is_sent_replaced_or_dropped_whatever_the_order(loops in 1_usize..5, events in events()) {
            let census = census(loops);
            let mut newest: Vec<Option<Newest>> = (0..loops).map(|_| None).collect();
            let mut places: Vec<Place> = Vec::new();
            let (mut now, mut sent, mut counted, mut ticks) = (0, 0, 0, 0);
            let mut counters = Counters::default();
            for event in events {
                match event {
                    Event::Open => {
                        let open = |worker| places.iter().filter(|place| place.worker() == worker).count();
                        let fewest = (0..loops).map(open).min();
                        let (place, count) = census.admit();
                        prop_assert_eq!(Some(open(place.worker())), fewest);
                        places.push(place);
                        prop_assert_eq!(count, places.len());
                    }
                    Event::Close(which) if !places.is_empty() => drop(places.swap_remove(which % places.len())),
                    Event::Look(which) => {
                        let is_new = tick(&census, now, &mut newest[which % loops]);
                        if census.counters().ticks > ticks {
                            ticks += 1;
                            counted += places.len() as u64;
                            prop_assert!(is_new);
                            prop_assert_eq!(active(newest[which % loops].as_ref()), places.len() as u64);
                        }
                    }
                    Event::Send(which) => {
                        let Some(newest) = &newest[which % loops] else { continue };
                        let mut own = places.iter_mut().filter(|place| place.worker() == which % loops);
                        sent += u64::from(own.any(|place| place.claim(newest, &mut counters).is_some()));
                    }
                    Event::Pass => now += 1,
                    Event::Close(_) => {}
                }
            }
            places.clear();
            counters.merge(&census.counters());
            let settled = sent + counters.statuses_replaced + counters.statuses_dropped_at_eof;
            prop_assert_eq!(settled, counted);
        }
    }
}
