//! The commands from a user's view: every server end to end, bad input, signals, and the files left behind.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use servers::{SERVERS, available};
use support::{Killed, wait_for};

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

/// A refused run: its exit code, and its one line of explanation.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = loadgen(arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "{arguments:?} printed {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SMALL: [&str; 12] = [
    "--rate",
    "500",
    "--idle",
    "100ms",
    "--warmup",
    "50ms",
    "--duration",
    "200ms",
    "--status-interval",
    "50ms",
    "--peak",
    "50ms",
];

const SHARED: [&str; 4] = ["--pacing", "timer", "--placement", "shared"];

#[test]
fn every_server_is_measured_end_to_end() {
    for server in available() {
        // A server that serves a single connection at a time is measured with one.
        let connections = if server.violates.contains(&"F2") { "1" } else { "4" };
        let target = ["run", "--json", "--server", server.name, "--connections", connections];
        let arguments = [&target, &SMALL[..], &SHARED].concat();
        let output = loadgen(&arguments).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{}: {}", server.name, stderr(&output));
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        // If the host pauses at the end of the load, the cause of late echoes is unclear.
        let is_unclear = row["outcome"] == "unclear" && row["validity"] == "invalid";
        assert!(is_unclear || row["outcome"] == "ok", "{row}");
        assert_eq!(row["echoed_count"], row["scheduled_count"]);
        assert_eq!(row["ticks_idle_count"], 2, "{row}");
        for measured in ["server_cpu_ns_idle", "server_cpu_ns_load", "server_pss_bytes_idle", "peak_rate_per_sec"] {
            assert!(row[measured].as_u64().unwrap() > 0, "{measured} of {}", server.name);
        }
        assert!(row["status_count"].as_u64().unwrap() >= 1, "{row}");
        assert!(row["server_threads_max"].as_u64().unwrap() >= 1);
    }
}

#[test]
fn an_idle_server_is_observed_without_messages() {
    for connections in ["0", "3"] {
        let arguments = ["run", "--server", "mio", "--json", "--connections", connections, "--duration", "0s"];
        let arguments = [&arguments[..], &["--idle", "200ms", "--status-interval", "50ms"], &SHARED].concat();
        let output = loadgen(&arguments).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&row["outcome"], &row["error"]), (&"ok".into(), &Value::Null), "{row}");
        assert!(row["server_cpu_ns_idle"].is_u64() && row["server_wakeups_idle"].is_u64(), "{row}");
        assert!(row["scheduled_count"].is_null() && row["response_ns_p50"].is_null(), "{row}");
        // Without connections no tick is seen.
        let ticks = if connections == "0" { Value::Null } else { 4.into() };
        assert_eq!(row["ticks_idle_count"], ticks, "{row}");
    }
}

