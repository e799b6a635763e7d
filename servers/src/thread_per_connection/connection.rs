//! What a connection's thread does, and how it shares the connection with the broadcaster.

use std::{
    hash::BuildHasher,
    net::{Shutdown, TcpStream},
    sync::{
        Mutex, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::{
    Counters, Outgoing,
    handshake::{Answer, Handshake, WELCOME},
    status::StatusLine,
    work::Line,
};
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    time::Timespec,
};

use super::{Server, lock, shortage::Descriptor};

/// Size of a reader's buffer: smaller than the event loop's single one, since there is one per connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// A connection: its thread reads, and sends under the lock of `writer`; the broadcaster fills `slot`.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    // region: handshake
    accepted: Instant,
    // endregion
    writer: Mutex<Writer>,
    slot: Mutex<Slot>,
    // region: handshake
    /// It counts and receives statuses: without a handshake from its beginning (H3).
    open: AtomicBool,
    // endregion
    /// What was read is not echoed yet.
    pub(super) at_work: AtomicBool,
    // The last field, hence dropped after the stream is closed, whichever thread drops the connection.
    _descriptor: Descriptor,
}

#[derive(Default)]
struct Writer {
    outgoing: Outgoing,
    counters: Counters,
}

/// A status from the broadcaster to the connection; a newer one replaces an older one.
#[derive(Default)]
struct Slot {
    line: Option<StatusLine>,
    closed: bool,
}

/// How long a thread waits for its peer.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Patience {
    None,
    Endless,
    // region: idle timeout
    Until(Instant),
    // endregion
}

/// The outcome of an attempt to send pending output.
#[derive(PartialEq)]
pub(super) enum Delivery {
    Done,
    /// The socket is full, with output pending.
    Owed,
}

impl Connection {
    /// A connection that was just accepted; it is `open` unless there is a handshake.
    pub(super) fn new(stream: TcpStream, open: bool, descriptor: Descriptor) -> Self {
        let (writer, slot) = (Mutex::default(), Mutex::default());
        let (open, at_work) = (open.into(), AtomicBool::default());
        Self { stream, accepted: Instant::now(), writer, slot, open, at_work, _descriptor: descriptor }
    }

    // region: handshake
    /// Whether it counts and receives statuses.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
    // endregion

    /// Serves the connection to its end, in its thread.
    pub(super) fn serve(&self, server: &Server) {
        // Not written beforehand, so pages that no message has needed are not resident.
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        // region: handshake
        if let Some(limit) = server.service.handshake
            && let Err(error) = self.shake_hands(server, &mut buffer, self.accepted + limit)
        {
            let counters = &mut lock(&self.writer).counters;
            match error {
                _ if server.stopping.load(Ordering::Relaxed) => {}
                Errno::TIMEDOUT => counters.handshakes_timed_out += 1,
                _ => counters.handshakes_failed += 1,
            }
            return;
        }
        // endregion
        let ended = self.echo_all(server, &mut buffer);
        // region: idle timeout
        if server.service.idle_timeout.is_some() && ended == Err(Errno::TIMEDOUT) {
            lock(&self.writer).counters.idle_timeouts += 1;
            // A partly sent status is not finished: the peer does not read either.
            drop(self.stream.shutdown(Shutdown::Both));
        }
        // endregion
    }

    // region: handshake
    /// Returns once the client has acknowledged the hello, and leaves in `buffer` what it sent behind that (H1 to H6).
    fn shake_hands(&self, server: &Server, buffer: &mut Vec<u8>, deadline: Instant) -> Result<(), Errno> {
        let mut handshake = Handshake::new(server.random.hash_one(server.tokens.fetch_add(1, Ordering::Relaxed)));
        send(&self.stream, &handshake.hello(), SendFlags::NOSIGNAL)?;
        let behind = loop {
            wait_for(&self.stream, PollFlags::IN, deadline)?;
            buffer.clear();
            let (_, count) = recv(&self.stream, spare_capacity(buffer), RecvFlags::DONTWAIT)?;
            match handshake.receive(buffer) {
                Answer::Incomplete if count > 0 => {}
                Answer::Complete(behind) => break behind.len(),
                Answer::Incomplete | Answer::Wrong => return Err(Errno::PROTO),
            }
        };
        buffer.drain(..buffer.len() - behind);
        // A tick that counts the connection from now on leaves its status in the slot, to be sent after the welcome.
        let _writer = lock(&self.writer);
        self.open.store(true, Ordering::Relaxed);
        send(&self.stream, WELCOME, SendFlags::NOSIGNAL)?;
        Ok(())
    }
    // endregion

