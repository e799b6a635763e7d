//! Messages in flight, counted as they leave and arrive: the other side of Little's law. Pure.
//!
//! The sum of the recorded response times must equal the integral of the number in flight (Little, 1961: L = lambda W).
//! The two are computed independently, so a message that is recorded twice, not at all, from the wrong time or in the
//! wrong window shows.

/// Integrates the number of messages in flight over time.
#[derive(Debug, Default)]
pub(crate) struct LittlesLaw {
    in_flight: usize,
    /// Up to when the integral is complete.
    since_ns: u64,
    integral_ns: u64,
}

impl LittlesLaw {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Messages leave. They count from `intended_ns` on, when they were due.
    pub(crate) fn begin(&mut self, count: usize, intended_ns: u64, now_ns: u64) {
        self.advance(now_ns);
        self.integral_ns += count as u64 * now_ns.saturating_sub(intended_ns);
        self.in_flight += count;
    }

    /// Messages arrive, and no longer count.
    pub(crate) fn end(&mut self, count: usize, now_ns: u64) {
        self.advance(now_ns);
        self.in_flight -= count;
    }

    /// Messages will never arrive.
    pub(crate) fn forget(&mut self, count: usize) {
        self.in_flight -= count;
    }

    /// No message is waited for any more.
    pub(crate) fn end_all(&mut self) {
        self.in_flight = 0;
    }

    /// Number in flight times nanoseconds.
    pub(crate) fn integral_ns(&self) -> u64 {
        self.integral_ns
    }

    fn advance(&mut self, now_ns: u64) {
        if now_ns > self.since_ns {
            self.integral_ns += self.in_flight as u64 * (now_ns - self.since_ns);
            self.since_ns = now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_integral_is_the_sum_of_the_responses(
            messages in prop::collection::vec((0..1_000_u64, 0..50_u64, 1..500_u64), 1..50),
        ) {
            // Events by time: (when, the intended time of a departure or `None` for an arrival).
            let mut events: Vec<(u64, Option<u64>)> = Vec::new();
            let mut sum = 0;
            for (intended, lag, service) in messages {
                events.push((intended + lag, Some(intended)));
                events.push((intended + lag + service, None));
                sum += lag + service;
            }
            events.sort();
            let mut littles_law = LittlesLaw::default();
            for (now_ns, intended) in events {
                match intended {
                    Some(intended_ns) => littles_law.begin(1, intended_ns, now_ns),
                    None => littles_law.end(1, now_ns),
                }
            }
            prop_assert_eq!((littles_law.integral_ns(), littles_law.in_flight()), (sum, 0));
        }
    }
}
