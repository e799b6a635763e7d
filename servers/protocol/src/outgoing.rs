//! Pending output of a connection: the echo-and-boundary state (E1, B2, B3, E3), without I/O.

use memchr::memchr;

use crate::{Counters, status::StatusLine};

/// The outgoing side of one connection: bytes in, bytes out, status lines only at boundaries.
///
/// The owner reads from the peer into its own buffer, `input`, and then repeats:
///
/// 1. [`next`](Self::next) returns the bytes to write now (if empty, stop),
/// 2. the owner writes as many of them as the socket accepts,
/// 3. [`sent`](Self::sent) records the number and returns the rest of `input`.
///
/// If the socket is full the owner either waits and continues, or calls [`keep`](Self::keep) to have the rest of `input`
/// copied and continues later with an empty `input`. It should not read again before [`next`](Self::next) is exhausted:
/// then no connection ever holds more than one read buffer and two status lines (F1).
///
/// A status goes to the next boundary of the stream *written to the socket*, ahead of kept bytes if need be. Appended to
/// the backlog instead, statuses for a peer that does not read would pile up, one per tick.
///
/// ```
/// use protocol::{Counters, Outgoing, status::Status};
/// let mut counters = Counters::default();
/// let mut outgoing = Outgoing::default();
///
/// let rest = outgoing.sent(b"one\ntwo", 2, &mut counters); // the socket took "on"
/// outgoing.offer(Status { active: 1, tick: 1, due_ns: 0, emit_ns: 0 }.line(), &mut counters);
/// assert_eq!(outgoing.next(rest), b"e\n"); // up to the boundary, then the status
/// let rest = outgoing.sent(rest, 2, &mut counters);
/// assert!(outgoing.next(rest).starts_with(b"Server status: "));
/// ```
#[derive(Debug, Default)]
pub struct Outgoing {
    backlog: Vec<u8>,
    backlog_sent: usize,
    status: Option<StatusLine>,
    status_sent: usize,
    /// A status offered while `status` was partly sent.
    newer: Option<StatusLine>,
    inside_line: bool,
    ended: bool,
}

/// The source of the next bytes.
enum Source {
    Status,
    Backlog,
    Input,
}

impl Outgoing {
    /// Holds `line` for the next boundary, replacing a line that is still held (B3). After the end of input, `line` is
    /// dropped (E3).
    pub fn offer(&mut self, line: StatusLine, counters: &mut Counters) {
        if self.ended {
            counters.statuses_dropped_at_eof += 1;
            return;
        }
        let held = if self.status_sent > 0 { &mut self.newer } else { &mut self.status };
        if held.replace(line).is_some() {
            counters.statuses_replaced += 1;
        }
    }

