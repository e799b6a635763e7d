//! The drain window: bursts to a server that stands still, and servers that are continued whatever happens.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, kill_process, prlimit};
use serde_json::Value;
use support::{Killed, wait_for};

/// Nothing but a drain window.
const DRAIN: &str = "--json --connections 2 --duration 0s --placement shared --pacing timer --drain";

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server of this project that was started by someone else than the generator.
struct Foreign {
    server: Killed,
    addr: String,
}

impl Foreign {
    fn start(name: &str, more: &[&str]) -> Self {
        Self::spawn(&mut loadgen(
            &[&["serve", name, "--addr", "127.0.0.1:0", "--status-interval", "50ms"], more].concat(),
        ))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut server = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { server, addr: line.trim().rsplit(' ').next().unwrap().to_owned() }
    }

    fn pid(&self) -> i32 {
        self.server.0.id().cast_signed()
    }

    /// A run against it, with its process.
    fn run(&self, more: &str) -> Command {
        let pid = self.pid().to_string();
        let target = ["run", "--target", &self.addr, "--pid", &pid];
        let idle = if more.contains("--idle") { vec![] } else { vec!["--idle", "0s"] };
        loadgen(&[&target[..], &words(DRAIN), &idle, &words(more)].concat())
    }

    /// The messages that it has echoed, when it is asked to end.
    fn messages(self) -> u64 {
        self.counters()["bytes_echoed"].as_u64().unwrap() / 64
    }

