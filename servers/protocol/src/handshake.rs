//! The handshake of a connection (H1 to H5), as a pure state: `hello`, `ack`, `welcome`.

/// Length of `hello {token}\n`.
pub const HELLO_BYTES: usize = 6 + TOKEN_BYTES + 1;

/// Length of `ack {token}\n`.
pub const ACK_BYTES: usize = 4 + TOKEN_BYTES + 1;

/// What the server sends once the acknowledgement is complete (H3).
pub const WELCOME: &[u8] = b"welcome\n";

/// A token in hexadecimal digits.
const TOKEN_BYTES: usize = 16;

/// The server's side of one handshake: what to say, and what has been answered so far.
///
/// ```
/// use protocol::handshake::{Answer, Handshake};
/// let mut handshake = Handshake::new(0xfeed);
/// assert_eq!(&handshake.hello(), b"hello 000000000000feed\n");
/// assert_eq!(handshake.receive(b"ack 000000000000"), Answer::Incomplete);
/// assert_eq!(handshake.receive(b"feed\nfirst line\n"), Answer::Complete(b"first line\n"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    token: u64,
    /// Bytes of the acknowledgement that have been received.
    matched: usize,
}

/// What a client has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The beginning of the right line.
    Incomplete,
    /// The right line, and the input behind it, which is to be echoed (H4).
    Complete(&'a [u8]),
    /// Anything else (H5).
    Wrong,
}

impl Handshake {
    /// Begins a handshake. A token should not be predictable: only a client that has read it can acknowledge it.
    pub fn new(token: u64) -> Self {
        Self { token, matched: 0 }
    }

    /// The line that the server sends first (H1).
    pub fn hello(&self) -> [u8; HELLO_BYTES] {
        line("hello", self.token)
    }

    /// Takes the next `input` of the client. A wrong byte is noticed at once, a line that is too long at its first byte
    /// too many.
    pub fn receive<'a>(&mut self, input: &'a [u8]) -> Answer<'a> {
        let wanted = &line::<ACK_BYTES>("ack", self.token)[self.matched..];
        let (received, behind) = input.split_at(wanted.len().min(input.len()));
        self.matched += received.len();
        match () {
            () if received != &wanted[..received.len()] => Answer::Wrong,
            () if self.matched < ACK_BYTES => Answer::Incomplete,
            () => Answer::Complete(behind),
        }
    }
}

/// The client's answer to `hello`, a whole line with its `\n`; `None` if it is none (H2).
pub fn ack(hello: &[u8]) -> Option<[u8; ACK_BYTES]> {
    let token = hello.strip_prefix(b"hello ")?.strip_suffix(b"\n")?;
    let digits = std::str::from_utf8(token).ok().filter(|token| token.len() == TOKEN_BYTES)?;
    let token = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    let ack = line("ack", token);
    // Lower case is the server's way of writing it.
    ack[4..].starts_with(digits.as_bytes()).then_some(ack)
}

fn line<const BYTES: usize>(word: &str, token: u64) -> [u8; BYTES] {
    let text = format!("{word} {token:016x}\n");
    text.into_bytes().try_into().expect("a line of the expected length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_that_repeats_the_token_is_welcome() {
        let mut handshake = Handshake::new(u64::MAX);
        let ack = ack(&handshake.hello()).unwrap();
        assert_eq!(&ack, b"ack ffffffffffffffff\n");
        assert_eq!(handshake.receive(&ack), Answer::Complete(b""));
    }

    #[test]
    fn what_is_no_hello_is_not_acknowledged() {
        for text in [
            "hello 000000000000feed",
            "hello 00000000000feed\n",
            "hello 0000000000000feed\n",
            "hello 00000000000+feed\n",
            "hello +00000000000feed\n",
            "hello 000000000000FEED\n",
            "hello 000000000000feeg\n",
            "hallo 000000000000feed\n",
            "Server status: 1 active connections tick=1 due_ns=0 emit_ns=0\n",
            "",
        ] {
            assert_eq!(ack(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_line_is_noticed_at_its_first_wrong_byte() {
        for wrong in ["b", "ack 1", "ack 000000000000feedx", "ack 000000000000feed\r", "ack 000000000000FEED\n", "\n"] {
            assert_eq!(Handshake::new(0xfeed).receive(wrong.as_bytes()), Answer::Wrong, "{wrong:?}");
            let (last, before) = wrong.as_bytes().split_last().unwrap();
            let mut handshake = Handshake::new(0xfeed);
            if !before.is_empty() && wrong.len() < ACK_BYTES && handshake.receive(before) == Answer::Incomplete {
                assert_eq!(handshake.receive(&[*last]), Answer::Wrong);
            }
        }
    }

    proptest! {
        #[test]
        fn however_the_answer_is_split_it_is_complete_with_its_last_byte(
            token: u64,
            cuts in prop::collection::vec(0_usize..ACK_BYTES, 0..6),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut handshake = Handshake::new(token);
            let ack = ack(&handshake.hello()).unwrap();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut begin = 0;
            for cut in cuts {
                prop_assert_eq!(handshake.receive(&ack[begin..cut]), Answer::Incomplete);
                begin = cut;
            }
            let last = [&ack[begin..], &behind[..]].concat();
            prop_assert_eq!(handshake.receive(&last), Answer::Complete(&behind[..]));
        }
    }
}
