//! The life cycle of clients: each connects, has a first message echoed, sends and receives, and ends.
//!
//! All kinds of clients share it. What a kind records, and what it sends in return, is its [`Behaviour`].

use std::mem;

use hdrhistogram::Histogram;
use mio::{Registry, event::Event};
use servers::clock;

use super::{
    Options,
    arrival::ArrivalStamps,
    connection::{Connection, Received},
    delay::Delay,
    echo_verifier::Found,
    end_cause::EndCause,
    greeting,
    in_flight::Sent,
    message::MessageWriter,
    sizes::SizeCycle,
    tokens::{ConnectionId, EventSource},
};

/// Reads from one connection before others have their turn: a server may send without end.
const TURN_READS: usize = 4;

/// The stage of a client's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// The handshake is not complete.
    Greeting,
    /// The first message is in flight.
    Probing,
    /// The first message came back.
    Open,
}

/// A client, until it ends.
#[derive(Debug)]
pub(crate) struct Client<S> {
    pub(crate) connection: Connection,
    pub(crate) stage: Stage,
    /// When it began to connect.
    pub(crate) started_ns: u64,
    pub(crate) state: S,
}

impl<S> Client<S> {
    pub(crate) fn open(
        options: &Options,
        registry: &Registry,
        id: ConnectionId,
        source: EventSource,
        state: S,
    ) -> Result<Self, EndCause> {
        let started_ns = clock::now_ns();
        let connection = Connection::open(options, id, source, registry)?;
        Ok(Self { connection, stage: Stage::Connecting, started_ns, state })
    }

    /// Handles the first event of the socket. Without a handshake, the first message is sent then.
    pub(crate) fn finish_connect(&mut self) -> Result<(), EndCause> {
        self.connection.finish_connect()?;
        self.stage = if self.connection.greeting().is_some() { Stage::Greeting } else { Stage::Probing };
        Ok(())
    }

    /// Goes on with the handshake. Once it is complete, returns the beginning of the stream behind it; then the first
    /// message is sent.
    pub(crate) fn greet<'a>(&mut self, input: &'a [u8]) -> Result<Option<&'a [u8]>, EndCause> {
        let stream = self.connection.greet(input)?;
        if stream.is_some() {
            self.stage = Stage::Probing;
        }
        Ok(stream)
    }
}

/// What the clients of one kind record and do. An error ends the client.
pub(crate) trait Behaviour {
    /// State per client.
    type State;

    /// Messages are about to be sent. The first one of a client is sent before the client is open.
    fn on_send(&mut self, client: &Client<Self::State>, count: usize, intended_ns: u64, now_ns: u64);

    /// Something was found in what a client received.
    fn on_found(&mut self, stage: Stage, state: &mut Self::State, found: Found, now_ns: u64);

    /// Messages are no longer in flight.
    fn on_done(&mut self, _count: usize, _now_ns: u64) {}

    /// The handshake of a client is complete.
    fn on_welcome(&mut self, _client: &Client<Self::State>, _now_ns: u64) {}

    /// A client had its first echo, and is open unless this fails.
    fn on_first_echo(&mut self, client: &Client<Self::State>, received: &Received<'_>) -> Result<(), EndCause>;

    /// How many messages an open client sends in return for `done` that came back.
    fn replies(&self, _done: usize, _now_ns: u64) -> usize {
        0
    }

    /// What is wasted before each message.
    fn delay(&self) -> Delay {
        Delay::default()
    }

    /// Whether a client reads as soon as there is something to read.
    fn reads_at_once(&self, _client: &Client<Self::State>) -> bool {
        true
    }

    /// A client has ended.
    fn on_end(&mut self, client: Client<Self::State>, cause: EndCause);
}

/// The clients of one kind on one thread.
#[derive(Debug)]
pub(crate) struct Clients<B: Behaviour> {
    pub(super) behaviour: B,
    /// `None` for a client that has not been opened, or has ended.
    pub(super) clients: Box<[Option<Client<B::State>>]>,
    pub(super) writer: MessageWriter,
    options: Options,
    registry: Registry,
    sizes: SizeCycle,
    buffer: Box<[u8]>,
    /// If arrivals are stamped.
    stamps: Option<ArrivalStamps>,
    /// Clients with more to read than one turn takes.
    unread: Vec<usize>,
}

impl<B: Behaviour> Clients<B> {
    /// Room for `capacity` clients that read into a buffer of `buffer_bytes`.
    pub(crate) fn new(
        options: &Options,
        registry: Registry,
        behaviour: B,
        capacity: usize,
        buffer_bytes: usize,
    ) -> Self {
        Self {
            behaviour,
            clients: (0..capacity).map(|_| None).collect(),
            writer: MessageWriter::new(&options.payloads),
            options: options.clone(),
            registry,
            sizes: SizeCycle::new(&options.payloads),
            buffer: vec![0; buffer_bytes].into(),
            stamps: options.stamps_arrivals.then(ArrivalStamps::new),
            unread: Vec::new(),
        }
    }

    /// Opens a client.
    pub(super) fn open(
        &mut self,
        index: usize,
        id: ConnectionId,
        source: EventSource,
        state: B::State,
    ) -> Result<&Client<B::State>, EndCause> {
        let client = Client::open(&self.options, &self.registry, id, source, state)?;
        Ok(self.clients[index].insert(client))
    }

