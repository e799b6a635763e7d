//! Output: a result that cannot be written is an error; a message that cannot be written to stderr is not.

mod support;

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{Killed, wait_for};

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

const SMALL: [&str; 13] = [
    "--connections",
    "2",
    "--rate",
    "200",
    "--idle",
    "0s",
    "--warmup",
    "0s",
    "--duration",
    "50ms",
    "--no-calibration",
    "--pacing",
    "timer",
];

/// A file on which every write fails: the disk is full.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe on which every write fails: the reader has closed it.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn session(folder: &Path) -> String {
    let out = folder.join("session").to_str().unwrap().to_owned();
    let output = loadgen(&[&["run", "--server", "mio", "--out", &out], &SMALL[..]].concat()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn assert_one_line(arguments: &[&str], output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        ["error: cannot write to stdout: No space left on device (os error 28)"],
        "{arguments:?}: {text}"
    );
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = session(folder.path());
    let compared = folder.path().join("compared").to_str().unwrap().to_owned();
    let climbed = folder.path().join("climbed").to_str().unwrap().to_owned();
    let cases: [&[&str]; 14] = [
        &["list"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["help", "run"],
        &["doctor"],
        &["report", &out],
        &["report", &out, "--format", "gha"],
        &["verify", "--server", "mio"],
        &["selftest", "coverage"],
        &["compare", "--profile", "smoke", "--blocks", "1", "--servers", "mio", "--out", &compared],
        &["capacity", "--servers", "mio", "--from", "1M", "--duration", "20ms", "--out", &climbed],
        &["fault-server"],
    ];
    for arguments in cases {
        assert_one_line(arguments, &loadgen(arguments).stdout(full()).output().unwrap());
    }
    for json in [&[][..], &["--json"]] {
        let arguments = [&["run", "--server", "mio"], &SMALL[..], json].concat();
        assert_one_line(&arguments, &loadgen(&arguments).stdout(full()).output().unwrap());
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in [&["list"][..], &["man"], &["completions", "bash"], &["--help"], &["--version"], &["doctor"]] {
        let output = loadgen(arguments).stdout(closed()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.is_empty(), "{arguments:?}: {:?} {text}", output.status);
    }
}

#[test]
fn an_unwritable_stderr_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, stderr) in [("full", full as fn() -> Stdio), ("closed", closed)] {
        let out = folder.path().join(name).to_str().unwrap().to_owned();
        let cases: [(&[&str], &[i32]); 5] = [
            (&["run", "--target", "127.0.0.1:1"], &[3]),
            (&["run", "--server", "nothing"], &[2]),
            (&["report", "/nowhere"], &[2]),
            (&["run", "--server", "mio", "--connections", "0"], &[2]),
            (&["compare", "--profile", "smoke", "--blocks", "1", "--servers", "mio", "--out", &out], &[0, 5]),
        ];
        for (arguments, codes) in cases {
            let output = loadgen(arguments).stderr(stderr()).output().unwrap();
            let code = output.status.code();
            assert!(code.is_some_and(|code| codes.contains(&code)), "{name}: {arguments:?} ended with {code:?}");
        }
        let mut server = Killed(loadgen(&["fault-server"]).stdout(Stdio::piped()).stderr(stderr()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
        let mut ended = None;
        wait_for("its end", || {
            ended = server.0.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0), "{name}: what the fault server did");
    }
}
