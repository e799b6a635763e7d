//! Numbers, rates, sizes and durations at their bounds and beyond, in every option of every command that takes one.

use std::{
    io::Read,
    process::{Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use clap::CommandFactory;
use loadgen::cli::Cli;
use serde_json::Value;

/// The address space of a command in KiB, so that a command that allocates gigabytes for a number dies.
const ADDRESS_SPACE_KIB: u64 = 1 << 20;

/// Values that are invalid for every kind of number.
const NEVER: [&str; 10] =
    ["", "text", "NaN", "inf", "-1", "1e3", "0x10", "1.2.3", "\u{661}", "99999999999999999999999999"];

const COUNTS: [&str; 9] = [
    "0",
    "1",
    "1.5",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254M",
];
const RATES: [&str; 14] = [
    "0",
    "0.1",
    "1.5",
    "6/m",
    "1/h",
    "0.5/h",
    "6/d",
    "1000M",
    "1001M",
    "4294967296",
    "0..1000M",
    "NaN..1",
    "1,,2",
    "-1..1",
];
const SIZES: [&str; 11] = [
    "0B",
    "1B",
    "16MiB",
    "16777217B",
    "17592186044416MiB",
    "18446744073709551616B",
    "-1B",
    "NaNB",
    "64B:NaN",
    "64B:0.5,16MiB:0.5",
    "64B:2",
];
const DURATIONS: [&str; 12] = [
    "0s",
    "1ns",
    "0.1ns",
    "9ms",
    "365days",
    "366days",
    "18446744073709551615s",
    "18446744073709551616s",
    "584542046090years",
    "-1s",
    "NaNs",
    "5",
];
const LISTS: [&str; 7] = ["0", "0-4096", "4097", "18446744073709551616", "0-18446744073709551615", "1-0", "0,,1"];
const WORKS: [&str; 9] = ["0s", "1ns", "1s", "2s", "365days", "20", "-1s", "100.0001%:1us", "18446744073709551616ns"];
const OBJECTIVES: [&str; 5] = ["p99<18446744073709551615s", "p99<0s", "p99<NaN", "p-1<1s", "p99<-1s"];

/// Values for an option with this value name; `None` if it takes no number.
fn values(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "N" | "PID" => Some(&COUNTS),
        "RATE" => Some(&RATES),
        "SIZE" => Some(&SIZES),
        "DURATION" => Some(&DURATIONS),
        "LIST" => Some(&LISTS),
        "OBJECTIVE" => Some(&OBJECTIVES),
        "WORK" => Some(&WORKS),
        "NAME" | "NAMES" | "DIR" | "FILE" | "ADDR" | "ADDR:PORT" | "HOST:PORT" | "PATIENCE" | "PROG"
        | "NAME='PROG ...'" | "WHEN" => None,
        other => panic!("is {other} a number? This test has to know"),
    }
}

/// Options that make a command end at once if it accepts a number: an address without a listener, a server that does not
/// accept 64 connections, and a congestion control that no kernel has.
fn dead_end(command: &str, option: &str) -> Vec<&'static str> {
    const NO_SERVER: [&str; 2] = ["--congestion", "none-such"];
    match command {
        "run" => {
            let mut words = vec!["--target", "127.0.0.1:1", "--no-calibration"];
            words.extend(if option == "depth" { &["--closed"][..] } else { &[] });
            words
        }
        "generate" => vec!["127.0.0.1:1", "--look-for", "0s"],
        "verify" => vec!["--target", "127.0.0.1:1"],
        "serve" => [&["mio", "--addr", "127.0.0.1:0"], &NO_SERVER[..]].concat(),
        "compare" | "capacity" => [&["--servers", "blocking", "--out", "session"], &NO_SERVER[..]].concat(),
        "fault-server" => NO_SERVER.to_vec(),
        other => panic!("how does {other} end at once? This test has to know"),
    }
}

