//! The measured clients of one thread: the ramp, open and closed loops, and the record of every message.

mod endings;

use std::{io, time::Duration};

use mio::Registry;
use protocol::status::Status;
use servers::clock;

use super::{
    Options, Slot, arrival,
    broadcast::{Broadcasts, ReceivedTick, TickBatch},
    clients::{Behaviour, Client, Clients, Stage},
    connection::Received,
    delay::Delay,
    echo_verifier::Found,
    end_cause::EndCause,
    in_flight::Sent,
    recorder::WindowRecorder,
    tokens::{ConnectionId, EventSource},
};
use crate::hosts::ClockMap;

/// Slots sent before answers are read again, if the generator is behind.
const SEND_CHUNK: usize = 64;

/// Size of the buffer that every connection reads into.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is to be sent.
#[derive(Debug)]
enum Work {
    None,
    /// Slots at their times.
    Open {
        slots: Vec<Slot>,
        next: usize,
        start_ns: u64,
    },
    /// A new message for each that comes back, until a time.
    Closed {
        until_ns: u64,
    },
    /// One message on every connection, and no other.
    Burst,
}

/// What measured clients record and do.
#[derive(Debug)]
pub(crate) struct Measured {
    recorder: WindowRecorder,
    work: Work,
    delay: Delay,
    broadcasts: Broadcasts,
    /// Numbers of the connections of this thread: first, first + step, first + 2 * step ...
    first: u32,
    step: u32,
    /// Clients opened so far, successfully or not.
    opened: usize,
    /// Open clients.
    live: u32,
    /// When a message last came back, in nanoseconds.
    last_done_ns: u64,
    /// Clients without a first echo yet.
    probing: usize,
    first_problem: Option<String>,
    first_shortage: Option<String>,
    /// From the server's clock to this host's, if they differ.
    server_clock: ClockMap,
}

/// The state of a measured client.
#[derive(Debug, Default)]
pub(crate) struct MeasuredState {
    /// Number of the newest tick received; 0 for none.
    last_tick: u64,
    /// Something corrupt came before or in place of the first echo.
    probe_is_corrupt: bool,
}

pub(crate) type MeasuredClients = Clients<Measured>;

impl Behaviour for Measured {
    type State = MeasuredState;

    fn on_send(&mut self, client: &Client<MeasuredState>, count: usize, intended_ns: u64, now_ns: u64) {
        match client.stage {
            Stage::Open => self.recorder.record_sent(count, intended_ns, now_ns),
            Stage::Connecting | Stage::Greeting | Stage::Probing => self.recorder.record_first_sent(now_ns),
        }
    }

    fn on_found(&mut self, stage: Stage, state: &mut MeasuredState, found: Found, now_ns: u64) {
        match found {
            // The first echo of a connection is no message of any window.
            Found::Echo(_) | Found::Reordered(_) | Found::Duplicate if stage == Stage::Probing => {}
            Found::Echo(sent) | Found::Reordered(sent) => {
                self.recorder.tally.counts.reordered += u64::from(matches!(found, Found::Reordered(_)));
                match self.work {
                    Work::Open { .. } | Work::None => self.recorder.record_open_echo(&sent, now_ns),
                    Work::Closed { .. } | Work::Burst => self.recorder.record_closed_echo(&sent, now_ns),
                }
            }
            Found::Duplicate => self.recorder.tally.counts.duplicate += 1,
            Found::Corrupt => {
                self.recorder.tally.counts.corrupt += 1;
                state.probe_is_corrupt |= stage == Stage::Probing;
            }
            Found::Status(status) => {
                let (due_ns, emit_ns) =
                    (self.server_clock.there(status.due_ns), self.server_clock.there(status.emit_ns));
                let status = Status { due_ns, emit_ns, ..status };
                let order = self.broadcasts.receive(&status, &mut state.last_tick, now_ns);
                self.recorder.record_status(&status, order, now_ns);
            }
        }
    }

    fn on_done(&mut self, count: usize, now_ns: u64) {
        self.recorder.littles_law.end(count, now_ns);
        if count > 0 {
            self.last_done_ns = now_ns;
        }
        if let Work::Burst = self.work {
            // Nothing is sent any more, so that a delay before each message would be none.
            self.delay.waste(count, now_ns);
        }
    }

