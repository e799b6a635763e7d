//! The files of a session after a crash, on a full disk, with a second writer, or with a clock that is set.

mod support;

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Killed, wait_for};

const SHARED: [&str; 4] = ["--pacing", "timer", "--placement", "shared"];

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    loadgen(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

fn about(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("session.json")).unwrap()).unwrap()
}

fn alter(folder: &Path, change: impl FnOnce(&mut Value)) {
    let mut altered = about(folder);
    change(&mut altered);
    fs::write(folder.join("session.json"), altered.to_string()).unwrap();
}

/// The cells of a column of trials.csv.
fn column(folder: &Path, name: &str) -> Vec<String> {
    let mut table = csv::Reader::from_path(folder.join("trials.csv")).unwrap();
    let at = table.headers().unwrap().iter().position(|column| column == name).unwrap();
    table.records().map(|row| row.unwrap()[at].to_owned()).collect()
}

/// A comparison of mio with itself, and with these further options.
fn begun(out: &Path, options: &[&str]) -> Killed {
    let arguments = ["compare", "--profile", "smoke", "--servers", "mio,mio", "--seed", "4", "--out", text(out)];
    let mut command = loadgen(&[&arguments[..], options, &SHARED].concat());
    Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A comparison that was killed during its second block.
fn killed(out: &Path) {
    killed_with(out, &[]);
}

fn killed_with(out: &Path, options: &[&str]) {
    let mut running = begun(out, &[options, &["--blocks", "3"]].concat());
    wait_for("a block", || lines(&out.join("trials.csv")) >= 3);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
}

/// Resumes a session until it is complete.
fn resumed(out: &Path) -> String {
    let output = output(&["compare", "--resume", text(out)]);
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
    assert_eq!(about(out)["state"], "complete");
    let counted = column(out, "counted");
    assert!(counted.iter().all(|cell| cell == "true" || cell == "false"), "{counted:?}");
    stderr(&output)
}

/// Every trial of trials.csv is in every file, without duplicate lines.
fn assert_consistent(out: &Path) {
    let trials: Vec<String> = column(out, "trial_id");
    let unique: BTreeSet<String> = trials.iter().cloned().collect();
    assert_eq!(unique.len(), trials.len(), "{trials:?}");
    for (name, key) in [("quantiles.csv", 3), ("windows.csv", 3)] {
        let mut table = csv::Reader::from_path(out.join(name)).unwrap();
        let rows: Vec<csv::StringRecord> = table.records().map(|row| row.unwrap()).collect();
        let keys: BTreeSet<Vec<&str>> = rows.iter().map(|row| row.iter().take(key).collect()).collect();
        assert_eq!(keys.len(), rows.len(), "{name} has duplicate lines");
        let found: BTreeSet<String> = rows.iter().map(|row| row[0].to_owned()).collect();
        assert_eq!(found, unique, "{name}");
    }
    let log = fs::read_to_string(out.join("latency.hlog")).unwrap();
    let tags: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("Tag=")?.split(',').next()).collect();
    let different: BTreeSet<&str> = tags.iter().copied().collect();
    assert_eq!(different.len(), tags.len(), "a tag is there twice: {tags:?}");
    let found: BTreeSet<String> = tags.iter().map(|tag| tag.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(found, unique, "latency.hlog");
}

#[test]
fn every_block_says_how_fast_the_host_was_before_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    assert!(matches!(begun(&out, &["--blocks", "3"]).0.wait().unwrap().code(), Some(0 | 5)));
    let rates = |name: &str| {
        let cells = column(&out, name);
        cells.iter().map(|rate| rate.parse::<f64>().unwrap_or_else(|_| panic!("{name}: {rate:?}"))).collect::<Vec<_>>()
    };
    let before = rates("drift_probe_rate_per_sec");
    let (after, median) = (rates("drift_probe_after_rate_per_sec"), rates("drift_probe_median_rate_per_sec"));
    let attempts: Vec<_> = column(&out, "block").into_iter().zip(column(&out, "attempt")).collect();
    let reasons = column(&out, "invalid_reasons");
    assert!(attempts.len() >= 6, "{attempts:?}");
    for index in 0..attempts.len() {
        if attempts.get(index + 1) == Some(&attempts[index]) {
            let of_block = |rates: &[f64]| rates[index] == rates[index + 1];
            assert!(of_block(&before) && of_block(&after) && of_block(&median), "the trials of a block agree");
        }
        let below = 1.0 - before[index].min(after[index]) / median[index];
        // The recorded rates are rounded.
        if (below - 0.15).abs() > 0.001 {
            assert_eq!(reasons[index].contains("drift="), below > 0.15, "{below}: {reasons:?}");
        }
    }
}