/// Every option of every command, with every value to test.
fn cases() -> Vec<Vec<String>> {
    let mut cases = Vec::new();
    for command in Cli::command().get_subcommands() {
        for option in command.get_arguments().filter(|option| option.get_action().takes_values()) {
            let Some(long) = option.get_long() else { continue };
            let named = option.get_value_names().and_then(|names| names.first());
            let is_one_of = !option.get_possible_values().is_empty();
            let Some(named) = named.filter(|_| !is_one_of) else { continue };
            for value in values(named).into_iter().flat_map(|values| values.iter().chain(&NEVER)) {
                let rest = dead_end(command.get_name(), long);
                let words = [command.get_name()].into_iter().chain(rest).map(str::to_owned);
                cases.push(words.chain([format!("--{long}={value}")]).collect());
            }
        }
    }
    cases
}

/// Runs a command in a bounded address space until it ends; returns its exit status and output.
fn run(words: &[String]) -> (ExitStatus, String) {
    // Files that are left behind nevertheless go here.
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_loadgen")])
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(60) => {
                drop(child.kill());
                panic!("{words:?} does not end");
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status, text)
}

/// The fault in a command's end, if any.
fn complaint(words: &[String]) -> Option<String> {
    let (status, text) = run(words);
    let option = words.last().unwrap();
    let (name, value) = option.split_once('=').unwrap();
    let wrong = match status.code() {
        Some(2) if text.contains("one connection at a time") && !NEVER.contains(&value) => return None,
        // A refusal must name the option, and no invalid value may be accepted.
        Some(2) if !text.contains(name) => "refused without the option's name",
        Some(2) => return None,
        Some(0 | 1 | 3 | 5) if NEVER.contains(&value) => "accepted",
        // There is no listener, or the server cannot start.
        Some(1 | 3 | 5) if text.matches("error: ").count() <= 2 && !text.contains("panicked") => return None,
        Some(_) => "another end",
        None => "killed by a signal",
    };
    Some(format!("{}: {wrong}: {status}: {text}", words.join(" ")))
}

