//! The generator against peers that do more than echo: work, a handshake, an idle timeout.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/runs.rs"]
mod runs;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output},
    thread,
    time::Duration,
};

use peers::{line_peer, peer, serve_lines, status};
use protocol::{
    handshake::{Answer, Handshake, WELCOME},
    work::Work,
};
use runs::{record, run, summary};

/// The one line of a run without a measurement.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{text}");
    assert!(output.stdout.is_empty());
    text
}

/// The server's side of the handshake; false if the client does not answer as it should.
fn greet(stream: &mut TcpStream, token: u64) -> bool {
    let (mut handshake, mut buffer) = (Handshake::new(token), [0; 64]);
    if stream.write_all(&handshake.hello()).is_err() {
        return false;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        match handshake.receive(&buffer[..count]) {
            Answer::Incomplete => {}
            Answer::Complete(behind) => return behind.is_empty(),
            Answer::Wrong => return false,
        }
    }
    false
}

/// A peer that echoes after a handshake, whose welcome is followed by `behind` at once.
fn greeting_peer(behind: impl Fn() -> String + Clone + Send + 'static) -> SocketAddr {
    peer(move |mut stream| {
        let token = u64::from(stream.peer_addr().unwrap().port());
        if greet(&mut stream, token) && stream.write_all(&[WELCOME, behind().as_bytes()].concat()).is_ok() {
            serve_lines(stream, |_, line| line.to_vec());
        }
    })
}

const GREETED: [&str; 6] = ["--handshake", "5s", "--rate", "1k", "--arrivals", "constant"];

#[test]
fn every_client_answers_the_hello_before_its_first_message() {
    let company = ["--slow-readers", "1", "--churn", "200", "--flooders", "1", "--duration", "1s"];
    let row = record(&run(greeting_peer(String::new), &[&GREETED[..], &company].concat()), 0);
    assert_eq!(
        (&row["echoed_count"], &row["corrupt_count"], &row["reset_count"]),
        (&1_000.into(), &0.into(), &0.into())
    );
    let count = |column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{column}: {row}"));
    assert!(count("churn_opened_count") >= 50 && count("flooder_opened_count") == 1, "{row}");
    assert_eq!(count("slow_reader_closed_count") + count("churn_closed_count") + count("flooder_closed_count"), 0);
    // The welcome comes before the first echo.
    assert!(
        count("welcome_ns_min") > 0 && count("welcome_ns_p50") <= count("churn_connect_ns_p50") * 102 / 100,
        "{row}"
    );
    assert!(count("connect_ns_p50") > 0 && row["handshake_ms"] == 5_000, "{row}");
}

#[test]
fn what_follows_the_welcome_in_the_same_read_belongs_to_the_stream() {
    let row = record(&run(greeting_peer(|| status(1) + &status(2)), &GREETED), 0);
    // They are in the ramp, whose statuses are in no column, but they are neither corrupt nor doubled nor missed.
    assert_eq!((&row["echoed_count"], &row["corrupt_count"]), (&300.into(), &0.into()), "{row}");
    assert_eq!((&row["status_duplicate_count"], &row["status_missed_count"]), (&0.into(), &0.into()), "{row}");
    let text = complaint(&run(greeting_peer(|| "no stream\n".to_owned()), &GREETED));
    assert!(text.contains("does not echo") && text.contains("no stream"), "{text}");
}

#[test]
fn closed_loops_of_several_threads_and_the_receive_lag_greet_as_well() {
    let arguments = ["--handshake", "1s", "--closed", "--depth", "2", "--connections", "4", "--threads", "2"];
    let row = record(&run(greeting_peer(String::new), &[&arguments[..], &["--receive-lag"]].concat()), 0);
    assert!(row["echoed_count"].as_u64().unwrap() > 8 && row["peak_rate_per_sec"].as_f64().unwrap() > 0.0, "{row}");
    assert!(row["receive_lag_ns_p50"].as_u64().unwrap() > 0, "{row}");
    assert!(row["welcome_ns_p50"].is_null(), "without a churn in the load window none is measured: {row}");
}

#[test]
fn a_server_without_the_handshake_is_told_by_what_it_does() {
    let silent = line_peer(|_, line| line.to_vec());
    assert!(complaint(&run(silent, &GREETED)).contains("no hello: it was not started with --handshake"));
    let speaks_first = peer(|mut stream| {
        let _ = stream.write_all(status(1).as_bytes());
        serve_lines(stream, |_, line| line.to_vec());
    });
    let text = complaint(&run(speaks_first, &GREETED));
    assert!(text.contains("does not begin with a hello") && text.contains("Server status: "), "{text}");
    let bids_no_welcome = peer(|mut stream| {
        greet(&mut stream, 7);
        serve_lines(stream, |_, line| line.to_vec());
    });
    assert!(complaint(&run(bids_no_welcome, &GREETED)).contains("no welcome"));
    let hangs_up = peer(|mut stream| {
        greet(&mut stream, 7);
    });
    assert!(complaint(&run(hangs_up, &GREETED)).contains("closed the connection in the handshake"));
}

#[test]
fn a_handshake_that_was_not_asked_for_is_recognized() {
    for payload in ["64B", "4B"] {
        let text = complaint(&summary(greeting_peer(String::new), &["--payload", payload]));
        assert!(text.contains("begins with a hello"), "{text}");
    }
}