    /// The bytes to write now, given the `input` not yet sent or kept; empty if there are none.
    pub fn next<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        let echo = match self.source() {
            Source::Status => return self.status.as_ref().map_or(&[], |line| &line[self.status_sent..]),
            Source::Backlog => &self.backlog[self.backlog_sent..],
            Source::Input => input,
        };
        match memchr_if(self.status.is_some(), echo) {
            Some(newline) => &echo[..=newline],
            None => echo,
        }
    }

    /// Records that the first `count` bytes of [`next`](Self::next) were written, and returns the rest of `input`.
    ///
    /// # Panics
    /// If `count` exceeds what `next` returned.
    pub fn sent<'a>(&mut self, input: &'a [u8], count: usize, counters: &mut Counters) -> &'a [u8] {
        if count == 0 {
            return input;
        }
        match self.source() {
            Source::Status => {
                self.status_sent += count;
                if self.status.as_ref().is_some_and(|line| line.len() == self.status_sent) {
                    counters.statuses_sent += 1;
                    self.status = self.newer.take();
                    self.status_sent = 0;
                }
                input
            }
            Source::Backlog => {
                counters.bytes_echoed += count as u64;
                self.backlog_sent += count;
                self.inside_line = self.backlog[self.backlog_sent - 1] != b'\n';
                if self.backlog_sent == self.backlog.len() {
                    // Freed, not cleared: an idle connection holds no buffer.
                    self.backlog = Vec::new();
                    self.backlog_sent = 0;
                }
                input
            }
            Source::Input => {
                counters.bytes_echoed += count as u64;
                let (sent, rest) = input.split_at(count);
                self.inside_line = sent[count - 1] != b'\n';
                rest
            }
        }
    }

    /// Copies the rest of `input`, to be sent later.
    pub fn keep(&mut self, input: &[u8], counters: &mut Counters) {
        if !input.is_empty() {
            self.backlog.extend_from_slice(input);
            counters.backlog_max_bytes = counters.backlog_max_bytes.max(self.unsent_bytes() as u64);
        }
    }

    /// Reports the end of input: held statuses are dropped and further ones refused; a partly sent one is still finished
    /// (E3).
    pub fn end_of_input(&mut self, counters: &mut Counters) {
        self.ended = true;
        let held = if self.status_sent > 0 { &mut self.newer } else { &mut self.status };
        counters.statuses_dropped_at_eof += u64::from(held.take().is_some());
    }

    /// Reports that the connection is gone: statuses still held, even a partly sent one, are counted as dropped.
    pub fn abandon(&mut self, counters: &mut Counters) {
        self.end_of_input(counters);
        counters.statuses_dropped_at_eof += u64::from(self.status.take().is_some());
    }

    /// Whether there is nothing to write until more is read; a held status may be waiting for the end of a line.
    pub fn is_flushed(&self) -> bool {
        self.next(&[]).is_empty()
    }

    /// Bytes held unsent, statuses included.
    pub fn unsent_bytes(&self) -> usize {
        let status = self.status.as_ref().map_or(0, |line| line.len() - self.status_sent);
        let newer = self.newer.as_ref().map_or(0, |line| line.len());
        self.backlog.len() - self.backlog_sent + status + newer
    }

    fn source(&self) -> Source {
        // A status begins at a boundary, and nothing else is sent before its end.
        if self.status.is_some() && !self.inside_line {
            Source::Status
        } else if self.backlog.is_empty() {
            Source::Input
        } else {
            Source::Backlog
        }
    }
}

