//! On `sleep`, which does nothing else.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command},
};

use rustix::process::kill_process;

use super::*;

/// A process that ends with the test.
struct Sleeping(Child);

impl Sleeping {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn becomes(&self, motion: Motion) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while observe::motion(self.pid()) != motion {
            assert!(Instant::now() < deadline, "it is {:?} and not {motion:?}", observe::motion(self.pid()));
            thread::sleep(LOOK);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[test]
fn a_stopped_process_stands_still_and_goes_on_afterwards() {
    let sleeping = [Sleeping::start(), Sleeping::start()];
    let stoppable = Stoppable::open(&sleeping.each_ref().map(Sleeping::pid)).unwrap();
    for _ in 0..3 {
        let before_ns = clock::now_ns();
        let standstill = stoppable.stop().unwrap();
        assert!(sleeping.iter().all(|it| observe::motion(it.pid()) == Motion::Stopped));
        let ended_ns = standstill.end();
        assert!(before_ns < ended_ns && ended_ns < clock::now_ns());
        sleeping.iter().for_each(|it| it.becomes(Motion::Moving));
    }
}

#[test]
fn a_stopped_process_is_continued_on_a_panic() {
    let sleeping = Sleeping::start();
    let stoppable = Stoppable::open(&[sleeping.pid()]).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _standstill = stoppable.stop().unwrap();
        std::panic::resume_unwind(Box::new("something went wrong"));
    }));
    assert!(panicked.is_err());
    sleeping.becomes(Motion::Moving);
}

#[test]
fn a_process_that_someone_else_stopped_is_left_as_it_is_and_the_others_go_on() {
    let (moving, stopped) = (Sleeping::start(), Sleeping::start());
    let stoppable = Stoppable::open(&[moving.pid(), stopped.pid()]).unwrap();
    stopped.signal(Signal::STOP);
    stopped.becomes(Motion::Stopped);
    let refusal = stoppable.stop().unwrap_err();
    assert!(refusal.starts_with(&format!("process {} was stopped already", stopped.pid())), "{refusal}");
    assert_eq!((observe::motion(moving.pid()), observe::motion(stopped.pid())), (Motion::Moving, Motion::Stopped));
}

#[test]
fn a_process_that_has_ended_is_not_waited_for() {
    let sleeping = Sleeping::start();
    let stoppable = Stoppable::open(&[sleeping.pid()]).unwrap();
    sleeping.signal(Signal::KILL);
    sleeping.becomes(Motion::Ended);
    assert_eq!(stoppable.stop().unwrap_err(), format!("process {} has ended", sleeping.pid()));
}

#[test]
fn only_other_processes_that_are_known_and_may_be_signalled_are_stopped() {
    let own = std::process::id().cast_signed();
    for (pids, words) in [
        (&[][..], "is not known (--pid)"),
        (&[own], "is this one"),
        (&[i32::MAX], "there is no process 2147483647"),
        (&[0], "no number of a process"),
        (&[-own], "no number of a process"),
        (&vec![own; interrupt::STOPPED_MAX + 1], "more than can be stopped"),
    ] {
        let refusal = Stoppable::open(pids).unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
    }
    let pid = Pid::from_raw(7).unwrap();
    assert!(refusal(pid, Errno::PERM).contains("run as its user"));
    assert!(refusal(pid, Errno::NOMEM).contains("cannot be stopped"));
}