    /// Handles a ready socket; returns when something was last received, if anything was.
    pub(crate) fn on_event(&mut self, index: usize, event: &Event) -> Option<u64> {
        if let Err(cause) = self.write_on(index, event) {
            self.end(index, cause);
            return None;
        }
        // The edge of the connect may also announce data or a hang-up of the server, and no other edge will.
        if event.is_readable() || event.is_read_closed() {
            return self.read(index, event.is_read_closed() || event.is_error());
        }
        None
    }

    /// Sends the first message of a client that has connected, or the messages queued behind a socket that was full.
    fn write_on(&mut self, index: usize, event: &Event) -> Result<(), EndCause> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        if client.stage == Stage::Connecting {
            client.finish_connect()?;
            return if client.stage == Stage::Probing { self.send(index, 1, clock::now_ns()) } else { Ok(()) };
        }
        if event.is_writable() && !client.connection.has_room() {
            client.connection.flush(clock::now_ns(), &mut self.writer)?;
        }
        Ok(())
    }

    /// Reads from the clients that had more to read than one turn takes; returns whether there were any.
    pub(crate) fn read_on(&mut self) -> bool {
        let unread = mem::take(&mut self.unread);
        for index in &unread {
            self.read(*index, true);
        }
        !unread.is_empty()
    }

    /// Whether there is something to read that no event will announce.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Sends messages that are due now.
    pub(super) fn send(&mut self, index: usize, count: usize, now_ns: u64) -> Result<(), EndCause> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        let now_ns = self.behaviour.delay().waste(count, now_ns);
        self.behaviour.on_send(client, count, now_ns, now_ns);
        client.connection.send(self.sizes.take(count), Sent::at(now_ns), &mut self.writer)
    }

    /// Reads until the socket is drained or the turn is over; returns when something was last received.
    ///
    /// If `closing`, the end of the stream is read as well.
    fn read(&mut self, index: usize, closing: bool) -> Option<u64> {
        let mut last_ns = None;
        for _ in 0..TURN_READS {
            match &self.clients[index] {
                Some(client) if self.behaviour.reads_at_once(client) => {}
                _ => return last_ns,
            }
            match self.receive(index, self.buffer.len()) {
                Ok(Some((bytes, now_ns))) => {
                    last_ns = Some(now_ns);
                    // A short read has drained the socket (epoll(7)).
                    if bytes < self.buffer.len() && !closing {
                        return last_ns;
                    }
                }
                Ok(None) => return last_ns,
                Err(cause) => {
                    self.end(index, cause);
                    return last_ns;
                }
            }
        }
        self.unread.push(index);
        last_ns
    }

    /// Reads once, at most `limit` bytes, and sends the replies; returns how many bytes were received, and when.
    pub(super) fn receive(&mut self, index: usize, limit: usize) -> Result<Option<(usize, u64)>, EndCause> {
        let Some(client) = &mut self.clients[index] else { return Ok(None) };
        let read = client.connection.read(&mut self.buffer[..limit], self.stamps.as_mut())?;
        let Some((mut input, now_ns)) = read else { return Ok(None) };
        let bytes = input.len();
        let is_welcome = client.stage == Stage::Greeting;
        if is_welcome {
            match client.greet(input)? {
                Some(stream) => input = stream,
                None => return Ok(Some((bytes, now_ns))),
            }
            self.behaviour.on_welcome(client, now_ns);
        } else if client.stage == Stage::Probing && greeting::begins_with_hello(input) {
            return Err(EndCause::unexpected_hello());
        }
        let (behaviour, state, stage) = (&mut self.behaviour, &mut client.state, client.stage);
        let mut is_corrupt = false;
        let report = |found, now_ns| {
            is_corrupt |= matches!(found, Found::Corrupt);
            behaviour.on_found(stage, state, found, now_ns);
        };
        let received = client.connection.verify(&mut self.writer, input, now_ns, report);
        let Received { done, in_sync, .. } = received;
        if let Some(stamps) = self.stamps.as_mut().filter(|_| done > 0) {
            stamps.record();
        }
        self.behaviour.on_done(done, now_ns);
        if !in_sync || (is_welcome && is_corrupt) {
            return Err(EndCause::not_an_echo(input));
        }
        if is_welcome {
            self.send(index, 1, clock::now_ns())?;
        } else if done > 0 && stage == Stage::Probing {
            self.behaviour.on_first_echo(client, &received)?;
            client.stage = Stage::Open;
        } else if done > 0 {
            let replies = self.behaviour.replies(done, now_ns);
            if replies > 0 {
                self.send(index, replies, now_ns)?;
            }
        }
        Ok(Some((bytes, now_ns)))
    }

    /// The receive lags since this was last called, if arrivals are stamped.
    pub(crate) fn take_receive_lags(&mut self) -> Option<Histogram<u64>> {
        self.stamps.as_mut().map(ArrivalStamps::take)
    }

    /// Ends a client.
    pub(super) fn end(&mut self, index: usize, cause: EndCause) {
        // The socket is closed, and with that deregistered, when the client is dropped.
        if let Some(client) = self.clients[index].take() {
            self.unread.retain(|unread| *unread != index);
            self.behaviour.on_end(client, cause);
        }
    }

    /// Ends every client without a record of it.
    pub(super) fn clear(&mut self) {
        self.unread.clear();
        self.clients.fill_with(|| None);
    }
}
