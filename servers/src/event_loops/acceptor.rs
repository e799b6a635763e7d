//! How connections get to their loops.

use std::{
    io, net,
    sync::{Arc, mpsc},
};

use mio::{
    Interest, Poll, Registry, Token, Waker,
    net::{TcpListener, TcpStream},
};

use crate::{
    Config,
    census::{Census, Place},
    listen::Backlog,
};

/// Clients may be waiting.
pub(super) const LISTENER: Token = Token(usize::MAX - 2);
/// There may be mail.
pub(super) const MAIL: Token = Token(usize::MAX - 3);

/// A message to a loop.
pub(super) enum Mail {
    Connection(TcpStream, Place),
    Stop,
}

/// The sending side of a loop's inbox.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Mail>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// A mailbox that wakes `poll`, and the inbox to read from.
    pub(super) fn new(poll: &Poll) -> io::Result<(Self, mpsc::Receiver<Mail>)> {
        let (sender, inbox) = mpsc::channel();
        Ok((Self { sender, waker: Arc::new(Waker::new(poll.registry(), MAIL)?) }, inbox))
    }

    pub(super) fn send(&self, mail: Mail) {
        // A loop that has ended drops the connection, and with it its place.
        drop(self.sender.send(mail));
        self.wake();
    }

    pub(super) fn wake(&self) {
        // Writing to an eventfd fails only if it is full, in which case the loop is about to wake up.
        drop(self.waker.wake());
    }
}

/// Stops the server when a loop ends, for whatever reason: its share of the clients would not be served.
pub(super) struct Ending(pub(super) Mailbox);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send(Mail::Stop);
    }
}

/// Accepts connections, on the first loop.
pub(super) struct Acceptor {
    listener: TcpListener,
    pub(super) backlog: Backlog,
    max_connections: usize,
    /// Open connections when last counted; connections that have ended since are not noticed before the limit.
    open: usize,
    pub(super) mailboxes: Vec<Mailbox>,
}

impl Acceptor {
    pub(super) fn new(
        listener: net::TcpListener,
        config: &Config,
        mailboxes: Vec<Mailbox>,
        registry: &Registry,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let max_connections = config.max_connections.get();
        Ok(Self { listener, backlog: Backlog::new(max_connections), max_connections, open: 0, mailboxes })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.backlog.is_ready(self.open)
    }

    /// Accepts a client from the backlog, if there is room.
    pub(super) fn next(&mut self, census: &Arc<Census>, now_ns: u64) -> Option<(TcpStream, Place)> {
        if self.backlog.has_clients && self.open >= self.max_connections {
            self.open = census.open_or_await(self.max_connections);
        }
        let accepted = self.backlog.next(self.open, now_ns, || self.listener.accept());
        if self.backlog.retry_ns.is_some() {
            // After a shortage, whichever connection ends frees a descriptor.
            census.open_or_await(0);
        }
        let (stream, _) = accepted?;
        let (place, open) = census.admit();
        self.open = open;
        Some((stream, place))
    }
}
