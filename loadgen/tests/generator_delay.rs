//! Time that the generator wastes on purpose, and how long echoes wait for it.

#[expect(dead_code, reason = "these peers send no status lines")]
#[path = "support/peers.rs"]
mod peers;
#[path = "support/runs.rs"]
mod runs;

use std::{thread, time::Duration};

use peers::line_peer;
use runs::{record, run, summary};
use serde_json::Value;

#[test]
fn a_delay_in_the_generator_is_send_lag_and_no_part_of_the_service_time() {
    const DELAY_NS: u64 = 2_000_000;
    let delayed = |load: &[&str]| {
        let addr = line_peer(|_, line| line.to_vec());
        record(&run(addr, &[&["--connections", "1", "--generator-delay", "2ms"][..], load].concat()), 0)
    };
    let number = |row: &Value, column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{column} in {row}"));
    let open = delayed(&["--rate", "100", "--arrivals", "constant"]);
    assert_eq!(open["loadgen_delay_ns"], DELAY_NS);
    // Histograms are exact to a thousandth.
    let least_ns = DELAY_NS - DELAY_NS / 500;
    assert!(number(&open, "send_lag_ns_min") >= least_ns, "{open}");
    assert!(number(&open, "response_ns_min") >= number(&open, "service_ns_min") + least_ns, "{open}");
    // One message at a time, each of them late: at most one in the time of a delay.
    let closed = delayed(&["--closed"]);
    assert!(number(&closed, "echoed_count") <= 300_000_000 / DELAY_NS + 1, "{closed}");
}

#[test]
fn a_closed_loop_is_followed_by_one_with_a_delay_in_the_generator() {
    let addr = line_peer(|_, line| line.to_vec());
    let row = record(&run(addr, &["--closed", "--depth", "2"]), 0);
    for column in ["peak_rate_per_sec", "peak_rate_delayed_per_sec", "peak_delay_ns", "peak_ms"] {
        assert!(row[column].as_f64().is_some_and(|value| value > 0.0), "{column} in {row}");
    }
    assert_eq!(row["loadgen_delay_ns"], 0);
    // A server that leaves messages unanswered has no rate to perturb.
    let slow = line_peer(|_, line| {
        // This is the fault itself, not a wait for an event.
        thread::sleep(Duration::from_millis(20));
        line.to_vec()
    });
    let row = record(&run(slow, &["--closed", "--depth", "1000"]), 0);
    assert!(row["peak_rate_per_sec"].is_null() && row["rate_achieved_per_sec"].as_f64().is_some(), "{row}");
}

#[test]
fn echoes_that_come_while_the_generator_wastes_time_have_a_receive_lag() {
    const DELAY_NS: u64 = 2_000_000;
    let lag = |arguments: &[&str]| {
        let addr = line_peer(|_, line| line.to_vec());
        // A batch of echoes, each of which waits for the messages that are sent in return for those before it.
        let load = ["--closed", "--connections", "8", "--receive-lag"];
        let output = run(addr, &[&load[..], arguments].concat());
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(complaint, "", "{arguments:?}");
        let row = record(&output, 0);
        let [p50, p99, max] =
            ["p50", "p99", "max"].map(|at| row[format!("receive_lag_ns_{at}")].as_u64().expect("a lag"));
        assert!(p50 <= p99 && p99 <= max, "{row}");
        p50
    };
    let (at_once, late) = (lag(&[]), lag(&["--generator-delay", "2ms"]));
    assert!(late >= DELAY_NS, "{late}");
    assert!(at_once < late, "{at_once} and {late}");
    let addr = line_peer(|_, line| line.to_vec());
    assert!(record(&run(addr, &["--rate", "100"]), 0)["receive_lag_ns_p50"].is_null(), "only on request");
}

#[test]
fn a_receive_lag_that_cannot_be_measured_is_one_line_and_the_summary_tells_one_that_was() {
    let addr = line_peer(|_, line| line.to_vec());
    let output = run(addr, &["--receive-lag", "--idle", "100ms", "--duration", "0s"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), complaint.lines().count()), (Some(0), 1), "{complaint}");
    assert!(complaint.contains("the receive lag is not measured: with --duration 0s nothing is sent"), "{complaint}");

    let told = summary(line_peer(|_, line| line.to_vec()), &["--receive-lag", "--rate", "1k"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.lines().any(|line| line.trim().starts_with("echoes wait to be read: p50 ")), "{told}");
}
