//! The generator against hand-written faulty peers: it counts the faults, explains them and ends in time.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/runs.rs"]
mod runs;

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Output,
    thread,
    time::Duration,
};

use peers::{line_peer, peer, serve_lines, status};
use runs::{record, run, summary};
use serde_json::Value;

/// The outcome in a record: the expected one, or `unclear` on a busy host.
fn outcome<'a>(row: &Value, outcome: &'a str) -> &'a str {
    if row["validity"] == "invalid" { "unclear" } else { outcome }
}

/// The one line of a run without a measurement.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(3), 1), "{text}");
    assert!(output.stdout.is_empty());
    text
}

const CONSTANT: [&str; 4] = ["--rate", "1k", "--arrivals", "constant"];

#[test]
fn a_correct_peer_receives_and_returns_every_message() {
    let row = record(&run(line_peer(|_, line| line.to_vec()), &CONSTANT), 0);
    assert_eq!(row["scheduled_count"], 300);
    assert_eq!(row["echoed_count"], 300);
    assert_eq!((&row["lost_count"], &row["outcome"]), (&0.into(), &"ok".into()));
    // Values that were not measured are null, not 0.
    assert!(row["server_cpu_ns_load"].is_null() && row["headroom_ppm"].is_null());
}

#[test]
fn a_delay_shows_in_every_response() {
    let addr = line_peer(|_, line| {
        // This is the fault itself, not a wait for an event.
        thread::sleep(Duration::from_millis(3));
        line.to_vec()
    });
    let row = record(&run(addr, &["--rate", "100", "--arrivals", "constant"]), 0);
    assert!(row["response_ns_min"].as_u64().unwrap() >= 3_000_000, "{row}");
    assert!(row["service_ns_min"].as_u64().unwrap() >= 3_000_000);
}

#[test]
fn a_stall_counts_from_the_intended_time_of_every_message_that_it_delays() {
    // One stall of 100 ms at 1000 messages/s on one connection: about 100 messages wait, 50 ms on average.
    let addr = line_peer(|number, line| {
        if number == 50 {
            // This is the fault itself, not a wait for an event.
            thread::sleep(Duration::from_millis(100));
        }
        line.to_vec()
    });
    let row = record(&run(addr, &[&CONSTANT[..], &["--connections", "1"]].concat()), 0);
    let p90 = row["response_ns_p90"].as_u64().unwrap();
    assert!(p90 >= 50_000_000, "coordinated omission: p90 is only {p90} ns");
}

#[test]
fn a_server_that_cannot_keep_up_is_saturated() {
    // Two connections sustain at most 333 messages/s each, and are offered 500.
    let addr = line_peer(|_, line| {
        // This is the fault itself, not a wait for an event.
        thread::sleep(Duration::from_millis(3));
        line.to_vec()
    });
    let row = record(&run(addr, &CONSTANT), 0);
    assert_eq!((&row["outcome"], &row["lost_count"]), (&outcome(&row, "saturated").into(), &0.into()), "{row}");
}

#[test]
fn slow_is_not_lost() {
    // The peer echoes everything, a tenth of it in time: the rest is neither lost nor awaited.
    let slow = || {
        line_peer(|_, line| {
            // This is the fault itself, not a wait for an event.
            thread::sleep(Duration::from_millis(20));
            line.to_vec()
        })
    };
    for payload in ["64B", "16B"] {
        let row = record(&run(slow(), &[&CONSTANT[..], &["--payload", payload, "--warmup", "300ms"]].concat()), 0);
        assert_eq!((&row["outcome"], &row["lost_count"]), (&outcome(&row, "saturated").into(), &0.into()), "{row}");
        assert_eq!((&row["corrupt_count"], &row["reset_count"]), (&0.into(), &0.into()), "{row}");
        assert!(row["unanswered_count"].as_u64().unwrap() > 0, "{row}");
    }
    // In a closed loop, messages in flight at the end are not owed.
    let row = record(&run(slow(), &["--closed", "--depth", "1000"]), 0);
    assert_eq!((&row["outcome"], &row["lost_count"]), (&"ok".into(), &0.into()), "{row}");
    assert!(row["unanswered_count"].as_u64().unwrap() > 0, "{row}");
}

#[test]
fn a_dropped_last_message_is_lost_and_not_late() {
    // Each connection sends a probe and 150 messages.
    let drops = line_peer(|number, line| if number == 150 { Vec::new() } else { line.to_vec() });
    let row = record(&run(drops, &CONSTANT), 3);
    let counts = (&row["lost_count"], &row["unanswered_count"], &row["outcome"]);
    assert_eq!(counts, (&2.into(), &0.into(), &"failed".into()), "{row}");
    assert_eq!((&row["sent_count"], &row["echoed_count"]), (&300.into(), &298.into()), "{row}");
}

