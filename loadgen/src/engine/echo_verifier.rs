//! The messages of one connection that are in flight, and the verification of every byte that comes back. Pure: no
//! I/O, no clock.

use std::mem;

use memchr::memchr;
use protocol::status::{LINE_BYTES_MAX, Status};

use super::{
    in_flight::{InFlight, Sent},
    message::{Messages, SizeIndex},
};

/// What was found in the bytes received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message came back unaltered.
    Echo(Sent),
    /// A message came back after a later one.
    Reordered(Sent),
    /// A message came back again.
    Duplicate,
    /// A line that is neither a message of this connection nor a status.
    Corrupt,
    /// A status line.
    Status(Status),
}

/// The messages of a window that did not come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Overtaken by a later message that did come back: they are lost for good.
    pub(crate) lost: u64,
    /// Not overtaken: they may still be on their way.
    pub(crate) unanswered: u64,
    /// In flight when the server closed the connection.
    pub(crate) cut_off: u64,
}

/// The stream cannot be followed any further: the peer does not echo.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Desynchronized;

/// Follows the echoes of one connection.
///
/// On the fast path the bytes are compared with the message that is due next. On a difference the whole line is read and
/// identified by the number that it carries, so that a dropped line counts as one and not as all that follow.
#[derive(Debug)]
pub(crate) struct EchoVerifier {
    /// Bytes of the next expected message already received.
    position: u32,
    next_sequence: u64,
    outstanding: InFlight,
    /// Made when the stream first differs, so that a connection that only echoes stays small.
    resync: Option<Box<Resync>>,
}

/// The state of a stream that is not just echoes.
#[derive(Debug, Default)]
struct Resync {
    /// The beginning of a line that is no echo.
    partial: Vec<u8>,
    /// Messages that a later one overtook, or in whose place something corrupt came.
    overtaken: Vec<Overtaken>,
    /// Messages below this number belong to a window that is over: they may still come, but they are not counted.
    settled_below: u64,
    /// The message that was sent to see whether those before it still come. It is not counted.
    marker: Option<u64>,
}

impl Resync {
    fn is_counted(&self, sequence: u64) -> bool {
        sequence >= self.settled_below && self.marker != Some(sequence)
    }
}

#[derive(Debug)]
struct Overtaken {
    sequence: u64,
    sent: Sent,
    /// Counted as corrupt, so not as lost.
    corrupt: bool,
}

impl EchoVerifier {
    pub(crate) fn new() -> Self {
        Self { position: 0, next_sequence: 0, outstanding: InFlight::default(), resync: None }
    }

