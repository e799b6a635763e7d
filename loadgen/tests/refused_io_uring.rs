//! A kernel, or a container, that refuses io_uring: the server says so, and nothing else fails.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt,
    process::{Command, Output},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// io_uring_setup(2), the same on all architectures.
const IO_URING_SETUP: i64 = 425;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Runs `loadgen` where io_uring_setup fails with `errno`, as under the filters of containers.
fn refused(errno: u32, arguments: &[&str]) -> Output {
    let rules = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).env("NO_COLOR", "1");
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(move || apply_filter(&filter).map_err(|_| io::Error::last_os_error())) };
    command.output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_server_says_what_refused_it_and_what_to_do_and_does_not_listen() {
    for (errno, reason) in [
        (EPERM, "(io_uring_setup: Operation not permitted (os error 1)); see kernel.io_uring_disabled"),
        (ENOSYS, "(io_uring_setup: Function not implemented (os error 38)); it needs Linux 5.19"),
    ] {
        let output = refused(errno, &["serve", "io-uring", "--addr", "127.0.0.1:0"]);
        let stderr = words(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty(), "{}", words(&output.stdout));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("io-uring cannot serve: this kernel refuses io_uring"), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn its_checks_are_skipped_with_the_reason() {
    let output = refused(EPERM, &["verify", "--server", "io-uring"]);
    let said = words(&output.stdout) + &words(&output.stderr);
    assert!(said.contains("this kernel refuses io_uring"), "{said}");
    assert!(said.contains("0 pass, 0 fail, 0 declared, "), "{said}");
}

#[test]
fn a_comparison_with_it_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session").to_str().unwrap().to_owned();
    let output =
        refused(EPERM, &["compare", "--servers", "mio,io-uring", "--profile", "smoke", "--blocks", "1", "--out", &out]);
    let stderr = words(&output.stderr);
    assert!(matches!(output.status.code(), Some(code) if code != 0), "{stderr}");
    assert!(stderr.contains("this kernel refuses io_uring"), "{stderr}");
}
