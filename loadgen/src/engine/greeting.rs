//! The client's side of the handshake (H1 to H4): `hello` is answered, `welcome` waited for. Pure.

use protocol::handshake::{ACK_BYTES, HELLO_BYTES, WELCOME, ack};

use super::end_cause::EndCause;

/// How a hello begins.
const HELLO: &[u8] = b"hello ";

/// A handshake that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    /// What has come of the hello.
    hello: [u8; HELLO_BYTES],
    /// Bytes of the hello, or of the welcome once the hello is complete.
    received: usize,
    is_acknowledged: bool,
}

/// What the input has completed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Greeted<'a> {
    /// Nothing.
    Incomplete,
    /// The hello; this is the answer to it.
    Hello([u8; ACK_BYTES]),
    /// The welcome. The stream begins with the input behind it.
    Welcome(&'a [u8]),
}

impl Greeting {
    /// Takes the next input.
    ///
    /// # Errors
    /// At the first byte that does not belong to the handshake.
    pub(crate) fn receive<'a>(&mut self, input: &'a [u8]) -> Result<Greeted<'a>, EndCause> {
        if self.is_acknowledged { self.receive_welcome(input) } else { self.receive_hello(input) }
    }

    /// Why a server that says no more leaves it incomplete.
    pub(crate) fn why_incomplete(&self) -> &'static str {
        if self.is_acknowledged {
            "the server sends no welcome in return for the ack"
        } else {
            "the server sends no hello: it was not started with --handshake"
        }
    }

    fn receive_hello<'a>(&mut self, input: &[u8]) -> Result<Greeted<'a>, EndCause> {
        let whole = [&self.hello[..self.received], input].concat();
        let begun = whole.len().min(HELLO.len());
        if whole[..begun] != HELLO[..begun] || whole.len() > HELLO_BYTES {
            return Err(EndCause::no_hello(&whole));
        }
        self.hello[..whole.len()].copy_from_slice(&whole);
        self.received = whole.len();
        if whole.len() < HELLO_BYTES {
            return Ok(Greeted::Incomplete);
        }
        (self.received, self.is_acknowledged) = (0, true);
        ack(&whole).map(Greeted::Hello).ok_or_else(|| EndCause::no_hello(&whole))
    }

    fn receive_welcome<'a>(&mut self, input: &'a [u8]) -> Result<Greeted<'a>, EndCause> {
        let wanted = &WELCOME[self.received..];
        let (line, stream) = input.split_at(wanted.len().min(input.len()));
        if line != &wanted[..line.len()] {
            return Err(EndCause::no_welcome(input));
        }
        self.received += line.len();
        Ok(if self.received < WELCOME.len() { Greeted::Incomplete } else { Greeted::Welcome(stream) })
    }
}

/// Whether a server begins with a hello, although no handshake was asked for.
pub(crate) fn begins_with_hello(input: &[u8]) -> bool {
    input.get(..HELLO_BYTES).is_some_and(|line| ack(line).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::handshake::{Answer, Handshake};

    use super::*;

    #[test]
    fn what_is_no_handshake_is_noticed_and_shown() {
        let wrong = |greeting: &mut Greeting, input: &[u8]| match greeting.receive(input) {
            Err(EndCause::NotAnEcho(text)) => text,
            other => panic!("{other:?}"),
        };
        for input in [
            &b"220 ready\r\n"[..],
            b"S",
            b"Server status: 1 active connections tick=1 due_ns=0 emit_ns=0\n",
            b"hello 000000000000FEED\n",
            b"hello 000000000000feed\nwelcome\n",
        ] {
            let text = wrong(&mut Greeting::default(), input);
            assert!(text.contains("--handshake"), "{text}");
            assert!(text.contains(&String::from_utf8_lossy(&input[..1]).into_owned()), "{text}");
        }
        let mut greeting = Greeting::default();
        assert_eq!(greeting.receive(b"hel"), Ok(Greeted::Incomplete));
        assert!(greeting.why_incomplete().contains("no hello"));
        assert!(wrong(&mut greeting, b"p\n").contains("help"), "what came before is shown as well");
        let mut greeting = Greeting::default();
        assert!(matches!(greeting.receive(b"hello 000000000000feed\n"), Ok(Greeted::Hello(_))));
        assert!(greeting.why_incomplete().contains("no welcome"));
        assert!(wrong(&mut greeting, b"welcame\n").contains("welcame"));
    }

    #[test]
    fn a_hello_that_was_not_asked_for_is_recognized() {
        let hello = Handshake::new(7).hello();
        assert!(begins_with_hello(&hello) && begins_with_hello(&[&hello[..], b"more"].concat()));
        assert!(!begins_with_hello(&hello[..20]) && !begins_with_hello(b"c00000000.000000000000g\n"));
    }

    proptest! {
        #[test]
        fn however_server_and_client_are_cut_they_agree_and_the_stream_is_what_is_behind_the_welcome(
            token: u64,
            cuts in prop::collection::vec(1_usize..HELLO_BYTES + 1, 1..20),
            stream in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let (mut server, mut client) = (Handshake::new(token), Greeting::default());
            let mut cuts = cuts.into_iter().cycle();
            let mut acks = Vec::new();
            let hello = server.hello();
            let mut rest = &hello[..];
            while !rest.is_empty() {
                let (input, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                rest = after;
                match client.receive(input).unwrap() {
                    Greeted::Hello(ack) if rest.is_empty() => acks.push(ack),
                    other => prop_assert_eq!((other, rest.is_empty()), (Greeted::Incomplete, false)),
                }
            }
            prop_assert_eq!(acks.len(), 1);
            prop_assert_eq!(server.receive(&acks[0]), Answer::Complete(b""));
            let all = [WELCOME, &stream].concat();
            let mut rest = &all[..];
            let behind = loop {
                let (input, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                rest = after;
                match client.receive(input).unwrap() {
                    Greeted::Welcome(begun) => break [begun, rest].concat(),
                    other => prop_assert_eq!(other, Greeted::Incomplete),
                }
            };
            prop_assert_eq!(behind, stream);
        }
    }
}
