//! A shortage on the generator's own host (ports, descriptors, CPUs) never counts as the server's failure.

mod support;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use support::{Killed, wait_for};

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// Runs a script in its own network namespace with 80 ports; `None` if that is not allowed.
fn with_few_ports(script: &str) -> Option<Output> {
    const NETWORK: &str = "set -e; ip link set lo up; cd /proc/sys/net/ipv4; echo 40000 40079 >ip_local_port_range; \
                           echo 0 >tcp_tw_reuse; cd /; set +e;";
    let unshare = |script: &str| Command::new("unshare").args(["-n", "sh", "-c", script]).output();
    if !unshare(NETWORK).is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: a network namespace takes root, unshare and ip");
        return None;
    }
    Some(unshare(&format!("{NETWORK} loadgen={LOADGEN}; {script}")).unwrap())
}

/// The record of a trial that is invalid for this reason, without a failure of the server.
fn assert_own_shortage(output: &Output, reason: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{complaint}");
    let row: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no record: {complaint}"));
    let reasons = row["invalid_reasons"].as_str().unwrap();
    assert!(reasons.contains("host_shortage="), "{row}");
    assert!(row["host_shortage"].as_str().unwrap().contains(reason), "{row}");
    assert!(row["host_shortage_count"].as_u64().unwrap() > 0, "{row}");
    let of_the_server = ["connect_failed_count", "reset_count", "lost_count", "churn_closed_count"];
    assert!(of_the_server.iter().all(|column| matches!(row[*column].as_u64(), None | Some(0))), "{row}");
    assert_ne!(row["outcome"], "failed", "{row}");
}

#[test]
fn a_shortage_of_ports_under_churn_is_the_generators() {
    // Of 80 ports, 10 are left by the first run; the churn needs no more than that by itself, but does with the others.
    let churn = "--connections 2 --rate 100 --idle 0s --warmup 0s --duration 1s --churn 15";
    let run = after_a_run(&format!("$loadgen run --target 127.0.0.1:7777 {churn} --no-calibration --json"));
    let Some(output) = with_few_ports(&run) else { return };
    assert_own_shortage(&output, "no free port");
}

#[test]
fn a_churn_that_would_use_up_the_ports_is_refused() {
    let load = "--connections 8 --rate 100 --idle 0s --warmup 0s --duration 1s --churn 500 --no-calibration --json";
    let Some(output) = with_few_ports(&format!("exec $loadgen run --server mio {load}")) else { return };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
    assert!(complaint.contains("--source-addresses"), "{complaint}");
}

/// A script that serves, uses 70 ports, which are not free for a minute then, and runs `then`.
fn after_a_run(then: &str) -> String {
    format!(
        "log=$(mktemp); $loadgen serve mio --addr 127.0.0.1:7777 >$log & server=$!
        until grep -q listening $log; do :; done; rm $log
        load='--target 127.0.0.1:7777 --connections 70 --rate 100 --idle 0s --warmup 0s --duration 100ms'
        $loadgen run $load --no-calibration >/dev/null
        {then}; code=$?; kill $server; exit $code"
    )
}

#[test]
fn a_shortage_of_ports_for_measured_connections_is_the_generators() {
    let run = after_a_run("$loadgen run $load --no-calibration --json");
    let Some(output) = with_few_ports(&run) else { return };
    assert_own_shortage(&output, "no free port");
    // The conformance suite has no ports either: it reports that it cannot check.
    let verify = after_a_run("$loadgen run $load --no-calibration >/dev/null; $loadgen verify --target 127.0.0.1:7777");
    let output = with_few_ports(&verify).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{complaint}");
    assert!(complaint.contains("this host ran short: no free port"), "{complaint}");
}

#[test]
fn a_shortage_of_descriptors_is_the_generators() {
    let load = ["--server", "mio", "--connections", "4", "--rate", "100", "--churn", "200", "--idle", "0s"];
    let windows = ["--warmup", "0s", "--duration", "2s", "--no-calibration", "--json"];
    let mut command = Command::new(LOADGEN);
    command.arg("run").args(load).args(windows).args(["--pacing", "timer", "--placement", "shared"]);
    let mut running = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    // Three are for signals; the others are used by churning connections after two seconds of load without them.
    wait_for("the measured connections", || sockets(running.0.id()) >= 7);
    let pid = Pid::from_child(&running.0);
    let limit = Rlimit { current: Some(3), ..rustix::process::getrlimit(Resource::Nofile) };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    std::io::Read::read_to_end(&mut running.0.stdout.take().unwrap(), &mut stdout).unwrap();
    std::io::Read::read_to_end(&mut running.0.stderr.take().unwrap(), &mut stderr).unwrap();
    let output = Output { status: running.0.wait().unwrap(), stdout, stderr };
    assert_own_shortage(&output, "too many open files");
}

/// Number of open sockets of a process.
fn sockets(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .count()
}

#[test]
fn no_cpu_left_for_the_progress_thread_is_no_error() {
    let cpus = loadgen::observe::available_cpus();
    let all = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let load = ["--rate", "500", "--connections", "4", "--idle", "0s", "--warmup", "0s", "--duration", "200ms"];
    // Progress is shown only on a terminal.
    const TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let output = Command::new("python3")
        .args(["-c", TERMINAL, LOADGEN, "run", "--server", "mio", "--no-calibration", "--pacing", "timer"])
        .args(["--server-cpus", &cpus[0].to_string(), "--loadgen-cpus", &all])
        .args(load)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no python3 on this host, which makes the terminal");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(0 | 5)) && text.contains("outcome     ok"), "{text}");
}
