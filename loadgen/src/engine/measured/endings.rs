//! How a window and a connection end, and which side is to blame.

use std::mem;

use servers::clock;

use super::{Measured, MeasuredClients, MeasuredState, Work};
use crate::engine::{
    clients::{Client, Stage},
    end_cause::EndCause,
    recorder::WindowRecorder,
};

impl MeasuredClients {
    /// Ends the ramp: connections that have not answered count as failed.
    pub(crate) fn give_up_unanswered(&mut self) {
        for index in 0..self.clients.len() {
            let Some(client) = &self.clients[index] else { continue };
            let what = match (client.stage, client.connection.greeting()) {
                (Stage::Connecting, _) => "the connection is not answered",
                (Stage::Greeting, Some(greeting)) => greeting.why_incomplete(),
                (Stage::Greeting, None) | (Stage::Probing, _) => "the connection is accepted but nothing is echoed",
                (Stage::Open, _) => continue,
            };
            self.end(index, EndCause::Closed(what.to_owned()));
        }
        let never_opened = self.clients.len() - self.behaviour.opened;
        self.behaviour.recorder.tally.counts.connect_failed += never_opened as u64;
    }

    /// Ends the ramp because a signal came: connections that have not answered yet might have, so they are no failures.
    pub(crate) fn forget_unanswered(&mut self) {
        let failed_so_far = self.behaviour.recorder.tally.counts.connect_failed;
        let first_problem = self.behaviour.first_problem.take();
        self.give_up_unanswered();
        self.behaviour.recorder.tally.counts.connect_failed = failed_so_far;
        self.behaviour.first_problem = first_problem;
    }

    /// Ends a ramp of which as many connections count as have answered. Why the first of the others did not is returned.
    pub(crate) fn settle_for_the_answered(&mut self) -> Option<String> {
        self.give_up_unanswered();
        // None is opened any more.
        self.behaviour.opened = self.clients.len();
        let Measured { recorder, first_problem, first_shortage, .. } = &mut self.behaviour;
        let counts = &mut recorder.tally.counts;
        (counts.connect_failed, counts.short) = (0, 0);
        let (shortage, problem) = (first_shortage.take(), first_problem.take());
        // What was no echo stays a fault of the server.
        *first_problem = problem.clone().filter(|_| counts.corrupt > 0);
        shortage.or(problem)
    }

    /// Handles the planned end of a window: slots due from `until_ns` on are not sent.
    pub(crate) fn end_sending(&mut self, until_ns: u64) {
        let Measured { recorder, work, .. } = &mut self.behaviour;
        recorder.mark_planned_end();
        match work {
            Work::Open { slots, start_ns, .. } => {
                slots.truncate(slots.partition_point(|slot| *start_ns + slot.due_ns < until_ns));
                recorder.tally.counts.scheduled = slots.len() as u64;
            }
            Work::Closed { until_ns: end_ns } => *end_ns = until_ns.min(*end_ns),
            Work::Burst | Work::None => {}
        }
    }

    /// Counts the messages in flight as the server's backlog.
    pub(crate) fn mark_backlog(&mut self) {
        self.behaviour.recorder.mark_backlog();
    }

    /// Drops the slots that have not been sent.
    pub(crate) fn drop_schedule(&mut self) {
        if self.live() == 0 {
            // No connection is left to send on, so unsent slots are not the generator's fault.
            let counts = &mut self.behaviour.recorder.tally.counts;
            counts.handled = counts.scheduled;
        }
        self.behaviour.work = Work::None;
    }

    /// Sends a marker on every connection with messages in flight.
    pub(crate) fn send_markers(&mut self) {
        for index in 0..self.clients.len() {
            let Some(client) = &mut self.clients[index] else { continue };
            if let Err(cause) = client.connection.send_marker(clock::now_ns(), &mut self.writer) {
                self.end(index, cause);
            }
        }
    }

    /// Ends a window: messages that have not come back are lost or unanswered.
    pub(crate) fn settle(&mut self) {
        for client in self.clients.iter_mut().flatten() {
            self.behaviour.recorder.record_missing(client.connection.settle());
        }
        self.behaviour.recorder.littles_law.end_all();
        self.behaviour.work = Work::None;
    }

    /// Returns the record of the window. Until the next window begins, arrivals are not recorded.
    pub(crate) fn take_record(&mut self) -> WindowRecorder {
        mem::take(&mut self.behaviour.recorder)
    }
}

impl Measured {
    /// A connection could not be opened.
    pub(super) fn record_connect_failed(&mut self, cause: EndCause) {
        self.count_end(&cause, false);
        self.keep_first(cause);
    }

    pub(super) fn record_end(&mut self, mut client: Client<MeasuredState>, cause: EndCause) {
        let was_open = client.stage == Stage::Open;
        self.recorder.littles_law.forget(client.connection.outstanding());
        let missing = match cause {
            EndCause::Closed(_) => client.connection.settle_closed(),
            EndCause::Completed | EndCause::NotAnEcho(_) | EndCause::Shortage(_) => client.connection.settle(),
        };
        if was_open {
            self.recorder.record_missing(missing);
            self.live -= 1;
        } else {
            self.probing -= 1;
        }
        self.count_end(&cause, was_open);
        self.keep_first(cause);
    }

    fn count_end(&mut self, cause: &EndCause, was_open: bool) {
        let counts = &mut self.recorder.tally.counts;
        match cause {
            EndCause::Completed => {}
            EndCause::Shortage(_) => counts.short += 1,
            EndCause::Closed(_) if was_open => counts.reset += 1,
            EndCause::NotAnEcho(_) if was_open => {}
            EndCause::Closed(_) | EndCause::NotAnEcho(_) => counts.connect_failed += 1,
        }
    }

    fn keep_first(&mut self, cause: EndCause) {
        match cause {
            EndCause::Completed => {}
            EndCause::Shortage(what) => drop(self.first_shortage.get_or_insert(what)),
            EndCause::Closed(what) | EndCause::NotAnEcho(what) => drop(self.first_problem.get_or_insert(what)),
        }
    }
}
