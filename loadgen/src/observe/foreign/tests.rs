use std::cell::Cell;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A thread as a fixture of /proc has it.
#[derive(Clone, Copy)]
struct Thread {
    pid: i32,
    tid: i32,
    comm: &'static str,
    /// Of the process.
    children_ticks: u64,
    flags: u32,
    started_ticks: u64,
    cpu: usize,
    ran_ns: u64,
}

/// The only thread of a process, on CPU 0.
fn alone(pid: i32, ran_ns: u64) -> Thread {
    Thread { pid, tid: pid, comm: "other", children_ticks: 0, flags: 0, started_ticks: 7, cpu: 0, ran_ns }
}

fn proc(threads: &[Thread]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["self", "sys", "uptime"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    for thread in threads {
        let Thread { pid, tid, comm, children_ticks, flags, started_ticks, cpu, ran_ns } = thread;
        let folder = root.path().join(format!("{pid}/task/{tid}"));
        fs::create_dir_all(&folder).unwrap();
        let stat = format!(
            "{tid} ({comm}) S 1 {pid} {pid} 0 -1 {flags} 96 0 0 0 1 2 {children_ticks} 0 20 0 1 0 {started_ticks} \
             3133440 381 18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 {cpu} 0 0 0 0 0 1 1 1 1 1 1 1 0\n"
        );
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("schedstat"), format!("{ran_ns} 5 6\n")).unwrap();
    }
    root
}

/// The fixture's times, where no process has a clock.
fn times(threads: &[Thread]) -> ThreadTimes {
    ThreadTimes::read_in(proc(threads).path(), &[], None, |_| None)
}

/// The same, where processes have clocks.
fn clocked(threads: &[Thread], clock: impl Fn(i32) -> Option<u64>) -> ThreadTimes {
    ThreadTimes::read_in(proc(threads).path(), &[], None, clock)
}

fn foreign(there_ns: u64, elsewhere_ns: u64) -> ForeignTime {
    ForeignTime { there_ns, elsewhere_ns }
}

#[test]
fn a_thread_counts_where_it_ran_last() {
    let before = times(&[alone(10, 100), Thread { cpu: 2, ..alone(11, 1_000) }]);
    let now = times(&[alone(10, 107), Thread { cpu: 2, ..alone(11, 1_020) }]);
    assert_eq!(now.since(&before, &[0, 1]), foreign(7, 20));
    assert_eq!(now.since(&before, &[2]), foreign(20, 7));
    assert_eq!(now.since(&before, &[]), foreign(0, 27));
}

#[test]
fn a_thread_that_was_there_at_either_reading_counts_as_there() {
    let at = |cpu, ran_ns| times(&[Thread { cpu, ..alone(10, ran_ns) }]);
    assert_eq!(at(3, 150).since(&at(0, 100), &[0]), foreign(50, 0));
    assert_eq!(at(0, 150).since(&at(3, 100), &[0]), foreign(50, 0));
    assert_eq!(at(3, 150).since(&at(3, 100), &[0]), foreign(0, 50));
}

#[test]
fn own_threads_the_servers_and_those_of_softirqs_are_no_others() {
    let threads = |ran_ns| {
        let softirq = Thread { comm: "ksoftirqd/0", ..alone(13, ran_ns) };
        [alone(10, ran_ns), Thread { tid: 99, ..alone(10, ran_ns) }, alone(11, ran_ns), alone(12, ran_ns), softirq]
    };
    let read = |ran_ns| ThreadTimes::read_in(proc(&threads(ran_ns)).path(), &[10, 11], None, |_| None);
    assert_eq!(read(50).since(&read(10), &[0]), foreign(40, 0));
}

#[test]
fn what_a_thread_used_that_has_ended_is_known_by_the_clock_of_its_process() {
    let worker = |tid, cpu, ran_ns| Thread { tid, cpu, ..alone(10, ran_ns) };
    let before = clocked(&[alone(10, 100), worker(20, 0, 50)], |_| Some(150));
    let now = clocked(&[alone(10, 110)], |_| Some(190));
    assert_eq!(now.since(&before, &[0]), foreign(40, 0), "10 of the one that lives, 30 of the other");
    // A thread that came and went in between ran where its process is.
    let before = clocked(&[worker(10, 3, 100)], |_| Some(100));
    let now = clocked(&[worker(10, 3, 110)], |_| Some(600));
    assert_eq!(now.since(&before, &[0]), foreign(0, 500));
    assert_eq!(now.since(&before, &[3]), foreign(500, 0));
    // Without a clock it is not seen.
    let (before, now) = (times(&[alone(10, 100), worker(20, 0, 50)]), times(&[alone(10, 190)]));
    assert_eq!(now.since(&before, &[0]), foreign(40, 0));
}

