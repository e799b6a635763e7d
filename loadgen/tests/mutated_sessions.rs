//! Damaged or forged session folders, from 500 seeded mutations: `report` either reports on them or prints one clear line,
//! and `compare --resume` either resumes or prints one. Neither panics, hangs, or changes recorded files.

use std::{
    fs,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const RECORDED: [&str; 5] = ["session.json", "trials.csv", "windows.csv", "quantiles.csv", "latency.hlog"];

/// The state of an altered folder, and the command's output about it.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A small recorded session of two blocks.
fn recorded(folder: &Path) -> PathBuf {
    let out = folder.join("session");
    let load = ["compare", "--profile", "smoke", "--servers", "mio,mio", "--blocks", "2", "--seed", "3"];
    let host = ["--pacing", "timer", "--placement", "shared", "--out", out.to_str().unwrap()];
    let done = Command::new(env!("CARGO_BIN_EXE_loadgen")).args(load).args(host).output().unwrap();
    assert!(matches!(done.status.code(), Some(0 | 5)), "{}", String::from_utf8_lossy(&done.stderr));
    out
}

/// The session with its two blocks repeated, so that there are enough for a verdict.
fn lengthen(session: &Path) {
    let file = session.join("trials.csv");
    let mut table = csv::Reader::from_path(&file).unwrap();
    let header = table.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(|row| row.unwrap()).collect();
    let mut longer = csv::Writer::from_path(&file).unwrap();
    longer.write_record(&header).unwrap();
    for (again, row) in (0..7).flat_map(|again| rows.iter().map(move |row| (again, row))) {
        let mut cells: Vec<String> = row.iter().map(str::to_owned).collect();
        let mut add = |name: &str, more: usize| {
            let cell = &mut cells[at(name)];
            *cell = cell.parse::<usize>().map_or(cell.clone(), |number| (number + more).to_string());
        };
        add("trial_id", again * rows.len());
        add("block", again * 2);
        // No two alike, since ties are no evidence.
        ["response_ns_p50", "response_ns_p99", "service_ns_p50", "service_ns_p99", "server_cpu_ns_load"]
            .iter()
            .for_each(|name| add(name, again * 1000));
        cells[at("validity")] = "valid".to_owned();
        longer.write_record(&cells).unwrap();
    }
    longer.flush().unwrap();
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Runs a command to its end. A command that goes on measuring is interrupted, and must then end.
fn say(arguments: &[&str], folder: &Path) -> Said {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    // As on a terminal, since control sequences are stripped in a pipe.
    command
        .arg("--color=always")
        .args(arguments)
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let complaints = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let begun = Instant::now();
    let mut interrupted = false;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > 2 * PATIENCE => {
                drop((child.kill(), child.wait()));
                panic!("{arguments:?} {} hangs", folder.display());
            }
            None if begun.elapsed() > PATIENCE && !interrupted => {
                interrupted = true;
                kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    Said { code: status.code(), stdout: reader.join().unwrap().unwrap(), stderr: complaints.join().unwrap().unwrap() }
}

/// The same session, as if it had been recorded at another time.
fn another(session: &Path, folder: &Path) -> PathBuf {
    let other = folder.join("another");
    fs::create_dir(&other).unwrap();
    for name in RECORDED {
        fs::copy(session.join(name), other.join(name)).unwrap();
    }
    let file = other.join("session.json");
    let mut about: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    about["started_at_unix_ms"] = json!(1);
    fs::write(file, about.to_string()).unwrap();
    other
}

/// The state of every recorded file: absent, a folder, or bytes.
fn state(folder: &Path) -> Vec<Option<Vec<u8>>> {
    let files = RECORDED.map(|name| folder.join(name));
    files.iter().map(|file| file.is_file().then(|| fs::read(file).unwrap())).collect()
}

/// Alters a folder in one way; returns a description.
fn mutate(random: &mut ChaCha8Rng, folder: &Path) -> String {
    let name = *[
        "session.json",
        "trials.csv",
        "session.json",
        "trials.csv",
        "windows.csv",
        "quantiles.csv",
        "latency.hlog",
        "report.md",
    ]
    .choose(random)
    .unwrap();
    let file = folder.join(name);
    let bytes = fs::read(&file).unwrap();
    let way = random.random_range(0..20);
    let altered = match way {
        0 => return replaced(&file, random.random_range(0..5)),
        1..=4 => bytewise(random, bytes),
        5..=9 => linewise(random, bytes),
        _ if name.ends_with(".json") => in_json(random, &bytes),
        _ if name == "trials.csv" => in_table(random, &bytes),
        _ => bytewise(random, bytes),
    };
    fs::write(&file, altered).unwrap();
    format!("{name}, way {way}")
}

/// Replaces a file by something else.
fn replaced(file: &Path, way: u32) -> String {
    fs::remove_file(file).unwrap();
    match way {
        0 => {}
        1 => fs::create_dir(file).unwrap(),
        2 => fs::write(file, "").unwrap(),
        3 => symlink("/dev/zero", file).unwrap(),
        _ => symlink(file, file).unwrap(),
    }
    format!("{} is replaced, way {way}", file.display())
}

fn bytewise(random: &mut ChaCha8Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..4) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes.truncate(at),
        2 => bytes.splice(at..at, STRANGE.choose(random).unwrap().bytes()).for_each(drop),
        _ => (0..30).for_each(|_| {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }),
    }
    bytes
}

fn linewise(random: &mut ChaCha8Rng, bytes: Vec<u8>) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, other) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
    match random.random_range(0..4) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(other, lines[one]),
        2 => lines.swap(one, other),
        _ => lines[one] = &lines[one][..random.random_range(0..lines[one].len())],
    }
    lines.concat()
}

