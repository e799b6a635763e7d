//! What the generator sends: lines that say who they are. Pure.

use crate::plan::Payloads;

/// The shortest message that carries its identity, in bytes; shorter ones are checked by their position alone.
pub(crate) const IDENTIFIED_BYTES_MIN: usize = IDENTITY_BYTES + 1;

/// `c`, the connection in eight hexadecimal digits, `.`, the sequence number in twelve, a check letter.
const IDENTITY_BYTES: usize = 23;

/// Which payload size a message has: an index into [`Payloads`](crate::plan::Payloads).
pub(crate) type SizeIndex = u16;

/// Writes the messages, one at a time, each size into a buffer of its own.
///
/// A message is a line: its last byte, and no other, is a newline; the first is never `S` (C1).
#[derive(Clone, Debug)]
pub(crate) struct MessageWriter {
    texts: Box<[Box<[u8]>]>,
}

impl MessageWriter {
    pub(crate) fn new(payloads: &Payloads) -> Self {
        let text = |(bytes, _): &(usize, f64)| -> Box<[u8]> {
            // A period of 23 makes bytes that moved by a power of two stand out.
            let mut text: Box<[u8]> = (0..*bytes).map(|index| b'a' + (index % 23) as u8).collect();
            text[bytes - 1] = b'\n';
            text
        };
        Self { texts: payloads.sizes().iter().map(text).collect() }
    }

    /// The message with that number on that connection.
    pub(crate) fn text(&mut self, connection: u32, sequence: u64, size: SizeIndex) -> &[u8] {
        let mut identity = *b"c00000000.000000000000g";
        hex(&mut identity[1..9], connection.into());
        hex(&mut identity[10..22], sequence);
        // Since 16 = -1 (mod 17), one altered digit always alters the letter: it cannot pass for another message.
        identity[22] += (sequence % 17) as u8;
        let text = &mut self.texts[usize::from(size)];
        let body = text.len() - 1;
        if body >= IDENTITY_BYTES {
            text[..IDENTITY_BYTES].copy_from_slice(&identity);
        } else {
            // The end of the identity, without its letter: the digits that change.
            text[..body].copy_from_slice(&identity[IDENTITY_BYTES - 1 - body..IDENTITY_BYTES - 1]);
        }
        text
    }

    /// Bytes of a message of that size.
    pub(crate) fn bytes(&self, size: SizeIndex) -> usize {
        self.texts[usize::from(size)].len()
    }

    /// Bytes of the longest message.
    pub(crate) fn bytes_max(&self) -> usize {
        self.texts.iter().map(|text| text.len()).max().unwrap_or(0)
    }

    /// Whether every message carries its identity.
    pub(crate) fn is_identified(&self) -> bool {
        self.texts.iter().all(|text| text.len() >= IDENTIFIED_BYTES_MIN)
    }

    /// The sequence number of `line`, if it is exactly a message of `connection`.
    pub(crate) fn sequence_of(&mut self, connection: u32, line: &[u8]) -> Option<u64> {
        let size = self.texts.iter().position(|text| text.len() == line.len())?;
        if line.len() < IDENTIFIED_BYTES_MIN {
            return None;
        }
        let digits = std::str::from_utf8(&line[10..22]).ok()?;
        let sequence = u64::from_str_radix(digits, 16).ok()?;
        (self.text(connection, sequence, size as SizeIndex) == line).then_some(sequence)
    }
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

    #[test]
    fn a_message_says_who_it_is() {
        let mut writer = MessageWriter::new(&Payloads::one(32));
        assert_eq!(writer.text(0xab, 0x1234, 0), b"c000000ab.000000001234iabcdefgh\n");
    }

    proptest! {
        #[test]
        fn a_message_is_one_line_that_no_server_status_begins_with(
            bytes in 1..200_usize, connection: u32, sequence in 0..1_u64 << 48,
        ) {
            let mut writer = MessageWriter::new(&Payloads::one(bytes));
            let text = writer.text(connection, sequence, 0).to_vec();
            prop_assert_eq!(text.len(), bytes);
            prop_assert_ne!(text[0], b'S');
            prop_assert_eq!(text.iter().position(|byte| *byte == b'\n'), Some(bytes - 1));
        }

        #[test]
        fn its_number_is_read_back_and_one_altered_byte_is_noticed(
            bytes in IDENTIFIED_BYTES_MIN..200, connection: u32, sequence in 0..1_u64 << 48, at: prop::sample::Index,
        ) {
            let mut writer = MessageWriter::new(&Payloads::one(bytes));
            let mut text = writer.text(connection, sequence, 0).to_vec();
            prop_assert_eq!(writer.sequence_of(connection, &text), Some(sequence));
            text[at.index(bytes)] ^= 0x80;
            prop_assert_eq!(writer.sequence_of(connection, &text), None);
        }
    }
}
