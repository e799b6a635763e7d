use std::{net::Ipv4Addr, sync::Arc};

use mio::Poll;
use protocol::status::Status;

use super::*;
use crate::{
    engine::{in_flight::Sent, progress::Progress, tally::Counts},
    plan::{Cohorts, Pacing, Payloads},
};

/// Two clients that are never opened.
fn clients() -> MeasuredClients {
    let options = Options {
        hosts: None,
        addr: (Ipv4Addr::LOCALHOST, 1).into(),
        connections: 2,
        payloads: Payloads::one(64),
        nodelay: true,
        congestion: None,
        handshake: false,
        pacing: Pacing::Timer,
        threads: 1,
        cpus: Vec::new(),
        flood_cpus: Vec::new(),
        source_addresses: 1,
        generator_delay: Duration::ZERO,
        stamps_arrivals: false,
        cohorts: Cohorts::default(),
        fan_out_span_ns: 1,
        progress: Arc::new(Progress::default()),
    };
    let registry = Poll::new().unwrap().registry().try_clone().unwrap();
    MeasuredClients::measured(&options, registry, 0, 1)
}

fn counts(clients: &mut MeasuredClients) -> Counts {
    clients.take_record().finish().0.counts
}

fn slot(due_ns: u64) -> Slot {
    Slot { due_ns, connection: 1, size: 0, is_light: false }
}

#[test]
fn the_first_echo_of_a_connection_belongs_to_no_window() {
    let mut clients = clients();
    let sent = Sent { intended_ns: 1, tried_ns: 2, size: 0, is_light: false };
    let mut state = MeasuredState::default();
    for found in [Found::Echo(sent), Found::Reordered(sent), Found::Duplicate] {
        clients.behaviour.on_found(Stage::Probing, &mut state, found, 9);
    }
    assert_eq!(clients.echoed(), 0);
    clients.behaviour.on_found(Stage::Open, &mut state, Found::Reordered(sent), 9);
    clients.behaviour.on_found(Stage::Open, &mut state, Found::Duplicate, 9);
    let expected = Counts { echoed: 1, reordered: 1, duplicate: 1, ..Counts::default() };
    assert_eq!((counts(&mut clients), state.probe_is_corrupt), (expected, false));
}

#[test]
fn a_delay_is_wasted_once_per_echo_of_a_burst_after_it_has_come() {
    let mut clients = clients();
    let delay = Duration::from_millis(2);
    clients.behaviour.delay = Delay::per_message(delay);
    clients.behaviour.on_done(0, 7);
    assert_eq!(clients.last_done_ns(), 0, "nothing came back");
    clients.start_burst();
    let begun_ns = clock::now_ns();
    clients.behaviour.recorder.littles_law.begin(3, begun_ns, begun_ns);
    clients.behaviour.on_done(3, begun_ns);
    assert!(clock::now_ns() - begun_ns >= 3 * delay.as_nanos() as u64);
    assert_eq!(clients.last_done_ns(), begun_ns, "the delay comes after the echo");
}

#[test]
fn a_corrupt_line_is_counted_and_spoils_a_connection_that_is_not_open_yet() {
    let mut clients = clients();
    for (stage, spoilt) in [(Stage::Probing, true), (Stage::Open, false)] {
        let mut state = MeasuredState::default();
        clients.behaviour.on_found(stage, &mut state, Found::Corrupt, 9);
        assert_eq!(state.probe_is_corrupt, spoilt);
    }
    assert_eq!(counts(&mut clients).corrupt, 2);
}

#[test]
fn statuses_are_ordered_per_client_and_ticks_are_taken_once() {
    let mut clients = clients();
    let (mut first, mut second) = (MeasuredState::default(), MeasuredState::default());
    let status = |tick| Found::Status(Status { active: 2, tick, due_ns: 1, emit_ns: 2 });
    for (state, tick) in [(&mut first, 7), (&mut second, 7)] {
        clients.behaviour.on_found(Stage::Open, state, status(tick), 9);
    }
    clients.behaviour.on_found(Stage::Open, &mut first, status(7), 9);
    assert_eq!(clients.newest_tick().map(|tick| (tick.number, tick.recipients)), Some((7, 2)));
    assert_eq!((clients.take_ticks().ticks.len(), clients.take_ticks().ticks.len()), (1, 0));
    let counts = counts(&mut clients);
    assert_eq!((counts.statuses, counts.statuses_duplicate), (3, 1));
}

