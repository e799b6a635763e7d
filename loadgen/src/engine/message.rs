//! The messages that the generator sends: lines that carry their connection and their number. Pure.

use super::tokens::ConnectionId;
use crate::plan::Payloads;

/// The shortest message that carries its identity, in bytes; shorter ones are verified by their position alone.
pub(crate) const IDENTIFIED_BYTES_MIN: usize = IDENTITY_BYTES + 1;

/// `c`, the connection in eight hexadecimal digits, `.`, the sequence number in twelve, a check letter.
const IDENTITY_BYTES: usize = 23;

/// The payload size of a message, as an index into [`Payloads`].
pub(crate) type SizeIndex = u16;

/// Writes messages: one at a time to compare with, or one after the other into a batch that is sent with one call.
///
/// A message is a line: its last byte, and no other, is a newline; the first is never `S` (C1).
#[derive(Debug)]
pub(crate) struct MessageWriter {
    /// One message of each size, of which only the identity changes.
    texts: Box<[Box<[u8]>]>,
    batch: Vec<u8>,
}

impl MessageWriter {
    pub(crate) fn new(payloads: &Payloads) -> Self {
        let text = |(bytes, _): &(usize, f64)| -> Box<[u8]> {
            // A period of 23 makes bytes that moved by a power of two stand out.
            let mut text: Box<[u8]> = (0..*bytes).map(|index| b'a' + (index % 23) as u8).collect();
            text[bytes - 1] = b'\n';
            text
        };
        Self { texts: payloads.sizes().iter().map(text).collect(), batch: Vec::new() }
    }

    /// The messages of one connection.
    pub(crate) fn messages_of(&mut self, connection: ConnectionId) -> Messages<'_> {
        Messages { texts: &mut self.texts, connection }
    }

    pub(crate) fn begin_batch(&mut self) {
        self.batch.clear();
    }

    /// Appends a message to the batch.
    pub(crate) fn append(&mut self, connection: ConnectionId, sequence: u64, size: SizeIndex) {
        let text = text(&mut self.texts, connection, sequence, size);
        self.batch.extend_from_slice(text);
    }

    pub(crate) fn batch(&self) -> &[u8] {
        &self.batch
    }

    /// Length of a message in bytes.
    pub(crate) fn bytes(&self, size: SizeIndex) -> usize {
        self.texts[usize::from(size)].len()
    }

    /// Length of the longest message in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        bytes_max(&self.texts)
    }

    /// Whether every message carries its identity.
    pub(crate) fn is_identified(&self) -> bool {
        is_identified(&self.texts)
    }
}

/// The messages of one connection, written one at a time.
#[derive(Debug)]
pub(crate) struct Messages<'a> {
    texts: &'a mut [Box<[u8]>],
    connection: ConnectionId,
}

impl Messages<'_> {
    pub(crate) fn text(&mut self, sequence: u64, size: SizeIndex) -> &[u8] {
        text(self.texts, self.connection, sequence, size)
    }

    /// Length of the longest message in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        bytes_max(self.texts)
    }

    /// Whether every message carries its identity.
    pub(crate) fn is_identified(&self) -> bool {
        is_identified(self.texts)
    }

    /// The sequence number of `line`, if it is exactly a message of this connection.
    pub(crate) fn sequence_of(&mut self, line: &[u8]) -> Option<u64> {
        let size = self.texts.iter().position(|text| text.len() == line.len())?;
        if line.len() < IDENTIFIED_BYTES_MIN {
            return None;
        }
        let digits = std::str::from_utf8(&line[10..22]).ok()?;
        let sequence = u64::from_str_radix(digits, 16).ok()?;
        (self.text(sequence, size as SizeIndex) == line).then_some(sequence)
    }
}

/// Writes the identity of a message over that of the last one of its size.
fn text(texts: &mut [Box<[u8]>], connection: ConnectionId, sequence: u64, size: SizeIndex) -> &[u8] {
    let mut identity = *b"c00000000.000000000000g";
    hex(&mut identity[1..9], connection.number().into());
    hex(&mut identity[10..22], sequence);
    // Since 16 = -1 (mod 17), one altered digit always alters the letter: it cannot pass for another message.
    identity[22] += (sequence % 17) as u8;
    let text = &mut texts[usize::from(size)];
    let body = text.len() - 1;
    if body >= IDENTITY_BYTES {
        text[..IDENTITY_BYTES].copy_from_slice(&identity);
    } else {
        // The end of the identity, without its letter: the digits that change.
        text[..body].copy_from_slice(&identity[IDENTITY_BYTES - 1 - body..IDENTITY_BYTES - 1]);
    }
    text
}

fn bytes_max(texts: &[Box<[u8]>]) -> usize {
    texts.iter().map(|text| text.len()).max().unwrap_or(0)
}

fn is_identified(texts: &[Box<[u8]>]) -> bool {
    texts.iter().all(|text| text.len() >= IDENTIFIED_BYTES_MIN)
}

/// Writes the low digits of `number` in hexadecimal.
fn hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connections() -> impl Strategy<Value = ConnectionId> {
        prop_oneof![
            (0..1_u32 << 31).prop_map(ConnectionId::measured),
            any::<u32>().prop_map(ConnectionId::background),
            any::<u32>().prop_map(ConnectionId::flooder),
        ]
    }

    #[test]
    fn a_message_carries_its_connection_and_its_number() {
        let mut writer = MessageWriter::new(&Payloads::one(32));
        let connection = ConnectionId::measured(0xab);
        assert_eq!(writer.messages_of(connection).text(0x1234, 0), b"c000000ab.000000001234iabcdefgh\n");
    }

    #[test]
    fn a_batch_holds_its_messages_in_order_and_begins_empty() {
        let mut writer = MessageWriter::new(&Payloads::mix(&[(4, Some(0.5)), (3, None)]).unwrap());
        let connection = ConnectionId::measured(0);
        writer.append(connection, 0xabc, 0);
        writer.append(connection, 0x12, 1);
        assert_eq!(writer.batch(), b"abc\n12\n");
        writer.begin_batch();
        assert_eq!((writer.batch(), writer.bytes(0), writer.bytes(1)), (&[][..], 4, 3));
    }

    proptest! {
        #[test]
        fn a_message_is_one_line_that_no_server_status_begins_with(
            bytes in 1..200_usize, connection in connections(), sequence in 0..1_u64 << 48,
        ) {
            let mut writer = MessageWriter::new(&Payloads::one(bytes));
            let text = writer.messages_of(connection).text(sequence, 0).to_vec();
            prop_assert_eq!(text.len(), bytes);
            prop_assert_ne!(text[0], b'S');
            prop_assert_eq!(text.iter().position(|byte| *byte == b'\n'), Some(bytes - 1));
        }

        #[test]
        fn its_number_is_read_back_and_one_altered_byte_is_noticed(
            bytes in IDENTIFIED_BYTES_MIN..200, connection in connections(), sequence in 0..1_u64 << 48,
            at: prop::sample::Index,
        ) {
            let mut writer = MessageWriter::new(&Payloads::one(bytes));
            let mut messages = writer.messages_of(connection);
            let mut text = messages.text(sequence, 0).to_vec();
            prop_assert_eq!(messages.sequence_of(&text), Some(sequence));
            text[at.index(bytes)] ^= 0x80;
            prop_assert_eq!(messages.sequence_of(&text), None);
        }
    }
}