#[test]
fn responses_of_light_messages_are_recorded_apart() {
    const DELAY: Duration = Duration::from_millis(40);
    let work: Work = "0s,50%:1s".parse().unwrap();
    // The peer delays just the messages that are not heavy, so that a busy host does not make both alike.
    let addr = line_peer(move |_, line| {
        if !work.is_heavy(line.strip_suffix(b"\n").unwrap()) {
            // This is the answer to test, not a wait for an event.
            thread::sleep(DELAY);
        }
        line.to_vec()
    });
    let load = ["--connections", "40", "--rate", "200", "--arrivals", "constant", "--duration", "1s"];
    let row = record(&run(addr, &[&load[..], &["--work", "0s,50%:1s", "--warmup", "300ms"]].concat()), 0);
    let at = |column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{column}: {row}"));
    let delay_ns = DELAY.as_nanos() as u64;
    assert!(at("response_light_ns_min") >= delay_ns * 999 / 1_000 && at("response_ns_min") < delay_ns, "{row}");
    assert_eq!(row["work"], "50%:1s", "{row}");
    let row = record(&run(line_peer(|_, line| line.to_vec()), &["--rate", "500", "--work", "3us"]), 0);
    assert!(row["response_light_ns_p50"].is_null(), "without shares no message is light: {row}");
}

/// A run of one of the project's servers, short unless the arguments say otherwise.
fn run_server(name: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--server", name, "--json", "--pacing", "timer", "--no-calibration", "--idle", "0s"])
        .args(["--warmup", "100ms", "--connections", "8", "--status-interval", "100ms"])
        .args(arguments)
        .output()
        .unwrap()
}

const ALL: [&str; 6] = ["--work", "1us,20%:200us", "--handshake", "5s", "--idle-timeout", "10s"];

#[test]
fn servers_work_greet_and_tell_timeouts_in_an_open_loop_with_a_churn_and_a_drain() {
    for server in ["threads", "mio", "tokio"] {
        let load = ["--rate", "200", "--duration", "1s", "--churn", "100", "--drain", "--drain-bursts", "3"];
        let row = record(&run_server(server, &[&ALL[..], &load].concat()), 0);
        let count = |column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{server}, {column}: {row}"));
        let failures = ["lost_count", "corrupt_count", "reset_count", "churn_wrong_count", "churn_closed_count"];
        assert_eq!(failures.map(count), [0; 5], "{server}: {row}");
        let counted = ["handshakes_failed_count", "handshakes_timed_out_count", "idle_timeout_count"];
        assert_eq!(counted.map(count), [0; 3], "{server}: {row}");
        assert!(count("churn_opened_count") > 20 && count("welcome_ns_p50") > 0, "{server}: {row}");
        assert!(count("response_light_ns_min") > 0 && count("response_ns_max") >= 200_000, "{server}: {row}");
        // On a busy host hundreds of messages with work, and for threads as many wake-ups, may take seconds.
        let drained = row["drain_rate_per_sec"].as_f64().is_some_and(|rate| rate > 10.0);
        assert!(drained || row["error"].to_string().contains("not every echo came within"), "{server}: {row}");
    }
}

#[test]
fn servers_work_and_greet_in_a_closed_loop_and_its_peak() {
    for server in ["threads", "mio", "tokio"] {
        let load = ["--closed", "--depth", "2", "--duration", "500ms", "--receive-lag"];
        let row = record(&run_server(server, &[&ALL[..], &load].concat()), 0);
        assert!(row["echoed_count"].as_u64().unwrap() > 16, "{server}: {row}");
        assert!(row["peak_rate_per_sec"].as_f64().unwrap() > 0.0, "{server}: {row}");
        assert!(row["receive_lag_ns_p50"].as_u64().is_some(), "{server}: {row}");
        assert_eq!((&row["lost_count"], &row["corrupt_count"]), (&0.into(), &0.into()), "{server}: {row}");
    }
}

#[test]
fn the_summary_tells_what_was_asked_for_and_what_became_of_it_within_80_columns() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--server", "mio", "--pacing", "timer", "--no-calibration", "--idle", "0s", "--warmup", "0s"])
        .args(["--rate", "200", "--duration", "1s", "--churn", "200", "--connections", "4"])
        .args(ALL)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "1us,20%:200us of work per message; handshake within 5s; idle timeout 10s\n",
        "\necho, light ",
        "\nhandshake   ",
        " welcomes, after connect(): p50 ",
        "0 failed",
        "0 timed out",
        "\ntimeouts    0 connections closed for their silence\n",
    ] {
        assert!(text.contains(part), "{part:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_connection_that_the_server_closes_for_its_silence_is_reset() {
    let addr = peer(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        serve_lines(stream, |_, line| line.to_vec());
    });
    // The second half of the window is silent.
    let row = record(&run(addr, &["--rate", "1k,0", "--arrivals", "constant", "--duration", "2s"]), 3);
    assert_eq!((&row["reset_count"], &row["echoed_count"]), (&2.into(), &row["sent_count"]), "{row}");
}

#[test]
fn a_plan_that_has_its_own_connections_closed_is_refused() {
    for (arguments, options) in [
        (&["--idle", "2s"][..], "a longer --idle-timeout or a shorter --idle"),
        (&["--rate", "1"], "a higher --rate or fewer --connections"),
        (&["--rate", "0..1k"], "a --rate above 0"),
        (&["--drain", "--drain-bursts", "50"], "leave --drain out"),
    ] {
        let output = run("127.0.0.1:1".parse().unwrap(), &[arguments, &["--idle-timeout", "2s"]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
        assert!(text.contains(options), "{text}");
    }
}
