//! The stream of one connection, split as C1 defines while it arrives.

use anyhow::{Context, Result, ensure};
use protocol::status::{LINE_BYTES_MAX, PREFIX, Status};

/// A split stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The stream without its status lines.
    pub(crate) echo: Vec<u8>,
    pub(crate) statuses: Vec<Status>,
    /// The beginning of a line that may still turn out to be a status.
    undecided: Vec<u8>,
    /// The current line is echo.
    inside_echo: bool,
}

impl Stream {
    pub(crate) fn push(&mut self, received: &[u8]) -> Result<()> {
        for part in received.split_inclusive(|byte| *byte == b'\n') {
            let is_complete = part.ends_with(b"\n");
            if self.inside_echo {
                self.echo.extend_from_slice(part);
                self.inside_echo = !is_complete;
                continue;
            }
            self.undecided.extend_from_slice(part);
            if self.undecided.starts_with(PREFIX) {
                ensure!(self.undecided.len() <= LINE_BYTES_MAX, "a status without an end: {}", show(&self.undecided));
                if is_complete {
                    self.take_status()?;
                }
            } else if is_complete || !PREFIX.starts_with(&self.undecided) {
                self.echo.append(&mut self.undecided);
                self.inside_echo = !is_complete;
            }
        }
        Ok(())
    }

    fn take_status(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.undecided);
        let status = Status::parse(&line).with_context(|| format!("no status line: {}", show(&line)))?;
        let last = self.statuses.last().map_or(0, |last| last.tick);
        ensure!(status.tick > last, "tick {} came after tick {last}", status.tick);
        self.statuses.push(status);
        Ok(())
    }

    /// Ends the stream: an undecided line was echo, since a status is never cut off (B3).
    pub(crate) fn end(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.undecided);
        ensure!(!rest.starts_with(PREFIX), "a status was cut off: {}", show(&rest));
        self.echo.extend_from_slice(&rest);
        Ok(())
    }
}

/// The last of the bytes, printable.
pub(crate) fn show(bytes: &[u8]) -> String {
    let end = &bytes[bytes.len().saturating_sub(80)..];
    format!("{} bytes ending in {:?}", bytes.len(), String::from_utf8_lossy(end))
}
