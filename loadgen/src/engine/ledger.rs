//! What one connection has sent and not yet got back, and the check of every byte that it gets. Pure: no I/O, no clock.

use std::mem;

use memchr::memchr;
use protocol::status::{LINE_BYTES_MAX, Status};

use super::{
    message::{Message, Size},
    under_way::UnderWay,
};

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When it was due.
    pub(crate) intended_ns: u64,
    /// When its first byte was handed to the kernel; 0 while it waits behind a full socket.
    pub(crate) tried_ns: u64,
    /// Its size.
    pub(crate) size: Size,
}

impl Sent {
    /// Whether its first byte was handed to the kernel.
    pub(super) fn was_tried(&self) -> bool {
        self.tried_ns != 0
    }
}

/// What was found in the bytes received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message came back unaltered.
    Echo(Sent),
    /// One came back after a later one.
    Reordered(Sent),
    /// One came back again.
    Duplicate,
    /// A line that is neither a message of this connection nor a status.
    Corrupt,
    /// A status line.
    Status(Status),
}

/// The stream cannot be followed any further: whatever comes is not an echo.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// Follows one connection.
///
/// On the fast path the bytes are compared with the message that is due next. On a difference the line is taken whole
/// and asked who it is, so that a dropped line counts as one and not as all that follow.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: u32,
    /// Bytes of the next expected message already received.
    position: u32,
    next_sequence: u64,
    outstanding: UnderWay,
    /// Made when the stream first differs: a connection that only echoes stays small.
    trouble: Option<Box<Trouble>>,
}

/// What is known of a stream that is not just echoes.
#[derive(Debug, Default)]
struct Trouble {
    /// A line that is no echo, as far as it has come.
    partial: Vec<u8>,
    /// Messages that a later one overtook, or in whose place something corrupt came.
    overtaken: Vec<Overtaken>,
    /// Messages below this number belong to a window that is over; some of them were lost.
    settled_below: u64,
}

#[derive(Debug)]
struct Overtaken {
    sequence: u64,
    sent: Sent,
    /// Counted as corrupt, so not as lost.
    corrupt: bool,
}

impl Ledger {
    pub(crate) fn new(connection: u32) -> Self {
        Self { connection, position: 0, next_sequence: 0, outstanding: UnderWay::default(), trouble: None }
    }

