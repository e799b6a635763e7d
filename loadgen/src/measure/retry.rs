//! How often a measurement is repeated that the host may have spoiled: one policy for all commands.

use std::ops::RangeInclusive;

use anyhow::Result;

/// A bound on the attempts at one result. Slow moments of a shared host pass: what is spoiled again and again is not the
/// fault of a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    attempts: u64,
}

impl Retry {
    /// For trials, rungs, blocks and drift probes.
    pub(crate) const STANDARD: Self = Self { attempts: 3 };

    /// For trials that also have to be undisturbed by a measure of their own.
    pub(crate) const PATIENT: Self = Self { attempts: 6 };

    /// Attempts until one is accepted; otherwise the rejection of the last one. `attempt` gets its number, from 0.
    ///
    /// # Errors
    /// The first error of `attempt`, which ends the attempts.
    pub(crate) fn until_accepted<T, R>(
        self,
        mut attempt: impl FnMut(u64) -> Result<Result<T, R>>,
    ) -> Result<Result<T, R>> {
        let mut last = attempt(0)?;
        for number in 1..self.attempts {
            if last.is_ok() {
                break;
            }
            last = attempt(number)?;
        }
        Ok(last)
    }

    /// Numbers of the attempts after so many earlier ones, counted from 1; one at least, since the earlier ones have led
    /// to no result.
    pub(crate) fn after(self, earlier: u64) -> RangeInclusive<u64> {
        earlier + 1..=self.attempts.max(earlier + 1)
    }

    /// Whether no attempt is left after so many that were spoiled.
    pub(crate) fn is_exhausted(self, spoiled: u64) -> bool {
        spoiled >= self.attempts
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn attempts_end_with_the_first_that_is_accepted_or_with_the_last() {
        let try_from = |accepted: u64| {
            let mut made = 0;
            let outcome = Retry::STANDARD.until_accepted(|number| {
                made += 1;
                Ok(if number >= accepted { Ok(number) } else { Err(number) })
            });
            (outcome.unwrap(), made)
        };
        assert_eq!(try_from(0), (Ok(0), 1));
        assert_eq!(try_from(1), (Ok(1), 2));
        assert_eq!(try_from(2), (Ok(2), 3));
        assert_eq!(try_from(3), (Err(2), 3));
    }

    #[test]
    fn an_error_ends_the_attempts() {
        let mut made = 0;
        let outcome = Retry::STANDARD.until_accepted(|_| -> Result<Result<(), ()>> {
            made += 1;
            Err(anyhow!("broken"))
        });
        assert!(outcome.is_err());
        assert_eq!(made, 1);
    }

    #[test]
    fn a_resumed_block_has_the_attempts_that_are_left_and_one_at_least() {
        for (earlier, numbers) in [(0, 1..=3), (1, 2..=3), (2, 3..=3), (3, 4..=4), (7, 8..=8)] {
            assert_eq!(Retry::STANDARD.after(earlier), numbers);
        }
        assert!(!Retry::STANDARD.is_exhausted(2) && Retry::STANDARD.is_exhausted(3));
    }
}
