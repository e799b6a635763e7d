//! Guests as processes: their children, their output, their shutdown, and the attribution of failures.

#[path = "support/small.rs"]
mod small;
mod support;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use small::{LOAD, WINDOWS, loadgen, row, stderr, words};
use support::{Killed, wait_for};

/// An echo server with extra code at two points, which writes its process ID to a file.
const ECHO: &str = r#"
import os, selectors, signal, socket, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as every program in C has it
here = os.path.dirname(os.path.abspath(__file__))
def note(name):
    with open(os.path.join(here, name + ".part"), "w") as file: file.write(str(os.getpid()))
    os.rename(os.path.join(here, name + ".part"), os.path.join(here, name))
def accepted(): pass
#BEGIN
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(1024)
selector = selectors.DefaultSelector(); selector.register(listener, selectors.EVENT_READ)
note("pid")
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            accepted()
            continue
        try: data = key.fileobj.recv(65536)
        except OSError: data = b""
        if data: key.fileobj.sendall(data)
        else: selector.unregister(key.fileobj); key.fileobj.close()
"#;

/// A folder with a guest and its files.
struct Guest(tempfile::TempDir);

impl Guest {
    /// A guest that runs `more` before it listens.
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("echo.py"), ECHO.replace("#BEGIN", more)).unwrap();
        Self(folder)
    }

    /// The guest behind a shell that does not exec and runs `before` first.
    fn launched(more: &str, before: &str) -> Self {
        let guest = Self::new(more);
        let script = format!("#!/bin/sh\n{before}\npython3 \"$(dirname \"$0\")/echo.py\"\necho 'server ended' >&2\n");
        fs::write(guest.path("launch.sh"), script).unwrap();
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> String {
        format!("python3 {}", self.path("echo.py").display())
    }

    fn launcher(&self) -> String {
        format!("sh {}", self.path("launch.sh").display())
    }

    /// Waits for the guest's file, and returns the process ID in it.
    fn pid(&self, name: &str) -> String {
        wait_for(name, || self.path(name).exists());
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn run(command: &str, windows: &str) -> Command {
    loadgen(
        &[&["run", "--json", "--status-interval", "0s", "--command", command], &words(LOAD)[..], &words(windows)]
            .concat(),
    )
}

fn has_ended(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// Whether the host has Python, which some guests need.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: there is no python3 on this host, and the guests are written in it");
    }
    found
}

fn interrupt(running: &Killed) {
    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
}

/// The exit code and the output of an interrupted run.
fn ended(running: Killed) -> Output {
    let mut running = std::mem::ManuallyDrop::new(running);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = running.0.wait().unwrap();
    std::io::copy(&mut running.0.stdout.take().unwrap(), &mut stdout).unwrap();
    std::io::copy(&mut running.0.stderr.take().unwrap(), &mut stderr).unwrap();
    Output { status, stdout, stderr }
}

fn spawn(mut command: Command) -> Killed {
    Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_launcher_ends_with_its_server_and_the_server_is_measured() {
    if !has_python() {
        return;
    }
    let guest = Guest::launched("", "");
    let row = row(&run(&guest.launcher(), "--idle 100ms --duration 300ms").output().unwrap());
    // Each message takes Python longer than that; the launcher only waits.
    let echoed = row["echoed_count"].as_u64().unwrap();
    assert!(row["server_cpu_ns_load"].as_u64().unwrap() > 1_000 * echoed && echoed > 0, "{row}");
    assert!(row["server_pss_bytes_idle"].as_u64().unwrap() > 0 && row["server_threads_max"] == 1, "{row}");
    let pid = guest.pid("pid");
    wait_for("the server's end", || has_ended(&pid));
}

#[test]
fn a_server_of_several_processes_is_measured_as_a_whole() {
    if !has_python() {
        return;
    }
    // The process that listens first starts another one that does the work.
    let guest = Guest::new(
        "import atexit\nlisten = socket.socket.listen\ndef forked(self, n):\n    listen(self, n)\n    if os.fork(): signal.pause()\nsocket.socket.listen = forked",
    );
    let row = row(&run(&guest.command(), WINDOWS).output().unwrap());
    assert_eq!(row["server_threads_max"], 2, "{row}");
    assert!(row["server_cpu_ns_load"].as_u64().unwrap() > 1_000 * row["echoed_count"].as_u64().unwrap(), "{row}");
    let pid = guest.pid("pid");
    wait_for("the worker's end", || has_ended(&pid));
}

#[test]
fn a_listener_outside_of_the_started_processes_is_not_observed_with_a_warning() {
    if !has_python() {
        return;
    }
    let (server, guest) = (Guest::new(""), tempfile::tempdir().unwrap());
    let log = fs::File::create(server.path("log")).unwrap();
    let running = Command::new("python3").arg(server.path("echo.py")).stdout(log).stderr(Stdio::null()).spawn();
    let _running = Killed(running.unwrap());
    server.pid("pid");
    wait_for("its greeting", || fs::read_to_string(server.path("log")).is_ok_and(|text| text.ends_with('\n')));
    let script = guest.path().join("client.sh");
    fs::write(&script, format!("cat {}; sleep 60", server.path("log").display())).unwrap();
    let output = run(&format!("sh {}", script.display()), WINDOWS).output().unwrap();
    assert!(row(&output)["server_cpu_ns_load"].is_null(), "{}", row(&output));
    assert!(stderr(&output).contains("stays unknown"), "{}", stderr(&output));
}

#[test]
fn ctrl_c_ends_a_launcher_and_its_server_and_keeps_the_results() {
    if !has_python() {
        return;
    }
    let guest = Guest::launched("def accepted(): note('accepted')", "");
    let running = spawn(run(&guest.launcher(), "--idle 0s --duration 60s"));
    let pid = guest.pid("accepted");
    interrupt(&running);
    let output = ended(running);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|row| row["outcome"] != "failed"));
    wait_for("the server's end", || has_ended(&pid));
}

