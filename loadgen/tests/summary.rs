//! The results of `loadgen run`: the summary, the JSON record and the row of trials.csv agree, in colour or not, and also
//! after an interruption.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use loadgen::plan::units::{show_count, show_us};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Killed, wait_for};

const SMALL: [&str; 20] = [
    "run",
    "--server",
    "mio",
    "--pacing",
    "timer",
    "--placement",
    "shared",
    "--connections",
    "4",
    "--rate",
    "2k",
    "--idle",
    "100ms",
    "--warmup",
    "50ms",
    "--duration",
    "400ms",
    "--status-interval",
    "50ms",
    "--no-calibration",
];

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(SMALL)
        .args(arguments)
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    // 5: a busy host.
    assert!(matches!(output.status.code(), Some(0 | 5)), "{arguments:?}: {complaint}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The only row of trials.csv, by column.
fn row(session: &Path) -> BTreeMap<String, String> {
    let mut trials = csv::Reader::from_path(session.join("trials.csv")).unwrap();
    let names = trials.headers().unwrap().clone();
    let row = trials.records().next().expect("a trial is recorded").unwrap();
    names.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect()
}

#[test]
fn json_is_the_row_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session");
    let output = run(&["--json", "--out", session.to_str().unwrap()]);
    let json: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = row(&session);
    assert!(json.keys().eq(row.keys()), "the keys are the columns");
    for (name, value) in &json {
        let cell = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        assert_eq!(cell, row[name], "{name}");
    }
}

#[test]
fn the_summary_shows_what_the_row_holds() {
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session");
    let text = text(&run(&["--peak", "50ms", "--out", session.to_str().unwrap()]));
    let row = row(&session);
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        line[name.len()..].trim()
    };
    let number = |column: &str| row[column].parse::<f64>().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]));

    for (name, metric) in [("response", "response_ns"), ("service", "service_ns"), ("send lag", "send_lag_ns")] {
        let shown: Vec<&str> = line(name).split_whitespace().collect();
        let quantiles = ["p50", "p90", "p99", "p999", "p9999", "max"];
        assert_eq!(shown.len(), quantiles.len(), "{text}");
        for (shown, quantile) in shown.into_iter().zip(quantiles) {
            // An interval ends with the response; a dash means too few samples beyond a quantile.
            let shown = shown.rsplit_once('-').map_or(shown, |(_, end)| end);
            if !shown.is_empty() {
                assert_eq!(shown, show_us(number(&format!("{metric}_{quantile}"))), "{name} {quantile} in:\n{text}");
            }
        }
    }
    let counts = format!("{} sent, {} echoed, {} lost,", row["sent_count"], row["echoed_count"], row["lost_count"]);
    assert!(line("counts").starts_with(&counts), "{counts} is not in:\n{text}");
    let rates = [number("rate_achieved_per_sec"), number("peak_rate_per_sec")].map(show_count);
    let throughput = format!("{}/s achieved; closed loop {}/s of ", rates[0], rates[1]);
    assert!(line("throughput").starts_with(&throughput), "{throughput} is not in:\n{text}");
    let cpu = show_us(number("server_cpu_ns_load") / number("echoed_count"));
    assert!(line("server").starts_with(&format!("{cpu} us CPU")), "{cpu} in:\n{text}");
    assert!(
        line("validity").to_lowercase().starts_with(&row["validity"]) && line("outcome") == row["outcome"],
        "{text}"
    );
    let memory = format!("{} KiB PSS;", number("server_pss_bytes_idle") as u64 / 1024);
    assert!(text.contains(&memory) && text.contains(&format!(" {} threads", row["server_threads_max"])), "{text}");
}

