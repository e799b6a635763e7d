//! Streams in which messages are dropped, altered, duplicated and late: the findings are exactly these faults, however
//! the stream is cut into reads.

use super::*;
use crate::{
    engine::{message::MessageWriter, tokens::ConnectionId},
    plan::Payloads,
};
use proptest::{prelude::*, sample::Index};

const CONNECTION: ConnectionId = ConnectionId::measured(9);

/// What happens to a message on its way back.
#[derive(Clone, Debug)]
enum Fate {
    Intact,
    Dropped,
    Altered(Index, u8),
    Duplicated,
    /// The message comes after so many later ones.
    Late(usize),
    /// Another line comes before the message.
    After(Vec<u8>),
    AfterStatus,
}

/// A line that came back.
#[derive(Clone, Debug)]
enum Line {
    Message(usize),
    Wrong(Vec<u8>),
    Status(Status),
}

/// The sizes differ by less than the length of a status, so that no wrong line is too long to be read as a whole.
const SIZES: [(usize, Option<f64>); 2] = [(64, Some(0.5)), (100, None)];

fn fate() -> impl Strategy<Value = Fate> {
    let wrong_line = prop::collection::vec(any::<u8>().prop_filter("one line", |byte| *byte != b'\n'), 0..100);
    prop_oneof![
        4 => Just(Fate::Intact),
        1 => Just(Fate::Dropped),
        1 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, flip)| Fate::Altered(at, flip)),
        1 => Just(Fate::Duplicated),
        1 => (1..4_usize).prop_map(Fate::Late),
        1 => wrong_line.prop_map(Fate::After),
        1 => Just(Fate::AfterStatus),
    ]
}

/// A verifier that expects messages of these sizes, and their texts.
fn begin(payloads: &Payloads, sizes: &[SizeIndex]) -> (EchoVerifier, MessageWriter, Vec<Vec<u8>>) {
    let (mut verifier, mut writer) = (EchoVerifier::new(), MessageWriter::new(payloads));
    let texts = sizes.iter().zip(0..).map(|(size, index)| {
        let sequence = verifier.send(sent(index, *size));
        writer.messages_of(CONNECTION).text(sequence, *size).to_vec()
    });
    let texts = texts.collect();
    (verifier, writer, texts)
}

fn sent(index: usize, size: SizeIndex) -> Sent {
    Sent { intended_ns: index as u64 + 1, tried_ns: index as u64 + 1, size, is_light: false }
}

/// Feeds a stream in pieces. Returns the findings, and the missing messages unless the stream was desynchronized.
fn follow(payloads: &Payloads, sizes: &[SizeIndex], stream: &[u8], cuts: &[usize]) -> (Vec<Found>, Option<Missing>) {
    let (mut verifier, mut writer, _) = begin(payloads, sizes);
    let (mut found, mut rest) = (Vec::new(), stream);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (input, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        rest = later;
        if verifier.receive(&mut writer.messages_of(CONNECTION), input, &mut |item| found.push(item)).is_err() {
            return (found, None);
        }
    }
    (found, Some(verifier.settle()))
}

/// The lines that come back, given the texts of the messages and their fates.
fn deliver(texts: &[Vec<u8>], fates: &[Fate]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, (text, fate)) in texts.iter().zip(fates).enumerate() {
        let (place, message) = (2 * index, Line::Message(index));
        match fate {
            Fate::Intact => lines.push((place, message)),
            Fate::Dropped => {}
            Fate::Altered(at, flip) => {
                let (mut text, at) = (text.clone(), at.index(text.len() - 1));
                // A newline would make two lines of it.
                text[at] = if text[at] ^ flip == b'\n' { 0 } else { text[at] ^ flip };
                lines.push((place, Line::Wrong(text)));
            }
            Fate::Duplicated => lines.extend([(place, message.clone()), (place, message)]),
            Fate::Late(by) => lines.push((place + 2 * by + 1, message)),
            Fate::After(bytes) => lines.extend([(place, Line::Wrong([bytes, &b"\n"[..]].concat())), (place, message)]),
            Fate::AfterStatus => {
                let status = Status { active: 1, tick: index as u64 + 1, due_ns: 2, emit_ns: 3 };
                lines.extend([(place, Line::Status(status)), (place, message)]);
            }
        }
    }
    lines.sort_by_key(|(place, _)| *place);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The expected findings. A wrong line stands for the message that is due in its place, unless that message comes.
