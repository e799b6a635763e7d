use super::*;
use crate::{
    engine::{message::MessageWriter, tokens::ConnectionId},
    plan::Payloads,
};
use proptest::prelude::*;

const CONNECTION: ConnectionId = ConnectionId::measured(9);
const STATUS: Status = Status { active: 1, tick: 1, due_ns: 2, emit_ns: 3 };

/// A connection that sent `count` messages of `bytes`; message i was due at i + 1.
struct Peer {
    verifier: EchoVerifier,
    writer: MessageWriter,
    texts: Vec<Vec<u8>>,
}

impl Peer {
    fn new(bytes: usize, count: u64) -> Self {
        let mut peer = Self {
            verifier: EchoVerifier::new(),
            writer: MessageWriter::new(&Payloads::one(bytes)),
            texts: Vec::new(),
        };
        peer.texts = (0..count).map(|index| peer.send(sent(index))).collect();
        peer
    }

    fn send(&mut self, sent: Sent) -> Vec<u8> {
        let sequence = self.verifier.send(sent);
        self.writer.messages_of(CONNECTION).text(sequence, sent.size).to_vec()
    }

    fn receive(&mut self, input: &[u8]) -> (Vec<Found>, Result<(), Desynchronized>) {
        let mut found = Vec::new();
        let result =
            self.verifier.receive(&mut self.writer.messages_of(CONNECTION), input, &mut |item| found.push(item));
        (found, result)
    }

    /// The numbers of lost and of unanswered messages.
    fn missing(&mut self) -> (u64, u64) {
        let Missing { lost, unanswered, .. } = self.verifier.settle();
        (lost, unanswered)
    }
}

fn sent(index: u64) -> Sent {
    Sent { intended_ns: index + 1, tried_ns: index + 1, size: 0, is_light: false }
}

fn echo(index: u64) -> Found {
    Found::Echo(sent(index))
}

#[test]
fn a_dropped_message_counts_as_one_lost() {
    let mut peer = Peer::new(64, 4);
    let input = [&peer.texts[0][..], &peer.texts[2], &peer.texts[3]].concat();
    assert_eq!(peer.receive(&input), (vec![echo(0), echo(2), echo(3)], Ok(())));
    assert_eq!(peer.missing(), (1, 0));
}

#[test]
fn a_corrupt_message_counts_as_corrupt_and_not_as_lost() {
    for at in [0, 5, 15, 21, 22, 40] {
        let mut peer = Peer::new(64, 3);
        let mut input = peer.texts.concat();
        input[64 + at] ^= 1;
        assert_eq!(peer.receive(&input), (vec![echo(0), Found::Corrupt, echo(2)], Ok(())), "byte {at}");
        assert_eq!(peer.missing(), (0, 0));
    }
}

#[test]
fn a_duplicate_is_distinguished_from_a_reordered_message() {
    let mut peer = Peer::new(64, 4);
    let input = [&peer.texts[0][..], &peer.texts[0], &peer.texts[2], &peer.texts[1], &peer.texts[3]].concat();
    let found = vec![echo(0), Found::Duplicate, echo(2), Found::Reordered(sent(1)), echo(3)];
    assert_eq!(peer.receive(&input), (found, Ok(())));
    assert_eq!(peer.missing(), (0, 0));
}

#[test]
fn an_echo_after_its_window_is_not_counted_twice() {
    let mut peer = Peer::new(64, 2);
    let texts = peer.texts.concat();
    assert_eq!(peer.receive(&texts[..70]), (vec![echo(0)], Ok(())));
    assert_eq!(peer.missing(), (0, 1));
    let next = peer.send(sent(2));
    assert_eq!(peer.receive(&[&texts[70..], &next].concat()), (vec![echo(2)], Ok(())));
    assert_eq!(peer.missing(), (0, 0));
}