    /// Takes note of a message to send and returns its number.
    pub(crate) fn send(&mut self, sent: Sent) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.outstanding.push(sent);
        sequence
    }

    /// The text of a message of this connection.
    pub(crate) fn text<'a>(&self, message: &'a mut Message, sequence: u64, size: Size) -> &'a [u8] {
        message.text(self.connection, sequence, size)
    }

    /// Numbers and sizes of the messages from number `first` on that have not come back.
    pub(crate) fn sent_from(&self, first: u64) -> impl Iterator<Item = (u64, Size)> {
        let skipped = first.saturating_sub(self.expected());
        (first..).zip(self.outstanding.iter().skip(skipped as usize).map(|sent| sent.size))
    }

    /// The first `count` of the messages that waited behind a full socket are tried now.
    pub(crate) fn tried(&mut self, count: usize, now_ns: u64) {
        for sent in self.outstanding.waiting_mut().take(count) {
            sent.tried_ns = now_ns;
        }
    }

    /// How many messages have not come back.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Checks what was received and reports what it is, in order.
    ///
    /// # Errors
    /// If the stream cannot be followed any further; that is reported as corrupt once.
    pub(crate) fn receive(
        &mut self,
        message: &mut Message,
        mut input: &[u8],
        report: &mut impl FnMut(Found),
    ) -> Result<(), Lost> {
        while !input.is_empty() {
            if !self.has_partial() {
                input = self.compare(message, input, report);
            }
            if self.has_partial() || !input.is_empty() {
                input = self.take_line(message, input, report)?;
            }
        }
        Ok(())
    }

    /// The window is over: what has not come back is lost, and no longer waited for. Returns how many that are.
    pub(crate) fn settle(&mut self, message: &mut Message) -> u64 {
        if let Some(sent) = self.outstanding.oldest() {
            let text = message.text(self.connection, self.expected(), sent.size);
            self.set_aside(text);
        }
        let mut lost = self.outstanding.len();
        if lost > 0 || self.trouble.is_some() {
            let next_sequence = self.next_sequence;
            let trouble = self.trouble();
            lost += trouble.overtaken.drain(..).filter(|overtaken| !overtaken.corrupt).count();
            trouble.settled_below = next_sequence;
        }
        self.outstanding.clear();
        lost as u64
    }

    fn has_partial(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| !trouble.partial.is_empty())
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// What was received of the expected message begins a line that is looked at as a whole.
    fn set_aside(&mut self, expected: &[u8]) {
        let position = mem::take(&mut self.position) as usize;
        if position > 0 {
            self.trouble().partial.extend_from_slice(&expected[..position]);
        }
    }

    /// The number of the message that should come next.
    fn expected(&self) -> u64 {
        self.next_sequence - self.outstanding.len() as u64
    }

    /// Compares with what is expected; returns what is left of `input` at the first difference.
    fn compare<'a>(&mut self, message: &mut Message, mut input: &'a [u8], report: &mut impl FnMut(Found)) -> &'a [u8] {
        while let (false, Some(sent)) = (input.is_empty(), self.outstanding.oldest()) {
            let text = message.text(self.connection, self.expected(), sent.size);
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
                self.outstanding.pop();
                report(Found::Echo(sent));
            }
        }
        input
    }

    /// Takes a line that is no echo of the expected message, once it is complete.
    fn take_line<'a>(
        &mut self,
        message: &mut Message,
        input: &'a [u8],
        report: &mut impl FnMut(Found),
    ) -> Result<&'a [u8], Lost> {
        let Some(newline) = memchr(b'\n', input) else {
            let partial = &mut self.trouble().partial;
            partial.extend_from_slice(input);
            let endless = partial.len() > message.bytes_max().max(LINE_BYTES_MAX);
            return if endless { self.give_up(report) } else { Ok(&[]) };
        };
        let (end, rest) = input.split_at(newline + 1);
        if !self.has_partial() {
            self.judge_line(message, end, report)?;
            return Ok(rest);
        }
        let mut line = mem::take(&mut self.trouble().partial);
        line.extend_from_slice(end);
        self.judge_line(message, &line, report)?;
        Ok(rest)
    }

    /// Says what a line is that is no echo of the expected message.
    fn judge_line(&mut self, message: &mut Message, line: &[u8], report: &mut impl FnMut(Found)) -> Result<(), Lost> {
        if let Some(status) = Status::parse(line) {
            report(Found::Status(status));
            return Ok(());
        }
        if !message.is_identified() {
            return self.give_up(report);
        }
        match message.sequence_of(self.connection, line).filter(|sequence| *sequence < self.next_sequence) {
            Some(sequence) => self.resynchronise(sequence, report),
            None => {
                report(Found::Corrupt);
                self.overtake(true);
            }
        }
        Ok(())
    }

    /// A message of this connection came, but not the expected one.
    fn resynchronise(&mut self, sequence: u64, report: &mut impl FnMut(Found)) {
        if sequence >= self.expected() {
            while self.expected() < sequence {
                self.overtake(false);
            }
            self.outstanding.pop().map(Found::Echo).into_iter().for_each(report);
            return;
        }
        let trouble = self.trouble();
        if let Some(index) = trouble.overtaken.iter().position(|overtaken| overtaken.sequence == sequence) {
            report(Found::Reordered(trouble.overtaken.swap_remove(index).sent));
        } else if sequence >= trouble.settled_below {
            report(Found::Duplicate);
        }
        // Else it comes late, after its window, in which it was counted as lost.
    }

    /// The expected message did not come, something else did.
    fn overtake(&mut self, corrupt: bool) {
        let sequence = self.expected();
        if let Some(sent) = self.outstanding.pop() {
            self.trouble().overtaken.push(Overtaken { sequence, sent, corrupt });
        }
    }

    fn give_up<T>(&mut self, report: &mut impl FnMut(Found)) -> Result<T, Lost> {
        report(Found::Corrupt);
        self.overtake(true);
        Err(Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::Payloads;
    use proptest::prelude::*;

    const STATUS: Status = Status { active: 1, tick: 1, due_ns: 2, emit_ns: 3 };

    /// A connection that sent `count` messages of `bytes`; message i was due at i + 1.
    struct Peer {
        ledger: Ledger,
        message: Message,
        texts: Vec<Vec<u8>>,
    }

    impl Peer {
        fn new(bytes: usize, count: u64) -> Self {
            let mut peer =
                Self { ledger: Ledger::new(9), message: Message::new(&Payloads::one(bytes)), texts: Vec::new() };
            peer.texts = (0..count).map(|index| peer.send(sent(index))).collect();
            peer
        }

        fn send(&mut self, sent: Sent) -> Vec<u8> {
            let sequence = self.ledger.send(sent);
            self.ledger.text(&mut self.message, sequence, sent.size).to_vec()
        }

        fn receive(&mut self, input: &[u8]) -> (Vec<Found>, Result<(), Lost>) {
            let mut found = Vec::new();
            let result = self.ledger.receive(&mut self.message, input, &mut |item| found.push(item));
            (found, result)
        }

        fn lost(&mut self) -> u64 {
            self.ledger.settle(&mut self.message)
        }
    }

    fn sent(index: u64) -> Sent {
        Sent { intended_ns: index + 1, tried_ns: index + 1, size: 0 }
    }

    fn echo(index: u64) -> Found {
        Found::Echo(sent(index))
    }

    #[test]
    fn a_dropped_message_counts_as_one_lost() {
        let mut peer = Peer::new(64, 4);
        let input = [&peer.texts[0][..], &peer.texts[2], &peer.texts[3]].concat();
        assert_eq!(peer.receive(&input), (vec![echo(0), echo(2), echo(3)], Ok(())));
        assert_eq!(peer.lost(), 1);
    }

    #[test]
    fn a_corrupt_message_counts_as_corrupt_and_not_as_lost() {
        for at in [0, 5, 15, 21, 22, 40] {
            let mut peer = Peer::new(64, 3);
            let mut input = peer.texts.concat();
            input[64 + at] ^= 1;
            assert_eq!(peer.receive(&input), (vec![echo(0), Found::Corrupt, echo(2)], Ok(())), "byte {at}");
            assert_eq!(peer.lost(), 0);
        }
    }

    #[test]
    fn a_duplicate_and_a_reordered_message_are_told_apart() {
        let mut peer = Peer::new(64, 4);
        let input = [&peer.texts[0][..], &peer.texts[0], &peer.texts[2], &peer.texts[1], &peer.texts[3]].concat();
        let found = vec![echo(0), Found::Duplicate, echo(2), Found::Reordered(sent(1)), echo(3)];
        assert_eq!(peer.receive(&input), (found, Ok(())));
        assert_eq!(peer.lost(), 0);
    }

    #[test]
    fn what_comes_after_its_window_is_not_counted_twice() {
        let mut peer = Peer::new(64, 2);
        let texts = peer.texts.concat();
        assert_eq!(peer.receive(&texts[..70]), (vec![echo(0)], Ok(())));
        assert_eq!(peer.lost(), 1);
        let next = peer.send(sent(2));
        assert_eq!(peer.receive(&[&texts[70..], &next].concat()), (vec![echo(2)], Ok(())));
        assert_eq!(peer.lost(), 0);
    }

    #[test]
    fn an_answer_that_is_no_echo_is_corrupt() {
        let mut peer = Peer::new(64, 1);
        assert_eq!(peer.receive(b"HTTP/1.1 400 Bad Request\r\n").0, [Found::Corrupt]);
        let mut peer = Peer::new(64, 1);
        assert_eq!(peer.receive(&[0; 1000]), (vec![Found::Corrupt], Err(Lost)));
    }

    #[test]
    fn a_status_with_absurd_numbers_is_corrupt() {
        let mut peer = Peer::new(64, 0);
        let line = b"Server status: 1 active connections tick=99999999999999999999999 due_ns=0 emit_ns=0\n";
        assert_eq!(peer.receive(line), (vec![Found::Corrupt], Ok(())));
    }

    #[test]
    fn a_short_message_is_checked_by_its_position() {
        let mut peer = Peer::new(4, 300);
        let mut input = peer.texts.concat();
        input[4 * 200 + 1] ^= 1;
        let (found, result) = peer.receive(&input);
        assert_eq!((found.len(), found[200], result), (201, Found::Corrupt, Err(Lost)));
    }

    #[test]
    fn messages_of_several_sizes_are_followed_and_one_may_be_missing() {
        let mut peer = Peer::new(64, 0);
        peer.message = Message::new(&Payloads::mix(&[(64, Some(0.5)), (200, None)]).unwrap());
        let sizes = [0, 1, 1, 0, 1];
        let sent: Vec<Sent> = (0..5).map(|index| Sent { size: sizes[index as usize], ..sent(index) }).collect();
        let texts: Vec<Vec<u8>> = sent.iter().map(|sent| peer.send(*sent)).collect();
        let input = [&texts[0][..], &texts[2], &texts[3], &texts[4]].concat();
        let expected = [0, 2, 3, 4].map(|index| Found::Echo(sent[index])).to_vec();
        assert_eq!(peer.receive(&input), (expected, Ok(())));
        assert_eq!(peer.lost(), 1);
    }

    #[test]
    fn a_message_behind_a_full_socket_is_tried_when_its_turn_comes() {
        let mut peer = Peer::new(64, 1);
        let texts = [
            peer.texts.concat(),
            peer.send(Sent { tried_ns: 0, ..sent(1) }),
            peer.send(Sent { tried_ns: 0, ..sent(2) }),
        ];
        peer.ledger.tried(1, 77);
        let found = peer.receive(&texts.concat()).0;
        let tried = |found: &Found| matches!(found, Found::Echo(sent) if sent.tried_ns > 0);
        assert_eq!(found.iter().map(tried).collect::<Vec<_>>(), [true, true, false]);
    }

    proptest! {
        #[test]
        fn every_message_and_status_is_found_for_every_segmentation(
            bytes in 1..100_usize,
            statuses in prop::collection::vec(any::<bool>(), 1..30),
            cuts in prop::collection::vec(1..150_usize, 0..40),
        ) {
            let mut peer = Peer::new(bytes, statuses.len() as u64);
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for (index, status) in statuses.iter().enumerate() {
                if *status {
                    stream.extend_from_slice(&STATUS.line());
                    expected.push(Found::Status(STATUS));
                }
                stream.extend_from_slice(&peer.texts[index]);
                expected.push(echo(index as u64));
            }
            let (mut found, mut rest) = (Vec::new(), &stream[..]);
            for cut in cuts {
                let (input, later) = rest.split_at(cut.min(rest.len()));
                found.extend(peer.receive(input).0);
                rest = later;
            }
            found.extend(peer.receive(rest).0);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(peer.lost(), 0);
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_pile_up(
            bytes in 1..100_usize,
            inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
        ) {
            let mut peer = Peer::new(bytes, 5);
            for input in inputs {
                if peer.receive(&input).1.is_err() {
                    break;
                }
                let partial = peer.ledger.trouble.as_ref().map_or(0, |trouble| trouble.partial.len());
                prop_assert!(partial <= 1 + bytes.max(LINE_BYTES_MAX));
            }
        }
    }
}
