//! A connection of `tokio` and its variants: the task that reads and echoes, and the writing side, which the broadcaster
//! shares.
//!
//! No lock is held across an await or during work. A task reads into a buffer of its worker thread and writes from there
//! at once, so that an idle task holds none; `readable().await` and `try_read` would need a second recvfrom per message.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind},
    net::Shutdown,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use protocol::{
    Counters, Outgoing,
    handshake::{Answer, Handshake, WELCOME},
    limits::{LINGER_PAUSE, READ_BUFFER_BYTES, SHUTDOWN_FLUSH, TURN_BYTES},
    status::StatusLine,
    work::{Line, WORK_TURN},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::yield_now,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::{
    linger::is_settled,
    task_per_connection::{Server, lock},
};

/// A connection's share of the limits, released on drop.
pub(crate) struct Place {
    pub(crate) server: Arc<Server>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.freed.notify_one();
    }
}

/// The life of a connection.
// Parameters are dropped from the last to the first: the place is released after the stream is closed.
pub(crate) async fn serve_client(place: Place, stream: TcpStream) {
    let mut reader = Reader::default();
    // region: handshake
    let mut stream = stream;
    if let Some(limit) = place.server.service.handshake {
        // In a box, so that a task does not keep the room for it.
        match Box::pin(admit(&place.server, &mut stream, limit)).await {
            Some(early) => reader.rest = early,
            None => return,
        }
    }
    // endregion
    // region: idle timeout
    reader.patience = place.server.service.idle_timeout.map(Patience::new);
    // endregion
    // By reference, as every move into a future would take the room again.
    Connection::open(stream, place).serve(&mut reader).await;
}

// region: handshake
/// Shakes hands within `limit` and returns early input; `None` if the connection is to be closed.
async fn admit(server: &Server, stream: &mut TcpStream, limit: Duration) -> Option<Vec<u8>> {
    let mut stopping = server.stopping.subscribe();
    let outcome = tokio::select! {
        outcome = timeout(limit, shake_hands(stream)) => outcome,
        _ = stopping.wait_for(|stopping| *stopping) => return None,
    };
    match outcome {
        Ok(Ok(early)) => return Some(early),
        Ok(Err(_)) => lock(&server.registry).counters.handshakes_failed += 1,
        Err(_) => lock(&server.registry).counters.handshakes_timed_out += 1,
    }
    None
}

/// Greets the client and waits for its acknowledgement; returns the input behind it (H4).
async fn shake_hands(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut handshake = Handshake::new(RandomState::new().hash_one(0));
    stream.write_all(&handshake.hello()).await?;
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        match handshake.receive(&buffer[..count]) {
            Answer::Incomplete if count > 0 => {}
            Answer::Complete(early) => {
                stream.write_all(WELCOME).await?;
                return Ok(early.to_vec());
            }
            Answer::Incomplete | Answer::Wrong => return Err(ErrorKind::InvalidData.into()),
        }
    }
}
// endregion

/// A connection as its task and the broadcaster share it; closed when its task drops it.
pub(crate) struct Connection {
    /// In the order of registration.
    pub(crate) id: u64,
    pub(crate) writer: Mutex<Writer>,
    // The last field, hence dropped after the stream is closed.
    place: Place,
}

/// The writing side of a connection.
pub(crate) struct Writer {
    stream: TcpStream,
    outgoing: Outgoing,
    counters: Counters,
    /// Number of emitted statuses for which this connection is no longer accountable.
    emitted_seen: u64,
    stopping: bool,
    /// Wakes the connection's task.
    task: Waker,
}

/// The part of a connection that only its task needs.
#[derive(Default)]
struct Reader {
    line: Line,
    /// Input that has been read and waits for the connection's next turn.
    rest: Vec<u8>,
    /// Bytes read and work done in this turn.
    turn_bytes: usize,
    turn_work: Duration,
    // region: idle timeout
    patience: Option<Patience>,
    // endregion
}

// region: idle timeout
/// A timer that input does not move: only when it fires is it set anew, to the end of the latest silence (T3).
struct Patience {
    limit: Duration,
    last_input: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, last_input: Instant::now(), timer: Box::pin(sleep(limit)) }
    }

    /// Ready once the client has been silent for too long.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let end = self.last_input + self.limit;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end);
        }
    }
}
// endregion

/// What a task did, or has to do next.
enum Turn {
    /// It read or wrote, and goes on.
    Progress,
    /// The end of input was read.
    Ended,
    /// The server is stopping, and nothing is left to send.
    Stopped,
    // region: idle timeout
    /// The client has sent nothing for too long.
    TimedOut,
    // endregion
}

impl Connection {
    /// Registers a connection, which from now on counts and receives statuses (B1).
    fn open(stream: TcpStream, place: Place) -> Arc<Self> {
        let server = Arc::clone(&place.server);
        let mut registry = lock(&server.registry);
        let writer = Writer {
            stream,
            outgoing: Outgoing::default(),
            counters: Counters::default(),
            emitted_seen: registry.emitted,
            stopping: *server.stopping.borrow(),
            task: Waker::noop().clone(),
        };
        let connection = Arc::new(Self { id: registry.next_id, writer: Mutex::new(writer), place });
        registry.next_id += 1;
        registry.connections.insert(connection.id, Arc::downgrade(&connection));
        connection
    }