#[test]
fn the_summary_fits_a_terminal() {
    let arguments = [&["run", "--server", "mio"], &SMALL[..], &SHARED].concat();
    let output = loadgen(&arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // A busy host adds reasons.
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("- "));
    assert!(lines.count() <= 25, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let validity = text.lines().position(|line| line.starts_with("validity")).unwrap();
    let latency = text.lines().position(|line| line.starts_with("latency")).unwrap();
    assert!(validity < latency, "the validity stands above the figures:\n{text}");
}

#[test]
fn a_missed_objective_has_its_own_exit_code() {
    for (slo, code) in [("p50<1ns", 4), ("p50<60s", 0)] {
        let arguments = [&["run", "--server", "mio", "--json", "--slo", slo], &SMALL[..], &SHARED].concat();
        let code_found = loadgen(&arguments).output().unwrap().status.code();
        // 5: on a busy host the objective is not judged.
        assert!(matches!(code_found, Some(found) if found == code || found == 5), "{slo}: {code_found:?}");
    }
}

#[test]
fn servers_are_listed_one_per_line() {
    let output = loadgen(&["list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for server in SERVERS {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(server.name));
        let line = line.unwrap_or_else(|| panic!("{} is not listed:\n{text}", server.name));
        assert!(line.contains(server.summary) && line.contains(&format!(" {} ", server.logic_lines())), "{line}");
    }
}

#[test]
fn impossible_requests_are_refused_with_one_line_and_exit_2() {
    let cases: [(&[&str], &str); 30] = [
        (&["run", "--server", "blocking"], "one connection at a time"),
        (&["compare", "--servers", "mio,blocking"], "one connection at a time"),
        (&["run", "--server", "mio", "--connections", "0"], "0 connections"),
        (&["run", "--server", "mio", "--rate", "0"], "rate of 0"),
        (&["run", "--server", "mio", "--payload", "0B"], "0 bytes"),
        (&["run", "--server", "mio", "--duration", "0s", "--idle", "0s"], "load window"),
        (&["run", "--server", "mio", "--closed", "--depth", "0"], "depth 0"),
        (&["run", "--server", "mio", "--connections", "100000000"], "descriptors"),
        (&["run", "--server", "mio", "--server-cpus", "4000"], "CPU 4000"),
        (&["run", "--server", "mio", "--rate", "1000M"], "too many"),
        (&["run", "--server", "mio", "--rate", "0..0"], "rate of 0"),
        (&["run", "--server", "mio", "--payload", "64B:0.5,0B"], "0 bytes"),
        (&["run", "--server", "mio", "--payload", "17MiB"], "too long"),
        (&["run", "--server", "mio", "--threads", "0"], "--threads 1"),
        (&["run", "--server", "mio", "--threads", "9", "--connections", "4"], "fewer --threads"),
        (&["run", "--server", "mio", "--source-addresses", "0"], "--source-addresses 1"),
        (&["run", "--target", "192.0.2.1:9", "--source-addresses", "2"], "127/8"),
        (&["run", "--server", "mio", "--duration", "0s", "--slow-readers", "1"], "need a load"),
        (&["compare", "--blocks", "0"], "0 blocks"),
        (&["compare", "--blocks", "6"], "6 blocks: too few for any verdict, 12 or more are needed"),
        (&["compare", "--profile", "full", "--blocks", "6"], "20 or more are needed"),
        (&["compare", "--profile", "full", "--cells", "rat"], "rate-10, rate-30"),
        (&["compare", "--profile", "full", "--cells", "storm", "--servers", "blocking"], "alone has --handshake"),
        (&["compare", "--cells", "rate"], "--profile full"),
        (&["compare", "--profile", "full", "--payload", "1KiB"], "--payload"),
        (&["compare", "--profile", "full", "--rate", "1k..2k"], "--rate 60k"),
        (&["compare", "--resume", "/nowhere"], "session.json"),
        (&["report", "/nowhere"], "no session"),
        (&["capacity", "--from", "0"], "never rises"),
        (&["capacity", "--servers", "blocking"], "one connection at a time"),
    ];
    for (arguments, words) in cases {
        let (code, text) = refused(arguments);
        assert_eq!((code, text.lines().count()), (2, 1), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

#[test]
fn a_value_that_cannot_be_parsed_is_refused_with_the_correct_syntax() {
    let cases: [(&[&str], &str); 12] = [
        (&["run", "--server", "mioo"], "mio"),
        (&["run"], "--server"),
        (&["run", "--server", "mio", "--duration", "5"], "5s"),
        (&["run", "--server", "mio", "--rate", "20K"], "20k"),
        (&["run", "--server", "mio", "--payload", "64"], "64B"),
        (&["run", "--server", "mio", "--status-interval", "1ms"], "10ms"),
        (&["run", "--server", "mio", "--rate", "1k.."], "20k"),
        (&["run", "--server", "mio", "--payload", "64B:0.5"], "add up to 1"),
        (&["selftest", "nothing"], "stall"),
        (&["run", "--server", "mio", "--slo", "p98<2ms"], "p99.9"),
        (&["run", "--target", "127.0.0.1"], "127.0.0.1:9000"),
        (&["compare", "--servers", "mio,nobody"], "threads"),
    ];
    for (arguments, words) in cases {
        let (code, text) = refused(arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, text) = refused(&["serve", "mio", "--addr", &addr]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(text.contains(&addr), "{text}");
}

#[test]
fn an_existing_session_folder_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trials.csv"), "kept").unwrap();
    let out = folder.path().to_str().unwrap();
    for arguments in [&["compare", "--profile", "smoke", "--out", out][..], &["run", "--server", "mio", "--out", out]] {
        let (code, text) = refused(arguments);
        assert_eq!((code, text.lines().count()), (2, 1), "{text}");
        assert!(text.contains("exists already"), "{text}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("trials.csv")).unwrap(), "kept");
}

#[test]
fn a_comparison_leaves_a_session_with_every_trial() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let arguments = ["compare", "--profile", "smoke", "--seed", "7", "--out", out.to_str().unwrap()];
    let output = loadgen(&[&arguments, &SHARED[..]].concat()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("verdicts on") && text.contains("there is no control"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("files")), "{text}");

    let about: Value = serde_json::from_str(&fs::read_to_string(out.join("session.json")).unwrap()).unwrap();
    assert_eq!((&about["state"], &about["configuration"]["seed"]), (&"complete".into(), &7.into()));
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    let header = trials.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = trials.records().map(Result::unwrap).collect();
    // A block with an invalid trial is repeated, and its rows stay.
    let last =
        |block: &str| rows.iter().filter(|row| &row[column("block")] == block).map(|row| &row[column("attempt")]).max();
    for block in ["1", "2"] {
        let of_block =
            |row: &&csv::StringRecord| &row[column("block")] == block && Some(&row[column("attempt")]) == last(block);
        let rows: Vec<_> = rows.iter().filter(of_block).collect();
        let mut arms: Vec<&str> = rows.iter().map(|row| &row[column("arm")]).collect();
        arms.sort_unstable();
        assert_eq!(arms, ["mio", "mio#2", "threads", "tokio"]);
        assert!(rows.iter().all(|row| row[column("seed")] == rows[0][column("seed")]), "one schedule a block");
    }
    let quantiles = fs::read_to_string(out.join("quantiles.csv")).unwrap();
    assert!(quantiles.lines().any(|line| line.starts_with("8,response,0.5,")), "{quantiles}");
    let log = fs::read_to_string(out.join("latency.hlog")).unwrap();
    assert!((1..=8).all(|trial| log.contains(&format!("Tag={trial}.response,"))));
}

#[test]
fn the_seconds_of_a_session_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let target = ["run", "--server", "mio", "--out", out.to_str().unwrap(), "--json"];
    let output = loadgen(&[&target, &SMALL[..], &SHARED].concat()).output().unwrap();
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut windows = csv::Reader::from_path(out.join("windows.csv")).unwrap();
    let responses = windows.records().map(Result::unwrap).filter(|second| &second[2] == "response");
    let count: u64 = responses.map(|second| second[3].parse::<u64>().unwrap()).sum();
    assert_eq!(row["echoed_count"], count, "{row}");
    let headroom = row["headroom_ppm"].as_u64().unwrap();
    assert!(headroom > 0 && headroom < 1_000_000, "{row}");
    let about: Value = serde_json::from_str(&fs::read_to_string(out.join("session.json")).unwrap()).unwrap();
    assert_eq!(about["gates"]["littles_law_deviation_share"]["invalid"], 0.05);
}

#[test]
fn a_server_that_dies_under_load_is_an_outcome_and_the_trial_ends() {
    let fault_server = format!("{} fault-server", env!("CARGO_BIN_EXE_loadgen"));
    let target = ["run", "--json", "--no-calibration", "--command", &fault_server, "--idle", "0s", "--duration", "20s"];
    let mut command = loadgen(&[&target, &SHARED[..]].concat());
    let mut run = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut server = Vec::new();
    // Under load: the server has used much more CPU time (in ticks of 10 ms) than the ramp takes.
    wait_for("the server's work", || {
        server = children(run.0.id());
        let stat = |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ticks = |stat: String| stat.split(' ').nth(14).and_then(|ticks| ticks.parse().ok()).unwrap_or(0_u64);
        server.first().is_some_and(|pid| ticks(stat(pid)) > 20)
    });
    kill_process(Pid::from_raw(server[0].parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    let killed = Instant::now();
    let mut text = String::new();
    run.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let code = run.0.wait().unwrap().code();
    assert!(killed.elapsed() < Duration::from_secs(15), "it does not wait for the rest of its 20 s");
    let row: Value = serde_json::from_str(&text).unwrap();
    // In a trial that a busy host has made invalid, missing echoes are not the server's failure.
    let expected = if row["validity"] == "invalid" { (Some(5), "unclear") } else { (Some(3), "failed") };
    assert_eq!((code, row["outcome"].as_str().unwrap()), expected, "{row}");
    assert_eq!(row["reset_count"], 64, "{row}");
    assert!(!row["invalid_reasons"].as_str().unwrap().contains("slots"), "{row}");
}

fn comparison(out: &Path) -> Killed {
    let arguments = ["compare", "--profile", "smoke", "--blocks", "1000", "--out", out.to_str().unwrap()];
    let mut command = loadgen(&[&arguments, &SHARED[..]].concat());
    Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[test]
fn ctrl_c_keeps_finished_trials_and_marks_the_session_partial() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let mut running = comparison(&out);
    wait_for("a block", || lines(&out.join("trials.csv")) >= 3);
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));

    let about: Value = serde_json::from_str(&fs::read_to_string(out.join("session.json")).unwrap()).unwrap();
    assert_eq!(about["state"], "partial");
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    assert!(trials.records().all(|row| row.unwrap().iter().any(|cell| cell == "ok")));
}

#[test]
fn an_interrupted_comparison_resumes_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let arguments = ["compare", "--profile", "smoke", "--servers", "mio,mio", "--out", out.to_str().unwrap()];
    let mut command = loadgen(&[&arguments[..], &["--blocks", "3", "--seed", "4"], &SHARED].concat());
    let mut running = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("a block and more", || lines(&out.join("trials.csv")) >= 4);
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));

    let output = loadgen(&["compare", "--resume", out.to_str().unwrap()]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    let header = trials.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = trials.records().map(Result::unwrap).collect();
    for block in ["1", "2", "3"] {
        let of_block: Vec<_> = rows.iter().filter(|row| &row[column("block")] == block).collect();
        let last = of_block.iter().map(|row| &row[column("attempt")]).max().unwrap();
        let arms = of_block.iter().filter(|row| &row[column("attempt")] == last).count();
        assert_eq!(arms, 2, "block {block} has every arm in its last attempt");
    }
    let (code, text) = refused(&["compare", "--resume", out.to_str().unwrap()]);
    assert!(code == 2 && text.contains("complete"), "{text}");
}

#[test]
fn kill_9_leaves_no_server_behind_and_what_was_recorded_readable() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let mut running = comparison(&out);
    wait_for("a block", || lines(&out.join("trials.csv")) >= 2);
    let parent = running.0.id();
    let mut servers = Vec::new();
    wait_for("a server", || {
        servers = children(parent);
        !servers.is_empty()
    });
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    wait_for("the server's end", || servers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    assert!(trials.records().all(|row| row.is_ok()));
}

fn children(parent: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn serve_works_with_nc() {
    for server in available() {
        let mut command = loadgen(&["serve", server.name, "--addr", "127.0.0.1:0", "--status-interval", "20ms"]);
        let mut child = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ").unwrap();

        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"hello\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut received: Vec<String> = Vec::new();
        while received.iter().filter(|line| line.starts_with("Server status: 1 active connections tick=")).count() < 2 {
            received.push(lines.next().unwrap().unwrap());
        }
        assert_eq!(received.iter().filter(|line| *line == "hello").count(), 1, "{received:?}");

        drop((stream, lines));
        kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
        let mut log = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
        let counters: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!((&counters["accepts"], &counters["bytes_echoed"]), (&1.into(), &6.into()), "{log}");
    }
}
