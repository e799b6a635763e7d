//! How a window and a connection end, and whose doing that is.

use servers::clock;

use super::{Clients, Stage};
use crate::engine::{connection::End, echo_verifier::Missing, tally::Counts};

impl Clients {
    /// Ends the ramp: connections that have not answered count as failed.
    pub(in crate::engine) fn give_up_unanswered(&mut self) {
        for index in 0..self.clients.len() {
            match self.clients[index].stage {
                Stage::Connecting => self.fail(index, End::Closed("the connection is not answered".to_owned())),
                Stage::Probing => {
                    self.fail(index, End::Closed("the connection is accepted but nothing is echoed".to_owned()));
                }
                Stage::Ready => {}
            }
        }
        let never_opened = self.wanted - self.clients.len();
        self.tally.counts.connect_failed += never_opened as u64;
    }

    /// Ends the ramp because a signal came: what has not answered yet might have, so it is no failure.
    pub(in crate::engine) fn forget_unanswered(&mut self) {
        let so_far = (self.tally.counts.connect_failed, self.first_problem.take());
        self.give_up_unanswered();
        (self.tally.counts.connect_failed, self.first_problem) = so_far;
    }

    /// Asks on every connection that owes something whether it still comes.
    pub(in crate::engine) fn send_markers(&mut self) {
        for index in 0..self.clients.len() {
            let Some(connection) = &mut self.clients[index].connection else { continue };
            if let Err(error) = connection.send_marker(clock::now_ns(), &mut self.writer) {
                self.fail(index, End::of("cannot send", &error));
            }
        }
    }

    /// Ends a window: what has not come back is lost, or was not waited for.
    pub(in crate::engine) fn settle(&mut self) {
        for connection in self.clients.iter_mut().filter_map(|client| client.connection.as_mut()) {
            miss(&mut self.tally.counts, connection.settle());
        }
        self.littles_law.end_all();
    }

    /// Ends a connection for good.
    pub(super) fn fail(&mut self, index: usize, end: End) {
        let client = &mut self.clients[index];
        let ready = client.stage == Stage::Ready;
        let counts = &mut self.tally.counts;
        // Dropped with its registration.
        if let Some(mut connection) = client.connection.take() {
            self.littles_law.forget(connection.verifier.outstanding());
            let missing = match &end {
                End::Closed(_) => connection.settle_closed(),
                End::NoEcho(_) | End::Shortage(_) => connection.settle(),
            };
            if ready {
                miss(counts, missing);
            }
        }
        match &end {
            End::Shortage(_) => counts.short += 1,
            End::Closed(_) if ready => counts.reset += 1,
            End::NoEcho(_) if ready => {}
            End::Closed(_) | End::NoEcho(_) => counts.connect_failed += 1,
        }
        if ready {
            self.live -= 1;
        } else {
            self.probing -= 1;
            client.stage = Stage::Ready;
        }
        match end {
            End::Shortage(what) => self.first_shortage.get_or_insert(what),
            End::Closed(what) | End::NoEcho(what) => self.first_problem.get_or_insert(what),
        };
    }
}

fn miss(counts: &mut Counts, missing: Missing) {
    counts.lost += missing.lost + missing.cut_off;
    counts.cut_off += missing.cut_off;
    counts.unanswered += missing.unanswered;
}