#[test]
fn the_summary_shows_the_causes_of_a_failed_outcome_with_their_counts() {
    let doubles = line_peer(|number, line| if number % 10 == 5 { line.repeat(2) } else { line.to_vec() });
    let swaps = peer(|stream| {
        let mut held = Vec::new();
        serve_lines(stream, |number, line| match number % 10 {
            5 => {
                held = line.to_vec();
                Vec::new()
            }
            _ => [line, &std::mem::take(&mut held)[..]].concat(),
        });
    });
    for (addr, words) in [(doubles, "30 doubled"), (swaps, "30 out of order")] {
        let output = summary(addr, &CONSTANT);
        let text = String::from_utf8(output.stdout).unwrap();
        let counts = text.lines().find(|line| line.starts_with("counts")).unwrap();
        assert!(counts.ends_with(words), "{text}");
        assert!(
            text.contains("outcome     failed"),
            "wrong bytes are the server's failure even on a busy host:\n{text}"
        );
    }
}

#[test]
fn the_counts_of_a_line_are_of_one_window() {
    // The peer answers 40 lines and then drops 100, all in the warm-up.
    let drops = line_peer(|number, line| if (40..140).contains(&number) { Vec::new() } else { line.to_vec() });
    let text = String::from_utf8(summary(drops, &[&CONSTANT[..], &["--warmup", "300ms"]].concat()).stdout).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line("warm-up").trim_start_matches("warm-up").trim(), "200 lost", "{text}");
    assert!(line("counts").ends_with(" 300 sent, 300 echoed, 0 lost, 0 corrupt, 0 reset"), "{text}");
}

#[test]
fn altered_lines_are_counted_one_by_one() {
    let addr = line_peer(|number, line| {
        let mut line = line.to_vec();
        if number % 10 == 9 {
            line[15] ^= 1;
        }
        line
    });
    let row = record(&run(addr, &CONSTANT), 3);
    // Each connection sent a probe and 150 messages.
    assert_eq!((&row["corrupt_count"], &row["lost_count"]), (&30.into(), &0.into()), "{row}");
    assert_eq!((&row["echoed_count"], &row["outcome"]), (&270.into(), &"failed".into()));
}

#[test]
fn lost_duplicate_and_reordered_lines_are_told_apart() {
    let drops = line_peer(|number, line| if number % 10 == 5 { Vec::new() } else { line.to_vec() });
    let row = record(&run(drops, &CONSTANT), 3);
    assert_eq!((&row["lost_count"], &row["corrupt_count"]), (&30.into(), &0.into()), "{row}");

    let doubles = line_peer(|number, line| if number % 10 == 5 { line.repeat(2) } else { line.to_vec() });
    let row = record(&run(doubles, &CONSTANT), 3);
    assert_eq!((&row["echo_duplicate_count"], &row["lost_count"]), (&30.into(), &0.into()), "{row}");
    assert_eq!(row["echoed_count"], 300);
}

#[test]
fn a_peer_that_hangs_up_is_an_outcome_and_not_a_crash() {
    let addr = peer(|mut stream| {
        let mut buffer = [0; 64];
        for _ in 0..20 {
            if stream.read_exact(&mut buffer).and_then(|()| stream.write_all(&buffer)).is_err() {
                return;
            }
        }
    });
    let output = run(addr, &CONSTANT);
    let row = record(&output, 3);
    assert_eq!((&row["reset_count"], &row["outcome"]), (&2.into(), &outcome(&row, "failed").into()), "{row}");
    assert!(row["error"].as_str().unwrap().contains("closed"), "{row}");
    // The server is the cause, and the generator passes all gates.
    assert!(!row["invalid_reasons"].as_str().unwrap().contains("slots"), "{row}");
}

#[test]
fn a_peer_that_closes_at_once_is_unreachable() {
    assert!(complaint(&run(peer(drop), &[])).contains("closed"));
}

#[test]
fn a_peer_that_is_not_an_echo_server_is_reported_with_its_answer() {
    let addr = line_peer(|_, _| b"HTTP/1.1 400 Bad Request\r\n".to_vec());
    assert!(complaint(&run(addr, &[])).contains("HTTP/1.1 400"));
}

#[test]
fn a_peer_that_never_answers_is_given_up() {
    let addr = peer(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    assert!(complaint(&run(addr, &[])).contains("nothing is echoed"));
}

#[test]
fn a_peer_that_floods_is_not_an_echo_server() {
    let addr = peer(|mut stream| while stream.write_all(&[b'f'; 4096]).is_ok() {});
    assert!(complaint(&run(addr, &[])).contains("does not echo"));
}

#[test]
fn an_address_without_a_listener_is_unreachable() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(complaint(&run(addr, &[])).contains("refused"));
}

