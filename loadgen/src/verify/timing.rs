//! Ends of connections, and when they came.

use std::{
    io::{ErrorKind, Read},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use protocol::status::PREFIX;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{Skipped, client::Client};

/// How much later than its time a server at rest may close a connection (H6, T1).
const LATE: Duration = Duration::from_millis(20);

/// A connection that the server is to close by itself.
pub(super) struct Doomed {
    pub(super) client: Client,
    /// Not later than the event from which its time is counted.
    pub(super) since: Instant,
}

/// Waits until the server has closed all of these, each with a FIN and none before `time` has passed.
///
/// All are watched at once: read one after another, one that ends too early would be noticed only behind the one before.
pub(super) fn closed_in_time(mut doomed: Vec<Doomed>, time: Duration, patience: Duration) -> Result<()> {
    while !doomed.is_empty() {
        let mut ready: Vec<PollFd<'_>> =
            doomed.iter().map(|doomed| PollFd::new(&doomed.client.stream, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: (time + patience).as_secs().cast_signed(), tv_nsec: 0 };
        match poll(&mut ready, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            Ok(0) => bail!("{} connections are still open, {patience:?} after their time", doomed.len()),
            result => result.context("cannot wait")?,
        };
        let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut ended = Ok(());
        doomed.retain_mut(|doomed| {
            let over = if ready.next().unwrap_or(false) { is_over(doomed, time) } else { Ok(false) };
            match over {
                Ok(over) => !over,
                Err(error) => {
                    ended = Err(error);
                    false
                }
            }
        });
        ended?;
    }
    Ok(())
}

/// Whether a connection with something to read has ended, as it should; statuses are skipped.
fn is_over(doomed: &mut Doomed, time: Duration) -> Result<bool> {
    let mut buffer = [0; 4096];
    let count = doomed.client.stream.read(&mut buffer).context("closed, but not by a FIN")?;
    let after = doomed.since.elapsed();
    let received = &buffer[..count];
    ensure!(count > 0 || after >= time, "closed after {after:?}, before its time of {time:?}");
    ensure!(
        count == 0 || received.starts_with(PREFIX),
        "received {:?} from a server to which nothing was sent",
        String::from_utf8_lossy(received)
    );
    Ok(count == 0)
}

/// A server at rest closes a connection at most 20 ms after its time. This host may delay both server and client, hence
/// several attempts; a server that is late by design is late in each.
pub(super) fn closed_promptly(time: Duration, mut open: impl FnMut() -> Result<Doomed>) -> Result<()> {
    const WANTED: usize = 3;
    const ATTEMPTS: usize = 20;
    let (mut in_time, mut earliest) = (0, Duration::MAX);
    for _ in 0..ATTEMPTS {
        let Doomed { client, since } = open()?;
        client.rest()?;
        let late = since.elapsed().saturating_sub(time);
        earliest = earliest.min(late);
        in_time += usize::from(late <= LATE);
        if in_time == WANTED {
            return Ok(());
        }
    }
    bail!(
        "of {ATTEMPTS} connections {in_time} were closed within {LATE:?} after their time, the first after {earliest:?}"
    )
}

/// Repeats what returns `false` when the host was too busy for it.
pub(super) fn attempts(mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    const ATTEMPTS: usize = 10;
    for _ in 0..ATTEMPTS {
        if attempt()? {
            return Ok(());
        }
    }
    Err(anyhow!(Skipped(format!("in {ATTEMPTS} attempts this host was too busy"))))
}

impl Client {
    /// Whether the server has closed the connection so far, however it did; what it sent before is skipped.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let mut buffer = [0; 4096];
        let ended = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        self.stream.set_nonblocking(false)?;
        Ok(ended)
    }
}