    fn on_first_echo(&mut self, client: &Client<MeasuredState>, received: &Received<'_>) -> Result<(), EndCause> {
        if client.state.probe_is_corrupt {
            return Err(EndCause::not_an_echo(received.input));
        }
        self.recorder.record_opened(client.started_ns, received.now_ns);
        self.probing -= 1;
        self.live += 1;
        Ok(())
    }

    fn replies(&self, done: usize, now_ns: u64) -> usize {
        match self.work {
            Work::Closed { until_ns } if now_ns < until_ns => done,
            _ => 0,
        }
    }

    fn delay(&self) -> Delay {
        self.delay
    }

    fn on_end(&mut self, client: Client<MeasuredState>, cause: EndCause) {
        self.record_end(client, cause);
    }
}

impl MeasuredClients {
    /// The clients whose connection number is `first` modulo `step`.
    pub(crate) fn measured(options: &Options, registry: Registry, first: u32, step: u32) -> Self {
        let wanted = (first..options.connections).step_by(step as usize).len();
        let measured = Measured {
            recorder: WindowRecorder::default(),
            work: Work::None,
            delay: Delay::per_message(options.generator_delay),
            broadcasts: Broadcasts::default(),
            first,
            step,
            opened: 0,
            live: 0,
            last_done_ns: 0,
            probing: 0,
            first_problem: None,
            first_shortage: None,
            server_clock: ClockMap::default(),
        };
        Self::new(options, registry, measured, wanted, BUFFER_BYTES)
    }

    /// Whether there are to be any connections at all.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Open connections.
    pub(crate) fn live(&self) -> u32 {
        self.behaviour.live
    }

