//! What several tests need of processes that they start.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

/// Kills the process when the test ends, however it ends.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// Waits for a condition with a deadline.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not happen");
        thread::yield_now();
    }
}
