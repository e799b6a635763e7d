//! The generator's environment: its executable and folder, arguments, git, and host names.

#[path = "support/small.rs"]
mod small;
mod support;

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::TcpListener,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use small::{LOAD, WINDOWS, loadgen, row, stderr, words};
use support::{Killed, wait_for};

#[test]
fn an_argument_need_not_be_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let (out, pages, text) = (path(b"out\xff"), path(b"man\xe9"), path(b"text\xfe.md"));
    fs::write(&text, "<!-- report -->\n<!-- /report -->\n").unwrap();
    let small = format!("run --server mio {LOAD} {WINDOWS} --out");
    let run = words(&small).into_iter().map(OsString::from).chain([out.clone().into()]).collect();
    for arguments in [
        run,
        vec!["report".into(), out.clone().into()],
        vec!["report".into(), out.clone().into(), "--splice".into(), text.clone().into()],
        vec!["man".into(), pages.clone().into()],
    ] {
        let output = loadgen(&arguments).env(OsStr::from_bytes(b"L\xff"), OsStr::from_bytes(b"\xff")).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{arguments:?}: {}", stderr(&output));
    }
    assert!(out.join("trials.csv").exists() && pages.join("loadgen.1").exists());
    assert!(fs::read_to_string(text).unwrap().contains("```text"));
    for option in ["--server", "--rate", "--target", "--duration", "--slo"] {
        let arguments = [OsString::from("run"), option.into(), OsString::from_vec(b"\xff".to_vec())];
        let output = loadgen(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}: {}", stderr(&output));
    }
}

/// A copy of this executable in a folder of its own.
fn copied(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let copy = folder.join("loadgen");
    fs::copy(env!("CARGO_BIN_EXE_loadgen"), &copy).unwrap();
    copy
}

#[test]
fn the_executable_may_be_in_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copied(&folder.path().join(OsStr::from_bytes(b"{x} 'a \"b \xff")));
    // With a calibration, which starts the executable as well.
    let small = format!("run --server mio --json {LOAD} {WINDOWS}").replace(" --no-calibration", "");
    row(&Command::new(&copy).args(words(&small)).output().unwrap());
}

#[test]
fn a_session_continues_when_its_executable_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (copied(folder.path()), folder.path().join("session"));
    let small = "compare --profile smoke --placement shared --pacing timer --servers mio --blocks 2 --out";
    let mut running = Killed(
        Command::new(&copy).args(words(small)).arg(&out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let trials = || fs::read_to_string(out.join("trials.csv")).unwrap_or_default();
    wait_for("a trial", || trials().lines().count() >= 2);
    let other = folder.path().join("other");
    fs::write(&other, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(other, copy).unwrap();
    assert!(matches!(running.0.wait().unwrap().code(), Some(0 | 5)));
    let about: Value = serde_json::from_str(&fs::read_to_string(out.join("session.json")).unwrap()).unwrap();
    assert_eq!(about["state"], "complete");
    assert!(!trials().contains("cannot start"), "{}", trials());
}

#[test]
fn no_part_of_an_interval_is_cut_off() {
    let interval = ["--status-interval", "10ms 500us"];
    let output = loadgen(&[&["run", "--command", "server {status_interval_ms}"], &interval[..]].concat()).output();
    let text = stderr(output.as_ref().unwrap());
    assert_eq!((output.unwrap().status.code(), text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("ask for 10ms or 11ms"), "{text}");

    let small = format!("run --server mio --json {LOAD} --idle 21ms --duration 300500us");
    let row = row(&loadgen(&[&words(&small)[..], &interval].concat()).output().unwrap());
    assert_eq!(
        (&row["status_interval_ms"], &row["idle_ms"], &row["load_ms"]),
        (&10.5.into(), &21.into(), &300.5.into())
    );
}

#[test]
fn a_missing_git_revision_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let git = folder.path().join("git");
    let says = "fatal: detected dubious ownership in repository at '/x'";
    for (name, script) in [
        ("dubious ownership", Some(format!("#!/bin/sh\necho \"{says}\" >&2\nexit 128\n"))),
        ("cannot be started", None),
    ] {
        match script {
            Some(script) => {
                fs::write(&git, script).unwrap();
                fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
            }
            None => fs::remove_file(&git).unwrap(),
        }
        let out = folder.path().join(name);
        let small = format!("run --server mio {LOAD} {WINDOWS} --out");
        let output = loadgen(&words(&small)).arg(&out).env("PATH", folder.path()).output().unwrap();
        let text = stderr(&output);
        assert!(text.lines().count() == 1 && text.starts_with("warning: ") && text.contains(name), "{name}: {text}");
        let about: Value = serde_json::from_str(&fs::read_to_string(out.join("session.json")).unwrap()).unwrap();
        let build = &about["build"];
        assert!(build["git_revision"].is_null(), "{build}");
        assert!(build["git_problem"].as_str().is_some_and(|problem| problem.contains(name)), "{build}");
    }
}

/// Runs with another /etc/hosts, which needs root; otherwise `None`.
fn with_hosts(hosts: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    let file = folder.join("hosts");
    fs::write(&file, hosts).unwrap();
    let inside = format!("mount --bind '{}' /etc/hosts && exec \"$@\"", file.display());
    let unshare = |words: &[&str]| Command::new("unshare").arg("-m").args(words).output();
    if !unshare(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: to change /etc/hosts for one process takes root");
        return None;
    }
    let words = [&["sh", "-c", &inside, "sh", env!("CARGO_BIN_EXE_loadgen")], arguments].concat();
    Some(unshare(&words).unwrap())
}

#[test]
fn every_address_of_a_name_is_tried_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let served = TcpListener::bind("127.0.0.3:0").unwrap();
    let port = served.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in served.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut client.try_clone().unwrap(), &mut client));
        }
    });
    let hosts = "::1 served\n127.0.0.2 served\n127.0.0.3 served\n";
    let target = format!("served:{port}");
    let small = format!("run --json --target {target} {LOAD} {WINDOWS}");
    let Some(output) = with_hosts(hosts, folder.path(), &words(&small)) else { return };
    row(&output);
    let output = with_hosts("::1 served\n127.0.0.2 served\n", folder.path(), &words(&small)).unwrap();
    let text = stderr(&output);
    assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{text}");
    assert!(text.contains(&format!("[::1]:{port}")) && text.contains(&format!("127.0.0.2:{port}")), "{text}");
    let output = with_hosts(hosts, folder.path(), &["verify", "--target", &target]).unwrap();
    // The server was reached, but cannot be checked with another status interval.
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(5) && text.contains("not judged: no clause could be checked"), "{text}");
}