#[test]
fn colours_are_used_on_request() {
    let plain = text(&run(&[]));
    assert!(!plain.contains('\u{1b}'), "into a pipe without colours:\n{plain}");
    let coloured = text(&run(&["--color", "always"]));
    assert!(coloured.contains('\u{1b}'), "{coloured}");
    // A usage error is printed in the requested colours.
    for (when, coloured) in [("always", true), ("never", false)] {
        let colour = format!("--color={when}");
        let output =
            Command::new(env!("CARGO_BIN_EXE_loadgen")).args([&colour, "run", "--rat", "1k"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&output.stderr).contains('\u{1b}'), coloured, "--color {when}");
    }
}

/// An echo server that counts the bytes it reads and, after a number of bytes, reads without answering.
fn peer(answered: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counter = Arc::clone(&counter);
            thread::spawn(move || echo(stream, &counter, answered));
        }
    });
    (addr, read)
}

fn echo(mut stream: TcpStream, counter: &AtomicU64, answered: u64) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let before = counter.fetch_add(count as u64, Ordering::SeqCst);
        if before < answered && stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// A run with a minute of load on that peer.
fn minute(addr: SocketAddr, arguments: &[&str]) -> Killed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(["run", "--target", &addr.to_string(), "--connections", "1", "--idle", "0s", "--warmup", "0s"]);
    command.args(["--pacing", "timer", "--placement", "shared", "--no-calibration", "--duration", "60s"]);
    Killed(command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn interrupt(running: &Killed) {
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
}

/// The exit code and output.
fn ended(mut running: Killed) -> (Option<i32>, String) {
    let mut text = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (running.0.wait().unwrap().code(), text)
}

#[test]
fn ctrl_c_stops_the_load_and_reports_the_results_so_far() {
    for load in [&["--rate", "500"][..], &["--closed", "--depth", "4"]] {
        let (addr, read) = peer(u64::MAX);
        let folder = tempfile::tempdir().unwrap();
        let session = folder.path().join("session");
        let running = minute(addr, &[load, &["--out", session.to_str().unwrap()]].concat());
        wait_for("some load", || read.load(Ordering::SeqCst) > 100 * 64);
        interrupt(&running);
        let (code, text) = ended(running);
        assert_eq!(code, Some(130), "{text}");
        assert!(text.contains("PARTIAL") && text.contains("interrupted"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("files")), "{text}");

        let row = row(&session);
        let count = |column: &str| row[column].parse::<u64>().unwrap();
        assert!(count("echoed_count") >= 50, "{text}");
        // Messages in flight were awaited, and messages not yet due are not missing.
        assert_eq!((count("lost_count"), count("echoed_count")), (0, count("sent_count")), "{text}");
        if !row["scheduled_count"].is_empty() && load[0] == "--rate" {
            assert_eq!(count("scheduled_count"), count("sent_count"), "{text}");
        }
        assert!(count("rate_achieved_per_sec") >= 50, "over the time that it ran:\n{text}");
        let about: Value = serde_json::from_str(&fs::read_to_string(session.join("session.json")).unwrap()).unwrap();
        assert_eq!(about["state"], "partial");
    }
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    // Retried if the host is slow between the two signals: after the first one alone the run ends within a second.
    for _ in 0..10 {
        // After the first signal, the run waits for a peer that has stopped answering.
        let (addr, read) = peer(100 * 64);
        let running = minute(addr, &["--closed", "--depth", "4"]);
        wait_for("silence", || read.load(Ordering::SeqCst) >= 100 * 64);
        let pid = running.0.id();
        let begun = Instant::now();
        interrupt(&running);
        wait_for("the first signal's arrival", || !is_pending(pid));
        interrupt(&running);
        if begun.elapsed() < Duration::from_millis(300) {
            let (code, text) = ended(running);
            assert_eq!((code, text.as_str()), (Some(130), ""), "nothing is reported");
            return;
        }
    }
    panic!("ten times this host kept two signals 300 ms apart");
}

/// Whether a SIGINT is pending for a process (proc_pid_status(5)).
fn is_pending(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
    pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & 0b10 != 0)
}