#[test]
fn slow_is_not_lost_even_if_messages_carry_no_identity() {
    for bytes in [4, 64] {
        let mut peer = Peer::new(bytes, 300);
        assert_eq!(peer.receive(&peer.texts[..100].concat()).0.len(), 100);
        assert_eq!(peer.missing(), (0, 200), "nothing came out of order");
        let next = peer.send(sent(300));
        let late = [&peer.texts[100..].concat()[..], &next].concat();
        assert_eq!(peer.receive(&late), (vec![echo(300)], Ok(())), "late echoes are not counted");
        assert_eq!(peer.missing(), (0, 0));
    }
}

#[test]
fn a_marker_distinguishes_lost_messages_from_late_ones_and_is_not_counted() {
    let mut peer = Peer::new(64, 3);
    let marker = peer.send(sent(3));
    peer.verifier.mark_newest();
    assert_eq!(peer.verifier.outstanding(), 3);
    // The last two were dropped.
    assert_eq!(peer.receive(&[&peer.texts[0][..], &marker].concat()), (vec![echo(0)], Ok(())));
    assert_eq!((peer.verifier.outstanding(), peer.missing()), (0, (2, 0)));

    let mut peer = Peer::new(64, 1);
    let marker = peer.send(sent(1));
    peer.verifier.mark_newest();
    assert_eq!((peer.verifier.outstanding(), peer.missing()), (1, (0, 1)), "neither has come");
    assert_eq!(peer.receive(&[&peer.texts[0][..], &marker].concat()), (vec![], Ok(())));
    assert_eq!(peer.missing(), (0, 0));
}

#[test]
fn messages_that_were_never_sent_are_not_waited_for() {
    let mut peer = Peer::new(64, 5);
    assert_eq!((peer.verifier.withdraw(2), peer.verifier.outstanding()), (2, 3));
    let next = peer.send(sent(3));
    assert_eq!(next, peer.texts[3], "its number is used again");
    assert_eq!(peer.receive(&[&peer.texts[..3].concat()[..], &next].concat()).0.len(), 4);
    assert_eq!(peer.verifier.withdraw(9), 0, "there is nothing more");
}

#[test]
fn an_inserted_line_is_corrupt_and_the_messages_after_it_are_neither_lost_nor_reordered() {
    let mut peer = Peer::new(64, 3);
    let input = [&peer.texts[0][..], b"inserted\n", &peer.texts[1], &peer.texts[2]].concat();
    assert_eq!(peer.receive(&input), (vec![echo(0), Found::Corrupt, echo(1), echo(2)], Ok(())));
    assert_eq!(peer.missing(), (0, 0));
}

#[test]
fn an_answer_that_is_no_echo_is_corrupt() {
    let mut peer = Peer::new(64, 1);
    assert_eq!(peer.receive(b"HTTP/1.1 400 Bad Request\r\n").0, [Found::Corrupt]);
    let mut peer = Peer::new(64, 1);
    assert_eq!(peer.receive(&[0; 1000]), (vec![Found::Corrupt], Err(Desynchronized)));
}

#[test]
fn a_status_with_absurd_numbers_is_corrupt() {
    let mut peer = Peer::new(64, 0);
    let line = b"Server status: 1 active connections tick=99999999999999999999999 due_ns=0 emit_ns=0\n";
    assert_eq!(peer.receive(line), (vec![Found::Corrupt], Ok(())));
}

#[test]
fn a_short_message_is_verified_by_its_position() {
    let mut peer = Peer::new(4, 300);
    let mut input = peer.texts.concat();
    input[4 * 200 + 1] ^= 1;
    let (found, result) = peer.receive(&input);
    assert_eq!((found.len(), found[200], result), (201, Found::Corrupt, Err(Desynchronized)));
}

