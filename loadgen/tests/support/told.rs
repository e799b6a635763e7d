//! A command's statements about a peer, and their check.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// A command's exit code and output.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `loadgen` in a gigabyte of address space, and kills it if it does not end.
pub(crate) fn told(arguments: &[&str]) -> Told {
    const PATIENCE: Duration = Duration::from_secs(90);
    const ADDRESS_SPACE: u64 = 1 << 30;
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    prlimit(Some(pid), Resource::As, limit).unwrap();
    let (ended, output) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    let output = output.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("{arguments:?} does not end");
    });
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Told {
    /// The counts of the summary, summed over its lines.
    pub(crate) fn counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        let names = ["counts", "ramp", "idle", "warm-up"];
        let mut lines = self.stdout.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(name) = names.iter().find(|name| line.starts_with(**name)) else { continue };
            let mut items = line[name.len()..].to_owned();
            while items.ends_with(',') {
                items.push_str(lines.next().unwrap());
            }
            for item in items.split(',') {
                let (count, what) = item.trim().split_once(' ').unwrap();
                let what = WORDS.iter().find(|word| **word == what).unwrap_or_else(|| panic!("{what} is new"));
                *counts.entry(*what).or_default() += count.parse::<u64>().unwrap();
            }
        }
        counts
    }

    /// The summary states this outcome, or that the trial is invalid on a busy host, and the exit code matches.
    pub(crate) fn is(&self, outcome: &str, wrong_bytes: bool) {
        let text = &self.stdout;
        let invalid = text.contains("INVALID");
        let expected = if invalid && outcome != "ok" && !wrong_bytes { "unclear" } else { outcome };
        let line = text.lines().find(|line| line.starts_with("outcome")).unwrap_or_else(|| panic!("{}", self.stderr));
        assert_eq!(line.split([' ', ':']).rfind(|word| *word == expected), Some(expected), "{text}");
        let code = if invalid {
            5
        } else if outcome == "failed" {
            3
        } else {
            0
        };
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), ""), "{text}");
        let mut lines = text.lines().skip(2);
        assert!(lines.all(|line| line.chars().count() <= 80 || line.starts_with("outcome")), "{text}");
    }

    /// These are the only counts of faults, with these numbers; `None` stands for any number but 0.
    pub(crate) fn blames(&self, wrong: &[(&str, Option<u64>)]) {
        let counts = self.counts();
        for (what, count) in counts.iter().filter(|(what, _)| !["sent", "echoed"].contains(what)) {
            match wrong.iter().find(|(wrong, _)| wrong == what) {
                None => assert_eq!(*count, 0, "{what}: {}", self.stdout),
                Some((_, Some(wanted))) => assert_eq!(count, wanted, "{what}: {}", self.stdout),
                Some((_, None)) => assert_ne!(*count, 0, "{what}: {}", self.stdout),
            }
        }
        assert!(wrong.iter().all(|(what, _)| counts.contains_key(what)), "{}", self.stdout);
    }
}

const WORDS: [&str; 10] = [
    "sent",
    "echoed",
    "lost",
    "corrupt",
    "reset",
    "doubled",
    "out of order",
    "not connected",
    "not answered",
    "not waited for",
];
