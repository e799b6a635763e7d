//! The output of a process, read as bytes to its end: a writer to a pipe that is not read blocks, and a writer to a closed
//! one gets SIGPIPE.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, PipeReader, Read},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use rustix::event::PollFlags;

use super::wait::{OnSignal, Waited, wait};

/// Lines kept for a message about a failure.
const LINES: usize = 20;

/// Bytes kept per line. Counters take a few hundred.
const LINE_BYTES: usize = 4096;

/// Characters shown per line.
const SHOWN: usize = 300;

/// A pipe that a thread of its own reads; what is held here is one that the thread closes when it is done.
#[derive(Debug)]
pub(super) struct Pipe(PipeReader);

impl Pipe {
    /// Reads it until its end, which may never come: some grandchild may hold it for good.
    pub(super) fn drain(
        name: &str,
        mut pipe: impl Read + Send + 'static,
        mut take: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<Self> {
        let (end, ended) = io::pipe()?;
        let read = move || {
            let _ended = ended;
            let mut bytes = [0; 16 * 1024];
            loop {
                match pipe.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => take(&bytes[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(read)?;
        Ok(Self(end))
    }

    /// Whether it has ended by then; if not, it goes on being read.
    pub(super) fn ends_by(&self, deadline: Instant) -> bool {
        matches!(wait(self.0.as_fd(), PollFlags::IN, deadline, OnSignal::Continue), Ok(Waited::Ready))
    }
}

/// The last lines of a process's stderr, which may be anything: bytes that are no text, or no line at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    ended: VecDeque<Vec<u8>>,
    /// The beginning of the next one.
    open: Vec<u8>,
}

impl Log {
    /// More of it.
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut lines = self.lines();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_BYTES - lines.open.len();
            lines.open.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                let line = std::mem::take(&mut lines.open);
                lines.ended.push_back(line);
                if lines.ended.len() > LINES {
                    lines.ended.pop_front();
                }
            }
        }
    }

    /// The last line, whether it has an end or not.
    pub(super) fn last(&self) -> Option<String> {
        let lines = self.lines();
        let last = if lines.open.is_empty() { lines.ended.back() } else { Some(&lines.open) };
        last.map(|line| String::from_utf8_lossy(line).into_owned())
    }

    /// All of them in one line that a terminal can be shown.
    pub(super) fn text(&self) -> String {
        let lines = self.lines();
        let open = Some(&lines.open).filter(|line| !line.is_empty());
        lines.ended.iter().chain(open).map(|line| shown(line)).collect::<Vec<_>>().join("; ")
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let start: String = text.trim_end().chars().take(SHOWN).map(plain).collect();
    if text.chars().count() > SHOWN { start + "..." } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_read_and_shown_as_well_as_they_can_be() {
        let log = Log::default();
        log.add(b"client caf\xe9 conn");
        log.add(b"ected\nclient \x1b[2J 2\nthe rest");
        assert_eq!(log.last().as_deref(), Some("the rest"));
        assert_eq!(log.text(), "client caf\u{fffd} connected; client \\u{1b}[2J 2; the rest");
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_a_long_one() {
        let log = Log::default();
        for _ in 0..1_000 {
            log.add(&[0; 10_000]);
        }
        assert_eq!(log.lines().open.len(), LINE_BYTES);
        log.add(b"\nlast\n");
        assert_eq!((log.last().as_deref(), log.lines().ended.len()), (Some("last"), 2));
        (0..100).for_each(|_| log.add(b"more\n"));
        assert_eq!(log.lines().ended.len(), LINES);
    }
}
