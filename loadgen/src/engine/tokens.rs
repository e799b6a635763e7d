//! The layout of poll tokens, which identify the source of an event, and of connection numbers, which identify the
//! connection of a message. Pure.

use mio::Token;

/// The source of a readiness event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSource {
    /// The measured client at that index.
    Measured(usize),
    /// The background client at that index. The index is reused: an event of an earlier generation is stale.
    Background { index: usize, generation: u32 },
    /// The flooder at that index, on the poll of the flooders' own thread.
    Flooder(usize),
    /// SIGINT or SIGTERM.
    Signal,
    /// The timer that ends a wait.
    Timer,
    /// A request of another thread.
    Waker,
}

/// The upper three bits of a token name the variant, the lower 32 the index, those in between the generation.
const VARIANT_SHIFT: u32 = 61;
const INDEX_MASK: usize = 0xffff_ffff;
const GENERATION_SHIFT: u32 = 32;

/// Number of generations that a token distinguishes.
pub(crate) const GENERATIONS: u32 = 1 << (VARIANT_SHIFT - GENERATION_SHIFT);

impl EventSource {
    pub(crate) fn token(self) -> Token {
        let (variant, generation, index) = match self {
            Self::Measured(index) => (0, 0, index),
            Self::Background { index, generation } => (1, generation, index),
            Self::Flooder(index) => (2, 0, index),
            Self::Signal => (3, 0, 0),
            Self::Timer => (4, 0, 0),
            Self::Waker => (5, 0, 0),
        };
        debug_assert!(index <= INDEX_MASK && generation < GENERATIONS);
        Token(variant << VARIANT_SHIFT | (generation as usize) << GENERATION_SHIFT | index)
    }

    pub(crate) fn of(token: Token) -> Self {
        let index = token.0 & INDEX_MASK;
        match token.0 >> VARIANT_SHIFT {
            0 => Self::Measured(index),
            1 => Self::Background { index, generation: (token.0 >> GENERATION_SHIFT) as u32 % GENERATIONS },
            2 => Self::Flooder(index),
            3 => Self::Signal,
            4 => Self::Timer,
            _ => Self::Waker,
        }
    }
}

/// The number of a connection, which its messages carry. Each kind of client has a range of its own, so that no message
/// of one kind is taken for a message of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId(u32);

impl ConnectionId {
    /// In the lower half of all numbers.
    pub(crate) const fn measured(number: u32) -> Self {
        debug_assert!(number < 1 << 31);
        Self(number)
    }

    /// In the third quarter of all numbers, which repeat once they are used up.
    pub(crate) const fn background(serial: u32) -> Self {
        Self((2 << 30) + serial % (1 << 30))
    }

    /// In the last quarter of all numbers.
    pub(crate) const fn flooder(number: u32) -> Self {
        Self((3 << 30) + number % (1 << 30))
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_names_its_source(index in 0..=INDEX_MASK, generation in 0..GENERATIONS) {
            let sources = [
                EventSource::Measured(index),
                EventSource::Background { index, generation },
                EventSource::Flooder(index),
                EventSource::Signal,
                EventSource::Timer,
                EventSource::Waker,
            ];
            for source in sources {
                prop_assert_eq!(EventSource::of(source.token()), source);
            }
        }

        #[test]
        fn no_two_kinds_of_clients_share_a_connection_number(a in 0..1_u32 << 31, b: u32, c: u32) {
            let ids = [ConnectionId::measured(a), ConnectionId::background(b), ConnectionId::flooder(c)];
            prop_assert_eq!(ids.map(|id| id.number() >> 30).map(|range| range.max(1)), [1, 2, 3]);
        }
    }
}
