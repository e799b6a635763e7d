//! Guests: `--command` in verify, run and compare. What this host cannot build or run is shown as ignored.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

/// A server of servers/guests, in one way of building it.
struct Guest {
    title: &'static str,
    source: &'static str,
    /// The compiler with its options; the output and the source follow.
    build: &'static [&'static str],
    /// A program that the compiler must translate, and the host run, before the guest can be expected to work.
    probe: &'static str,
    /// The clauses that it breaks by the nature of its runtime.
    breaks: &'static [&'static str],
}

const GUESTS: [Guest; 3] = [
    Guest {
        title: "the guest in C",
        source: "epoll.c",
        build: &["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-o"],
        probe: C_PROBE,
        breaks: &[],
    },
    Guest {
        title: "the guest in C, with sanitizers,",
        source: "epoll.c",
        build: &["cc", "-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o"],
        probe: C_PROBE,
        breaks: &[],
    },
    Guest {
        title: "the guest in Go",
        source: "echo.go",
        build: &["go", "build", "-o"],
        probe: "package main\n\nimport \"net\"\n\nfunc main() { new(net.ListenConfig).SetMultipathTCP(false) }\n",
        // Its runtime has a thread of its own that watches the others.
        breaks: &["I1"],
    },
];

/// What the guest in C needs of the library and the kernel.
const C_PROBE: &str = "#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/timerfd.h>
int main(void) {
    return epoll_create1(0) < 0 || timerfd_create(1, 0) < 0;
}
";

/// The guest in Python, which needs no building.
const ECHO: &str = "python3 servers/guests/echo.py {addr} {status_interval_ms} {max_connections}";

fn main() {
    let python = run(Command::new("python3").arg("--version"));
    let with_python = |name: &str, test: fn()| {
        let no_python = python.clone().err();
        Trial::ignorable_test(name, move || {
            if let Some(why) = no_python {
                return Ok(Completion::ignored_with(why));
            }
            test();
            Ok(Completion::Completed)
        })
    };
    let mut trials = vec![
        with_python("the guest in Python keeps every clause", || keeps_its_clauses(ECHO, &[])),
        with_python("a check that needs an absent placeholder is skipped with the reason", an_absent_placeholder),
        with_python("the guest is measured and compared like any other", measured_and_compared),
        Trial::test("an invalid command is refused", || {
            an_invalid_command();
            Ok(())
        }),
    ];
    trials.extend(GUESTS.iter().map(|guest| {
        let name = format!("{} keeps its clauses", guest.title);
        Trial::ignorable_test(name, || guest.check())
    }));
    let mut arguments = Arguments::from_args();
    // Most checks wait for ticks, so more of them than CPUs can run at a time.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit();
}

impl Guest {
    fn check(&self) -> Result<Completion, Failed> {
        let folder = tempfile::tempdir()?;
        let (_, extension) = self.source.split_once('.').ok_or("a source without extension")?;
        let (probe, probed) = (folder.path().join(format!("probe.{extension}")), folder.path().join("probed"));
        fs::write(&probe, self.probe)?;
        if let Err(why) = self.build(&probe, &probed).and_then(|()| run(&mut Command::new(probed))) {
            return Ok(Completion::ignored_with(why));
        }
        let program = folder.path().join("guest");
        self.build(&workspace().join("servers/guests").join(self.source), &program)?;
        let command = format!("'{}' {{addr}} {{status_interval_ms}} {{max_connections}}", program.display());
        keeps_its_clauses(&command, self.breaks);
        Ok(Completion::Completed)
    }

    fn build(&self, source: &Path, program: &Path) -> Result<(), String> {
        run(Command::new(self.build[0]).args(&self.build[1..]).arg(program).arg(source))
    }
}

/// Runs a command to its end; if it does not succeed, says so in one line.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr).lines().collect::<Vec<_>>().join("; ");
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}: {words}", output.status)) }
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).current_dir(workspace()).output().unwrap()
}

fn keeps_its_clauses(command: &str, breaks: &[&str]) {
    let output = loadgen(&["verify", "--command", command]);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = |word: &'static str| {
        let found = text.lines().filter_map(move |line| line.split_once(' '));
        found.filter(move |(_, rest)| rest.trim_start().starts_with(word))
    };
    assert!(lines("pass").count() > 30, "{text}");
    assert!(lines("FAIL").all(|(clause, _)| breaks.contains(&clause)), "{text}");
    // Only checks that do not apply are skipped: a shortage of threads needs a user other than root, and an option of the
    // specification that the guest is asked for it.
    let reasons = ["RLIMIT_NPROC", "several threads", "no {work}", "no {handshake_ms}", "no {idle_timeout_ms}"];
    let applies = |rest: &str| !reasons.iter().any(|reason| rest.contains(reason));
    assert!(lines("skipped").all(|(_, rest)| !applies(rest)), "{text}");
    assert_eq!(output.status.code() == Some(0), lines("FAIL").next().is_none(), "{text}");
}

fn an_absent_placeholder() {
    let output = loadgen(&["verify", "--command", "python3 servers/guests/echo.py {addr} {status_interval_ms}"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().any(|line| line.starts_with("F3  skipped") && line.contains("{max_connections}")), "{text}");
}

fn measured_and_compared() {
    let load = ["--pacing", "timer", "--placement", "shared", "--connections", "4", "--rate", "200"];
    let windows = ["--idle", "0s", "--warmup", "0s", "--duration", "200ms"];
    let output = loadgen(&[&["run", "--json", "--command", ECHO], &load[..], &windows].concat());
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&row["outcome"], &row["target_kind"]), (&"ok".into(), &"command".into()), "{row}");
    assert!(row["server"].is_null() && row["server_cpu_ns_load"].as_u64().unwrap() > 0);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let guest = format!("guest={ECHO}");
    let compare = ["compare", "--profile", "smoke", "--blocks", "1", "--servers", "mio", "--command", &guest];
    let output = loadgen(&[&compare, &load[..], &["--out", out.to_str().unwrap()]].concat());
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", String::from_utf8_lossy(&output.stderr));
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    let arm = trials.headers().unwrap().iter().position(|column| column == "arm").unwrap();
    let mut arms: Vec<String> = trials.records().map(|row| row.unwrap()[arm].to_owned()).collect();
    arms.sort_unstable();
    // A block with a trial that a busy host has made invalid is repeated.
    arms.dedup();
    assert_eq!(arms, ["guest", "mio", "mio#2"]);
}

fn an_invalid_command() {
    let cases = [
        ("", 2, "names no program"),
        ("server {adr}", 2, "{adr} is no placeholder"),
        ("server 'open", 2, "quote"),
        ("no-such-program-anywhere {addr}", 3, "cannot start no-such-program-anywhere"),
        ("echo hello {addr}", 3, "listening on ADDR:PORT"),
        ("true", 3, "exited before it said that it listens"),
    ];
    for (command, code, words) in cases {
        let output = loadgen(&["run", "--command", command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        assert!(text.contains(words), "{command:?}: {text}");
    }
    let output = loadgen(&["compare", "--command", "mio=server"]);
    assert_eq!(output.status.code(), Some(2), "a guest may not take a server's name");
}