#[test]
fn a_second_ctrl_c_leaves_no_server_behind_either() {
    if !has_python() {
        return;
    }
    let stubborn = "signal.signal(signal.SIGTERM, lambda *_: note('stubborn'))\ndef accepted(): note('accepted')";
    let guest = Guest::launched(stubborn, "trap 'true' TERM");
    let running = spawn(run(&guest.launcher(), "--idle 0s --duration 60s"));
    let pid = guest.pid("accepted");
    interrupt(&running);
    // The first signal has arrived: the command now waits for a server that does not end.
    guest.pid("stubborn");
    interrupt(&running);
    assert_eq!(ended(running).status.code(), Some(130));
    wait_for("the server's end", || has_ended(&pid));
}

#[test]
fn a_process_that_holds_a_pipe_open_does_not_block_the_result() {
    if !has_python() {
        return;
    }
    let guest =
        Guest::launched("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "setsid sleep 60 & echo $! > \"$0.pid\"");
    let row = row(&run(&guest.launcher(), WINDOWS).output().unwrap());
    assert!(row["echoed_count"].as_u64().unwrap() > 0, "{row}");
    let pid = guest.pid("pid");
    wait_for("the end of the server, which does not heed SIGTERM", || has_ended(&pid));
    let daemon: i32 = fs::read_to_string(guest.path("launch.sh.pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn all_output_of_a_guest_is_read_to_the_end() {
    if !has_python() {
        return;
    }
    for (what, more) in [
        ("no text", r"def accepted(): os.write(2, b'caf\xe9 \xff\xfe\0 connected\n')"),
        ("a log on stdout", "def accepted(): os.write(1, b'connected\\n' * 20_000)"),
        ("no line", "for _ in range(1_000): os.write(2, bytes(65_536))"),
    ] {
        let guest = Guest::new(more);
        let row = row(&run(&guest.command(), WINDOWS).output().unwrap());
        assert!(row["echoed_count"].as_u64().unwrap() > 0, "{what}: {row}");
    }
}

#[test]
fn a_start_that_never_ends_is_given_up() {
    for command in ["cat /dev/zero", "yes x", "sh -c 'yes | tr -d \\\\n'"] {
        let output = run(command, WINDOWS).output().unwrap();
        let text = stderr(&output);
        assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{command}: {text}");
        assert!(text.contains("listening on ADDR:PORT") && text.len() < 1_000, "{command}: {text}");
    }
}

#[test]
fn a_signal_while_a_server_ends_is_not_mistaken_for_its_deadline() {
    if !has_python() {
        return;
    }
    let slow = "def stop(*_):\n    note('stopping'); time.sleep(1.2); os._exit(0)\nsignal.signal(signal.SIGTERM, stop)";
    let guest = Guest::new(slow);
    let running = spawn(run(&guest.command(), WINDOWS));
    guest.pid("stopping");
    interrupt(&running);
    let output = ended(running);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let row = row(&output);
    assert!(row["error"].is_null(), "{row}");
}

#[test]
fn a_signal_before_a_server_listens_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let command = format!("sh -c 'touch {}; sleep 60'", begun.display());
    let running = spawn(run(&command, WINDOWS));
    wait_for("its start", || begun.exists());
    interrupt(&running);
    let output = ended(running);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(130), "interrupted\n"));
}