    /// Echoes until the peer's end of input, an error or shutdown; an error affects no other connection (F2).
    async fn serve(&self, reader: &mut Reader) {
        loop {
            match poll_fn(|context| self.poll_turn(reader, context)).await {
                Ok(Turn::Progress) => {}
                Ok(Turn::Stopped) => break,
                // region: idle timeout
                Ok(Turn::TimedOut) => {
                    let mut writer = lock(&self.writer);
                    writer.counters.idle_timeouts = 1;
                    writer.end_of_input();
                    break;
                }
                // endregion
                Ok(Turn::Ended) | Err(_) => return,
            }
            if reader.turn_bytes >= TURN_BYTES || reader.turn_work >= WORK_TURN {
                (reader.turn_bytes, reader.turn_work) = (0, Duration::ZERO);
                for _ in 0..self.place.server.yields {
                    yield_now().await;
                }
            }
        }
        // An error merely ends the wait, and so does a client that reads nothing. In a box, as above.
        drop(Box::pin(timeout(SHUTDOWN_FLUSH, self.linger())).await);
    }

    fn poll_turn(&self, reader: &mut Reader, context: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        let turn = self.poll_echo(reader, context);
        if turn.is_pending() {
            // A task that waits has ended its turn.
            (reader.turn_bytes, reader.turn_work) = (0, Duration::ZERO);
        }
        // region: idle timeout
        if turn.is_pending()
            && let Some(patience) = &mut reader.patience
        {
            return patience.poll_end(context).map(|()| Ok(Turn::TimedOut));
        }
        // endregion
        turn
    }

    /// Writes pending output or, if there is none, reads and echoes.
    fn poll_echo(&self, reader: &mut Reader, context: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        let mut writer = lock(&self.writer);
        writer.task.clone_from(context.waker());
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        if !writer.outgoing.is_flushed() {
            ready!(writer.stream.poll_write_ready(context))?;
            return Poll::Ready(writer.write(&[]).map(|()| Turn::Progress));
        }
        if !reader.rest.is_empty() {
            drop(writer);
            let input = std::mem::take(&mut reader.rest);
            return Poll::Ready(self.echo(reader, &input));
        }
        if writer.stopping {
            return Poll::Ready(Ok(Turn::Stopped));
        }
        if self.place.server.has_due_status() {
            reader.turn_work = WORK_TURN;
            return Poll::Ready(Ok(Turn::Progress));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut writer.stream).poll_read(context, &mut buffer))?;
            let input = buffer.filled();
            if input.is_empty() {
                writer.end_of_input();
                return Poll::Ready(Ok(Turn::Ended));
            }
            drop(writer);
            // region: idle timeout
            if let Some(patience) = &mut reader.patience {
                patience.last_input = Instant::now();
            }
            // endregion
            reader.turn_bytes += input.len();
            Poll::Ready(self.echo(reader, input))
        })
    }

    /// Works on messages and echoes each, until the input or the turn is over.
    fn echo(&self, reader: &mut Reader, mut input: &[u8]) -> io::Result<Turn> {
        let server = &self.place.server;
        while !input.is_empty() && reader.turn_work < WORK_TURN {
            if server.has_due_status() {
                reader.turn_work = WORK_TURN;
                break;
            }
            // Without the lock: the broadcaster waits for no work.
            let (piece, cost) = server.work(&mut reader.line, input);
            reader.turn_work += cost;
            lock(&self.writer).write(piece)?;
            input = &input[piece.len()..];
        }
        reader.rest = input.to_vec();
        Ok(Turn::Progress)
    }

    /// Shuts down the sending side and discards input until the peer's FIN (F4).
    async fn linger(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        SockRef::from(&lock(&self.writer).stream).shutdown(Shutdown::Write)?;
        loop {
            match timeout(LINGER_PAUSE, poll_fn(|context| self.poll_drop(context))).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(dropped) => _ = dropped?,
                // The peer is silent; it may have acknowledged everything.
                Err(_) if self.is_settled() => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn is_settled(&self) -> bool {
        is_settled(&lock(&self.writer).stream)
    }

    /// Reads and discards input; returns the number of bytes, 0 at the end of input.
    fn poll_drop(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut lock(&self.writer).stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}

impl Writer {
    /// Writes as much of the pending output and `input` as the socket accepts, and keeps the rest.
    fn write(&mut self, mut input: &[u8]) -> io::Result<()> {
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(());
            }
            match self.stream.try_write(next) {
                Ok(count) => input = self.outgoing.sent(input, count, &mut self.counters),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing.keep(input, &mut self.counters);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a status, or leaves it to the task if the socket is full. An error is left to the task as well.
    pub(crate) fn send_status(&mut self, line: StatusLine) {
        self.emitted_seen += 1;
        let task_waits_for_room = !self.outgoing.is_flushed();
        self.outgoing.offer(line, &mut self.counters);
        if !task_waits_for_room && (self.write(&[]).is_err() || !self.outgoing.is_flushed()) {
            self.task.wake_by_ref();
        }
    }

    /// Drops a held status and refuses further ones.
    fn end_of_input(&mut self) {
        self.outgoing.end_of_input(&mut self.counters);
    }

    /// Has the task send what is queued and leave (F4).
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.end_of_input();
        self.task.wake_by_ref();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        writer.outgoing.abandon(&mut writer.counters);
        let mut registry = lock(&self.place.server.registry);
        registry.connections.remove(&self.id);
        // Statuses that counted this connection but never reached it.
        writer.counters.statuses_dropped_at_eof += registry.emitted - writer.emitted_seen;
        registry.counters.merge(&writer.counters);
    }
}

thread_local! {
    /// Read buffer shared by the tasks of a worker, one at a time.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into());
}