    /// Its counters, when it is asked to end.
    fn counters(mut self) -> Value {
        signal(self.pid(), Signal::TERM);
        assert!(self.server.0.wait().unwrap().success());
        let mut text = String::new();
        self.server.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

/// A folder with the guest in Python, changed in some way; `None` without Python.
fn guest(change: impl FnOnce(String) -> String) -> Option<tempfile::TempDir> {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: there is no python3 on this host, and the guest is written in it");
        return None;
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers/guests/echo.py")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("echo.py"), change(text)).unwrap();
    Some(folder)
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process is stopped.
fn stands_still(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().starts_with(" T")
}

/// The printed record, whatever it says. A busy host may make the trial invalid.
fn record(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// There is no figure, and the record says why.
fn has_no_figure(row: &Value, why: &str) {
    assert!(["drain_rate_per_sec", "drain_bursts", "drain_messages"].iter().all(|name| row[name].is_null()), "{row}");
    let error = row["error"].as_str().unwrap_or_else(|| panic!("{row}"));
    assert!(error.contains(why), "{error}");
    assert!(row["flags"].to_string().contains("no_drain"), "{row}");
}

fn drains(name: &str) {
    let server = Foreign::start(name, &[]);
    let row = record(&server.run("--drain-bursts 4 --status-interval 50ms").output().unwrap());
    assert_eq!((&row["outcome"], &row["drain_bursts"]), (&"ok".into(), &4.into()), "{row}");
    let messages = row["drain_messages"].as_u64().unwrap();
    assert!(messages > 2 && row["drain_rate_per_sec"].as_f64().unwrap() > 0.0, "{row}");
    // The first message of each connection, and one per burst on each of those beside the measured ones.
    assert_eq!(server.messages(), 2 + messages + 4 * messages, "{name}");
}

#[test]
fn every_message_of_a_burst_is_counted_by_mio_and_verified() {
    drains("mio");
}

#[test]
fn every_message_of_a_burst_is_counted_by_threads_and_verified() {
    drains("threads");
}

#[test]
fn every_message_of_a_burst_is_counted_by_tokio_and_verified() {
    drains("tokio");
}

#[test]
fn every_message_of_a_burst_is_counted_by_the_other_servers_and_verified() {
    ["tokio-current-thread", "epoll", "sleep-loop"].into_iter().for_each(drains);
}

#[test]
fn a_server_that_the_run_starts_is_drained_after_its_load_without_a_failure() {
    let windows = "--connections 2 --rate 200 --idle 100ms --warmup 0s --duration 200ms --drain --drain-bursts 3";
    let host = "--status-interval 50ms --placement shared --pacing timer --no-calibration";
    let output = loadgen(&[&["run", "--server", "mio"][..], &words(windows), &words(host)].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("drain ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("/s (") && line.ends_with(" messages to a stopped server, median of 3 bursts)"), "{line}");
    assert!(line.len() <= 80 && text.contains("outcome     ok\n"), "{text}");
}

#[test]
fn fewer_connections_are_opened_where_descriptors_or_the_server_allow_no_more() {
    let server = Foreign::start("mio", &[]);
    let mut command = server.run("--drain-bursts 2");
    let limit = Rlimit { current: Some(100), maximum: Some(100) };
    // SAFETY: between fork and exec one system call is made.
    unsafe { command.pre_exec(move || Ok(prlimit(None, Resource::Nofile, limit).map(drop)?)) };
    assert_eq!(record(&command.output().unwrap())["drain_messages"], 100 - 2 - 68);

    let server = Foreign::start("mio", &["--max-connections", "10"]);
    let row = record(&server.run("--drain-bursts 2").output().unwrap());
    assert_eq!(
        (&row["drain_messages"], &row["outcome"], &row["connect_failed_count"]),
        (&8.into(), &"ok".into(), &0.into())
    );

    let server = Foreign::start("mio", &["--max-connections", "2"]);
    let row = record(&server.run("").output().unwrap());
    has_no_figure(&row, "no connection could be opened beside the measured ones: ");
    assert_eq!((&row["outcome"], &row["connect_failed_count"]), (&"ok".into(), &0.into()), "{row}");
}

#[test]
fn a_message_that_does_not_fit_into_the_buffers_makes_no_burst() {
    let server = Foreign::start("mio", &[]);
    let row = record(&server.run("--payload 16MiB").output().unwrap());
    // On a busy host not even one comes back in time.
    let is_slow = row["error"].as_str().is_some_and(|error| error.contains("no connection could be opened"));
    has_no_figure(&row, if is_slow { "nothing is echoed" } else { "does not fit into the buffers" });
    assert_eq!(row["outcome"], "ok", "{row}");
}

#[test]
fn a_server_that_answers_while_its_process_stands_still_is_found_out() {
    let server = Foreign::start("mio", &[]);
    let other = Killed(Command::new("sleep").arg("60").spawn().unwrap());
    let pid = other.0.id().to_string();
    let target = ["run", "--target", &server.addr, "--pid", &pid];
    let row = record(&loadgen(&[&target[..], &words(DRAIN), &["--idle", "0s"]].concat()).output().unwrap());
    // On a busy host no echo may come while the other process is stopped; the burst is over too early then.
    if row["drain_bursts"].is_null() {
        has_no_figure(&row, "the server answered while its process stood still");
    }
    assert!(!stands_still(other.0.id().cast_signed()));
}

#[test]
fn a_server_that_was_stopped_already_is_left_as_it_is() {
    // It stops itself right behind the first echo on the second of its two connections: nothing else follows before the
    // drain.
    let counted = "counters[\"bytes_echoed\"] += sent\n";
    let then = "                counters[\"echoes\"] = counters.get(\"echoes\", 0) + 1\n                \
                if counters[\"echoes\"] == 2:\n                    os.kill(os.getpid(), signal.SIGSTOP)\n";
    let stops = |text: String| format!("import os\n{}", text.replace(counted, &[counted, then].concat()));
    let Some(folder) = guest(stops) else { return };
    let file = folder.path().join("echo.py");
    let server = Foreign::spawn(Command::new("python3").arg(file).args(["127.0.0.1:0", "0"]));
    let row = record(&server.run("--status-interval 0s").output().unwrap());
    has_no_figure(&row, &format!("process {} was stopped already", server.pid()));
    assert!(stands_still(server.pid()), "someone else stopped it, and may continue it");
}

#[test]
fn a_server_that_dies_when_it_is_continued_has_failed() {
    let exits =
        |text: String| format!("import os, signal\nsignal.signal(signal.SIGCONT, lambda *_: os._exit(7))\n{text}");
    let Some(folder) = guest(exits) else { return };
    let file = folder.path().join("echo.py");
    let command = format!("python3 {} {{addr}} {{status_interval_ms}} {{max_connections}}", file.display());
    let output =
        loadgen(&[&["run", "--command", &command][..], &words(DRAIN), &["--idle", "0s"]].concat()).output().unwrap();
    let row = record(&output);
    has_no_figure(&row, "the server ended with exit status: 7");
    let (code, outcome) = if row["validity"] == "invalid" { (5, "unclear") } else { (3, "failed") };
    assert_eq!((output.status.code(), &row["outcome"]), (Some(code), &outcome.into()), "{row}");
    assert_ne!(row["reset_count"], 0, "{row}");
}

#[test]
fn wrong_and_lost_messages_of_a_burst_are_counted_as_in_every_window() {
    // The 600th message is in the first burst, and the 1200th in the second.
    for (fault, count, expected) in [("corrupt", "corrupt_count", 2), ("drop", "lost_count", 1)] {
        let own = env!("CARGO_BIN_EXE_loadgen");
        let command = format!("{own} fault-server --fault {fault} --every 600");
        let more = ["--idle", "0s", "--drain-bursts", "2"];
        let output = loadgen(&[&["run", "--command", &command][..], &words(DRAIN), &more].concat()).output().unwrap();
        let row = record(&output);
        assert_eq!((&row[count], &row["outcome"]), (&expected.into(), &"failed".into()), "{row}");
        if fault == "drop" {
            has_no_figure(&row, "not every echo came");
        }
    }
}

/// Sends these signals while the server stands still, and returns how the run ends.
fn ends_by(server: &Foreign, signals: &[Signal]) -> Output {
    let mut command = server.run("--drain-bursts 1000");
    let running = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let pid = running.0.id().cast_signed();
    wait_for("a standstill", || stands_still(server.pid()));
    signals.iter().for_each(|it| signal(pid, *it));
    let mut running = std::mem::ManuallyDrop::new(running);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    running.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    running.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status: running.0.wait().unwrap(), stdout, stderr }
}

#[test]
fn an_interrupt_ends_the_window_and_leaves_the_server_running() {
    let server = Foreign::start("mio", &[]);
    for _ in 0..3 {
        let output = ends_by(&server, &[Signal::INT]);
        assert!(!stands_still(server.pid()));
        let row = record(&output);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(130), ""), "{row}");
        assert!(row["drain_rate_per_sec"].is_null() && row["lost_count"] == 0 && row["unanswered_count"] == 0, "{row}");
    }
    assert!(server.messages() > 0);
}

#[test]
fn a_second_interrupt_and_every_other_end_that_can_be_handled_leave_the_server_running() {
    let server = Foreign::start("mio", &[]);
    let ends = [&[Signal::INT, Signal::INT][..], &[Signal::TERM, Signal::INT], &[Signal::HUP], &[Signal::QUIT]];
    for signals in ends {
        let output = ends_by(&server, signals);
        assert!(!stands_still(server.pid()), "{signals:?}");
        let ended = (output.status.code(), output.status.signal());
        let by_default = signals.first().map(|signal| signal.as_raw());
        assert!(ended == (Some(130), None) || ended == (None, by_default), "{signals:?}: {ended:?}");
    }
    assert!(server.messages() > 0);
}

#[test]
fn a_drain_that_cannot_be_is_refused_in_one_line() {
    let refused = |arguments: &[&str]| {
        let output = loadgen(&[&["run"], arguments].concat()).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        stderr(&output)
    };
    let target = ["--target", "127.0.0.1:9", "--drain"];
    for (arguments, words) in [
        (&target[..], "the drain window stops and continues the server's process: give --pid, or leave --drain out\n"),
        (&[&target[..], &["--pid", "2147483647"]].concat(), "there is no process 2147483647\n"),
        (&["--server", "blocking", "--connections", "1", "--drain"], "blocking serves one connection at a time"),
        (&["--server", "mio", "--drain-bursts", "4"], "--drain"),
        (&["--server", "mio", "--drain", "--drain-bursts", "0"], "0 is not in 1..=1000"),
    ] {
        let text = refused(arguments);
        assert!(text.starts_with("error: ") && text.contains(words), "{text}");
    }
}

#[test]
fn a_process_of_another_user_is_refused_before_anything_is_started() {
    const NOBODY: u32 = 65_534;
    let is_root = geteuid().is_root();
    let mut command = loadgen(&["run", "--target", "127.0.0.1:9", "--drain", "--pid", "1"]);
    if is_root {
        command.uid(NOBODY).current_dir("/");
    }
    match command.output() {
        Err(error) if is_root => println!("SKIPPED: the program cannot be run as another user here: {error}"),
        output => {
            let output = output.unwrap();
            let text = stderr(&output);
            assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
            assert!(text.contains("process 1 may not be stopped by this user"), "{text}");
        }
    }
}
