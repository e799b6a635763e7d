//! A connection, and the task that reads and echoes.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, ErrorKind},
    mem,
    net::{self, Shutdown},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use protocol::{
    Counters, Outgoing,
    limits::{LINGER_PAUSE, TURN_BYTES},
    status::StatusLine,
    work::{Line, WORK_TURN},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    task::yield_now,
    time::timeout,
};

use super::Core;
use crate::{census::Place, linger::is_settled};

/// A connection as its task and the broadcaster share it.
pub(super) struct Connection {
    stream: TcpStream,
    outgoing: Outgoing,
    /// Wakes the connection's task.
    task: Waker,
    // The last field, hence dropped after the stream is closed.
    pub(super) place: Place,
}

/// A connection's task.
pub(super) struct Member {
    pub(super) connection: Rc<RefCell<Connection>>,
    pub(super) key: usize,
    pub(super) core: Rc<Core>,
}

/// The input of a connection.
#[derive(Default)]
struct Input {
    /// The line that has begun.
    line: Line,
    /// Input that was read but not worked on.
    rest: Vec<u8>,
    /// Bytes read and work done in this turn.
    turn_bytes: usize,
    turn_work: Duration,
}

/// What a task did, or has to do next.
enum Step {
    /// It read or wrote, and goes on.
    Progress,
    /// The end of input was read.
    Ended,
    /// The server is stopping, and nothing is left to send.
    Stopped,
}

impl Member {
    /// Echoes until the peer's end of input, an error or shutdown; an error affects no other connection (F2).
    pub(super) async fn serve(self) {
        let mut input = Input::default();
        loop {
            match poll_fn(|context| self.poll_turn(&mut input, context)).await {
                Ok(Step::Progress) => {}
                Ok(Step::Stopped) => break,
                Ok(Step::Ended) | Err(_) => return,
            }
            if input.turn_bytes >= TURN_BYTES || input.turn_work >= WORK_TURN {
                (input.turn_bytes, input.turn_work) = (0, Duration::ZERO);
                yield_now().await;
            }
        }
        // An error merely ends the wait.
        drop(self.linger().await);
    }

    fn poll_turn(&self, input: &mut Input, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let step = self.poll_echo(input, context);
        if step.is_pending() {
            // A task that waits has ended its turn.
            (input.turn_bytes, input.turn_work) = (0, Duration::ZERO);
        }
        step
    }

    /// Writes pending output or, if there is none, reads and echoes.
    fn poll_echo(&self, input: &mut Input, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let (mut connection, mut counters) = (self.connection.borrow_mut(), self.core.counters.borrow_mut());
        connection.task.clone_from(context.waker());
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        if !connection.outgoing.is_flushed() {
            ready!(connection.stream.poll_write_ready(context))?;
            return Poll::Ready(connection.write(&[], &mut counters).map(|()| Step::Progress));
        }
        if !input.rest.is_empty() {
            let rest = mem::take(&mut input.rest);
            return Poll::Ready(self.echo(&mut connection, input, &rest, &mut counters));
        }
        if self.core.stopping.get() {
            return Poll::Ready(Ok(Step::Stopped));
        }
        let mut buffer = self.core.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut connection.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(Step::Ended));
        }
        input.turn_bytes += buffer.filled().len();
        Poll::Ready(self.echo(&mut connection, input, buffer.filled(), &mut counters))
    }

    /// Works on messages and echoes each, until `read` or the turn is over or the socket full.
    fn echo(
        &self,
        connection: &mut Connection,
        input: &mut Input,
        mut read: &[u8],
        counters: &mut Counters,
    ) -> io::Result<Step> {
        while !read.is_empty() && input.turn_work < WORK_TURN && connection.outgoing.is_flushed() {
            if self.core.has_due_status() {
                input.turn_work = WORK_TURN;
                break;
            }
            let (first, cost) = self.core.worker.first_line(&mut input.line, read);
            input.turn_work += cost;
            connection.write(first, counters)?;
            read = &read[first.len()..];
        }
        if !read.is_empty() {
            input.rest = read.to_vec();
        }
        Ok(Step::Progress)
    }

    /// Shuts down the sending side and discards input until the peer's FIN (F4).
    async fn linger(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        SockRef::from(&self.connection.borrow().stream).shutdown(Shutdown::Write)?;
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
        is_settled(&self.connection.borrow().stream)
    }

    /// Reads and discards input; returns the number of bytes, 0 at the end of input.
    fn poll_drop(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (mut connection, mut buffer) = (self.connection.borrow_mut(), self.core.buffer.borrow_mut());
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut connection.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.core.connections.borrow_mut().remove(self.key);
        let mut connection = self.connection.borrow_mut();
        connection.outgoing.abandon(&mut self.core.counters.borrow_mut());
        connection.place.leave();
        if self.core.stopping.get() {
            self.core.ended.notify_one();
        }
    }
}

impl Connection {
    pub(super) fn new(stream: net::TcpStream, place: Place) -> io::Result<Self> {
        let stream = TcpStream::from_std(stream)?;
        Ok(Self { stream, outgoing: Outgoing::default(), task: Waker::noop().clone(), place })
    }

    /// Writes as much of the pending output and `input` as the socket accepts, and keeps the rest.
    fn write(&mut self, mut input: &[u8], counters: &mut Counters) -> io::Result<()> {
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(());
            }
            match self.stream.try_write(next) {
                Ok(count) => input = self.outgoing.sent(input, count, counters),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing.keep(input, counters);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a status, or leaves it to the task if the socket is full. An error is left to the task as well.
    pub(super) fn send_status(&mut self, line: StatusLine, counters: &mut Counters) {
        let task_waits_for_room = !self.outgoing.is_flushed();
        self.outgoing.offer(line, counters);
        if !task_waits_for_room && (self.write(&[], counters).is_err() || !self.outgoing.is_flushed()) {
            self.task.wake_by_ref();
        }
    }

    /// Has the task send what is queued and leave (F4).
    pub(super) fn stop(&mut self, counters: &mut Counters) {
        self.outgoing.end_of_input(counters);
        self.task.wake_by_ref();
    }
}
