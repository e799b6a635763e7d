//! Every check of the conformance suite, on every server of the table, through the built executable; and with each of the
//! optional services on, again those checks for which it can matter.

use std::{path::PathBuf, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use loadgen::verify::{Check, Finding, Subject, checks, examine, stale};
use protocol::{Feature, Service, work::Work};
use servers::{SERVERS, Server};

fn main() {
    for name in LONG {
        assert!(checks().any(|check| check.name == name), "there is no such check: {name}");
    }
    let plain = SERVERS.iter().flat_map(|server| {
        let about = checks().filter(|check| !server.violates.contains(&check.clause));
        let kept = about.map(|check| kept(server.name.to_owned(), server, check, subject(server)));
        let broken = server.violates.iter().map(|clause| broken(server, clause));
        kept.chain(broken)
    });
    let variants = VARIANTS.iter().flat_map(|variant| SERVERS.iter().flat_map(|server| variant.trials(server)));
    let mut arguments = Arguments::from_args();
    // Most checks wait for ticks, so more of them than CPUs can run at a time.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, plain.chain(variants).collect()).exit();
}

/// A way to start the servers that no check asks for by itself.
struct Variant {
    option: &'static str,
    service: Service,
    workers: Option<usize>,
    /// The clauses that it can break.
    clauses: &'static [&'static str],
}

const NONE: Service = Service::working(Work::each(Duration::ZERO));
const HOUR: Duration = Duration::from_secs(3600);

const VARIANTS: &[Variant] = &[
    // Reads are taken apart and wait for turns: order, boundaries, ends of input and of the server.
    Variant {
        option: "--work 20us",
        service: Service::working(Work::each(Duration::from_micros(20))),
        workers: None,
        clauses: &["E1", "E2", "E3", "B2", "B3", "B5", "C1", "F2", "F4"],
    },
    // Each connection is in one more list, or has one more timer: what comes and goes, is stuck, or rests.
    Variant {
        option: "--idle-timeout 1h",
        service: Service { idle_timeout: Some(HOUR), ..NONE },
        workers: None,
        clauses: &["E1", "E3", "B1", "F1", "F2", "F3", "F4", "I1"],
    },
    // The suite's client shakes hands, and everything is as if it had not.
    Variant {
        option: "--handshake 1h",
        service: Service { handshake: Some(HOUR), ..NONE },
        workers: None,
        clauses: &["E1", "E2", "E3", "B1", "B2", "B3", "F1", "F3", "F4", "I1"],
    },
    // An odd number, and more of them than CPUs of a small host: what they share.
    Variant {
        option: "--workers 3",
        service: NONE,
        workers: Some(3),
        clauses: &["E1", "E3", "B1", "B2", "B3", "B4", "B5", "F1", "F2", "F3", "F4", "I1"],
    },
];

/// Checks that take long and find with a variant nothing that others do not find as well.
const LONG: [&str; 7] = [
    "100 MiB of binary data in random pieces are echoed",
    "clients that do not read take bounded memory",
    "a close wakes an acceptor that waits out a shortage",
    "beside 4 floods, an event loop serves all connections in turn",
    "beside 4 floods, ticks are sent and not skipped",
    "SIGTERM right after `listening on` is an ordinary shutdown",
    "echoed data arrives even if the client goes on sending",
];

/// The servers that use `--workers`.
const WITH_WORKERS: [&str; 3] = ["tokio", "mio-multi", "tokio-per-core"];

impl Variant {
    fn trials(&'static self, server: &'static Server) -> Vec<Trial> {
        let lacks = |feature: Feature| server.lacks.contains(&feature);
        let is_plain = self.workers.is_some() && !WITH_WORKERS.contains(&server.name);
        if self.service.features().any(lacks) || is_plain {
            return Vec::new();
        }
        let matters = |check: &&Check| {
            self.clauses.contains(&check.clause)
                && !server.violates.contains(&check.clause)
                && !LONG.contains(&check.name)
        };
        let mut subject = subject(server).with_service(self.service);
        subject.workers = self.workers.unwrap_or(subject.workers);
        let name = format!("{} {}", server.name, self.option);
        checks().filter(matters).map(|check| kept(name.clone(), server, check, subject.clone())).collect()
    }
}

/// A clause that the server must keep; a check that does not apply to the server is shown as ignored.
fn kept(name: String, server: &'static Server, check: &'static Check, subject: Subject) -> Trial {
    let says_nothing = check.rests_on.is_some_and(|clause| server.violates.contains(&clause));
    let lacks = check.feature().is_some_and(|feature| server.lacks.contains(&feature));
    Trial::ignorable_test(format!("{name}: {} {}", check.clause, check.name), move || match examine(&subject, check) {
        Finding::Pass => Ok(Completion::Completed),
        Finding::Skipped(why) => Ok(Completion::ignored_with(why)),
        other => Err(format!("{other:?}").into()),
    })
    .with_ignored_flag(says_nothing || lacks)
}

/// A clause that the server declares broken, which must really fail.
fn broken(server: &'static Server, clause: &'static str) -> Trial {
    Trial::test(format!("{}: {clause} is broken, as declared", server.name), move || {
        let subject = subject(server);
        let about = checks().filter(|check| check.clause == clause);
        let findings: Vec<(&Check, Finding)> = about.map(|check| (check, examine(&subject, check))).collect();
        if stale(&subject, &findings).is_empty() { Ok(()) } else { Err(Failed::from("it is kept")) }
    })
}

fn subject(server: &Server) -> Subject {
    Subject::server(PathBuf::from(env!("CARGO_BIN_EXE_loadgen")), server.name).expect("it is in the table")
}
