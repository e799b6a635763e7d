//! The checks of the handshake and of the idle timeout on hand-written peers: one that keeps every clause, and others with
//! one fault each, which exactly the checks of the clauses that it breaks must find.

#[path = "support/peers.rs"]
#[expect(dead_code, reason = "these peers answer bytes, not lines")]
mod peers;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use loadgen::verify::{Candidate, Check, Finding, Subject, checks, examine};
use protocol::{
    Service,
    handshake::{Answer, Handshake, WELCOME},
    work::Work,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::SockRef;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    SameToken,
    WelcomeBeforeTheAnswer,
    EarlyInputIsLost,
    LineIsTrimmed,
    TrickleExtends,
    TooEarly,
    TooLate,
    Reset,
    HandshakeTimeGoesOn,
    SilenceCountsFromAccept,
    OnlyLinesAreActivity,
}

/// A peer with a service, and with a fault in it.
#[derive(Clone, Copy, Debug)]
struct Peer {
    handshake: Option<Duration>,
    idle_timeout: Option<Duration>,
    fault: Fault,
}

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(3600);

const PATIENT: Peer = Peer { handshake: Some(LONG), idle_timeout: None, fault: Fault::None };
const IMPATIENT: Peer = Peer { handshake: Some(SHORT), ..PATIENT };
const IDLE: Peer = Peer { handshake: None, idle_timeout: Some(SHORT), fault: Fault::None };
const BOTH: Peer = Peer { handshake: Some(LONG), ..IDLE };

impl Peer {
    /// Serves one connection; nothing at its end.
    fn serve(self, mut stream: TcpStream) {
        let accepted = Instant::now();
        let early = match self.handshake.map(|time| self.shake_hands(&mut stream, accepted, time)) {
            Some(None) => return self.close(&stream),
            Some(Some(early)) => early,
            None => Vec::new(),
        };
        let early = if self.fault == Fault::EarlyInputIsLost { Vec::new() } else { early };
        if stream.write_all(&early).is_ok() {
            self.echo(&mut stream, accepted);
        }
        self.close(&stream);
    }

    /// The input behind the answer; `None` if it was not the right one, or not in time.
    fn shake_hands(self, stream: &mut TcpStream, accepted: Instant, time: Duration) -> Option<Vec<u8>> {
        let token = if self.fault == Fault::SameToken { 7 } else { stream.peer_addr().ok()?.port().into() };
        let (mut handshake, mut line, mut buffer) = (Handshake::new(token), Vec::new(), [0; 4096]);
        stream.write_all(&handshake.hello()).ok()?;
        if self.fault == Fault::WelcomeBeforeTheAnswer {
            stream.write_all(WELCOME).ok()?;
        }
        let mut since = accepted;
        loop {
            let count = self.read_until(stream, &mut buffer, since + self.allowed(time))?;
            let mut input = buffer[..count].to_vec();
            if self.fault == Fault::TrickleExtends {
                since = Instant::now();
            }
            if self.fault == Fault::LineIsTrimmed {
                line.extend(&input);
                let Some(newline) = line.iter().position(|byte| *byte == b'\n') else { continue };
                input = [line[..newline].trim_ascii_end(), &line[newline..]].concat();
            }
            match handshake.receive(&input) {
                Answer::Wrong => return None,
                Answer::Incomplete => {}
                Answer::Complete(early) => {
                    let early = early.to_vec();
                    let has_said = self.fault == Fault::WelcomeBeforeTheAnswer;
                    return (has_said || stream.write_all(WELCOME).is_ok()).then_some(early);
                }
            }
        }
    }

    fn echo(self, stream: &mut TcpStream, accepted: Instant) {
        let (mut since, mut buffer) = (Instant::now(), [0; 4096]);
        if self.fault == Fault::SilenceCountsFromAccept {
            since = accepted;
        }
        let deadline = |since| match (self.idle_timeout, self.handshake) {
            (Some(time), _) => since + self.allowed(time),
            (None, Some(time)) if self.fault == Fault::HandshakeTimeGoesOn => accepted + time,
            _ => since + LONG,
        };
        while let Some(count) = self.read_until(stream, &mut buffer, deadline(since)) {
            let input = &buffer[..count];
            let is_activity = match self.fault {
                Fault::SilenceCountsFromAccept => false,
                Fault::OnlyLinesAreActivity => input.contains(&b'\n'),
                _ => true,
            };
            if is_activity {
                since = Instant::now();
            }
            if stream.write_all(input).is_err() {
                return;
            }
        }
    }

    /// The number of bytes read; `None` at the end of input or of the time.
    fn read_until(self, stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> Option<usize> {
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()?;
            match poll(&mut [PollFd::new(&*stream, PollFlags::IN)], Some(&left)) {
                Ok(0) if Instant::now() >= deadline => return None,
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return stream.read(buffer).ok().filter(|count| *count > 0),
                Err(_) => return None,
            }
        }
    }