    /// Connections that are not open yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.clients.len() - self.behaviour.opened + self.behaviour.probing
    }

    /// Messages in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.behaviour.recorder.littles_law.in_flight()
    }

    /// Messages of the window that have come back.
    pub(crate) fn echoed(&self) -> u64 {
        self.behaviour.recorder.tally.counts.echoed
    }

    /// The first failure of a connection, shortages of this host aside.
    pub(crate) fn first_problem(&self) -> Option<&str> {
        self.behaviour.first_problem.as_deref()
    }

    /// What this host lacked when it first could not carry a connection.
    pub(crate) fn first_shortage(&self) -> Option<&str> {
        self.behaviour.first_shortage.as_deref()
    }

    pub(crate) fn newest_tick(&self) -> Option<&ReceivedTick> {
        self.behaviour.broadcasts.newest()
    }

    /// The ticks that arrived since this was last called.
    pub(crate) fn take_ticks(&mut self) -> TickBatch {
        self.behaviour.broadcasts.take_batch()
    }

    /// Opens connections until `limit` are unanswered or all are open.
    pub(crate) fn open_more(&mut self, limit: usize) {
        while self.behaviour.probing < limit && self.behaviour.opened < self.clients.len() {
            let index = self.behaviour.opened;
            self.behaviour.opened += 1;
            let id = ConnectionId::measured(self.behaviour.first + index as u32 * self.behaviour.step);
            match self.open(index, id, EventSource::Measured(index), MeasuredState::default()) {
                Ok(_) => self.behaviour.probing += 1,
                Err(cause) => self.behaviour.record_connect_failed(cause),
            }
        }
    }

    /// Wastes so much time before each message from now on.
    pub(crate) fn set_delay(&mut self, per_message: Duration) {
        self.behaviour.delay = Delay::per_message(per_message);
    }

    /// The server's times are by the other clock from now on.
    pub(crate) fn set_server_clock(&mut self, clock: ClockMap) {
        self.behaviour.server_clock = clock;
    }

    /// Begins a window, which is recorded there.
    pub(crate) fn record_into(&mut self, recorder: WindowRecorder) {
        self.behaviour.recorder = recorder;
    }

    /// Marks the slots of the next open loop whose messages are not heavy. Their texts are known before: the numbers of a
    /// connection's messages follow each other.
    pub(crate) fn mark_light<'a>(&mut self, slots: impl Iterator<Item = &'a mut Slot>, work: &protocol::work::Work) {
        let next = |client: &Option<Client<_>>| client.as_ref().map_or(0, |client| client.connection.next_sequence());
        let mut sequences: Vec<u64> = self.clients.iter().map(next).collect();
        for slot in slots {
            let sequence = &mut sequences[self.index_of(*slot)];
            let mut messages = self.writer.messages_of(ConnectionId::measured(slot.connection));
            let line = messages.text(*sequence, slot.size);
            slot.is_light = line.strip_suffix(b"\n").is_some_and(|line| !work.is_heavy(line));
            *sequence += 1;
        }
    }

    fn index_of(&self, slot: Slot) -> usize {
        (slot.connection / self.behaviour.step) as usize
    }

    /// Begins an open loop.
    pub(crate) fn start_open_loop(&mut self, slots: Vec<Slot>, start_ns: u64) {
        self.behaviour.recorder.tally.counts.scheduled = slots.len() as u64;
        self.behaviour.work = Work::Open { slots, next: 0, start_ns };
    }

    /// When the next slot is due.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        match &self.behaviour.work {
            Work::Open { slots, next, start_ns } => slots.get(*next).map(|slot| start_ns + slot.due_ns),
            Work::Closed { .. } | Work::Burst | Work::None => None,
        }
    }

    /// When a message last came back, in nanoseconds.
    pub(crate) fn last_done_ns(&self) -> u64 {
        self.behaviour.last_done_ns
    }

    /// Sends the slots that are due; returns whether there were any. No slot is skipped or moved: a late slot keeps its
    /// intended time.
    pub(crate) fn send_due(&mut self, mut now_ns: u64) -> bool {
        for sent in 0..SEND_CHUNK {
            let Work::Open { slots, next, start_ns } = &mut self.behaviour.work else { return sent > 0 };
            let Some(&slot) = slots.get(*next) else { return sent > 0 };
            let intended_ns = *start_ns + slot.due_ns;
            if intended_ns > now_ns {
                return sent > 0;
            }
            *next += 1;
            self.behaviour.recorder.tally.counts.handled += 1;
            // Before the first write attempt, so that the delay is send lag and no part of the service time.
            now_ns = self.behaviour.delay.waste(1, now_ns);
            self.send_slot(slot, intended_ns, now_ns);
            now_ns = clock::now_ns();
        }
        true
    }

    fn send_slot(&mut self, slot: Slot, intended_ns: u64, now_ns: u64) {
        let index = self.index_of(slot);
        let Some(client) = &mut self.clients[index] else { return };
        if client.connection.has_room() {
            self.behaviour.recorder.tally.record_send(intended_ns, now_ns);
        }
        self.behaviour.on_send(client, 1, intended_ns, now_ns);
        let Slot { size, is_light, .. } = slot;
        let like = Sent { intended_ns, tried_ns: now_ns, size, is_light };
        let sent = client.connection.send([size].into_iter(), like, &mut self.writer);
        if let Err(cause) = sent {
            self.end(index, cause);
        }
    }

    /// Begins a closed loop: puts `depth` messages in flight on every connection.
    pub(crate) fn start_closed_loop(&mut self, depth: u32, until_ns: u64) {
        self.behaviour.work = Work::Closed { until_ns };
        self.send_on_each(depth as usize);
    }

    /// Puts one message in flight on every connection. Returns whether every socket took its message whole.
    pub(crate) fn start_burst(&mut self) -> bool {
        self.behaviour.work = Work::Burst;
        self.send_on_each(1);
        self.clients.iter().flatten().all(|client| client.connection.has_room())
    }

    /// Whether the server's host has acknowledged every byte that was sent.
    pub(crate) fn have_arrived(&self) -> io::Result<bool> {
        let mut sockets = self.clients.iter().flatten().map(|client| client.connection.socket());
        sockets.try_fold(true, |all, socket| Ok(all && arrival::unacknowledged(&*socket)? == 0))
    }

    fn send_on_each(&mut self, count: usize) {
        for index in 0..self.clients.len() {
            if let Err(cause) = self.send(index, count, clock::now_ns()) {
                self.end(index, cause);
            }
        }
    }
}

#[cfg(test)]
mod tests;