/// The first newline of `echo`, searched for only if a status is waiting for it.
fn memchr_if(wanted: bool, echo: &[u8]) -> Option<usize> {
    if wanted { memchr(b'\n', echo) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits, status::LINE_BYTES_MAX, status::PREFIX, status::Status};
    use proptest::prelude::*;

    fn line(tick: u64) -> StatusLine {
        Status { active: 1, tick, due_ns: tick, emit_ns: tick }.line()
    }

    /// A connection whose socket is a vector that accepts as much as the test wants.
    #[derive(Default)]
    struct Connection {
        outgoing: Outgoing,
        counters: Counters,
        socket: Vec<u8>,
    }

    impl Connection {
        /// Writes `input` and pending output until the socket has accepted `room` bytes; keeps the rest.
        fn write(&mut self, mut input: &[u8], mut room: usize) {
            loop {
                let next = self.outgoing.next(input);
                let count = next.len().min(room);
                if count == 0 {
                    break;
                }
                self.socket.extend_from_slice(&next[..count]);
                room -= count;
                input = self.outgoing.sent(input, count, &mut self.counters);
            }
            self.outgoing.keep(input, &mut self.counters);
        }

        fn offer(&mut self, tick: u64) {
            self.outgoing.offer(line(tick), &mut self.counters);
        }
    }

    /// Splits a stream as C1 defines: the echo, and the ticks in order of arrival.
    ///
    /// `None` if the stream ends inside a status line.
    fn take_apart(mut stream: &[u8]) -> Option<(Vec<u8>, Vec<u64>)> {
        let (mut echo, mut ticks) = (Vec::new(), Vec::new());
        while !stream.is_empty() {
            let end = memchr(b'\n', stream).map_or(stream.len(), |newline| newline + 1);
            let (line, rest) = stream.split_at(end);
            if line.starts_with(PREFIX) {
                ticks.push(Status::parse(line)?.tick);
            } else {
                echo.extend_from_slice(line);
            }
            stream = rest;
        }
        Some((echo, ticks))
    }

    #[test]
    fn a_status_is_sent_at_once_where_the_stream_is_empty() {
        let mut connection = Connection::default();
        connection.offer(1);
        connection.write(b"", usize::MAX);
        assert_eq!(connection.socket, *line(1));
    }

    #[test]
    fn a_status_waits_for_the_end_of_the_line() {
        let mut connection = Connection::default();
        connection.write(b"hel", usize::MAX);
        connection.offer(1);
        connection.write(b"", usize::MAX);
        assert_eq!(connection.socket, b"hel");
        assert!(connection.outgoing.is_flushed());
        connection.write(b"lo\nnext", usize::MAX);
        assert_eq!(connection.socket, [b"hello\n", &*line(1), b"next"].concat());
    }

    #[test]
    fn a_newer_status_replaces_one_of_which_nothing_was_sent() {
        let mut connection = Connection::default();
        connection.offer(1);
        connection.offer(2);
        connection.write(b"", usize::MAX);
        assert_eq!(connection.socket, *line(2));
        assert_eq!((connection.counters.statuses_sent, connection.counters.statuses_replaced), (1, 1));
    }

    #[test]
    fn a_partly_sent_status_is_finished_and_the_newest_follows_it() {
        let mut connection = Connection::default();
        connection.offer(1);
        connection.write(b"", 5);
        connection.offer(2);
        connection.offer(3);
        connection.write(b"echo\n", usize::MAX);
        assert_eq!(connection.socket, [&*line(1), &*line(3), b"echo\n"].concat());
        assert_eq!(connection.counters.statuses_replaced, 1);
    }

    #[test]
    fn a_status_overtakes_kept_bytes_at_a_boundary() {
        let mut connection = Connection::default();
        connection.write(b"one\ntwo\nthree\n", 2);
        connection.offer(1);
        connection.write(b"", usize::MAX);
        assert_eq!(connection.socket, [b"one\n", &*line(1), b"two\nthree\n"].concat());
    }

    #[test]
    fn after_the_end_of_input_a_held_status_is_dropped_and_a_partly_sent_one_finished() {
        let mut held = Connection::default();
        held.write(b"inside a line", usize::MAX);
        held.offer(1);
        held.outgoing.end_of_input(&mut held.counters);
        held.offer(2);
        held.write(b"", usize::MAX);
        assert_eq!(held.socket, b"inside a line");
        assert_eq!(held.counters.statuses_dropped_at_eof, 2);

        let mut partly = Connection::default();
        partly.offer(1);
        partly.write(b"", 3);
        partly.offer(2);
        partly.outgoing.end_of_input(&mut partly.counters);
        partly.write(b"", usize::MAX);
        assert_eq!(partly.socket, *line(1));
        assert_eq!(partly.counters.statuses_dropped_at_eof, 1);
    }

    #[test]
    fn statuses_held_by_a_lost_connection_are_counted_as_dropped() {
        let mut connection = Connection::default();
        connection.offer(1);
        connection.write(b"", 3);
        connection.offer(2);
        connection.outgoing.abandon(&mut connection.counters);
        assert_eq!(connection.counters.statuses_dropped_at_eof, 2);
    }

    /// Inputs rich in newlines and in beginnings of the status prefix.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(b'\n'), Just(b's'), Just(0), any::<u8>()], 0..200)
            .prop_filter("a client never sends the prefix (C1)", |bytes| {
                !bytes.windows(PREFIX.len()).any(|window| window == PREFIX)
            })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read { bytes: usize, room: usize },
        Flush { room: usize },
        Offer,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_usize, 0..60_usize).prop_map(|(bytes, room)| Step::Read { bytes, room }),
            (0..200_usize).prop_map(|room| Step::Flush { room }),
            Just(Step::Offer),
        ]
    }

    proptest! {
        #[test]
        fn removing_the_statuses_gives_back_the_input_for_every_split(
            input in input(),
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let mut connection = Connection::default();
            let (mut rest, mut offered) = (&input[..], 0);
            for step in steps {
                match step {
                    Step::Read { bytes, room } => {
                        let (read, later) = rest.split_at(bytes.min(rest.len()));
                        rest = later;
                        connection.write(read, room);
                    }
                    Step::Flush { room } => connection.write(b"", room),
                    Step::Offer => {
                        offered += 1;
                        connection.offer(offered);
                    }
                }
            }
            connection.write(rest, usize::MAX);
            connection.outgoing.end_of_input(&mut connection.counters);
            connection.write(b"", usize::MAX);

            let (echo, ticks) = take_apart(&connection.socket).expect("every status line is whole and parses");
            prop_assert_eq!(&echo, &input);
            prop_assert!(ticks.is_sorted_by(|a, b| a < b), "in order and never twice: {:?}", ticks);
            let counters = &connection.counters;
            prop_assert_eq!(counters.bytes_echoed, input.len() as u64);
            prop_assert_eq!(counters.statuses_sent, ticks.len() as u64);
            prop_assert_eq!(
                counters.statuses_sent + counters.statuses_replaced + counters.statuses_dropped_at_eof,
                offered
            );
        }

        #[test]
        fn a_status_stands_at_the_first_boundary_for_every_split_point(input in input(), split in 0..200_usize) {
            let split = split.min(input.len());
            let mut connection = Connection::default();
            connection.write(&input[..split], usize::MAX);
            connection.offer(1);
            connection.write(&input[split..], usize::MAX);

            let at_boundary = split == 0 || input[split - 1] == b'\n';
            let boundary = if at_boundary { Some(split) } else { memchr(b'\n', &input[split..]).map(|n| split + n + 1) };
            let expected = match boundary {
                Some(boundary) => [&input[..boundary], &*line(1), &input[boundary..]].concat(),
                None => input.clone(),
            };
            prop_assert_eq!(connection.socket, expected);
        }

        #[test]
        fn the_unsent_bytes_are_those_that_the_socket_gets_once_it_has_room(
            input in input(), first in 0..300_usize, offers in 0..3_u64, room in 0..100_usize, later in 0..2_u64,
        ) {
            let mut connection = Connection::default();
            connection.write(&input, first);
            (1..=offers).for_each(|tick| connection.offer(tick));
            connection.write(b"", room);
            (1..=later).for_each(|tick| connection.offer(offers + tick));

            let (unsent, before) = (connection.outgoing.unsent_bytes(), connection.socket.len());
            let is_flushed = connection.outgoing.is_flushed();
            connection.write(b"", usize::MAX);
            prop_assert_eq!(is_flushed, connection.socket.len() == before);
            // The end of the line lets out a status that waits for it.
            connection.write(b"\n", usize::MAX);
            prop_assert_eq!(connection.socket.len() - before, unsent + 1);
            prop_assert_eq!(connection.outgoing.unsent_bytes(), 0);
        }

        #[test]
        fn a_peer_that_never_reads_costs_one_read_buffer_and_two_statuses(ticks in 1..30_u64, room in 0..200_usize) {
            let mut connection = Connection::default();
            connection.write(&[b'x'; limits::READ_BUFFER_BYTES], room);
            for tick in 1..=ticks {
                connection.offer(tick);
                connection.write(b"", 0);
                prop_assert!(connection.outgoing.unsent_bytes() <= limits::READ_BUFFER_BYTES + 2 * LINE_BYTES_MAX);
            }
            prop_assert!(connection.outgoing.unsent_bytes() <= limits::UNSENT_BYTES_MAX);
        }
    }
}