#[test]
fn a_guest_may_have_a_name_that_is_not_utf_8() {
    if !has_python() {
        return;
    }
    let guest = Guest::new("");
    let folder = guest.path("").join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&folder).unwrap();
    fs::copy(guest.path("echo.py"), folder.join("echo.py")).unwrap();
    let command = [b"python3 ", folder.as_os_str().as_bytes(), b"/echo.py"].concat();
    let small = format!("run --json --status-interval 0s {LOAD} {WINDOWS} --command");
    row(&loadgen(&words(&small)).arg(OsString::from_vec(command)).output().unwrap());
}

fn rows(session: &Path) -> Vec<(String, String)> {
    let mut trials = csv::Reader::from_path(session.join("trials.csv")).unwrap();
    let header = trials.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (arm, error) = (column("arm"), column("error"));
    trials.records().map(Result::unwrap).map(|row| (row[arm].to_owned(), row[error].to_owned())).collect()
}

fn state(session: &Path) -> Value {
    let about: Value = serde_json::from_str(&fs::read_to_string(session.join("session.json")).unwrap()).unwrap();
    about["state"].clone()
}

fn count(session: &Path) -> usize {
    fs::read_to_string(session.join("trials.csv")).map_or(0, |text| text.lines().count().saturating_sub(1))
}

const COMPARE: [&str; 7] = ["compare", "--profile", "smoke", "--placement", "shared", "--pacing", "timer"];

#[test]
fn an_arm_that_cannot_start_ends_the_session_as_partial_and_it_resumes_from_any_folder() {
    if !has_python() {
        return;
    }
    let guest = Guest::new("");
    let out = guest.path("session");
    let mut command = loadgen(&COMPARE);
    command.args(["--servers", "mio", "--command", "guest=python3 echo.py", "--blocks", "2", "--seed", "4", "--out"]);
    let running = spawn({
        command.arg(&out).current_dir(guest.0.path());
        command
    });
    wait_for("the guest's trial", || count(&out) > 0 && rows(&out).iter().any(|(arm, _)| arm == "guest"));
    fs::rename(guest.path("echo.py"), guest.path("away.py")).unwrap();
    let output = ended(running);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("did not start") && text.contains("--resume") && state(&out) == "partial", "{text}");
    assert!(rows(&out).iter().all(|(_, error)| error.is_empty()), "{:?}", rows(&out));

    fs::rename(guest.path("away.py"), guest.path("echo.py")).unwrap();
    let file = out.join("session.json");
    let about = fs::read_to_string(&file).unwrap();
    let folder = guest.0.path().canonicalize().unwrap();
    let older = about.replace(&format!("\"working_folder\": {:?}", folder.display().to_string()), "\"seldom\": 0");
    assert_ne!(about, older, "the folder is recorded");
    fs::write(&file, older).unwrap();
    let resumed = loadgen(&["compare", "--resume"]).arg(&out).current_dir("/").output().unwrap();
    let text = stderr(&resumed);
    assert!(resumed.status.code() == Some(3) && text.contains("does not say where it was begun"), "{text}");

    fs::write(&file, about).unwrap();
    let resumed = loadgen(&["compare", "--resume"]).arg(&out).current_dir("/").output().unwrap();
    assert!(matches!(resumed.status.code(), Some(0 | 5)), "{}", stderr(&resumed));
    let guests = rows(&out).into_iter().filter(|(arm, error)| arm == "guest" && error.is_empty()).count();
    assert!(state(&out) == "complete" && guests >= 2, "{:?}", rows(&out));
}
