//! Every check of the conformance suite, on every server of the table, through the built executable.

use std::path::PathBuf;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use loadgen::verify::{Check, Finding, Subject, checks, examine, stale};
use servers::{SERVERS, Server};

fn main() {
    let trials = SERVERS.iter().flat_map(|server| {
        let kept = checks().filter(|check| !server.violates.contains(&check.clause)).map(|check| kept(server, check));
        let broken = server.violates.iter().map(|clause| broken(server, clause));
        kept.chain(broken)
    });
    let mut arguments = Arguments::from_args();
    // Most checks wait for ticks, so more of them than CPUs can run at a time.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A clause that the server must keep; a check that does not apply to the server is shown as ignored.
fn kept(server: &'static Server, check: &'static Check) -> Trial {
    let says_nothing = check.rests_on.is_some_and(|clause| server.violates.contains(&clause));
    let name = format!("{}: {} {}", server.name, check.clause, check.name);
    Trial::ignorable_test(name, move || match examine(&subject(server), check) {
        Finding::Pass => Ok(Completion::Completed),
        Finding::Skipped(why) => Ok(Completion::ignored_with(why)),
        other => Err(format!("{other:?}").into()),
    })
    .with_ignored_flag(says_nothing)
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