fn append(file: &Path, text: &str) {
    OpenOptions::new().append(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn an_incomplete_last_line_of_any_file_is_dropped_with_a_warning_and_the_session_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    killed(&out);
    // A trial without a row yet, and the beginning of a line in each file.
    append(&out.join("latency.hlog"), "Tag=99.response,0.1,0.2,3.4,HISTFAAA\nTag=99.serv");
    append(&out.join("quantiles.csv"), "99,response,0.5,1000,true\n99,respo");
    append(&out.join("windows.csv"), "99,0,response,10,1,2,3\n99,0,ser");
    append(&out.join("trials.csv"), "1,2026-11-22T201500Z-vm,99,\"2");
    let before = column_of_whole_rows(&out);

    let report = output(&["report", text(&out)]);
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    assert!(stderr(&report).contains("trials.csv: the last row is torn and left out"), "{}", stderr(&report));
    assert!(String::from_utf8_lossy(&report.stdout).contains("PARTIAL: interrupted"));

    let words = resumed(&out);
    for name in ["latency.hlog", "quantiles.csv", "windows.csv"] {
        assert!(words.contains(&format!("{name}: what belongs to no trial of trials.csv was cut off")), "{words}");
    }
    let after = column(&out, "trial_id");
    assert_eq!(after[..before], (1..=before).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_consistent(&out);
}

/// Number of complete rows.
fn column_of_whole_rows(out: &Path) -> usize {
    fs::read_to_string(out.join("trials.csv")).unwrap().matches('\n').count() - 1
}

#[test]
fn a_session_truncated_anywhere_is_reported_or_refused_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    killed(&out);
    for name in ["trials.csv", "session.json", "windows.csv", "quantiles.csv", "latency.hlog"] {
        let whole = fs::read(out.join(name)).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(out.join(name), &whole[..cut]).unwrap();
            let output = output(&["report", text(&out)]);
            assert_eq!(output.status.code(), Some(0), "{name} cut to {cut}: {}", stderr(&output));
            let touched = name == "trials.csv" || name == "session.json";
            assert!(stderr(&output).lines().count() <= usize::from(touched), "{name}: {}", stderr(&output));
        }
        fs::write(out.join(name), &whole).unwrap();
    }
    fs::write(out.join("session.json"), "{ \"command\"").unwrap();
    let output = output(&["compare", "--resume", text(&out)]);
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(2), 1), "{}", stderr(&output));
}

#[test]
fn a_disk_that_fills_up_within_a_row_is_named_and_leaves_whole_trials_and_the_session_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} || exit 77
         {loadgen} compare --profile smoke --servers mio,mio --blocks 40 {shared} --out {disk}/s 2>{disk}.full && exit 1
         cp -r {disk}/s {disk}.copy
         mount -o remount,size=16m {disk} || exit 77
         sed -i 's/\"blocks\": 40/\"blocks\": 6/' {disk}/s/session.json
         {loadgen} compare --resume {disk}/s >/dev/null 2>{disk}.resumed
         status=$?
         cp -r {disk}/s {disk}.whole
         test $status = 0 -o $status = 5",
        disk = text(&disk),
        loadgen = env!("CARGO_BIN_EXE_loadgen"),
        shared = SHARED.join(" "),
    );
    let done = Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-c", &script]).output();
    let Ok(done) = done else { return println!("SKIPPED: there is no unshare(1) on this host") };
    if done.status.code() == Some(77) || stderr(&done).contains("unshare") {
        return println!("SKIPPED: no small disk can be mounted here: {}", stderr(&done));
    }
    let said = |name: &str| fs::read_to_string(folder.path().join(format!("disk.{name}"))).unwrap_or_default();
    assert_eq!(done.status.code(), Some(0), "{}{}{}", stderr(&done), said("full"), said("resumed"));
    let full = said("full");
    let last = full.lines().last().unwrap();
    let file = ["trials.csv", "windows.csv", "quantiles.csv", "latency.hlog"].iter().any(|name| last.contains(name));
    assert!(last.starts_with("error: cannot write ") && file && last.contains("No space left"), "{full}");
    assert_consistent(&folder.path().join("disk.copy"));
    assert_consistent(&folder.path().join("disk.whole"));
}