#[test]
fn status_lines_with_absurd_times_are_flagged_and_do_not_affect_latency() {
    let addr = line_peer(|number, line| {
        let status = format!("Server status: 1 active connections tick={number} due_ns={} emit_ns=7\n", u64::MAX);
        [status.as_bytes(), line].concat()
    });
    let row = record(&run(addr, &CONSTANT), 0);
    assert_eq!((&row["echoed_count"], &row["status_count"]), (&300.into(), &300.into()), "{row}");
    assert!(row["status_delivery_ns_max"].is_null());
    assert!(row["flags"].as_str().unwrap().contains("status_clock="), "{row}");
}

#[test]
fn duplicate_old_and_missing_status_lines_are_told_apart() {
    // Of a connection's lines the first to the seventh bring the ticks 1, 2, 2, 5, 4, 6, 7; another brings all from 1.
    let addr = peer({
        let connections = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        move |stream| {
            let odd = connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1;
            let ticks: &[u64] = if odd { &[1, 2, 3, 4, 5, 6, 7] } else { &[1, 2, 2, 5, 4, 6, 7] };
            serve_lines(stream, |number, line| match ticks.get(number as usize) {
                Some(tick) => [status(*tick).as_bytes(), line].concat(),
                None => line.to_vec(),
            });
        }
    });
    let row = record(&run(addr, &CONSTANT), 0);
    assert_eq!(row["status_duplicate_count"], 1, "{row}");
    assert_eq!(row["status_reordered_count"], 1);
    // 3 and 4 did not arrive in order.
    assert_eq!(row["status_missed_count"], 2);
    assert_eq!(row["outcome"], "ok", "an old or doubled status is no lost echo");
}

#[test]
fn a_peer_that_stops_reading_costs_neither_time_nor_memory() {
    // 200 messages of 1 MiB per second: messages that are not accepted are not kept as bytes.
    let addr = peer(|mut stream| {
        let mut first = vec![0; 1 << 20];
        if stream.read_exact(&mut first).and_then(|()| stream.write_all(&first)).is_ok() {
            // It stalls for good: the connection stays open and is never read again.
            loop {
                thread::park();
            }
        }
    });
    let begun = std::time::Instant::now();
    let row = record(&run(addr, &["--rate", "200", "--arrivals", "constant", "--payload", "1MiB"]), 0);
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    // The peer might still answer, and nothing arrived out of order.
    assert_eq!((&row["unanswered_count"], &row["lost_count"]), (&60.into(), &0.into()), "{row}");
    assert_eq!(row["outcome"], outcome(&row, "saturated"), "{row}");
    assert!(!row["invalid_reasons"].as_str().unwrap().contains("slots"), "{row}");
}

#[test]
fn a_peer_that_floods_later_is_cut_off() {
    let addr = peer(|mut stream| {
        let mut line = [0; 64];
        for _ in 0..20 {
            if stream.read_exact(&mut line).and_then(|()| stream.write_all(&line)).is_err() {
                return;
            }
        }
        while stream.write_all(&[b'f'; 4096]).is_ok() {}
    });
    let row = record(&run(addr, &CONSTANT), 3);
    assert_eq!((&row["outcome"], &row["corrupt_count"]), (&"failed".into(), &2.into()), "{row}");
    assert!(row["error"].as_str().unwrap().contains("does not echo"), "{row}");
    assert_eq!(row["reset_count"], 0, "it was not the server that hung up: {row}");
}

#[test]
fn a_peer_that_sends_endless_status_lines_is_tolerated() {
    let addr = peer(|stream| {
        let mut number = 0;
        serve_lines(stream, |_, line| {
            let statuses: String = (0..500)
                .map(|_| {
                    number += 1;
                    status(number)
                })
                .collect();
            [statuses.as_bytes(), line].concat()
        });
    });
    let row = record(&run(addr, &CONSTANT), 0);
    assert_eq!(row["echoed_count"], 300, "{row}");
    assert!(row["status_count"].as_u64().unwrap() >= 300 * 500 - 1_000);
}

#[test]
fn a_peer_that_answers_everything_twice_is_counted_and_the_trial_ends() {
    let row = record(&run(line_peer(|_, line| line.repeat(2)), &CONSTANT), 3);
    // The first echo of a connection belongs to no window, and neither does its duplicate.
    assert_eq!((&row["echo_duplicate_count"], &row["echoed_count"]), (&300.into(), &300.into()), "{row}");
}