/// Unexpected values; the second half of the last one is not valid text.
const STRANGE: [&str; 14] = [
    "",
    "-1",
    "0",
    "18446744073709551615",
    "-9223372036854775808",
    "99999999999999999999999999",
    "NaN",
    "1e999",
    "true",
    "007",
    "\u{1b}[2J\u{1b}]0;x\u{7}",
    "\"",
    "a,b\nc",
    "\u{202e}\0\u{9b}",
];

fn in_table(random: &mut ChaCha8Rng, bytes: &[u8]) -> Vec<u8> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    let (row, column) = (random.random_range(0..rows.len()), random.random_range(0..rows[0].len()));
    let strange = (*STRANGE.choose(random).unwrap()).to_owned();
    match random.random_range(0..5) {
        0 => rows.iter_mut().for_each(|row| drop(row.remove(column))),
        1 => rows[0][column] = strange,
        2 => rows[row][column] = strange,
        3 => rows[1..].iter_mut().for_each(|row| row[column].clone_from(&strange)),
        // Columns that are read for more than a median.
        _ => {
            let told = [
                "trial_id",
                "block",
                "attempt",
                "arm",
                "validity",
                "outcome",
                "cell",
                "echoed_count",
                "ticks_idle_count",
            ];
            let told = told.choose(random).unwrap();
            let column = rows[0].iter().position(|name| name == told).unwrap();
            rows[row.max(1)][column] = strange;
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

fn in_json(random: &mut ChaCha8Rng, bytes: &[u8]) -> Vec<u8> {
    let mut about: Value = serde_json::from_slice(bytes).unwrap();
    let mut place = &mut about;
    // Any position, with earlier ones less often.
    while let Some(count) = children(place).filter(|count| *count > 0 && random.random_bool(0.85)) {
        place = child(place, random.random_range(0..count));
    }
    *place = match random.random_range(0..9) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(1e300),
        4 => json!([]),
        5 => json!({ "\u{1b}[2J": "\u{7}" }),
        6 => (0..200).fold(Value::Null, |inner, _| json!([inner])),
        7 => json!(true),
        _ => json!(STRANGE.choose(random).unwrap()),
    };
    serde_json::to_vec(&about).unwrap()
}

fn children(value: &Value) -> Option<usize> {
    value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len))
}

fn child(value: &mut Value, index: usize) -> &mut Value {
    match value {
        Value::Array(items) => &mut items[index],
        Value::Object(entries) => entries.values_mut().nth(index).unwrap(),
        _ => unreachable!("only these have children"),
    }
}

/// Whether the output contains no control sequences except colours.
fn is_plain(text: &str) -> bool {
    const COLOURS: [&str; 5] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    let text = COLOURS.iter().fold(text.to_owned(), |text, colour| text.replace(colour, ""));
    text.chars().all(|c| c == '\n' || c == '\t' || (!c.is_control() && c != '\u{202e}'))
}

/// Runs `check` on mutations of a session, two at a time; the number of the first that fails is in its message.
fn each(base: &Path, numbers: std::ops::Range<u64>, check: impl Fn(&str, &Path, &mut ChaCha8Rng) + Sync) {
    let next = AtomicU64::new(numbers.start);
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= numbers.end {
            return;
        }
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("session");
        copied(base, &folder);
        let how = mutate(&mut random, &folder);
        check(&format!("mutation {number} ({how})"), &folder, &mut random);
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other.join().unwrap();
    });
}

#[test]
fn a_damaged_session_is_reported_or_refused_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let base = recorded(folder.path());
    lengthen(&base);
    let other = another(&base, folder.path());
    each(&base, 0..500, |how, folder, random| {
        let before = state(folder);
        let extra = [&["report"][..], &["report", "--format", "gha"], &["report", other.to_str().unwrap()]];
        let command = if random.next_u32() % 10 < 8 { extra[0] } else { extra[1 + (random.next_u32() % 2) as usize] };
        let said = say(command, folder);
        let told = format!("{how}: {:?}\n{}\n{}", said.code, said.stdout, said.stderr);
        match said.code {
            Some(0) => {
                assert!(!said.stdout.is_empty(), "{told}");
                assert!(said.stderr.lines().all(|line| line.starts_with("warning: ")), "{told}");
            }
            Some(2) => {
                assert!(said.stdout.is_empty(), "{told}");
                let errors = said.stderr.lines().filter(|line| line.starts_with("error: ")).count();
                let others = said.stderr.lines().filter(|line| !line.starts_with("warning: ")).count();
                assert_eq!((errors, others), (1, 1), "{told}");
            }
            _ => panic!("{told}"),
        }
        assert!(is_plain(&said.stdout) && is_plain(&said.stderr), "{told}");
        assert!(before == state(folder), "what was recorded is changed: {told}");
    });
}

#[test]
fn a_damaged_session_is_resumed_or_refused_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let base = recorded(folder.path());
    let file = base.join("session.json");
    let about = fs::read_to_string(&file).unwrap();
    fs::write(&file, about.replace("\"state\": \"complete\"", "\"state\": \"partial\"")).unwrap();
    each(&base, 1000..1024, |how, folder, _| {
        let before = state(folder);
        let said = say(&["compare", "--trust", "--resume"], folder);
        let told = format!("{how}: {:?}\n{}\n{}", said.code, said.stdout, said.stderr);
        assert!(is_plain(&said.stdout) && is_plain(&said.stderr), "{told}");
        match said.code {
            Some(0 | 5 | 130) => assert!(!said.stdout.is_empty(), "{told}"),
            Some(2) => {
                assert_eq!(said.stderr.lines().count(), 1, "{told}");
                assert!(before == state(folder), "what was recorded is changed: {told}");
            }
            _ => panic!("{told}"),
        }
    });
}