#[test]
fn a_session_that_is_still_running_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let mut running = begun(&out, &["--blocks", "40"]);
    wait_for("a trial", || lines(&out.join("trials.csv")) >= 2);
    let resume = output(&["compare", "--resume", text(&out)]);
    assert_eq!((resume.status.code(), stderr(&resume).lines().count()), (Some(2), 1));
    assert!(stderr(&resume).contains("is still running"), "{}", stderr(&resume));
    let report = output(&["report", text(&out)]);
    assert!(String::from_utf8_lossy(&report.stdout).contains("still running"));
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    assert_consistent(&out);
}

#[test]
fn a_wall_clock_that_was_set_back_does_not_affect_the_times_of_trials() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    killed(&out);
    // As if the clock had been a day ahead when the session began; and again as after a reboot.
    alter(&out, |about| {
        about["started_at_unix_ms"] = (about["started_at_unix_ms"].as_u64().unwrap() + 86_400_000).into();
    });
    alter(&out, |about| about["boot_mark"] = "another".into());
    let untrusted = output(&["compare", "--resume", text(&out)]);
    assert_eq!(untrusted.status.code(), Some(2), "{}", stderr(&untrusted));
    let output = output(&["compare", "--resume", text(&out), "--trust"]);
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));

    let log = fs::read_to_string(out.join("latency.hlog")).unwrap();
    let starts = log.lines().filter(|line| line.starts_with("Tag=") && line.contains(".response,"));
    let starts: Vec<f64> = starts.map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert!(starts.len() >= 6 && starts.is_sorted() && starts[3] > starts[0], "{starts:?}");
    let after: Vec<u64> = column(&out, "started_after_ms").iter().map(|cell| cell.parse().unwrap()).collect();
    assert!(after.is_sorted() && after[3] > after[0], "{after:?}");
}

#[test]
fn nothing_is_measured_for_an_output_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("trials.csv"), "kept").unwrap();
    let below_a_file = taken.join("trials.csv").join("session");
    for command in [&["compare"][..], &["compare", "--profile", "full"], &["capacity"], &["run", "--server", "mio"]] {
        for (out, words) in [(&taken, "exists already"), (&below_a_file, "cannot make the folder")] {
            let Some(output) = without_network(&[command, &["--out", text(out)]].concat()) else { return };
            assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(2), 1), "{}", stderr(&output));
            assert!(stderr(&output).contains(words), "{command:?}: {}", stderr(&output));
        }
    }
    assert_eq!(fs::read_to_string(taken.join("trials.csv")).unwrap(), "kept");
}

#[test]
fn a_failure_leaves_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let assert_none_left = |output: Output| {
        assert!(!output.status.success() && !stderr(&output).contains("exists already"), "{}", stderr(&output));
        assert!(!out.exists(), "{}: {:?}", stderr(&output), fs::read_dir(&out).unwrap().collect::<Vec<_>>());
    };
    for target in [["--target", "127.0.0.1:1"], ["--command", "true"]].repeat(2) {
        assert_none_left(output(&[&["run", "--no-calibration", "--out", text(&out)], &target[..]].concat()));
    }
    for command in [&["compare"][..], &["compare", "--profile", "full"], &["capacity"]] {
        let Some(output) = without_network(&[command, &["--out", text(&out)]].concat()) else { return };
        assert_none_left(output);
    }
}

#[test]
fn an_empty_folder_is_accepted_and_stays_if_nothing_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let refused = output(&["run", "--target", "127.0.0.1:1", "--no-calibration", "--out", text(folder.path())]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    small_run(folder.path(), &["--server", "mio"], &mut loadgen(&[]));
    assert_eq!(column(folder.path(), "arm"), ["mio"]);
}

/// A network namespace without any connection; `None` if it cannot be created here.
fn without_network(arguments: &[&str]) -> Option<Output> {
    let unshare = ["--net", "--map-root-user"];
    let possible = Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success());
    if !possible {
        println!("SKIPPED: no network namespace can be made here");
        return None;
    }
    let mut command = Command::new("unshare");
    Some(command.args(unshare).arg(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap())
}

/// A recorded run.
fn small_run(out: &Path, target: &[&str], command: &mut Command) {
    let load = ["run", "--connections", "4", "--rate", "200", "--no-calibration"];
    let windows = ["--idle", "0s", "--warmup", "0s", "--duration", "100ms", "--out", text(out)];
    command.args(load).args(windows).args(SHARED).args(target);
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
}