fn expected_findings(lines: &[Line], sizes: &[SizeIndex]) -> (Vec<Found>, Missing) {
    let (mut found, mut due) = (Vec::new(), 0);
    let (mut came, mut stood_for) = (vec![false; sizes.len()], vec![false; sizes.len()]);
    for line in lines {
        match *line {
            Line::Status(status) => found.push(Found::Status(status)),
            Line::Wrong(_) => {
                found.push(Found::Corrupt);
                stood_for.get_mut(due).into_iter().for_each(|it| *it = true);
                due = sizes.len().min(due + 1);
            }
            Line::Message(index) => {
                let sent = sent(index, sizes[index]);
                let is_overtaken = came[index + 1..].contains(&true);
                found.push(match came[index] {
                    true => Found::Duplicate,
                    false if is_overtaken => Found::Reordered(sent),
                    false => Found::Echo(sent),
                });
                came[index] = true;
                due = due.max(index + 1);
            }
        }
    }
    let lost = (0..due).filter(|index| !came[*index] && !stood_for[*index]).count() as u64;
    (found, Missing { lost, unanswered: (sizes.len() - due) as u64, cut_off: 0 })
}

#[test]
fn a_line_longer_than_any_message_ends_the_stream_even_if_it_comes_whole() {
    let (payloads, stream) = (Payloads::one(64), [&[b'x'; 300][..], b"\n"].concat());
    for cut in [1, 200, 301] {
        assert_eq!(follow(&payloads, &[0], &stream, &[cut]), (vec![Found::Corrupt], None), "reads of {cut} bytes");
    }
}

#[test]
fn a_wrong_line_in_the_place_of_a_message_does_not_hide_that_a_later_one_overtook_it() {
    let (payloads, sizes) = (Payloads::one(64), [0, 0]);
    let (_, _, texts) = begin(&payloads, &sizes);
    let stream = [b"wrong\n", &texts[1][..], &texts[0]].concat();
    let found = vec![Found::Corrupt, Found::Echo(sent(1, 0)), Found::Reordered(sent(0, 0))];
    assert_eq!(follow(&payloads, &sizes, &stream, &[1_000]), (found, Some(Missing::default())));
}

proptest! {
    #[test]
    fn dropped_altered_duplicated_and_late_messages_are_found_exactly_however_the_stream_is_cut(
        messages in prop::collection::vec((fate(), 0..2_u16), 1..40),
        cuts in prop::collection::vec(1..150_usize, 1..40),
    ) {
        let payloads = Payloads::mix(&SIZES).unwrap();
        let (fates, sizes): (Vec<Fate>, Vec<SizeIndex>) = messages.into_iter().unzip();
        let (_, _, texts) = begin(&payloads, &sizes);
        let lines = deliver(&texts, &fates);
        let bytes = lines.iter().flat_map(|line| match line {
            Line::Message(index) => texts[*index].clone(),
            Line::Wrong(text) => text.clone(),
            Line::Status(status) => status.line().to_vec(),
        });
        let stream: Vec<u8> = bytes.collect();
        let (found, missing) = expected_findings(&lines, &sizes);
        prop_assert_eq!(follow(&payloads, &sizes, &stream, &cuts), (found, Some(missing)));
    }

    #[test]
    fn the_findings_do_not_depend_on_how_the_stream_is_cut(
        bytes in 1..300_usize,
        pieces in prop::collection::vec(
            prop_oneof![
                3 => (0..20_usize).prop_map(Some),
                1 => Just(None),
            ],
            0..30,
        ),
        noise in prop::collection::vec((any::<Index>(), prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..4),
        cuts in prop::collection::vec(1..150_usize, 1..40),
    ) {
        let (payloads, sizes) = (Payloads::one(bytes), [0; 20]);
        let (_, _, texts) = begin(&payloads, &sizes);
        let status = Status { active: 1, tick: 1, due_ns: 2, emit_ns: 3 }.line();
        let mut stream: Vec<u8> =
            pieces.into_iter().flat_map(|piece| piece.map_or(status.to_vec(), |index| texts[index].clone())).collect();
        // In the midst of a line as well as between two.
        for (at, noise, is_line) in noise {
            let at = at.index(stream.len() + 1);
            stream.splice(at..at, noise.into_iter().chain(is_line.then_some(b'\n')));
        }
        let whole = follow(&payloads, &sizes, &stream, &[usize::MAX]);
        prop_assert_eq!(&follow(&payloads, &sizes, &stream, &cuts), &whole);
        prop_assert_eq!(&follow(&payloads, &sizes, &stream, &[1]), &whole);
    }
}