#[test]
fn a_closed_loop_replies_until_its_end_and_an_open_loop_never() {
    let mut clients = clients();
    assert_eq!(clients.behaviour.replies(3, 1), 0);
    clients.start_closed_loop(1, 100);
    assert_eq!([99, 100].map(|now_ns| clients.behaviour.replies(3, now_ns)), [3, 0]);
    clients.end_sending(50);
    assert_eq!([49, 50].map(|now_ns| clients.behaviour.replies(3, now_ns)), [3, 0]);
    clients.start_open_loop(vec![slot(5)], 0);
    assert_eq!(clients.behaviour.replies(3, 1), 0);
}

#[test]
fn slots_are_sent_when_they_are_due_and_those_after_the_end_are_dropped() {
    let mut clients = clients();
    // The window is so late that nothing is due by the clock.
    clients.start_open_loop([10, 20, 30, 40].map(slot).to_vec(), u64::MAX - 1_000);
    assert_eq!(clients.next_due_ns(), Some(u64::MAX - 990));
    assert!(!clients.send_due(u64::MAX - 991));
    assert!(clients.send_due(u64::MAX - 990));
    assert_eq!(clients.next_due_ns(), Some(u64::MAX - 980));
    clients.end_sending(u64::MAX - 970);
    // The slot at 30 is not sent any more. It counts as handled, since no connection is left.
    clients.drop_schedule();
    let expected = Counts { scheduled: 2, handled: 2, ..Counts::default() };
    assert_eq!((clients.next_due_ns(), counts(&mut clients)), (None, expected));
}

#[test]
fn a_slot_is_light_if_the_server_will_find_its_message_light() {
    let mut clients = clients();
    let work: protocol::work::Work = "1us,40%:1ms".parse().unwrap();
    let mut slots: Vec<Slot> = (0..200).map(|number| Slot { connection: number % 3 % 2, ..slot(0) }).collect();
    clients.mark_light(slots.iter_mut(), &work);
    let mut sequences = [0; 2];
    for slot in &slots {
        let sequence = &mut sequences[slot.connection as usize];
        clients.writer.begin_batch();
        clients.writer.append(ConnectionId::measured(slot.connection), *sequence, 0);
        let line = clients.writer.batch().strip_suffix(b"\n").unwrap();
        assert_eq!(slot.is_light, work.cost(line) == Duration::from_micros(1));
        *sequence += 1;
    }
    let light = slots.iter().filter(|slot| slot.is_light).count();
    assert!((80..160).contains(&light), "{light}");
}

#[test]
fn only_light_messages_are_recorded_as_such() {
    let mut clients = clients();
    clients.start_open_loop(Vec::new(), 0);
    for (is_light, now_ns) in [(true, 9), (false, 1_000)] {
        let sent = Sent { intended_ns: 1, tried_ns: 2, size: 0, is_light };
        clients.behaviour.on_found(Stage::Open, &mut MeasuredState::default(), Found::Echo(sent), now_ns);
    }
    let tally = clients.take_record().finish().0;
    assert_eq!((tally.response_light.len(), tally.response_light.max(), tally.response.max()), (1, 8, 999));
}

#[test]
fn a_connection_that_cannot_be_opened_is_blamed_on_the_side_at_fault() {
    let mut clients = clients();
    for cause in ["first", "second"] {
        clients.behaviour.record_connect_failed(EndCause::Closed(cause.to_owned()));
        clients.behaviour.record_connect_failed(EndCause::Shortage(format!("{cause} shortage")));
    }
    assert_eq!((clients.first_problem(), clients.first_shortage()), (Some("first"), Some("first shortage")));
    let expected = Counts { connect_failed: 2, short: 2, ..Counts::default() };
    assert_eq!(counts(&mut clients), expected);
}

#[test]
fn connections_that_were_never_opened_have_failed_unless_a_signal_came() {
    let mut clients = clients();
    assert_eq!((clients.unanswered(), clients.live()), (2, 0));
    clients.forget_unanswered();
    assert_eq!(counts(&mut clients).connect_failed, 0);
    clients.give_up_unanswered();
    assert_eq!(counts(&mut clients).connect_failed, 2);
}
