//! One client's socket: sending, queueing what a full socket does not take, receiving.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
};

use mio::{Interest, Registry, net::TcpStream};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use servers::clock;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{
    Options,
    arrival::ArrivalStamps,
    echo_verifier::{EchoVerifier, Found, Missing},
    end_cause::EndCause,
    greeting::{Greeted, Greeting},
    in_flight::Sent,
    message::{MessageWriter, SizeIndex},
    tokens::{ConnectionId, EventSource},
};

/// Bytes offered to a socket with one write, plus at most one message.
const WRITE_BYTES: usize = 64 * 1024;

/// A connection, which connects, is open, or was closed by the server.
///
/// Messages that a full socket does not take are queued as numbers, not as bytes: a message can be written again at any
/// time, so a server that stops reading costs the generator little memory.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    id: ConnectionId,
    /// The handshake, until it is complete.
    greeting: Option<Box<Greeting>>,
    verifier: EchoVerifier,
    /// Messages that a full socket has not taken; `None` while it has room.
    unsent: Option<Box<Unsent>>,
}

/// Messages that the socket has not taken entirely.
#[derive(Debug, Default)]
struct Unsent {
    /// Their numbers and sizes.
    queue: VecDeque<(u64, SizeIndex)>,
    /// Bytes of the first message that the socket has taken.
    written: usize,
}

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) input: &'a [u8],
    /// When it was received.
    pub(crate) now_ns: u64,
    /// Messages of this window that are no longer outstanding.
    pub(crate) done: usize,
    /// Whether the stream can be followed any further.
    pub(crate) in_sync: bool,
}

impl Connection {
    /// Starts to connect.
    pub(crate) fn open(
        options: &Options,
        id: ConnectionId,
        source: EventSource,
        registry: &Registry,
    ) -> Result<Self, EndCause> {
        let stream = connect(options, id).and_then(|mut stream| {
            registry.register(&mut stream, source.token(), Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        let stream = stream.map_err(|error| EndCause::of("cannot connect", &error))?;
        let greeting = options.handshake.then(Box::default);
        Ok(Self { stream, id, greeting, verifier: EchoVerifier::new(), unsent: None })
    }

    /// The result of connecting, after the first event.
    pub(crate) fn finish_connect(&self) -> Result<(), EndCause> {
        match self.stream.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(EndCause::of("cannot connect", &error)),
        }
    }

    pub(crate) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// The handshake, if it is not complete.
    pub(crate) fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_deref()
    }

    /// Whether the socket has taken everything.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.is_none()
    }