#[test]
fn a_missing_message_is_noticed_among_messages_of_several_sizes() {
    let mut peer = Peer::new(64, 0);
    peer.writer = MessageWriter::new(&Payloads::mix(&[(64, Some(0.5)), (200, None)]).unwrap());
    let sizes = [0, 1, 1, 0, 1];
    let sent: Vec<Sent> = (0..5).map(|index| Sent { size: sizes[index as usize], ..sent(index) }).collect();
    let texts: Vec<Vec<u8>> = sent.iter().map(|sent| peer.send(*sent)).collect();
    let input = [&texts[0][..], &texts[2], &texts[3], &texts[4]].concat();
    let expected = [0, 2, 3, 4].map(|index| Found::Echo(sent[index])).to_vec();
    assert_eq!(peer.receive(&input), (expected, Ok(())));
    assert_eq!(peer.missing(), (1, 0));
}

#[test]
fn a_message_behind_a_full_socket_is_tried_when_its_turn_comes() {
    let mut peer = Peer::new(64, 1);
    let texts =
        [peer.texts.concat(), peer.send(Sent { tried_ns: 0, ..sent(1) }), peer.send(Sent { tried_ns: 0, ..sent(2) })];
    peer.verifier.tried(1, 77);
    let found = peer.receive(&texts.concat()).0;
    let tried = |found: &Found| matches!(found, Found::Echo(sent) if sent.tried_ns > 0);
    assert_eq!(found.iter().map(tried).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_message_that_was_never_sent_is_corrupt() {
    let mut peer = Peer::new(64, 2);
    let unsent = peer.writer.messages_of(CONNECTION).text(2, 0).to_vec();
    assert_eq!(peer.receive(&[&unsent[..], &peer.texts[1]].concat()), (vec![Found::Corrupt, echo(1)], Ok(())));
}

#[test]
fn a_message_that_has_begun_to_come_back_is_followed_although_a_newer_one_is_withdrawn() {
    let mut peer = Peer::new(64, 2);
    let text = peer.texts[0].clone();
    assert_eq!(peer.receive(&text[..10]), (vec![], Ok(())));
    assert_eq!(peer.verifier.withdraw(1), 1);
    assert_eq!(peer.receive(&text[10..]), (vec![echo(0)], Ok(())));
}

#[test]
fn a_line_may_be_as_long_as_the_longest_message_or_status_and_no_longer() {
    for (bytes, longest) in [(64, LINE_BYTES_MAX), (200, 200)] {
        let line = |length: usize| [&vec![b'x'; length][..], b"\n"].concat();
        for cut in [1, 100, longest] {
            let receive = |input: &[u8]| {
                let mut peer = Peer::new(bytes, 1);
                let (mut found, first) = peer.receive(&input[..cut]);
                assert_eq!((&found[..], first), (&[][..], Ok(())));
                let (rest, result) = peer.receive(&input[cut..]);
                found.extend(rest);
                (found, result)
            };
            assert_eq!(receive(&line(longest)), (vec![Found::Corrupt], Ok(())), "{bytes} bytes cut at {cut}");
            assert_eq!(receive(&line(longest + 1)), (vec![Found::Corrupt], Err(Desynchronized)));
        }
    }
}

#[test]
fn a_connection_that_gets_only_echoes_and_statuses_stays_small() {
    let mut peer = Peer::new(64, 2);
    let stream = [&*STATUS.line(), &peer.texts[0], &STATUS.line(), &peer.texts[1]].concat();
    let found = vec![Found::Status(STATUS), echo(0), Found::Status(STATUS), echo(1)];
    assert_eq!(peer.receive(&stream), (found, Ok(())));
    assert_eq!(peer.missing(), (0, 0));
    assert!(peer.verifier.resync.is_none());
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
        prop_assert_eq!(peer.missing(), (0, 0));
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic_and_do_not_accumulate(
        bytes in 1..100_usize,
        inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
    ) {
        let mut peer = Peer::new(bytes, 5);
        for input in inputs {
            if peer.receive(&input).1.is_err() {
                break;
            }
            let partial = peer.verifier.resync.as_ref().map_or(0, |resync| resync.partial.len());
            prop_assert!(partial <= 1 + bytes.max(LINE_BYTES_MAX));
        }
    }
}