    fn allowed(self, time: Duration) -> Duration {
        match self.fault {
            Fault::TooEarly => time / 2,
            Fault::TooLate => time + Duration::from_millis(100),
            _ => time,
        }
    }

    fn close(self, stream: &TcpStream) {
        if self.fault == Fault::Reset {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// The clauses of the handshake and of the idle timeout that fail, with what was found, and the number of passes.
    fn examined(self) -> (BTreeSet<&'static str>, Vec<String>, usize) {
        let addr = peers::peer(move |stream| self.serve(stream));
        let candidate = Candidate::Address { addr, pid: None, status_interval: Some(Duration::ZERO) };
        let service = Service { work: Work::default(), handshake: self.handshake, idle_timeout: self.idle_timeout };
        let subject = Subject { patience: Duration::from_secs(3), ..Subject::guest(candidate) }.with_service(service);
        let (mut failed, mut found, mut passes) = (BTreeSet::new(), Vec::new(), 0);
        for check in checks().filter(|check| check.feature().is_some()) {
            match examine(&subject, check) {
                Finding::Fail(why) => {
                    failed.insert(check.clause);
                    found.push(format!("{} {}: {why}", check.clause, check.name));
                }
                // The counters of a running server are not known, so what passes ends there.
                Finding::Pass => passes += 1,
                Finding::Skipped(why) => passes += usize::from(why.contains("counters")),
                Finding::Declared(why) => panic!("nothing is declared: {why}"),
            }
        }
        (failed, found, passes)
    }

    fn breaks(self, fault: Fault, clauses: &[&str]) {
        let (failed, found, _) = Self { fault, ..self }.examined();
        assert_eq!(failed, clauses.iter().copied().collect(), "{fault:?}: {found:?}");
    }
}

#[test]
fn a_peer_that_keeps_every_clause_passes() {
    // As many checks as a running server can serve, with a short or a long time, without its process, and without statuses.
    for (peer, wanted) in [(PATIENT, 5), (IMPATIENT, 4), (IDLE, 5), (BOTH, 11)] {
        let (_, found, passes) = peer.examined();
        assert!(found.is_empty() && passes == wanted, "{peer:?}: {passes} checks pass, but {found:?}");
    }
}

#[test]
fn wrong_beginnings_are_found() {
    // Then another connection's answer is not a wrong one.
    PATIENT.breaks(Fault::SameToken, &["H1", "H5"]);
    PATIENT.breaks(Fault::WelcomeBeforeTheAnswer, &["H2", "H5"]);
    PATIENT.breaks(Fault::EarlyInputIsLost, &["H4"]);
    PATIENT.breaks(Fault::LineIsTrimmed, &["H5"]);
    PATIENT.breaks(Fault::Reset, &["H4", "H5"]);
}

#[test]
fn wrong_times_of_a_handshake_are_found() {
    IMPATIENT.breaks(Fault::TrickleExtends, &["H2"]);
    IMPATIENT.breaks(Fault::TooEarly, &["H2", "H6"]);
    IMPATIENT.breaks(Fault::TooLate, &["H6"]);
    IMPATIENT.breaks(Fault::Reset, &["H6"]);
    IMPATIENT.breaks(Fault::HandshakeTimeGoesOn, &["H6"]);
}

#[test]
fn wrong_times_of_silence_are_found() {
    IDLE.breaks(Fault::TooEarly, &["T1", "T2"]);
    IDLE.breaks(Fault::TooLate, &["T1"]);
    IDLE.breaks(Fault::Reset, &["T1"]);
    IDLE.breaks(Fault::SilenceCountsFromAccept, &["T1", "T2"]);
    IDLE.breaks(Fault::OnlyLinesAreActivity, &["T1", "T2"]);
    let (failed, found, _) = Peer { fault: Fault::SilenceCountsFromAccept, ..BOTH }.examined();
    assert!(failed.contains("T1") && found.iter().any(|found| found.contains("with a handshake")), "{found:?}");
}

#[test]
fn a_check_that_a_running_server_cannot_serve_says_what_it_needs() {
    let addr = peers::peer(|stream| IDLE.serve(stream));
    let candidate = Candidate::Address { addr, pid: None, status_interval: Some(Duration::ZERO) };
    let skipped = |subject: &Subject, wanted: fn(&Check) -> bool| {
        let check = checks().find(|check| wanted(check)).expect("there is one");
        match examine(subject, check) {
            Finding::Skipped(why) => why,
            other => panic!("{}: {other:?}", check.name),
        }
    };
    let subject = Subject::guest(candidate);
    assert!(skipped(&subject, |check| check.clause == "W1").contains("--work"));
    assert!(skipped(&subject, |check| check.clause == "H1").contains("--handshake"));
    let subject = subject.with_service(Service { idle_timeout: Some(LONG), ..Service::default() });
    assert_eq!(skipped(&subject, |check| check.clause == "T1"), "needs --idle-timeout of at most 5s");
}
