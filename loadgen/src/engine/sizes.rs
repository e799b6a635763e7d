//! Sizes of the messages that follow no schedule.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::message::SizeIndex;
use crate::plan::Payloads;

/// Sizes drawn in advance: enough to hit the shares of the payloads within a percent.
const DRAWN: usize = 4096;

/// Message sizes in a fixed random order, over and over: no random number is drawn while messages are sent.
#[derive(Clone, Debug)]
pub(crate) struct SizeCycle {
    sizes: Box<[SizeIndex]>,
    next: usize,
}

impl SizeCycle {
    pub(crate) fn new(payloads: &Payloads) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let sizes = match payloads.sizes() {
            [_] => [0].into(),
            _ => (0..DRAWN).map(|_| payloads.pick(random.random())).collect(),
        };
        Self { sizes, next: 0 }
    }

    /// The sizes of the next `count` messages; those not taken from the iterator come next time.
    pub(crate) fn take(&mut self, count: usize) -> impl Iterator<Item = SizeIndex> {
        (0..count).map(|_| {
            let size = self.sizes[self.next];
            self.next = if self.next + 1 < self.sizes.len() { self.next + 1 } else { 0 };
            size
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_on_where_they_left_off_and_begin_anew_at_the_end() {
        let mut cycle = SizeCycle { sizes: [0, 1, 2].into(), next: 0 };
        assert_eq!(cycle.take(2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(cycle.take(5).collect::<Vec<_>>(), [2, 0, 1, 2, 0]);
    }

    #[test]
    fn sizes_occur_as_often_as_the_payloads_say() {
        let mut cycle = SizeCycle::new(&Payloads::mix(&[(64, None), (1024, Some(0.1))]).unwrap());
        let long = cycle.take(DRAWN).filter(|size| *size == 1).count() as f64 / DRAWN as f64;
        assert!((long - 0.1).abs() < 0.01, "{long}");
    }
}
