//! Flooders: they write and read as fast as they can, on a thread of their own, so that no measured client waits for them.

use std::{
    io::{self, ErrorKind, Read},
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread::{self, JoinHandle},
};

use mio::{Waker, event::Event};
use servers::clock;

use super::CohortTally;
use crate::{
    engine::{
        Options,
        connection::Connection,
        message::MessageWriter,
        sizes::SizeCycle,
        tokens::{ConnectionId, EventSource},
        waiter::Waiter,
    },
    observe,
    plan::Pacing,
};

/// What is offered to a socket or read from it with one call: between two of them others have their turn.
const PIECE_BYTES: usize = 64 * 1024;

/// How long the thread sleeps if nothing happens at all.
const NAP_NS: u64 = 1_000_000_000;

/// Flooders at work. Dropped, they end.
#[derive(Debug)]
pub(in crate::engine) struct Flood {
    /// Each asks for the tally so far, which then begins anew; `None` once the flood ends.
    requests: Option<Sender<Sender<CohortTally>>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins it.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a thread.
    pub(in crate::engine) fn start(options: &Options) -> io::Result<Self> {
        let mut flooders = Flooders::new(options)?;
        let waker = Waker::new(&flooders.waiter.registry()?, EventSource::Waker.token())?;
        let cpus = options.flood_cpus.clone();
        let (ask, requests) = mpsc::channel();
        let work = move || {
            // A wish: where it is not granted, the gates on the generator's time tell.
            let _ = if cpus.is_empty() { observe::yield_to_others() } else { observe::pin_thread(&cpus) };
            flooders.run(&requests);
        };
        let thread = thread::Builder::new().name("flood".to_owned()).spawn(work)?;
        Ok(Self { requests: Some(ask), waker, thread: Some(thread) })
    }

    /// What happened since this was last asked.
    pub(in crate::engine) fn take(&self) -> Option<CohortTally> {
        let (reply, tally) = mpsc::channel();
        self.requests.as_ref()?.send(reply).ok()?;
        self.waker.wake().ok()?;
        tally.recv().ok()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.requests.take());
        // If that fails, it looks by itself within a second.
        drop(self.waker.wake());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[derive(Debug)]
struct Flooders {
    waiter: Waiter,
    /// `None` once it is over.
    members: Vec<Option<Member>>,
    tally: CohortTally,
    writer: MessageWriter,
    sizes: SizeCycle,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Member {
    connection: Connection,
    started_ns: u64,
    stage: Stage,
    /// The last edge said so, and no call has found otherwise since.
    readable: bool,
    writable: bool,
    /// Its end is still to be read.
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Probing,
    Open,
}

impl Flooders {
    fn new(options: &Options) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        let registry = waiter.registry()?;
        let mut tally = CohortTally::default();
        let open = |index: u32| match Connection::open(
            options,
            ConnectionId::flooder(index),
            EventSource::Flooder(index as usize),
            &registry,
        ) {
            Ok(connection) => Some(Member::new(connection)),
            Err(error) => {
                tally.record_end(&error);
                None
            }
        };
        Ok(Self {
            members: (0..options.cohorts.flooders).map(open).collect(),
            waiter,
            tally,
            writer: MessageWriter::new(&options.payloads),
            sizes: SizeCycle::new(&options.payloads),
            buffer: vec![0; PIECE_BYTES].into(),
        })
    }

    fn run(&mut self, requests: &Receiver<Sender<CohortTally>>) {
        loop {
            match requests.try_recv() {
                Ok(reply) => drop(reply.send(std::mem::take(&mut self.tally))),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let busy = self.members.iter().flatten().any(Member::has_work);
            let pacing = if busy { Pacing::Spin } else { Pacing::Timer };
            // Without a poll there is nothing more to do; who asks gets no answer.
            let Ok(events) = self.waiter.wait(pacing, clock::now_ns() + NAP_NS) else { return };
            for event in events {
                let EventSource::Flooder(index) = EventSource::of(event.token()) else { continue };
                if let Some(member) = &mut self.members[index] {
                    member.note(event);
                }
            }
            for index in 0..self.members.len() {
                if let Err(error) = self.turn(index) {
                    self.tally.record_end(&error);
                    self.members[index] = None;
                }
            }
        }
    }

    /// One read and one write, if there is room for them.
    fn turn(&mut self, index: usize) -> io::Result<()> {
        let Some(member) = self.members[index].as_mut().filter(|member| member.has_work()) else { return Ok(()) };
        let now_ns = clock::now_ns();
        if member.stage == Stage::Connecting {
            if let Some(error) = member.connection.stream.take_error()? {
                return Err(error);
            }
            member.stage = Stage::Probing;
            self.tally.sent += 1;
            member.connection.send([0].into_iter(), now_ns, now_ns, &mut self.writer)?;
        } else if member.writable && !member.connection.has_room() {
            member.connection.flush(now_ns, &mut self.writer)?;
        } else if member.writable && member.stage == Stage::Open {
            let count = (PIECE_BYTES / self.writer.bytes_max()).max(1);
            self.tally.sent += count as u64;
            let sizes = self.sizes.take(count);
            member.connection.send(sizes, now_ns, now_ns, &mut self.writer)?;
        }
        member.writable = member.connection.has_room();
        if member.readable { self.read(index) } else { Ok(()) }
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let Some(member) = &mut self.members[index] else { return Ok(()) };
        let count = match member.connection.stream.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result?,
        };
        // Less than asked for: drained (epoll(7)), unless the end is still to be read.
        member.readable = count == self.buffer.len() || (member.closing && count > 0);
        let (tally, now_ns) = (&mut self.tally, clock::now_ns());
        let input = &self.buffer[..count];
        let done = member.connection.check(&mut self.writer, input, |found| tally.record(found, now_ns))?;
        if done > 0 && member.stage == Stage::Probing {
            member.stage = Stage::Open;
            tally.record_opened(member.started_ns, now_ns);
        }
        Ok(())
    }
}

impl Member {
    fn new(connection: Connection) -> Self {
        let (readable, writable, closing) = (false, false, false);
        Self { connection, started_ns: clock::now_ns(), stage: Stage::Connecting, readable, writable, closing }
    }

    fn note(&mut self, event: &Event) {
        self.writable |= event.is_writable();
        self.closing |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.closing;
    }

    fn has_work(&self) -> bool {
        let may_write = self.writable && (self.stage != Stage::Probing || !self.connection.has_room());
        self.readable || may_write
    }
}