    /// Expects the echo of one more message and returns the number of the message.
    pub(crate) fn send(&mut self, sent: Sent) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.outstanding.push(sent);
        sequence
    }

    /// The number of the next message.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Numbers and sizes of the messages from number `first` on that have not come back.
    pub(crate) fn sent_from(&self, first: u64) -> impl Iterator<Item = (u64, SizeIndex)> {
        let skipped = first.saturating_sub(self.expected());
        (first..).zip(self.outstanding.iter().skip(skipped as usize).map(|sent| sent.size))
    }

    /// The first `count` of the messages queued behind a full socket are tried now.
    pub(crate) fn tried(&mut self, count: usize, now_ns: u64) {
        for sent in self.outstanding.waiting_mut().take(count) {
            sent.tried_ns = now_ns;
        }
    }

    /// Messages of this window that have not come back.
    pub(crate) fn outstanding(&self) -> usize {
        let Some(resync) = &self.resync else { return self.outstanding.len() };
        let first = self.expected().max(resync.settled_below);
        let is_marked = resync.marker.is_some_and(|marker| marker >= first);
        (self.next_sequence - first) as usize - usize::from(is_marked)
    }

    /// Makes the newest message the marker: it is not counted, and messages that it overtakes are lost.
    pub(crate) fn mark_newest(&mut self) {
        self.resync().marker = self.next_sequence.checked_sub(1);
    }

    /// Expects the newest messages no longer, which were never sent. Returns how many of them would have counted. They are
    /// of the current window: those of an earlier one are settled.
    pub(crate) fn withdraw(&mut self, count: usize) -> u64 {
        let before = self.outstanding();
        let settled_below = self.resync.as_ref().map_or(0, |resync| resync.settled_below);
        debug_assert!(
            self.next_sequence.saturating_sub(count as u64) >= settled_below,
            "{count} are not of this window"
        );
        for _ in 0..count {
            self.next_sequence -= u64::from(self.outstanding.pop_newest().is_some());
        }
        if self.outstanding.len() == 0 {
            self.position = 0;
        }
        if let Some(resync) = &mut self.resync {
            resync.marker = resync.marker.filter(|marker| *marker < self.next_sequence);
        }
        (before - self.outstanding()) as u64
    }

    /// Verifies what was received and reports the findings, in order.
    ///
    /// # Errors
    /// If the stream cannot be followed any further; that is reported as corrupt once.
    pub(crate) fn receive(
        &mut self,
        messages: &mut Messages<'_>,
        mut input: &[u8],
        report: &mut impl FnMut(Found),
    ) -> Result<(), Desynchronized> {
        while !input.is_empty() {
            if !self.has_partial() {
                input = self.compare(messages, input, report);
            }
            if self.has_partial() || !input.is_empty() {
                input = self.take_line(messages, input, report)?;
            }
        }
        Ok(())
    }

    /// Ends the window: messages that have not come back are counted in no later one.
    pub(crate) fn settle(&mut self) -> Missing {
        let unanswered = self.outstanding() as u64;
        if unanswered == 0 && self.resync.is_none() {
            return Missing::default();
        }
        let next_sequence = self.next_sequence;
        let resync = self.resync();
        let lost = resync.overtaken.drain(..).filter(|overtaken| !overtaken.corrupt).count() as u64;
        (resync.settled_below, resync.marker) = (next_sequence, None);
        Missing { lost, unanswered, cut_off: 0 }
    }

    /// Whether a message belongs to this window.
    fn is_counted(&self, sequence: u64) -> bool {
        self.resync.as_ref().is_none_or(|resync| resync.is_counted(sequence))
    }

    fn has_partial(&self) -> bool {
        self.resync.as_ref().is_some_and(|resync| !resync.partial.is_empty())
    }

    fn resync(&mut self) -> &mut Resync {
        self.resync.get_or_insert_default()
    }

    /// Moves what was received of the expected message to the beginning of a line that is read as a whole.
    fn set_aside(&mut self, expected: &[u8]) {
        let position = mem::take(&mut self.position) as usize;
        if position > 0 {
            self.resync().partial.extend_from_slice(&expected[..position]);
        }
    }

    /// The number of the message that should come next.
    fn expected(&self) -> u64 {
        self.next_sequence - self.outstanding.len() as u64
    }

    /// Compares with the expected messages; returns the rest of `input` from the first difference on.
    fn compare<'a>(
        &mut self,
        messages: &mut Messages<'_>,
        mut input: &'a [u8],
        report: &mut impl FnMut(Found),
    ) -> &'a [u8] {
        while let (false, Some(sent)) = (input.is_empty(), self.outstanding.oldest()) {
            let text = messages.text(self.expected(), sent.size);
            let wanted = &text[self.position as usize..];
            let count = wanted.len().min(input.len());
            if input[..count] != wanted[..count] {
                self.set_aside(text);
                return input;
            }
            input = &input[count..];
            if count < wanted.len() {
                self.position += count as u32;
            } else {
                self.position = 0;
                self.take_echo(report);
            }
        }
        input
    }

    /// Takes a line that is no echo of the expected message, once it is complete.
    fn take_line<'a>(
        &mut self,
        messages: &mut Messages<'_>,
        input: &'a [u8],
        report: &mut impl FnMut(Found),
    ) -> Result<&'a [u8], Desynchronized> {
        let newline = memchr(b'\n', input);
        let partial = self.resync.as_ref().map_or(0, |resync| resync.partial.len());
        let is_too_long = partial + newline.unwrap_or(input.len()) > messages.bytes_max().max(LINE_BYTES_MAX);
        if is_too_long {
            // Even if its end has come: the findings must not depend on how the stream is cut into reads.
            return self.desynchronize(report);
        }
        let Some(newline) = newline else {
            self.resync().partial.extend_from_slice(input);
            return Ok(&[]);
        };
        let (end, rest) = input.split_at(newline + 1);
        if !self.has_partial() {
            self.classify_line(messages, end, report)?;
            return Ok(rest);
        }
        let mut line = mem::take(&mut self.resync().partial);
        line.extend_from_slice(end);
        self.classify_line(messages, &line, report)?;
        Ok(rest)
    }

    /// Identifies a line that is no echo of the expected message.
    fn classify_line(
        &mut self,
        messages: &mut Messages<'_>,
        line: &[u8],
        report: &mut impl FnMut(Found),
    ) -> Result<(), Desynchronized> {
        if let Some(status) = Status::parse(line) {
            report(Found::Status(status));
            return Ok(());
        }
        if !messages.is_identified() {
            return self.desynchronize(report);
        }
        match messages.sequence_of(line).filter(|sequence| *sequence < self.next_sequence) {
            Some(sequence) => self.resynchronize(sequence, report),
            None => {
                report(Found::Corrupt);
                self.overtake(true);
            }
        }
        Ok(())
    }

    /// A message of this connection came, but not the expected one.
    fn resynchronize(&mut self, sequence: u64, report: &mut impl FnMut(Found)) {
        if sequence >= self.expected() {
            while self.expected() < sequence {
                self.overtake(false);
            }
            self.take_echo(report);
            return;
        }
        let expected = self.expected();
        let resync = self.resync();
        if let Some(index) = resync.overtaken.iter().position(|overtaken| overtaken.sequence == sequence) {
            // In order if only something corrupt came in its place, and nothing that was sent later.
            let later = resync.overtaken.iter().filter(|overtaken| overtaken.sequence > sequence).count() as u64;
            let is_next = resync.overtaken[index].corrupt && later == expected - sequence - 1;
            let sent = resync.overtaken.swap_remove(index).sent;
            report(if is_next { Found::Echo(sent) } else { Found::Reordered(sent) });
        } else if resync.is_counted(sequence) {
            report(Found::Duplicate);
        }
    }

    /// The expected message came back.
    fn take_echo(&mut self, report: &mut impl FnMut(Found)) {
        let is_counted = self.is_counted(self.expected());
        self.outstanding.pop().filter(|_| is_counted).map(Found::Echo).into_iter().for_each(report);
    }

    /// Something else came in place of the expected message.
    fn overtake(&mut self, corrupt: bool) {
        let sequence = self.expected();
        let is_counted = self.is_counted(sequence);
        if let Some(sent) = self.outstanding.pop().filter(|_| is_counted) {
            self.resync().overtaken.push(Overtaken { sequence, sent, corrupt });
        }
    }

    fn desynchronize<T>(&mut self, report: &mut impl FnMut(Found)) -> Result<T, Desynchronized> {
        report(Found::Corrupt);
        self.overtake(true);
        Err(Desynchronized)
    }
}

#[cfg(test)]
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod windows;