#[test]
fn several_threads_share_the_work_and_add_up() {
    let addr = line_peer(|_, line| line.to_vec());
    let row = record(&run(addr, &[&CONSTANT[..], &["--connections", "7", "--threads", "3"]].concat()), 0);
    assert_eq!((&row["echoed_count"], &row["loadgen_threads"]), (&300.into(), &3.into()), "{row}");
    assert!(row["in_flight_ns"].as_u64().unwrap() > 0);
}

#[test]
fn connections_come_from_several_addresses() {
    let sources = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let addr = peer({
        let sources = std::sync::Arc::clone(&sources);
        move |stream| {
            sources.lock().unwrap().insert(stream.peer_addr().unwrap().ip().to_string());
            serve_lines(stream, |_, line| line.to_vec());
        }
    });
    record(&run(addr, &[&CONSTANT[..], &["--connections", "6", "--source-addresses", "3"]].concat()), 0);
    let sources: Vec<String> = sources.lock().unwrap().iter().cloned().collect();
    assert_eq!(sources, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
}

#[test]
fn a_ramp_of_mixed_sizes_is_echoed_completely() {
    let addr = line_peer(|_, line| line.to_vec());
    let arguments = ["--rate", "0..2k", "--arrivals", "constant", "--payload", "64B:0.5,300B:0.25,4KiB"];
    let row = record(&run(addr, &arguments), 0);
    assert_eq!((&row["echoed_count"], &row["lost_count"]), (&row["scheduled_count"], &0.into()), "{row}");
    assert!(row["scheduled_count"].as_u64().unwrap().abs_diff(300) <= 2);
    assert_eq!((&row["rate_profile"], &row["rate_offered_per_sec"]), (&"0..2000".into(), &1_000.into()));
}

#[test]
fn misbehaving_clients_are_counted_separately() {
    let addr = line_peer(|_, line| line.to_vec());
    let company = ["--slow-readers", "2", "--churn", "100", "--flooders", "1", "--warmup", "300ms", "--duration", "2s"];
    let row = record(&run(addr, &[&CONSTANT[..], &company].concat()), 0);
    assert_eq!((&row["sent_count"], &row["echoed_count"]), (&2_000.into(), &2_000.into()), "nothing of theirs: {row}");
    let count = |column: &str| row[column].as_u64().unwrap();
    assert!(count("churn_opened_count") >= 10 && count("churn_connect_ns_p50") > 0, "{row}");
    assert!(count("flooder_echoed_count") > 100, "{row}");
    // All buffers were full before the window began, so slow readers only read a little.
    assert!(count("slow_reader_echoed_count") + count("slow_reader_sent_count") > 0, "{row}");
    assert_eq!(count("churn_wrong_count") + count("flooder_wrong_count") + count("slow_reader_wrong_count"), 0);
    assert_eq!(count("reset_count"), 0);
    assert!(count("response_undisturbed_ns_p50") > 0);
}

#[test]
fn a_flooder_writes_as_fast_as_the_server_reads_even_without_echoes() {
    // Measured connections are served; of a flooder's lines only the first one is answered.
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let addr = peer(move |stream| {
        let measured = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1;
        serve_lines(stream, |number, line| if measured || number == 0 { line.to_vec() } else { Vec::new() });
    });
    let flood = ["--flooders", "1", "--connections", "1", "--duration", "2s"];
    let row = record(&run(addr, &[&CONSTANT[..], &flood].concat()), 0);
    // The bytes in flight when it still waited for the answers: 64 KiB.
    assert!(row["flooder_sent_count"].as_u64().unwrap() > 2 * 1_024, "{row}");
    assert_eq!((&row["echoed_count"], &row["flooder_wrong_count"]), (&2_000.into(), &0.into()), "{row}");
}

#[test]
fn a_closed_loop_keeps_its_depth_and_says_that_it_is_one() {
    let addr = line_peer(|_, line| line.to_vec());
    let row = record(&run(addr, &["--closed", "--depth", "8"]), 0);
    assert_eq!((&row["mode"], &row["depth"]), (&"closed".into(), &8.into()));
    assert!(row["echoed_count"].as_u64().unwrap() > 16, "{row}");
    assert!(row["scheduled_count"].is_null() && row["send_lag_ns_p50"].is_null());
}

#[test]
fn short_and_long_messages_are_echoed() {
    for payload in ["1B", "23B", "24B", "64KiB"] {
        let addr = line_peer(|_, line| line.to_vec());
        let row = record(&run(addr, &["--rate", "100", "--payload", payload]), 0);
        assert_eq!((&row["lost_count"], &row["corrupt_count"]), (&0.into(), &0.into()), "{payload}: {row}");
    }
}
