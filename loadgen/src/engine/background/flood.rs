//! Flooders: they write and read as fast as they can, on a thread of their own, so that no measured client waits for them.

use std::{
    io, mem,
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread::{self, JoinHandle},
};

use mio::{Waker, event::Event};
use servers::clock;

use super::CohortTally;
use crate::{
    engine::{
        Options,
        clients::{Client, Stage},
        end_cause::EndCause,
        in_flight::Sent,
        message::MessageWriter,
        sizes::SizeCycle,
        tokens::{ConnectionId, EventSource},
        waiter::Waiter,
    },
    observe,
    plan::Pacing,
};

/// Bytes offered to a socket, or read from it, per turn.
const PIECE_BYTES: usize = 64 * 1024;

/// How long the thread sleeps at most.
const WAIT_MAX_NS: u64 = 1_000_000_000;

/// The flooders, which run until this is dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    /// A request is where to send the tally, which then begins anew; `None` once the flood ends.
    requests: Option<Sender<Sender<CohortTally>>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the kernel refuses a poll or a thread.
    pub(crate) fn start(options: &Options) -> io::Result<Self> {
        let mut flooders = Flooders::new(options)?;
        let waker = Waker::new(&flooders.waiter.registry()?, EventSource::Waker.token())?;
        let cpus = options.flood_cpus.clone();
        let (sender, requests) = mpsc::channel();
        let work = move || {
            // Best effort: if flooders take CPU time from the generator, the gates on its send lag fail.
            let _ = if cpus.is_empty() { observe::yield_to_others() } else { observe::pin_thread(&cpus) };
            flooders.run(&requests);
        };
        let thread = thread::Builder::new().name("flood".to_owned()).spawn(work)?;
        Ok(Self { requests: Some(sender), waker, thread: Some(thread) })
    }

    /// What was recorded since this was last called; `None` if the thread has ended.
    pub(crate) fn take_tally(&self) -> Option<CohortTally> {
        let (reply, tally) = mpsc::channel();
        self.requests.as_ref()?.send(reply).ok()?;
        self.waker.wake().ok()?;
        tally.recv().ok()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.requests.take());
        // If that fails, the thread ends when it next wakes up.
        drop(self.waker.wake());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[derive(Debug)]
struct Flooders {
    waiter: Waiter,
    /// `None` once it has ended.
    clients: Vec<Option<Flooder>>,
    tally: CohortTally,
    writer: MessageWriter,
    sizes: SizeCycle,
    buffer: Box<[u8]>,
}

type Flooder = Client<Readiness>;

/// The readiness of a socket by the last edge and the calls since.
#[derive(Debug, Default)]
struct Readiness {
    readable: bool,
    writable: bool,
    /// The end of the stream is still to be read.
    closing: bool,
}

impl Flooders {
    fn new(options: &Options) -> io::Result<Self> {
        let waiter = Waiter::new()?;
        let registry = waiter.registry()?;
        let mut tally = CohortTally::default();
        let open = |index: u32| {
            let (id, source) = (ConnectionId::flooder(index), EventSource::Flooder(index as usize));
            let client = Client::open(options, &registry, id, source, Readiness::default());
            client.map_err(|cause| tally.record_end(cause)).ok()
        };
        Ok(Self {
            clients: (0..options.cohorts.flooders).map(open).collect(),
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
                Ok(reply) => drop(reply.send(mem::take(&mut self.tally))),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let busy = self.clients.iter().flatten().any(has_work);
            let pacing = if busy { Pacing::Spin } else { Pacing::Timer };
            // Without a poll nothing can be done any more; a request for the tally then gets no reply.
            let Ok(events) = self.waiter.wait(pacing, clock::now_ns() + WAIT_MAX_NS) else { return };
            for event in events {
                let EventSource::Flooder(index) = EventSource::of(event.token()) else { continue };
                if let Some(client) = &mut self.clients[index] {
                    client.state.note(event);
                }
            }
            for index in 0..self.clients.len() {
                if let Err(cause) = self.turn(index) {
                    self.tally.record_end(cause);
                    self.clients[index] = None;
                }
            }
        }
    }

    /// One write and one read, if the socket is ready for them.
    fn turn(&mut self, index: usize) -> Result<(), EndCause> {
        let Some(client) = self.clients[index].as_mut().filter(|client| has_work(client)) else { return Ok(()) };
        let now_ns = clock::now_ns();
        let count = match client.stage {
            Stage::Connecting => {
                client.finish_connect()?;
                usize::from(client.stage == Stage::Probing)
            }
            _ if !client.state.writable => 0,
            _ if !client.connection.has_room() => {
                client.connection.flush(now_ns, &mut self.writer)?;
                0
            }
            Stage::Greeting | Stage::Probing => 0,
            Stage::Open => (PIECE_BYTES / self.writer.bytes_max()).max(1),
        };
        if count > 0 {
            self.tally.sent += count as u64;
            client.connection.send(self.sizes.take(count), Sent::at(now_ns), &mut self.writer)?;
        }
        client.state.writable = client.connection.has_room();
        if client.state.readable { self.read(index) } else { Ok(()) }
    }

    fn read(&mut self, index: usize) -> Result<(), EndCause> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        let (tally, capacity) = (&mut self.tally, self.buffer.len());
        let read = client.connection.read(&mut self.buffer, None)?;
        // A short read has drained the socket (epoll(7)), unless the end is still to be read.
        client.state.readable = read.is_some_and(|(input, _)| input.len() == capacity || client.state.closing);
        let Some((mut input, now_ns)) = read else { return Ok(()) };
        let is_welcome = client.stage == Stage::Greeting;
        if is_welcome {
            match client.greet(input)? {
                Some(stream) => input = stream,
                None => return Ok(()),
            }
        }
        let report = |found, now_ns| tally.record(found, now_ns);
        let received = client.connection.verify(&mut self.writer, input, now_ns, report);
        if !received.in_sync {
            return Err(EndCause::not_an_echo(received.input));
        }
        if is_welcome {
            self.tally.sent += 1;
            client.connection.send(self.sizes.take(1), Sent::at(now_ns), &mut self.writer)?;
            client.state.writable = client.connection.has_room();
        } else if received.done > 0 && client.stage == Stage::Probing {
            client.stage = Stage::Open;
            self.tally.record_opened(client.started_ns, received.now_ns);
        }
        Ok(())
    }
}

impl Readiness {
    fn note(&mut self, event: &Event) {
        self.writable |= event.is_writable();
        self.closing |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.closing;
    }
}

fn has_work(client: &Flooder) -> bool {
    let waits = matches!(client.stage, Stage::Greeting | Stage::Probing);
    let may_write = client.state.writable && (!waits || !client.connection.has_room());
    client.state.readable || may_write
}