    /// The number of the next message.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.verifier.next_sequence()
    }

    /// Messages of this window that have not come back.
    pub(crate) fn outstanding(&self) -> usize {
        self.verifier.outstanding()
    }

    /// Sends messages that differ from `like` in their sizes only, with as few writes as possible, and queues those that a
    /// full socket does not take.
    pub(crate) fn send(
        &mut self,
        sizes: impl Iterator<Item = SizeIndex>,
        like: Sent,
        writer: &mut MessageWriter,
    ) -> Result<(), EndCause> {
        let mut sizes = sizes.peekable();
        while self.unsent.is_none() && sizes.peek().is_some() {
            writer.begin_batch();
            let mut first = None;
            while let Some(size) = sizes.next_if(|_| writer.batch().len() < WRITE_BYTES) {
                let sequence = self.verifier.send(Sent { size, ..like });
                first.get_or_insert(sequence);
                writer.append(self.id, sequence, size);
            }
            let written = write(&mut self.stream, writer.batch())?;
            if written < writer.batch().len() {
                let mut unsent = Unsent { queue: self.verifier.sent_from(first.unwrap_or(0)).collect(), written: 0 };
                unsent.advance(written, writer);
                self.unsent = Some(Box::new(unsent));
            }
        }
        if let Some(unsent) = &mut self.unsent {
            for size in sizes {
                let sequence = self.verifier.send(Sent { tried_ns: 0, size, ..like });
                unsent.queue.push_back((sequence, size));
            }
        }
        Ok(())
    }

    /// Sends a marker, a message that is not counted, behind those that have not come back. A message that the marker
    /// overtakes is lost, since bytes on a connection keep their order.
    ///
    /// No marker is sent if the socket is full, since the server is only slow then, nor if messages carry no identity.
    pub(crate) fn send_marker(&mut self, now_ns: u64, writer: &mut MessageWriter) -> Result<(), EndCause> {
        if self.verifier.outstanding() == 0 || !self.has_room() || !writer.is_identified() {
            return Ok(());
        }
        let sent = self.send([0].into_iter(), Sent::at(now_ns), writer);
        self.verifier.mark_newest();
        sent
    }

    /// Offers the queued messages to the socket, until it is full again.
    pub(crate) fn flush(&mut self, now_ns: u64, writer: &mut MessageWriter) -> Result<(), EndCause> {
        let Some(unsent) = &mut self.unsent else { return Ok(()) };
        while !unsent.queue.is_empty() {
            writer.begin_batch();
            let mut count = 0;
            for &(sequence, size) in &unsent.queue {
                writer.append(self.id, sequence, size);
                count += 1;
                if writer.batch().len() >= WRITE_BYTES {
                    break;
                }
            }
            self.verifier.tried(count, now_ns);
            let offered = &writer.batch()[unsent.written..];
            let written = write(&mut self.stream, offered)?;
            let full = written < offered.len();
            unsent.advance(unsent.written + written, writer);
            if full {
                return Ok(());
            }
        }
        // The memory of a queue that was long once is freed.
        self.unsent = None;
        Ok(())
    }

    /// Reads once; returns what came, and when. `None` if there is nothing to read. `stamps` are for a socket whose
    /// arrivals are stamped.
    ///
    /// # Errors
    /// If the connection has failed or the server has closed it.
    pub(crate) fn read<'a>(
        &mut self,
        buffer: &'a mut [u8],
        mut stamps: Option<&mut ArrivalStamps>,
    ) -> Result<Option<(&'a [u8], u64)>, EndCause> {
        let count = loop {
            let read = match &mut stamps {
                None => self.stream.read(buffer),
                Some(stamps) => stamps.read(&self.stream, buffer),
            };
            match read {
                Ok(0) => {
                    let when = if self.greeting.is_some() { " in the handshake" } else { "" };
                    return Err(EndCause::Closed(format!("the server closed the connection{when}")));
                }
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(EndCause::of("cannot receive", &error)),
            }
        };
        let now_ns = clock::now_ns();
        Ok(Some((&buffer[..count], now_ns)))
    }

    /// Goes on with the handshake; once it is complete, returns the beginning of the stream behind it.
    ///
    /// # Errors
    /// If the input does not belong to a handshake, or the answer cannot be sent.
    pub(crate) fn greet<'a>(&mut self, input: &'a [u8]) -> Result<Option<&'a [u8]>, EndCause> {
        let Some(greeting) = &mut self.greeting else { return Ok(Some(input)) };
        match greeting.receive(input)? {
            Greeted::Incomplete => {}
            Greeted::Hello(ack) => {
                if write(&mut self.stream, &ack)? < ack.len() {
                    return Err(EndCause::Closed("a fresh socket has no room for the handshake".to_owned()));
                }
            }
            Greeted::Welcome(stream) => {
                self.greeting = None;
                return Ok(Some(stream));
            }
        }
        Ok(None)
    }

    /// Verifies what was read.
    pub(crate) fn verify<'a>(
        &mut self,
        writer: &mut MessageWriter,
        input: &'a [u8],
        now_ns: u64,
        mut report: impl FnMut(Found, u64),
    ) -> Received<'a> {
        let before = self.verifier.outstanding();
        let mut messages = writer.messages_of(self.id);
        let in_sync = self.verifier.receive(&mut messages, input, &mut |found| report(found, now_ns)).is_ok();
        let done = before - self.verifier.outstanding();
        Received { input, now_ns, done, in_sync }
    }

    /// Ends a window: messages of which the socket has taken no byte are dropped.
    pub(crate) fn settle(&mut self) -> Missing {
        let withdrawn = match &mut self.unsent {
            None => 0,
            Some(unsent) => {
                let begun = usize::from(unsent.written > 0);
                let never_sent = unsent.queue.len().saturating_sub(begun);
                unsent.queue.truncate(begun);
                self.verifier.withdraw(never_sent)
            }
        };
        self.unsent = self.unsent.take().filter(|unsent| !unsent.queue.is_empty());
        let missing = self.verifier.settle();
        Missing { unanswered: missing.unanswered + withdrawn, ..missing }
    }

    /// Ends a connection that the server has closed: messages that were sent and have not come back never will.
    pub(crate) fn settle_closed(&mut self) -> Missing {
        let waiting = self.unsent.as_ref().map_or(0, |unsent| unsent.queue.len());
        let cut_off = self.verifier.outstanding().saturating_sub(waiting) as u64;
        let missing = self.settle();
        Missing { cut_off, unanswered: missing.unanswered - cut_off, ..missing }
    }
}

impl Unsent {
    /// Removes the messages that are written entirely; `written` counts from the beginning of the first message.
    fn advance(&mut self, mut written: usize, writer: &MessageWriter) {
        while let Some((_, size)) = self.queue.front() {
            let bytes = writer.bytes(*size);
            if written < bytes {
                break;
            }
            written -= bytes;
            self.queue.pop_front();
        }
        self.written = written;
    }
}

fn connect(options: &Options, id: ConnectionId) -> io::Result<TcpStream> {
    let addr = options.addr;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(congestion) = &options.congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    if options.source_addresses > 1 {
        // The kernel chooses the port on connect, when the whole tuple is known, so that every address has all ports.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&source(id.number() % options.source_addresses).into())?;
    }
    if options.stamps_arrivals {
        ArrivalStamps::request(&socket)?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// 127.0.0.1, 127.0.0.2 and so on: all of 127/8 is this host (RFC 1122, 3.2.1.3).
fn source(index: u32) -> SocketAddr {
    let first = u32::from(std::net::Ipv4Addr::LOCALHOST);
    SocketAddr::new(IpAddr::V4((first + index).into()), 0)
}

/// Writes as much as the socket takes.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, EndCause> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(EndCause::of("cannot send", &error)),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Payloads;

    #[test]
    fn messages_leave_the_queue_once_their_last_byte_is_written() {
        let writer = MessageWriter::new(&Payloads::mix(&[(10, Some(0.5)), (4, None)]).unwrap());
        let mut unsent = Unsent { queue: [(5, 0), (6, 1), (7, 0)].into(), written: 0 };
        // Bytes from the beginning of the first message, and what is left then.
        for (written, first, of_first) in
            [(9, Some(5), 9), (10, Some(6), 0), (3, Some(6), 3), (13, Some(7), 9), (10, None, 0)]
        {
            unsent.advance(written, &writer);
            assert_eq!((unsent.queue.front().map(|(number, _)| *number), unsent.written), (first, of_first));
        }
    }
}
