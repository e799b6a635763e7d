//! Generators on other hosts: here they are other processes on this one, which for all they know might be anywhere.

mod support;

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Killed, wait_for};

/// A short load whose figures nobody reads.
const SHORT: &str =
    "--connections 8 --rate 2k --idle 200ms --warmup 100ms --duration 500ms --status-interval 50ms --seed 7";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// An address of this host at which nothing listens, and whose port no outgoing connection gets: those are above.
fn free() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 64;
    let addrs = (0..1_000).map(|_| {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        format!("127.0.0.1:{}", 20_000 + number % 12_000)
    });
    addrs.into_iter().find(|addr| TcpListener::bind(addr).is_ok()).expect("a free port")
}

fn loadgen(text: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(words(text));
    without_token(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The tests may themselves run in a job.
fn without_token(command: &mut Command) {
    for name in ["LOADGEN_TOKEN", "SLURM_JOB_ID", "OMPI_MCA_ess_base_jobid"] {
        command.env_remove(name);
    }
}

fn coordinator(arguments: &str, generators: u32, listen: &str) -> Command {
    loadgen(&format!("{arguments} --generators {generators} --listen {listen} --gather-for 20s"))
}

fn generator(listen: &str) -> Command {
    loadgen(&format!("generate {listen} --pacing timer"))
}

fn start(command: &mut Command) -> Killed {
    Killed(command.spawn().unwrap())
}

fn pid(process: &Killed) -> Pid {
    Pid::from_raw(process.0.id().cast_signed()).unwrap()
}

/// Waits for its end; what it wrote must be short enough for a pipe.
fn ended(mut process: Killed) -> Output {
    let status = process.0.wait().unwrap();
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    std::io::Read::read_to_end(&mut process.0.stdout.take().unwrap(), &mut output.stdout).unwrap();
    std::io::Read::read_to_end(&mut process.0.stderr.take().unwrap(), &mut output.stderr).unwrap();
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{} {}", output.status, stderr(output)))
}

/// One trial with so many generators, all of which end well; none if the load is to come from here.
fn row(generators: u32, more: &str) -> Value {
    let load = if more.contains("--closed") { SHORT.replace("--rate 2k ", "") } else { SHORT.to_owned() };
    let arguments = format!("run --server mio --json --no-calibration {load} {more}");
    let output = if generators == 0 {
        loadgen(&format!("{arguments} --placement shared --pacing timer")).output().unwrap()
    } else {
        let listen = free();
        let others: Vec<Killed> = (0..generators).map(|_| start(&mut generator(&listen))).collect();
        let output = coordinator(&arguments, generators, &listen).output().unwrap();
        assert!(!output.stdout.is_empty(), "{}", stderr(&output));
        for other in others {
            let output = ended(other);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
        }
        output
    };
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
}

/// A comparison in progress: the coordinator and its generators, with a folder in which rows appear.
struct Comparison {
    coordinator: Killed,
    generators: Vec<Killed>,
    folder: tempfile::TempDir,
}

impl Comparison {
    /// Begins one and waits for its first rows.
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listen, session) = (free(), folder.path().join("session"));
        let arguments = format!("compare --profile smoke --servers mio --seed 1 --out {}", session.display());
        let generators = (0..2).map(|_| start(&mut generator(&listen))).collect();
        let coordinator = start(&mut coordinator(&arguments, 2, &listen));
        let comparison = Self { coordinator, generators, folder };
        wait_for("the first row", || comparison.rows() > 0);
        comparison
    }

    fn session(&self) -> PathBuf {
        self.folder.path().join("session")
    }

    fn rows(&self) -> usize {
        fs::read_to_string(self.session().join("trials.csv")).map_or(0, |text| text.lines().count().saturating_sub(1))
    }

    fn state(&self) -> String {
        let text = fs::read_to_string(self.session().join("session.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["state"].as_str().unwrap().to_owned()
    }
}

fn report(session: &Path) -> Output {
    loadgen(&format!("report {}", session.display())).output().unwrap()
}

fn count(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name} of {row}"))
}

#[test]
fn as_many_messages_are_sent_as_by_one_host_and_every_connection_is_dealt_out() {
    let alone = row(0, "");
    for generators in [1, 2, 3] {
        let row = row(generators, "");
        for name in ["scheduled_count", "sent_count", "echoed_count"] {
            assert_eq!(count(&row, name), count(&alone, name), "{name} of {generators}");
        }
        assert_eq!((&row["placement"], &row["lost_count"]), (&json!("hosts"), &json!(0)), "{row}");
        assert_ne!(row["outcome"], json!("failed"), "{row}");
        assert_eq!(count(&row, "loadgen_threads"), u64::from(generators));
        assert!([json!(4), Value::Null].contains(&row["ticks_idle_count"]), "{row}");
        assert!(count(&row, "status_count_idle") > 0, "{row}");
        assert_eq!(row["status_missed_count"], json!(0));
        let is_uncertain = row["flags"].as_str().is_some_and(|flags| flags.contains("clock_error"));
        assert!(
            (row["status_delivery_ns_p50"].is_u64() || is_uncertain) && row["response_in_fanout_ns_p50"].is_u64(),
            "{row}"
        );
    }
}

#[test]
fn closed_loops_bursts_handshakes_and_misbehaving_clients_work_from_other_hosts() {
    let closed = row(2, "--closed --peak 200ms --drain --drain-bursts 4");
    assert!(count(&closed, "echoed_count") > 0 && closed["drain_rate_per_sec"].as_f64().is_some(), "{closed}");
    let bursts = (count(&closed, "drain_bursts"), count(&closed, "drain_messages"));
    assert_eq!(bursts, (4, 512), "{closed}");
    let beside = row(2, "--handshake 5s --churn 100 --slow-readers 2 --flooders 2 --work 1%:1ms");
    assert_ne!(beside["outcome"], json!("failed"), "{beside}");
    for name in ["slow_reader_sent_count", "churn_opened_count", "flooder_sent_count"] {
        assert!(count(&beside, name) >= 2, "{name} of {beside}");
    }
    assert!(beside["response_light_ns_p50"].is_u64() && beside["welcome_ns_p50"].is_u64(), "{beside}");
}

#[test]
fn a_session_has_a_row_of_each_host_and_the_report_refuses_one_that_does_not_add_up() {
    let mut comparison = Comparison::begin();
    assert!(comparison.coordinator.0.wait().is_ok_and(|status| matches!(status.code(), Some(0 | 5))));
    assert_eq!(comparison.state(), "complete");
    let session = comparison.session();
    let hosts = fs::read_to_string(session.join("hosts.csv")).unwrap();
    assert_eq!(hosts.lines().count() - 1, 2 * comparison.rows());
    let folders = fs::read_dir(session.join("hosts")).unwrap().flatten().map(|entry| entry.path());
    let folders: Vec<PathBuf> = folders.collect();
    assert!(folders.len() == 2 && folders.iter().all(|folder| folder.join("environment.json").is_file()));
    assert_eq!(code(&report(&session)), 0, "{}", stderr(&report(&session)));

    let lines: Vec<&str> = hosts.lines().collect();
    let less = lines[..lines.len() - 1].join("\n") + "\n";
    let echoed = lines[0].split(',').position(|name| name == "echoed_count").unwrap();
    let mut fields: Vec<String> = lines[1].split(',').map(str::to_owned).collect();
    fields[echoed] = (fields[echoed].parse::<u64>().unwrap() + 1).to_string();
    let other = [&[lines[0], &fields.join(",")], &lines[2..]].concat().join("\n") + "\n";
    for (text, why) in [(less, "has 1 of 2 hosts"), (other, "the echoes of its hosts add up to")] {
        fs::write(session.join("hosts.csv"), text).unwrap();
        let output = report(&session);
        assert!(code(&output) != 0 && last_line(&output).contains(why), "{}", stderr(&output));
    }
    fs::write(session.join("hosts.csv"), hosts).unwrap();
    let log = folders[0].join("latency.hlog");
    let text = fs::read_to_string(&log).unwrap();
    let first = text.lines().position(|line| line.starts_with("Tag=")).unwrap();
    let without: Vec<&str> = text.lines().enumerate().filter(|(at, _)| *at != first).map(|(_, line)| line).collect();
    fs::write(&log, without.join("\n") + "\n").unwrap();
    let output = report(&session);
    assert!(code(&output) != 0 && last_line(&output).contains("is not the sum"), "{}", stderr(&output));
}

#[test]
fn a_generator_that_is_killed_ends_the_session_with_what_it_had() {
    let comparison = Comparison::begin();
    kill_process(pid(&comparison.generators[1]), Signal::KILL).unwrap();
    let Comparison { coordinator, generators, folder } = comparison;
    let output = ended(coordinator);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(last_line(&output).contains(") is lost: "), "{}", stderr(&output));
    let text = fs::read_to_string(folder.path().join("session/session.json")).unwrap();
    assert!(text.contains(r#""state": "partial""#), "{text}");
    let rows = fs::read_to_string(folder.path().join("session/trials.csv")).unwrap().lines().count();
    assert!(rows > 1, "{rows}");
    let first = generators.into_iter().next().unwrap();
    assert_eq!(code(&ended(first)), 0, "the other one is told that it is over");
}

#[test]
fn a_generator_that_stands_still_is_lost_and_not_waited_for_without_end() {
    let listen = free();
    let (first, second) = (start(&mut generator(&listen)), start(&mut generator(&listen)));
    let run = start(&mut coordinator(
        &format!("run --server mio --no-calibration {}", SHORT.replace("500ms", "3s")),
        2,
        &listen,
    ));
    wait_for("the load", || children(pid(&run)) > 0);
    kill_process(pid(&second), Signal::STOP).unwrap();
    let output = ended(run);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(last_line(&output).contains("did not answer"), "{}", stderr(&output));
    drop((first, second));
}

/// Number of processes that a process has started.
fn children(parent: Pid) -> usize {
    let file = format!("/proc/{}/task/{}/children", parent.as_raw_nonzero(), parent.as_raw_nonzero());
    fs::read_to_string(file).map_or(0, |text| text.split_whitespace().count())
}

#[test]
fn a_signal_ends_the_session_on_all_hosts_and_a_killed_coordinator_leaves_no_generator_behind() {
    let comparison = Comparison::begin();
    kill_process(pid(&comparison.coordinator), Signal::TERM).unwrap();
    let Comparison { coordinator, generators, folder } = comparison;
    assert_eq!(code(&ended(coordinator)), 130);
    assert!(fs::read_to_string(folder.path().join("session/session.json")).unwrap().contains(r#""partial""#));
    for generator in generators {
        assert_eq!(code(&ended(generator)), 0);
    }

    let comparison = Comparison::begin();
    let server = fs::read_to_string(format!("/proc/{0}/task/{0}/children", comparison.coordinator.0.id())).unwrap();
    kill_process(pid(&comparison.coordinator), Signal::KILL).unwrap();
    for generator in comparison.generators {
        let output = ended(generator);
        assert_eq!((code(&output), last_line(&output).contains("the coordinator is gone")), (1, true));
    }
    for server in server.split_whitespace() {
        let server = Pid::from_raw(server.parse().unwrap()).unwrap();
        wait_for("the server's end", || test_kill_process(server).is_err());
    }
}

#[test]
fn generators_that_never_come_are_waited_for_no_longer_than_a_while() {
    let listen = free();
    let one = start(&mut generator(&listen));
    let arguments = format!("run --server mio --generators 2 --listen {listen} --gather-for 1s");
    let output = loadgen(&arguments).output().unwrap();
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(last_line(&output).ends_with("2 generators were awaited and 1 came"), "{}", stderr(&output));
    drop(one);
    let output = loadgen(&format!("generate {listen} --look-for 300ms")).output().unwrap();
    assert!(code(&output) == 3 && last_line(&output).contains("no coordinator within"), "{}", stderr(&output));
}

#[test]
fn another_build_another_token_and_a_stranger_are_refused_and_the_session_goes_on() {
    let listen = free();
    let run = start(&mut coordinator(&format!("run --server mio --json --no-calibration {SHORT}"), 1, &listen));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("loadgen");
    fs::copy(env!("CARGO_BIN_EXE_loadgen"), &other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    OpenOptions::new().append(true).open(&other).unwrap().write_all(b"another build").unwrap();
    let output = Command::new(&other).args(["generate", &listen]).output().unwrap();
    assert!(code(&output) == 2 && last_line(&output).contains("another build of loadgen"), "{}", stderr(&output));
    let output = generator(&listen).env("LOADGEN_TOKEN", "another").output().unwrap();
    assert!(code(&output) == 2 && last_line(&output).contains("LOADGEN_TOKEN"), "{}", stderr(&output));
    let silent = TcpStream::connect(&listen).unwrap();
    TcpStream::connect(&listen).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let right = start(&mut generator(&listen));
    let output = ended(run);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["outcome"], json!("ok"), "{}", stderr(&output));
    assert!(["refused 127.0.0.1", "ignored 127.0.0.1"].iter().all(|said| stderr(&output).contains(said)));
    assert_eq!(code(&ended(right)), 0);
    drop(silent);
}

#[test]
fn a_second_coordinator_on_a_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap().to_string();
    let output = coordinator("run --server mio", 1, &listen).output().unwrap();
    assert!(code(&output) == 2 && last_line(&output).contains("another process listens there"), "{}", stderr(&output));
}

#[test]
fn a_generator_that_answers_nonsense_is_lost() {
    let listen = free();
    let run = start(&mut coordinator(&format!("run --server mio --no-calibration {SHORT}"), 1, &listen));
    let digest = Sha256::digest(fs::read(env!("CARGO_BIN_EXE_loadgen")).unwrap());
    let build: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let hello = json!({
        "build": build, "token": "", "host": "strange\u{1b}[2J", "boot_id": null, "pid": 1, "threads": 1, "cpus": [0],
        "spins": false, "descriptors": null, "ports": null, "facts": [],
    });
    let mut stream = None;
    wait_for("the coordinator", || {
        stream = TcpStream::connect(&listen).ok();
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..2 {
        reader.read_line(&mut String::new()).unwrap();
        // A coordinator that has given up reads no more.
        let _ = stream.write_all(b"{\"Answer\":\"Wat\"}\n");
    }
    let output = ended(run);
    assert!(code(&output) == 5 && last_line(&output).contains("it answered nonsense"), "{}", stderr(&output));
    assert!(!stderr(&output).contains('\u{1b}'), "no control characters of others");
}

#[test]
fn descriptors_are_counted_on_each_host() {
    let listen = free();
    let few = format!("ulimit -n 90; exec {} generate {listen}", env!("CARGO_BIN_EXE_loadgen"));
    let mut poor = Command::new("sh");
    poor.args(["-c", &few]).stdout(Stdio::piped()).stderr(Stdio::piped());
    without_token(&mut poor);
    let poor = start(&mut poor);
    let rich = start(&mut generator(&listen));
    let output = coordinator("run --server mio --connections 100", 2, &listen).output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let said = last_line(&output);
    assert!(said.contains("50 of 100 connections") && said.contains("descriptors on"), "{said}");
    assert!(said.contains("more --generators"), "{said}");
    drop((poor, rich));
}

#[test]
fn options_that_make_no_sense_together_are_refused_in_one_line_that_says_what_would() {
    for (arguments, said) in [
        ("run --server mio --generators 0 --listen 127.0.0.1:7", "1..=100"),
        ("run --server mio --generators 1000 --listen 127.0.0.1:7", "1..=100"),
        ("run --server mio --generators 1", "--listen"),
        ("run --server mio --listen 127.0.0.1:7", "--generators"),
        ("run --server mio --generators 1 --listen 127.0.0.1:0", "10.0.0.1:7700"),
        ("run --server mio --generators 1 --listen here", "10.0.0.1:7700"),
        ("run --server mio --generators 1 --listen 203.0.113.1:7700", "no such address"),
        ("run --server mio --generators 1 --listen 127.0.0.1:7 --threads 2", "--threads"),
        ("run --target 127.0.0.1:9 --generators 1 --listen 127.0.0.1:7", "instead of --target"),
        ("run --server mio --connections 0 --generators 1 --listen 127.0.0.1:7", "--connections 1"),
        ("compare --generators 1 --listen 127.0.0.1:7 --pacing spin", "--pacing"),
        ("generate 127.0.0.1", "10.0.0.1:7700"),
        ("generate 127.0.0.1:9 --threads 0", "1..=1024"),
        ("generate 127.0.0.1:9 --loadgen-cpus 900", "not available"),
    ] {
        let output = loadgen(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments}: {}", stderr(&output));
    }
}

/// Whether this host lets a process have a clock of its own.
fn has_time_namespaces() -> bool {
    let unshare = Command::new("unshare").args(["--user", "--map-root-user", "--time", "--fork", "true"]).output();
    unshare.is_ok_and(|output| output.status.success())
}

#[test]
fn clocks_a_day_apart_are_told_and_allowed_for() {
    if !has_time_namespaces() {
        println!("SKIPPED: this host has no time namespaces for users");
        return;
    }
    const DAY_NS: i64 = 86_400_000_000_000;
    let (listen, folder) = (free(), tempfile::tempdir().unwrap());
    let session = folder.path().join("session");
    let mut late = Command::new("unshare");
    late.args(["--user", "--map-root-user", "--time", "--monotonic", "86400", "--fork", "--kill-child"]);
    without_token(&mut late);
    late.arg(env!("CARGO_BIN_EXE_loadgen")).args(["generate", &listen, "--pacing", "timer"]);
    let (late, punctual) = (start(late.stdout(Stdio::piped()).stderr(Stdio::piped())), start(&mut generator(&listen)));
    let arguments = format!("run --server mio --json --no-calibration {SHORT} --out {}", session.display());
    let output = coordinator(&arguments, 2, &listen).output().unwrap();
    let row: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    assert_eq!((&row["lost_count"], &row["status_missed_count"]), (&json!(0), &json!(0)), "{row}");
    // Far less than a day, whatever this host is doing meanwhile; or it is said that the clocks are too uncertain.
    let is_uncertain = row["flags"].as_str().unwrap_or_default().contains("clock_error");
    let delivery = row["status_delivery_ns_p50"].as_i64();
    assert!(delivery.map_or(is_uncertain, |ns| ns < DAY_NS / 100_000), "{row}");
    assert!(!row["flags"].as_str().unwrap_or_default().contains("status_clock"), "{row}");
    let mut offsets: Vec<i64> = csv::Reader::from_path(session.join("hosts.csv"))
        .unwrap()
        .deserialize::<std::collections::HashMap<String, String>>()
        .map(|row| row.unwrap()["clock_offset_ns"].parse().unwrap())
        .collect();
    offsets.sort_unstable();
    assert!(offsets[0].abs() < DAY_NS / 1_000_000 && (offsets[1] - DAY_NS).abs() < DAY_NS / 10_000, "{offsets:?}");
    drop((late, punctual));
}
