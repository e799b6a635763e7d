//! A blocking client that checks every byte.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

/// A connection that is already accepted and served, so that only messages take time.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) message: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

impl Client {
    /// Connects and waits for one echo of `bytes`.
    pub(crate) fn connect(addr: SocketAddr, bytes: usize) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        let stream = BufReader::with_capacity(64 * 1024, stream);
        let mut client = Self { stream, message: vec![b'x'; bytes], answer: vec![0; bytes] };
        client.message[bytes - 1] = b'\n';
        client.round_trip(0);
        client
    }

    /// Sends message `number` and compares the echo.
    pub(crate) fn round_trip(&mut self, number: u64) {
        self.send(number);
        self.receive(number);
    }

    /// Sends message `number`.
    pub(crate) fn send(&mut self, number: u64) {
        self.label(number);
        self.stream.get_mut().write_all(&self.message).expect("the server reads");
    }

    /// Compares the echo with message `number`.
    pub(crate) fn receive(&mut self, number: u64) {
        self.label(number);
        self.stream.read_exact(&mut self.answer).expect("the server echoes");
        assert!(self.answer == self.message, "the echo differs from the message");
    }

    pub(crate) fn label(&mut self, number: u64) {
        // Without newline bytes.
        self.message[..8].copy_from_slice(&(number | 0x8080_8080_8080_8080).to_le_bytes());
    }
}