#[test]
fn a_record_contains_no_more_than_a_reader_needs() {
    let home = tempfile::tempdir().unwrap();
    let home_folder = home.path().canonicalize().unwrap();
    let guest = home_folder.join("guest");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_loadgen"), &guest).unwrap();
    let out = home_folder.join("a private name");
    let command = format!("{} fault-server", text(&guest));
    let mut run = Command::new(&guest);
    run.env("HOME", &home_folder);
    small_run(&out, &["--command", &command, "--host-name", "lab-7"], &mut run);

    let record = fs::read_to_string(out.join("session.json")).unwrap();
    assert!(!record.contains(text(&home_folder)) && !record.contains("a private name"), "{record}");
    let about = about(&out);
    assert!(about["command"].as_array().unwrap().contains(&"~/guest fault-server".into()), "{record}");
    assert!(about["boot_mark"].is_null() && about["started_at_monotonic_ns"].is_null(), "{record}");
    assert_eq!(about["environment"]["host"], "lab-7");
    assert!(about["session_id"].as_str().unwrap().ends_with("Z-lab-7"));
    let kept = about["environment"]["kernel_cmdline"].as_str().unwrap();
    let whole = fs::read_to_string("/proc/cmdline").unwrap();
    assert!(kept.split_whitespace().all(|word| whole.contains(word)) && kept.len() <= whole.len());
    assert!(["root=", "console=", "BOOT_IMAGE=", "ip=", "--"].iter().all(|word| !kept.contains(word)), "{kept}");
}

#[test]
fn a_host_name_must_be_plain() {
    for name in ["../../tmp/x", "a b", "", ".hidden", "\u{1b}[2J"] {
        let output = output(&["compare", "--host-name", name]);
        assert_eq!(output.status.code(), Some(2), "{name:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("letters, digits and -_. only"), "{name:?}: {}", stderr(&output));
    }
}

#[test]
fn a_session_begun_by_another_user_shows_its_command_and_runs_only_if_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    killed(&out);
    let mark: PathBuf = folder.path().join("mark");
    let strange = format!("x=touch {}", text(&mark));
    alter(&out, |about| {
        about["boot_mark"] = "0123456789abcdef".into();
        about["command"].as_array_mut().unwrap().extend(["--command".into(), strange.clone().into()]);
    });
    let refused = output(&["compare", "--resume", text(&out)]);
    assert_eq!((refused.status.code(), stderr(&refused).lines().count()), (Some(2), 1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("'{strange}'")) && stderr(&refused).contains("--trust"));
    assert!(!mark.exists(), "it was run");

    let trusted = output(&["compare", "--resume", text(&out), "--trust"]);
    assert!(stderr(&trusted).contains("recorded with another"), "{}", stderr(&trusted));
    let alone = output(&["compare", "--trust"]);
    assert!(alone.status.code() == Some(2) && stderr(&alone).contains("--resume"), "{}", stderr(&alone));
}

#[test]
fn a_guest_that_was_built_again_is_not_mixed_with_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (out, script) = (folder.path().join("session"), folder.path().join("guest.py"));
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers/guests/echo.py");
    fs::copy(guest, &script).unwrap();
    let words = format!("guest=python3 {} {{addr}} {{status_interval_ms}} {{max_connections}}", text(&script));
    killed_with(&out, &["--command", &words]);
    let files = about(&out)["configuration"]["guest_files"]["guest"].as_object().unwrap().clone();
    let lengths: Vec<usize> = files.values().map(|checksum| checksum.as_str().unwrap().len()).collect();
    assert_eq!(lengths, [64, 64], "of python3 and of the script: {files:?}");

    append(&script, "# changed\n");
    let refused = output(&["compare", "--resume", text(&out)]);
    assert_eq!((refused.status.code(), stderr(&refused).lines().count()), (Some(2), 1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("recorded with another build of a guest"), "{}", stderr(&refused));
}

#[test]
fn control_sequences_of_a_guest_are_escaped() {
    let guest = r#"sh -c "printf '\033[2J\033]0;title\007' >&2; exit 1""#;
    let output = output(&["run", "--no-calibration", "--command", guest]);
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{said}");
    assert!(said.contains("[2J") && !said.trim_end().contains(char::is_control), "{said:?}");
}
