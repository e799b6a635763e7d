//! A known amount of time that the generator wastes before each message, to see which figures follow it.

use std::time::Duration;

use servers::clock;

/// Time to waste per message. None is a comparison with 0 and reads no clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    per_message_ns: u64,
}

impl Delay {
    /// So much before each message.
    pub(crate) fn per_message(time: Duration) -> Self {
        Self { per_message_ns: time.as_nanos() as u64 }
    }

    /// Wastes the time of so many messages; returns the time that it is then, or `now_ns` if none was wasted.
    ///
    /// The CPU is kept busy, since a sleep would let others have it, and is wasted by the clock: at least the delay, and
    /// at most two readings of the clock more.
    pub(crate) fn waste(self, messages: usize, now_ns: u64) -> u64 {
        if self.per_message_ns == 0 {
            return now_ns;
        }
        // By a reading of its own: the caller's may be older, and what it did since would count as wasted.
        let until_ns = clock::now_ns() + self.per_message_ns.saturating_mul(messages as u64);
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= until_ns {
                return now_ns;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delay_takes_the_callers_time_for_the_present() {
        assert_eq!(Delay::default().waste(5, 7), 7);
        assert_eq!(Delay::per_message(Duration::ZERO).waste(5, 7), 7);
    }

    #[test]
    fn a_delay_is_wasted_for_every_message_from_now_on() {
        let delay = Delay::per_message(Duration::from_micros(20));
        for messages in [0, 1, 3] {
            let begun_ns = clock::now_ns();
            let ended_ns = delay.waste(messages, 0);
            assert!(ended_ns >= begun_ns + 20_000 * messages as u64, "{messages}");
            assert!(ended_ns <= clock::now_ns(), "{messages}");
        }
    }
}