#[test]
fn every_number_at_its_bounds_and_beyond_is_accepted_or_refused_by_name_at_once() {
    let cases = cases();
    assert!(cases.len() > 500, "{} cases are not all", cases.len());
    let (next, complaints) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(|| {
                loop {
                    let words = next.lock().unwrap().next();
                    let Some(words) = words else { break };
                    let complaint = complaint(words);
                    complaints.lock().unwrap().extend(complaint);
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), cases.len(), complaints.join("\n"));
}

/// The single line of a refusal.
fn refused(arguments: &str) -> String {
    let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    let (status, text) = run(&words);
    assert_eq!((status.code(), text.lines().count()), (Some(2), 1), "{arguments}: {text}");
    text
}

#[test]
fn an_overflowing_sum_is_refused_like_a_single_number_that_is_too_large() {
    for arguments in [
        "run --server mio --connections 4294967295",
        "run --server mio --connections 4294967295 --slow-readers 1",
        "run --server mio --connections 4 --flooders 4294967292",
        "run --server mio --connections 4 --flooders 4294967295 --slow-readers 4294967295",
        "run --server mio --connections 4294967295 --churn 1M",
        "run --command x --connections 4294967295 --threads 4294967295",
    ] {
        let text = refused(arguments);
        assert!(text.contains("descriptors") && text.contains("--connections"), "{arguments}: {text}");
    }
}

#[test]
fn a_duration_that_would_wrap_is_refused_with_its_bound() {
    for arguments in [
        "run --server mio --closed --duration",
        "run --server mio --peak",
        "run --server mio --idle",
        "run --server mio --warmup",
        "run --server mio --status-interval",
        "capacity --duration",
        "verify --target 127.0.0.1:1 --status-interval",
        "serve mio --status-interval",
        "fault-server --delay",
    ] {
        for duration in ["18446744073709551615s", "366days"] {
            let words = arguments.split_whitespace().chain([duration]).map(str::to_owned);
            let (status, text) = run(&words.collect::<Vec<_>>());
            assert_eq!(status.code(), Some(2), "{arguments} {duration}: {text}");
            let option = arguments.rsplit(' ').next().unwrap();
            assert!(text.contains(option) && text.contains("365days"), "{arguments} {duration}: {text}");
        }
    }
}

#[test]
fn the_error_of_a_conversion_names_its_option_and_its_limit() {
    for (option, value, limit) in [
        ("--slow-readers", "4294967296", "4294967295"),
        ("--flooders", "5000M", "4294967295"),
        ("--connections", "4294967296", "4294967295"),
        ("--churn", "1000M", "1M"),
        ("--rate", "1001M", "1000M"),
        ("--threads", "4294967296", "4294967295"),
        ("--source-addresses", "4294967296", "4294967295"),
        ("--pid", "2147483648", "2147483647"),
    ] {
        let words = ["run", "--target", "127.0.0.1:1", option, value].map(str::to_owned);
        let (status, text) = run(&words);
        assert_eq!(status.code(), Some(2), "{option}: {text}");
        assert!(text.contains(option) && text.contains(limit) && !text.contains("integral"), "{option}: {text}");
    }
}

#[test]
fn insufficient_memory_is_reported_before_any_work() {
    for (arguments, words) in [
        ("run --server mio --closed --depth 4294967295", "--depth"),
        ("run --server mio --closed --depth 10000000 --payload 16MiB", "--depth"),
        ("run --server mio --rate 100k --duration 499s", "--rate"),
        ("run --server mio --rate 1k --duration 1s --warmup 50000s", "shorter window"),
        ("run --server mio --rate 1 --threads 60 --payload 16MiB", "--threads"),
        ("capacity --from 100k --duration 400s", "--rate"),
        ("compare --rate 1 --blocks 1000000000", "--blocks"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(words), "{arguments}: {text}");
    }
}

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

const SHARED: [&str; 4] = ["--pacing", "timer", "--placement", "shared"];

#[test]
fn an_objective_is_not_judged_on_no_or_too_few_samples() {
    let run = ["run", "--server", "mio", "--connections", "1", "--no-calibration", "--warmup", "0s"];
    let run = [&run[..], &["--slo", "p99<1us"], &SHARED].concat();
    let few = ["--rate", "1", "--duration", "10ms", "--idle", "0s"];
    let none = ["--duration", "0s", "--idle", "100ms", "--status-interval", "0s"];
    for load in [&few[..], &none] {
        let output = loadgen(&[&run[..], load].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("slo ")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("not judged: ") && line.contains("p99 needs 3000"), "{line}");
        assert_eq!(output.status.code(), Some(5), "{text}");
        let output = loadgen(&[&run[..], load, &["--json"]].concat()).output().unwrap();
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&row["slo"], &row["slo_judgement"]), (&"p99<1us".into(), &"not_judged".into()), "{row}");
        assert_eq!(output.status.code(), Some(5), "{row}");
    }
}

#[test]
fn a_ladder_whose_trials_are_too_short_for_its_objective_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let arguments = ["capacity", "--servers", "mio", "--connections", "1", "--slo", "p99.9<60s", "--from", "100"];
    let short = ["--duration", "100ms", "--out", out.to_str().unwrap()];
    let output = loadgen(&[&arguments[..], &short, &SHARED].concat()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // On a busy host every trial may be invalid, which is then reported.
    let few = text.contains("not judged at 100") && text.contains("p99.9 needs 30000");
    assert!(few || text.contains("not judged: the generator or the host spoiled"), "{text}");
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_rate_below_one_per_second_is_sent_shown_and_recorded() {
    let run = ["run", "--server", "mio", "--connections", "1", "--no-calibration", "--warmup", "0s", "--idle", "0s"];
    let run = [&run[..], &["--arrivals", "constant", "--duration", "500ms"], &SHARED].concat();
    for (rate, offered, shown) in
        [("0.1", 0.1, "0.1"), ("6/m", 0.1, "0.1"), ("1.5", 1.5, "1.5"), ("0.5,1.5", 1.0, "0.5,1.5")]
    {
        let output = loadgen(&[&run[..], &["--rate", rate]].concat()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(&format!("open loop, {shown} messages/s")),
            "{rate}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let output = loadgen(&[&run[..], &["--rate", rate, "--json"]].concat()).output().unwrap();
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        // The first message is due at once.
        assert_eq!(
            (row["rate_offered_per_sec"].as_f64(), row["sent_count"].as_u64()),
            (Some(offered), Some(1)),
            "{row}"
        );
    }
}
