//! `--work`, `--handshake`, `--idle-timeout` and `--workers` from a user's view: what is refused, and how.

#[path = "support/peers.rs"]
#[expect(dead_code, reason = "these peers send no statuses")]
mod peers;

use std::{io::Write, process::Command};

use peers::{line_peer, peer, serve_lines};
use protocol::Feature;
use servers::SERVERS;

/// Exit code and stderr of a command that prints nothing else.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "{arguments:?} printed {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Refused with this exit code and a single line with these words.
fn refused_in_one_line(arguments: &[&str], code: i32, words: &str) {
    let (found, text) = refused(arguments);
    assert_eq!((found, text.lines().count()), (code, 1), "{arguments:?}: {text}");
    assert!(text.contains(words), "{arguments:?}: {text}");
}

/// Every command that starts servers, up to their names.
const COMMANDS: [&[&str]; 5] = [
    &["serve", "mio"],
    &["run", "--server", "mio"],
    &["compare", "--servers", "mio"],
    &["capacity", "--servers", "mio"],
    &["verify", "--server", "mio"],
];

#[test]
fn a_wrong_value_is_answered_with_what_would_be_right() {
    let cases = [
        ("--work", "-5us", "negative"),
        ("--work", "5", "write 5us or 5ms"),
        ("--work", "soon", "20us"),
        ("--work", "1h", "at most 1s"),
        ("--work", "99999999999999999999s", "20us"),
        ("--work", "60%:1us,50%:1us", "100 %"),
        ("--work", "120%:1us", "at most 100%"),
        ("--work", "0%:1us", "more than 0%"),
        ("--work", "1us,2us", "two times"),
        ("--work", "", "20us"),
        ("--handshake", "0s", "1ms or more"),
        ("--handshake", "5", "5s"),
        ("--handshake", "-5s", "5s"),
        ("--handshake", "400days", "365days"),
        ("--handshake", "never", "5s"),
        ("--idle-timeout", "1us", "1ms or more"),
        ("--idle-timeout", "0s", "1ms or more"),
        ("--idle-timeout", "-1s", "5s"),
    ];
    for (option, value, words) in cases {
        for command in COMMANDS {
            let arguments = [command, &[option, value]].concat();
            let (code, text) = refused(&arguments);
            assert_eq!(code, 2, "{arguments:?}: {text}");
            let line = text.lines().next().unwrap();
            assert!(line.contains(option) && line.contains(words), "{arguments:?}: {text}");
        }
    }
}

#[test]
fn a_missing_value_is_not_made_up() {
    for arguments in [&["serve", "mio", "--work"][..], &["serve", "mio", "--idle-timeout"], &["verify", "--handshake"]]
    {
        let (code, text) = refused(arguments);
        assert!(code == 2 && text.contains("a value is required"), "{text}");
    }
    // A value may begin with a hyphen, to be told that it is negative; the next option is still not a value.
    assert_eq!(refused(&["serve", "mio", "--work", "--handshake", "5s"]).0, 2);
}

#[test]
fn a_number_of_workers_that_no_host_has_is_refused() {
    for workers in ["0", "4097", "99999999999999999999", "two", "1.5"] {
        let (code, text) = refused(&["serve", "tokio", "--workers", workers]);
        assert_eq!(code, 2, "{workers}: {text}");
        assert!(text.contains("write a number from 1 to 4096"), "{workers}: {text}");
    }
}

fn value(feature: Feature) -> &'static str {
    match feature {
        Feature::Work => "5us",
        Feature::Handshake | Feature::IdleTimeout => "5s",
    }
}

#[test]
fn a_server_that_lacks_an_option_is_not_started() {
    for server in SERVERS {
        for feature in server.lacks {
            let asked = [feature.option(), value(*feature)];
            let words = format!("{} has no {}", server.name, feature.option());
            let commands: [&[&str]; 5] = [
                &["serve", server.name],
                &["verify", "--server", server.name],
                &["run", "--connections", "1", "--server", server.name],
                &["compare", "--connections", "1", "--servers", server.name],
                &["capacity", "--connections", "1", "--servers", server.name],
            ];
            for command in commands {
                refused_in_one_line(&[command, &asked].concat(), 2, &words);
            }
        }
    }
}

#[test]
fn a_guest_that_cannot_be_told_of_an_option_is_not_started() {
    for (feature, placeholder) in
        [(Feature::Work, "{work}"), (Feature::Handshake, "{handshake_ms}"), (Feature::IdleTimeout, "{idle_timeout_ms}")]
    {
        let asked = [feature.option(), value(feature)];
        let commands: [&[&str]; 3] = [
            &["run", "--command", "no-such-program {addr}"],
            &["verify", "--command", "no-such-program {addr} {status_interval_ms}"],
            &["compare", "--profile", "smoke", "--servers", "mio", "--command", "guest=no-such-program {addr}"],
        ];
        for command in commands {
            // A comparison asks the servers first.
            if command[0] != "compare" || !servers::by_name("mio").unwrap().lacks.contains(&feature) {
                refused_in_one_line(&[command, &asked].concat(), 2, placeholder);
            }
        }
    }
}

/// Instead of one failure for each check, each after its own time limit.
#[test]
fn a_handshake_that_only_one_side_knows_of_is_one_line() {
    let silent = line_peer(|_, line| line.to_vec()).to_string();
    refused_in_one_line(&["verify", "--target", &silent, "--handshake", "5s"], 3, "no hello came");
    let greeting = peer(|mut stream| {
        stream.write_all(b"hello 0123456789abcdef\n").unwrap();
        serve_lines(stream, |_, _| Vec::new());
    });
    refused_in_one_line(&["verify", "--target", &greeting.to_string()], 3, "begins with a handshake");
    // A guest that takes the placeholder and does nothing about it.
    let guest = "python3 ../servers/guests/echo.py {addr} {status_interval_ms} {max_connections} {handshake_ms}";
    if Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        refused_in_one_line(&["verify", "--command", guest, "--handshake", "5s"], 3, "");
    }
}