    /// Echoes what is in `buffer` and then all input; once the server is stopping, input is discarded (F4).
    fn echo_all(&self, server: &Server, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        let (mut line, mut patience) = (Line::default(), Patience::Endless);
        // region: idle timeout
        // The kernel's timeout of a read costs nothing per read, but comes late by up to an eighth of its length; `read`
        // waits for the rest, which is rarely necessary, by a precise timer.
        let early = server.service.idle_timeout.map(|timeout| timeout * 7 / 8);
        if early.is_some() {
            drop(self.stream.set_read_timeout(early));
        }
        // endregion
        loop {
            // region: idle timeout
            if let Some(timeout) = server.service.idle_timeout {
                patience = Patience::Until(Instant::now() + timeout);
            }
            // endregion
            if server.stopping.load(Ordering::Relaxed) {
                self.hang_up();
            } else {
                self.at_work.store(true, Ordering::Relaxed);
                self.echo(server, &mut line, buffer, patience)?;
                self.at_work.store(false, Ordering::Relaxed);
            }
            // region: idle timeout
            if let (Patience::Until(deadline), Some(early)) = (patience, early)
                && deadline.saturating_duration_since(Instant::now()) < early * 9 / 8
            {
                // The echo took so long that the kernel's timeout could come too late.
                wait_for(&self.stream, PollFlags::IN, deadline)?;
            }
            // endregion
            self.read(buffer, patience)?;
            if buffer.is_empty() {
                return Ok(());
            }
        }
    }
    /// Reads into `buffer`; nothing at the end of input.
    fn read(&self, buffer: &mut Vec<u8>, patience: Patience) -> Result<(), Errno> {
        buffer.clear();
        loop {
            match recv(&self.stream, spare_capacity(buffer), RecvFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // region: idle timeout
                Err(Errno::AGAIN) if let Patience::Until(deadline) = patience => {
                    wait_for(&self.stream, PollFlags::IN, deadline)?;
                }
                // endregion
                Err(error) => return Err(error),
            }
        }
    }

    /// Works on the messages of `input` and writes them back. While the peer does not read this blocks, but only the
    /// connection's own thread.
    fn echo(&self, server: &Server, line: &mut Line, mut input: &[u8], patience: Patience) -> Result<(), Errno> {
        loop {
            // Without the lock, so that statuses are sent in the meantime (W2).
            let (first, _) = server.worker.first_line(line, input);
            lock(&self.writer).send(&self.stream, first, patience)?;
            if lock(&self.slot).line.is_some() {
                self.deliver(patience)?;
            }
            input = &input[first.len()..];
            if input.is_empty() {
                return Ok(());
            }
        }
    }

    /// Puts a status into the slot.
    pub(super) fn leave(&self, line: StatusLine, counters: &mut Counters) {
        let mut slot = lock(&self.slot);
        if slot.closed {
            counters.statuses_dropped_at_eof += 1;
        } else if slot.line.replace(line).is_some() {
            counters.statuses_replaced += 1;
        }
    }

    /// Sends the status in the slot, unless another thread holds the lock.
    ///
    /// No status is left behind: a thread that fills the slot tries the lock afterwards, and a thread that holds the
    /// lock checks the slot after unlocking. Either the attempt succeeds, or the holder's check comes later and finds it.
    pub(super) fn deliver(&self, patience: Patience) -> Result<Delivery, Errno> {
        loop {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(Delivery::Done),
            };
            let Writer { outgoing, counters } = &mut *writer;
            if let Some(line) = lock(&self.slot).line.take() {
                outgoing.offer(line, counters);
            }
            let delivery = writer.send(&self.stream, &[], patience)?;
            drop(writer);
            if lock(&self.slot).line.is_none() {
                return Ok(delivery);
            }
        }
    }

    /// Its counters up to now, unless its thread is sending.
    pub(super) fn counters_so_far(&self) -> Counters {
        self.writer.try_lock().map(|mut writer| std::mem::take(&mut writer.counters)).unwrap_or_default()
    }

    /// Stops sending and returns the connection's counters.
    pub(super) fn finish(&self) -> Counters {
        self.hang_up();
        std::mem::take(&mut lock(&self.writer).counters)
    }

    /// Finishes a partly sent status, drops others, and shuts down the sending side. A second call does nothing.
    fn hang_up(&self) {
        let mut writer = lock(&self.writer);
        let Writer { outgoing, counters } = &mut *writer;
        outgoing.end_of_input(counters);
        // An error no longer matters.
        drop(writer.send(&self.stream, &[], Patience::Endless));
        let Writer { outgoing, counters } = &mut *writer;
        outgoing.abandon(counters);
        let mut slot = lock(&self.slot);
        slot.closed = true;
        counters.statuses_dropped_at_eof += u64::from(slot.line.take().is_some());
        drop(slot);
        // The broadcaster may keep the connection alive a little longer; the peer should not wait for it.
        drop(self.stream.shutdown(Shutdown::Write));
    }
}

impl Writer {
    /// Sends pending output and then `input`; with patience, all of it.
    fn send(&mut self, stream: &TcpStream, mut input: &[u8], patience: Patience) -> Result<Delivery, Errno> {
        let blocking = if patience == Patience::Endless { SendFlags::empty() } else { SendFlags::DONTWAIT };
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(Delivery::Done);
            }
            match send(stream, next, SendFlags::NOSIGNAL | blocking) {
                Ok(count) => input = self.outgoing.sent(input, count, &mut self.counters),
                Err(Errno::INTR) => {}
                // region: idle timeout
                Err(Errno::AGAIN) if let Patience::Until(deadline) = patience => {
                    wait_for(stream, PollFlags::OUT, deadline)?;
                }
                // endregion
                Err(Errno::AGAIN) => return Ok(Delivery::Owed),
                Err(error) => return Err(error),
            }
        }
    }
}

// region: handshake
// region: idle timeout
/// Waits until a socket is ready, and fails with ETIMEDOUT if it is not by the deadline.
fn wait_for(stream: &TcpStream, events: PollFlags, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(stream, events)], Some(&timespec(left))) {
            // Even after a late wake-up, what arrived in time counts.
            Ok(0) if left.is_zero() => return Err(Errno::TIMEDOUT),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
// endregion
// endregion

/// As a duration that the kernel takes: the longest option is 365 days.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos() as _ }
}
