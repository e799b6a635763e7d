//! The recording of one window on one thread, message by message. Pure: no clock is read here.

use protocol::status::Status;

use super::{broadcast::StatusOrder, echo_verifier::Missing, in_flight::Sent, littles_law::LittlesLaw, tally::Tally};

/// The response time of one message of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// When the message was due.
    pub(crate) intended_ns: u64,
    /// Received - intended.
    pub(crate) response_ns: u64,
}

/// Records the messages of one thread's measured clients in one window.
#[derive(Debug, Default)]
pub(crate) struct WindowRecorder {
    pub(crate) tally: Tally,
    pub(crate) littles_law: LittlesLaw,
    responses: Vec<Response>,
}

impl WindowRecorder {
    /// Records a window from `start_ns` until `until_ns`. `responses` is empty and has room for those of the schedule.
    pub(crate) fn new(start_ns: u64, until_ns: u64, responses: Vec<Response>) -> Self {
        let seconds = until_ns.saturating_sub(start_ns).div_ceil(1_000_000_000);
        Self { tally: Tally::new(start_ns, seconds), littles_law: LittlesLaw::default(), responses }
    }

    /// Memory for `count` responses. It is written once, so that its pages exist before the first echo comes.
    pub(crate) fn room_for(count: usize) -> Vec<Response> {
        let mut responses = vec![Response { intended_ns: 1, response_ns: 1 }; count];
        responses.clear();
        responses
    }

    /// Ends the recording and returns histograms, counts and responses.
    pub(crate) fn finish(mut self) -> (Tally, Vec<Response>) {
        self.tally.counts.under_way_ns = self.littles_law.integral_ns();
        (self.tally, self.responses)
    }

    /// Messages of the window are sent.
    pub(crate) fn record_sent(&mut self, count: usize, intended_ns: u64, now_ns: u64) {
        self.tally.counts.sent += count as u64;
        self.littles_law.begin(count, intended_ns, now_ns);
    }

    /// The first message of a connection is sent. It is waited for, but counts as a message of no window.
    pub(crate) fn record_first_sent(&mut self, now_ns: u64) {
        self.littles_law.begin(1, now_ns, now_ns);
    }

    /// A message of an open loop came back.
    pub(crate) fn record_open_echo(&mut self, sent: &Sent, now_ns: u64) {
        self.tally.record_echo(sent.intended_ns, sent.tried_ns, now_ns);
        let response_ns = now_ns.saturating_sub(sent.intended_ns);
        self.responses.push(Response { intended_ns: sent.intended_ns, response_ns });
        if sent.is_light {
            self.tally.record_light(response_ns);
        }
    }

    /// A message of a closed loop came back.
    pub(crate) fn record_closed_echo(&mut self, sent: &Sent, now_ns: u64) {
        self.tally.record_closed_echo(sent.tried_ns, now_ns);
    }

    /// A status line arrived.
    pub(crate) fn record_status(&mut self, status: &Status, order: StatusOrder, now_ns: u64) {
        self.tally.record_status(status.due_ns, now_ns);
        match order {
            StatusOrder::Next => {}
            StatusOrder::Duplicate => self.tally.counts.statuses_duplicate += 1,
            StatusOrder::Reordered => self.tally.counts.statuses_reordered += 1,
        }
    }

    /// A connection had its first echo.
    pub(crate) fn record_opened(&mut self, started_ns: u64, now_ns: u64) {
        self.tally.record_connect(started_ns, now_ns);
        self.tally.counts.opened += 1;
    }

    /// Messages of a connection did not come back.
    pub(crate) fn record_missing(&mut self, missing: Missing) {
        self.tally.counts.lost += missing.lost + missing.cut_off;
        self.tally.counts.cut_off += missing.cut_off;
        self.tally.counts.unanswered += missing.unanswered;
    }

    /// Counts the echoes so far as those before the planned end.
    pub(crate) fn mark_planned_end(&mut self) {
        self.tally.counts.echoed_in_time = self.tally.counts.echoed;
    }

    /// Counts the messages in flight as the server's backlog.
    pub(crate) fn mark_backlog(&mut self) {
        self.tally.counts.backlog = self.littles_law.in_flight() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tally::Counts;

    const SECOND_NS: u64 = 1_000_000_000;

    fn sent(intended_ns: u64) -> Sent {
        Sent { intended_ns, tried_ns: intended_ns + 2, size: 0, is_light: false }
    }

    #[test]
    fn a_window_has_as_many_seconds_as_begin_in_it() {
        let seconds = |until_ns| WindowRecorder::new(5, until_ns, Vec::new()).finish().0.seconds.len();
        assert_eq!([5, 6, 5 + SECOND_NS, 6 + SECOND_NS, 0].map(seconds), [0, 1, 1, 2, 0]);
    }

    #[test]
    fn a_response_counts_from_the_intended_time_and_so_does_the_time_in_flight() {
        let mut recorder = WindowRecorder::new(0, SECOND_NS, WindowRecorder::room_for(2));
        recorder.record_sent(1, 100, 102);
        recorder.record_open_echo(&sent(100), 130);
        recorder.littles_law.end(1, 130);
        let (tally, responses) = recorder.finish();
        assert_eq!(responses, [Response { intended_ns: 100, response_ns: 30 }]);
        assert_eq!((tally.counts.sent, tally.counts.echoed, tally.counts.under_way_ns), (1, 1, 30));
        assert_eq!((tally.response.max(), tally.service.max()), (30, 28));
    }

    #[test]
    fn the_first_message_of_a_connection_is_waited_for_and_not_counted() {
        let mut recorder = WindowRecorder::default();
        recorder.record_first_sent(10);
        recorder.mark_backlog();
        recorder.littles_law.end(1, 15);
        recorder.record_opened(3, 15);
        let (tally, _) = recorder.finish();
        let expected = Counts { opened: 1, backlog: 1, under_way_ns: 5, ..Counts::default() };
        assert_eq!((tally.counts, tally.connect.max()), (expected, 12));
    }

    #[test]
    fn what_was_cut_off_is_lost_as_well() {
        let mut recorder = WindowRecorder::default();
        recorder.record_missing(Missing { lost: 1, unanswered: 2, cut_off: 4 });
        let counts = recorder.finish().0.counts;
        assert_eq!((counts.lost, counts.cut_off, counts.unanswered), (5, 4, 2));
    }

    #[test]
    fn echoes_after_the_planned_end_are_not_in_time() {
        let mut recorder = WindowRecorder::default();
        recorder.record_closed_echo(&sent(1), 10);
        recorder.mark_planned_end();
        recorder.record_closed_echo(&sent(2), 11);
        let (tally, responses) = recorder.finish();
        assert_eq!((tally.counts.echoed, tally.counts.echoed_in_time, responses.len()), (2, 1, 0));
    }

    #[test]
    fn a_status_is_counted_by_its_order() {
        let mut recorder = WindowRecorder::default();
        let status = Status { active: 1, tick: 1, due_ns: 2, emit_ns: 3 };
        for order in [StatusOrder::Next, StatusOrder::Duplicate, StatusOrder::Reordered, StatusOrder::Reordered] {
            recorder.record_status(&status, order, 9);
        }
        let counts = recorder.finish().0.counts;
        assert_eq!((counts.statuses, counts.statuses_duplicate, counts.statuses_reordered), (4, 1, 2));
    }
}