#[test]
fn a_process_that_came_in_between_counts_as_a_whole_even_under_an_old_number() {
    let before = times(&[alone(10, 100)]);
    let now = times(&[Thread { started_ticks: 8, ..alone(10, 30) }, alone(11, 5)]);
    assert_eq!(now.since(&before, &[0]), foreign(35, 0));
}

#[test]
fn what_ended_processes_used_is_told_by_those_that_waited_for_them() {
    let tick_ns = tick_ns();
    let parent = |children_ticks, cpu| Thread { children_ticks, cpu, ..alone(10, 100) };
    // 5 ticks were used before, 8 when it had ended; one of them may have been nearly complete.
    let before = times(&[parent(3, 0), alone(11, 5 * tick_ns)]);
    let now = times(&[parent(3 + 8, 0)]);
    assert_eq!(now.since(&before, &[0]), foreign(2 * tick_ns, 0));
    assert_eq!(now.since(&before, &[1]), foreign(0, 2 * tick_ns));
    assert_eq!(times(&[parent(4, 0)]).since(&times(&[parent(3, 0)]), &[0]), foreign(0, 0), "less than a tick");
    // Nobody waits for a thread of the kernel.
    let kworker = Thread { flags: StatFlags::PF_KTHREAD.bits(), ..alone(11, 50 * tick_ns) };
    let before = times(&[parent(3, 0), kworker]);
    assert_eq!(times(&[parent(3 + 8, 0)]).since(&before, &[0]), foreign(7 * tick_ns, 0));
}

#[test]
fn of_a_process_that_has_not_run_no_file_is_read_again() {
    let before = clocked(&[alone(10, 100), alone(11, 100)], |_| Some(100));
    // The files would say otherwise.
    let asked = Cell::new(0);
    let clock = |pid| {
        asked.set(asked.get() + 1);
        Some(if pid == 10 { 100 } else { 130 })
    };
    let now = ThreadTimes::read_in(proc(&[alone(10, 900), alone(11, 130)]).path(), &[], Some(&before), clock);
    assert_eq!((now.since(&before, &[0]), asked.get()), (foreign(30, 0), 2));
}

#[test]
fn files_that_make_no_sense_are_left_out() {
    let root = proc(&[alone(10, 100), alone(11, 100), alone(12, 100), alone(13, 100)]);
    let file = |pid: i32, name: &str| root.path().join(format!("{pid}/task/{pid}/{name}"));
    fs::write(file(10, "stat"), "10 (other S 1").unwrap();
    fs::write(file(11, "schedstat"), "many\n").unwrap();
    fs::remove_file(file(12, "stat")).unwrap();
    let read = ThreadTimes::read_in(root.path(), &[], None, |_| None);
    assert_eq!(read.0.keys().copied().collect::<Vec<_>>(), [13]);
    assert!(ThreadTimes::read_in(&root.path().join("nowhere"), &[], None, |_| None).0.is_empty());
}

#[test]
fn another_process_that_runs_is_seen_and_this_one_is_not() {
    let own = [std::process::id().cast_signed()];
    let before = ThreadTimes::read(&own, None);
    let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = busy.id().cast_signed();
    let used = |except: &[i32]| ThreadTimes::read(except, Some(&before)).0.get(&pid).map_or(0, |times| times.total_ns);
    while used(&own) == 0 {
        std::thread::yield_now();
    }
    let all: Vec<usize> = (0..1_024).collect();
    let time = ThreadTimes::read(&own, Some(&before)).since(&before, &all);
    assert_eq!(used(&[own[0], pid]), 0);
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(time.there_ns > 0 && time.elsewhere_ns == 0, "{time:?}");
}

proptest! {
    #[test]
    fn nothing_is_counted_twice_or_forgotten(
        used in prop::collection::vec((0..4_usize, 0..4_usize, 0..1_000_u64, 0..1_000_u64), 0..8),
        cpus in prop::collection::btree_set(0..4_usize, 0..4),
    ) {
        let thread = |(tid, cpu, ran_ns)| (tid, ThreadTime { ran_ns, cpu });
        let process = |extra: u64, threads: Vec<(i32, ThreadTime)>| {
            let total_ns = extra + threads.iter().map(|(_, thread)| thread.ran_ns).sum::<u64>();
            ThreadTimes([(1, ProcessTimes { total_ns, threads: threads.into_iter().collect(), ..Default::default() })].into())
        };
        let numbered = || used.iter().zip(1..);
        let before = process(0, numbered().map(|((cpu, _, ran, _), tid)| thread((tid, *cpu, *ran))).collect());
        let now = process(13, numbered().map(|((_, cpu, ran, more), tid)| thread((tid, *cpu, ran + more))).collect());
        let expected: u64 = 13 + used.iter().map(|(_, _, _, more)| more).sum::<u64>();
        let cpus: Vec<usize> = cpus.into_iter().collect();
        let time = now.since(&before, &cpus);
        prop_assert_eq!(time.there_ns + time.elsewhere_ns, expected);
    }
}
