//! Windows that end while messages are in flight, withdrawn messages and markers: the outstanding, lost and unanswered
//! messages are those of a plain list.

use std::collections::VecDeque;

use super::*;
use crate::{
    engine::{message::MessageWriter, tokens::ConnectionId},
    plan::Payloads,
};
use proptest::prelude::*;

/// What happens on a connection. Messages come back whole and unaltered.
#[derive(Clone, Copy, Debug)]
enum Event {
    Send(SizeIndex),
    /// A marker is sent, unless one is in flight.
    Mark,
    /// A message comes back after the server dropped some older ones.
    Echo {
        dropped: usize,
    },
    /// The newest messages are withdrawn, up to the first of this window.
    Withdraw(usize),
    WindowEnds,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..2_u16).prop_map(Event::Send),
        1 => Just(Event::Mark),
        4 => prop_oneof![3 => Just(0), 1 => 1..3_usize].prop_map(|dropped| Event::Echo { dropped }),
        1 => (0..4_usize).prop_map(Event::Withdraw),
        1 => Just(Event::WindowEnds),
    ]
}

/// A message in flight.
#[derive(Clone, Copy, Debug)]
struct Listed {
    sequence: u64,
    sent: Sent,
    is_marker: bool,
    /// It was sent in this window and is no marker.
    is_counted: bool,
}

/// A connection and the list of its messages in flight.
struct Listing {
    verifier: EchoVerifier,
    writer: MessageWriter,
    in_flight: VecDeque<Listed>,
    next_sequence: u64,
    lost: u64,
}

impl Listing {
    fn new() -> Self {
        let payloads = Payloads::mix(&[(64, Some(0.5)), (100, None)]).unwrap();
        Self {
            verifier: EchoVerifier::new(),
            writer: MessageWriter::new(&payloads),
            in_flight: VecDeque::new(),
            next_sequence: 0,
            lost: 0,
        }
    }

    fn send(&mut self, size: SizeIndex, is_marker: bool) {
        let sequence = self.next_sequence;
        let sent = Sent { intended_ns: sequence + 1, tried_ns: sequence + 1, size, is_light: false };
        assert_eq!(self.verifier.send(sent), sequence);
        if is_marker {
            self.verifier.mark_newest();
        }
        self.in_flight.push_back(Listed { sequence, sent, is_marker, is_counted: !is_marker });
        self.next_sequence += 1;
    }

    fn counted(&self) -> u64 {
        self.in_flight.iter().filter(|listed| listed.is_counted).count() as u64
    }

    fn echo(&mut self, dropped: usize) {
        let Some(echo) = self.in_flight.get(dropped).copied() else { return };
        let overtaken = self.in_flight.drain(..=dropped).filter(|listed| listed.is_counted).count() as u64;
        self.lost += overtaken - u64::from(echo.is_counted);
        let mut messages = self.writer.messages_of(ConnectionId::measured(9));
        let text = messages.text(echo.sequence, echo.sent.size).to_vec();
        let mut found = Vec::new();
        assert_eq!(self.verifier.receive(&mut messages, &text, &mut |item| found.push(item)), Ok(()));
        let expected = if echo.is_counted { vec![Found::Echo(echo.sent)] } else { Vec::new() };
        assert_eq!(found, expected);
    }

    fn withdraw(&mut self, count: usize) {
        let (before, all) = (self.counted(), self.in_flight.len());
        let earlier = self.in_flight.iter().filter(|listed| !listed.is_counted && !listed.is_marker).count();
        self.in_flight.truncate(all.saturating_sub(count).max(earlier));
        let withdrawn = all - self.in_flight.len();
        self.next_sequence -= withdrawn as u64;
        assert_eq!(self.verifier.withdraw(withdrawn), before - self.counted());
    }

    fn end_window(&mut self) {
        let missing = Missing { lost: mem::take(&mut self.lost), unanswered: self.counted(), cut_off: 0 };
        assert_eq!(self.verifier.settle(), missing);
        self.in_flight.iter_mut().for_each(|listed| (listed.is_marker, listed.is_counted) = (false, false));
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Send(size) => self.send(size, false),
            Event::Mark if self.in_flight.iter().any(|listed| listed.is_marker) => {}
            Event::Mark => self.send(0, true),
            Event::Echo { dropped } => self.echo(dropped),
            Event::Withdraw(count) => self.withdraw(count),
            Event::WindowEnds => self.end_window(),
        }
    }
}

proptest! {
    #[test]
    fn outstanding_lost_and_unanswered_messages_are_those_of_a_plain_list(
        events in prop::collection::vec(event(), 0..60), skipped in 0..3_usize,
    ) {
        let mut listing = Listing::new();
        for event in events {
            listing.apply(event);
            prop_assert_eq!(listing.verifier.outstanding() as u64, listing.counted());
            let sizes = |listed: &Listed| (listed.sequence, listed.sent.size);
            let listed: Vec<(u64, SizeIndex)> = listing.in_flight.iter().skip(skipped).map(sizes).collect();
            let oldest = listing.in_flight.front().map_or(listing.next_sequence, |listed| listed.sequence);
            let sent: Vec<(u64, SizeIndex)> = listing.verifier.sent_from(oldest + skipped as u64).collect();
            prop_assert_eq!(sent, listed);
        }
        listing.end_window();
    }
}
