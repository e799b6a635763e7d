//! A drill: peers that do the worst that TCP allows. The generator ends in time and in bounded memory, reports the fault
//! in one line or in its counts, and reports no other fault.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/told.rs"]
mod told;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use peers::{line_peer, peer, serve_lines, status};
use socket2::{Domain, SockRef, Socket, Type};
use told::{Told, told};

const OPEN: [&str; 4] = ["--rate", "1k", "--arrivals", "constant"];
const CLOSED: [&str; 3] = ["--closed", "--depth", "10"];

fn run(addr: SocketAddr, arguments: &[&str]) -> Told {
    let addr = addr.to_string();
    let run = ["run", "--target", &addr, "--pacing", "timer", "--placement", "shared", "--no-calibration"];
    let load = [("--connections", "2"), ("--idle", "0s"), ("--warmup", "0s"), ("--duration", "300ms")];
    let usual =
        load.iter().filter(|(option, _)| !arguments.contains(option)).flat_map(|(option, value)| [*option, value]);
    told(&[&run[..], &usual.collect::<Vec<_>>(), arguments].concat())
}

/// Nothing can be measured: one line gives the reason, in an open and a closed loop and in the conformance suite.
fn is_no_target(addr: SocketAddr, words: &str) {
    let address = addr.to_string();
    let runs: [&(dyn Fn() -> Told + Sync); 3] =
        [&|| run(addr, &OPEN), &|| run(addr, &CLOSED), &|| told(&["verify", "--target", &address])];
    thread::scope(|scope| {
        for told in runs.map(|run| scope.spawn(run)) {
            let Told { code, stdout, stderr } = told.join().unwrap();
            assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(3), "", 1), "{stderr}");
            let named = stderr.contains(words) || (stderr.contains("does not echo") && stderr.len() < 300);
            assert!(named && stderr.contains(&address), "{words} is not in {stderr}");
        }
    });
}

/// Reads and discards until the other side has closed.
fn swallow(mut stream: TcpStream) {
    drop(std::io::copy(&mut stream, &mut std::io::sink()));
}

#[test]
fn a_peer_that_accepts_and_is_silent() {
    is_no_target(peer(swallow), "nothing is echoed");
}

#[test]
fn a_peer_that_never_accepts() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    // The backlog is full when one more connect is not answered.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    is_no_target(addr, "is not answered");
    drop((socket, waiting));
}

#[test]
fn a_peer_that_sends_garbage_without_end() {
    is_no_target(peer(|mut stream| while stream.write_all(&[0xe9; 65_536]).is_ok() {}), "does not echo");
}

#[test]
fn a_peer_that_sends_one_line_of_a_gigabyte() {
    let addr = peer(|mut stream| {
        let sent = (0..1 << 14).try_for_each(|_| stream.write_all(&[b'x'; 65_536]));
        drop(sent.and_then(|()| stream.write_all(b"\n")));
        swallow(stream);
    });
    is_no_target(addr, "does not echo");
}

#[test]
fn a_peer_that_drips_bytes_that_are_not_an_echo() {
    let addr = peer(|mut stream| {
        while stream.write_all(b"x").is_ok() {
            // This is the fault itself, not a wait for an event.
            thread::sleep(Duration::from_millis(50));
        }
    });
    is_no_target(addr, "nothing is echoed");
}

#[test]
fn a_peer_that_hangs_up_right_after_accept() {
    // By FIN in one direction, by FIN in both, by RST.
    is_no_target(
        peer(|stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            swallow(stream);
        }),
        "closed the connection",
    );
    is_no_target(peer(drop), "closed the connection");
    let reset = peer(|stream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap());
    is_no_target(reset, "closed the connection");
}

#[test]
fn a_hang_up_in_the_edge_of_the_connect_is_seen_at_once() {
    // If that edge is lost no further event arrives, and the connection counts as one without an echo.
    let addr = peer(|stream| {
        // The peer may have closed already.
        let _ = stream.shutdown(Shutdown::Write);
        swallow(stream);
    });
    for _ in 0..30 {
        let Told { code, stderr, .. } = run(addr, &[&OPEN[..], &["--connections", "1"]].concat());
        assert!(code == Some(3) && stderr.contains("closed the connection"), "{stderr}");
    }
}

#[test]
fn a_peer_that_drips_its_echo_is_slow_and_loses_nothing() {
    let addr = peer(|stream| {
        serve_lines(stream.try_clone().unwrap(), |_, line| {
            for byte in line {
                // This is the fault itself, not a wait for an event.
                thread::sleep(Duration::from_millis(10));
                if (&stream).write_all(&[*byte]).is_err() {
                    break;
                }
            }
            Vec::new()
        });
    });
    let told = run(addr, &[&OPEN[..], &["--payload", "24B"]].concat());
    told.is("saturated", false);
    told.blames(&[("not answered", None)]);
    let told = run(addr, &[&CLOSED[..], &["--payload", "24B"]].concat());
    told.is("ok", false);
    told.blames(&[("not waited for", None)]);
}

#[test]
fn a_peer_that_falls_silent_is_not_reported_to_lose_messages() {
    let addr = line_peer(|number, line| if number < 40 { line.to_vec() } else { Vec::new() });
    let told = run(addr, &OPEN);
    told.is("saturated", false);
    told.blames(&[("not answered", Some(222))]);
    let told = run(addr, &CLOSED);
    told.is("saturated", false);
    told.blames(&[("not waited for", Some(20))]);
}

#[test]
fn a_peer_that_flips_a_byte() {
    let addr = line_peer(|number, line| {
        let mut line = line.to_vec();
        if number % 10 == 9 {
            line[30] ^= 4;
        }
        line
    });
    let told = run(addr, &OPEN);
    told.is("failed", true);
    told.blames(&[("corrupt", Some(30))]);
    let told = run(addr, &CLOSED);
    told.is("failed", true);
    told.blames(&[("corrupt", None)]);
}

#[test]
fn a_peer_that_answers_twice() {
    let addr = line_peer(|_, line| line.repeat(2));
    let told = run(addr, &OPEN);
    told.is("failed", true);
    told.blames(&[("doubled", Some(300))]);
    let told = run(addr, &CLOSED);
    told.is("failed", true);
    told.blames(&[("doubled", None)]);
}

#[test]
fn a_peer_that_answers_in_reverse() {
    let addr = peer(|stream| {
        let mut held: Vec<Vec<u8>> = Vec::new();
        serve_lines(stream, |number, line| {
            held.push(line.to_vec());
            // The probe immediately, then ten lines at a time.
            if number % 10 == 0 { held.drain(..).rev().flatten().collect() } else { Vec::new() }
        });
    });
    let told = run(addr, &OPEN);
    told.is("failed", true);
    told.blames(&[("out of order", Some(270))]);
    let told = run(addr, &CLOSED);
    told.is("failed", true);
    told.blames(&[("out of order", None)]);
}

#[test]
fn a_peer_that_puts_statuses_inside_lines() {
    let addr = line_peer(|number, line| match number {
        0 => line.to_vec(),
        _ => [&line[..10], status(number).as_bytes(), &line[10..]].concat(),
    });
    let told = run(addr, &OPEN);
    told.is("failed", true);
    // The parts of a line on either side of the status.
    told.blames(&[("corrupt", Some(600))]);
}

#[test]
fn a_peer_whose_statuses_are_absurd() {
    const MAX: u64 = u64::MAX;
    let numbers =
        [(MAX, MAX, MAX, MAX), (0, 0, 0, 0), (1, 7, 1, MAX), (0, 6, MAX, 1), (3, MAX - 1, 0, 0), (2, 8, 5, 4)];
    let addr = line_peer(move |number, line| {
        let (active, tick, due_ns, emit_ns) = numbers[number as usize % numbers.len()];
        let absurd =
            format!("Server status: {active} active connections tick={tick} due_ns={due_ns} emit_ns={emit_ns}\n");
        let huge = "Server status: 1 active connections tick=99999999999999999999999 due_ns=1 emit_ns=1\n";
        [absurd.as_bytes(), if number == 50 { huge.as_bytes() } else { b"" }, line].concat()
    });
    // The idle window is aligned to the absurd ticks of this server.
    let told = run(addr, &[&OPEN[..], &["--status-interval", "50ms", "--idle", "100ms"]].concat());
    told.is("failed", true);
    // A malformed status is a line that is not an echo.
    told.blames(&[("corrupt", Some(2))]);
    assert!(told.stdout.contains("status times"), "{}", told.stdout);
    assert_eq!(told.counts()["echoed"], 300, "{}", told.stdout);
}

#[test]
fn a_peer_that_serves_every_other_connection() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let addr = peer(move |stream| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) {
            serve_lines(stream, |_, line| line.to_vec());
        }
    });
    let told = run(addr, &[&OPEN[..], &["--connections", "4"]].concat());
    told.is("failed", false);
    told.blames(&[("not connected", Some(2))]);
    assert!(told.stdout.contains("the server closed the connection"), "{}", told.stdout);
}

#[test]
fn a_peer_that_stops_reading_costs_a_deep_closed_loop_no_memory() {
    // A gigabyte of messages on each connection, in a gigabyte of address space.
    let addr = peer(|mut stream| {
        let mut first = vec![0; 1 << 20];
        if stream.read_exact(&mut first).and_then(|()| stream.write_all(&first)).is_ok() {
            // It stalls for good: the connection stays open and is never read again.
            loop {
                thread::park();
            }
        }
    });
    let told = run(addr, &["--closed", "--depth", "1000", "--payload", "1MiB"]);
    told.is("saturated", false);
    told.blames(&[("not waited for", Some(2_000))]);
}

#[test]
fn a_peer_that_half_closes_or_resets_under_load() {
    for reset in [false, true] {
        let addr = peer(move |mut stream| {
            let mut line = [0; 64];
            for _ in 0..40 {
                if stream.read_exact(&mut line).and_then(|()| stream.write_all(&line)).is_err() {
                    return;
                }
            }
            if reset {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            } else {
                // The other side may have closed by now.
                let _ = stream.shutdown(Shutdown::Write);
                swallow(stream);
            }
        });
        for load in [&OPEN[..], &CLOSED] {
            let told = run(addr, load);
            told.is("failed", false);
            let counts = told.counts();
            assert_eq!(counts["reset"], 2, "{}", told.stdout);
            assert_eq!(counts["corrupt"] + counts.get("out of order").unwrap_or(&0), 0, "{}", told.stdout);
            assert_eq!(counts["sent"], counts["echoed"] + counts["lost"], "{}", told.stdout);
            assert!(told.stdout.contains("the server closed the connection"), "{}", told.stdout);
        }
    }
}

#[test]
fn hang_ups_on_churning_connections_are_noticed() {
    // The measured connections are served; all others are closed within the edge of their connect.
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let addr = peer(move |stream| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
            serve_lines(stream, |_, line| line.to_vec());
        } else {
            let _ = stream.shutdown(Shutdown::Write);
            swallow(stream);
        }
    });
    let told = run(addr, &[&OPEN[..], &["--churn", "300", "--duration", "1s", "--json"]].concat());
    let row: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let (begun, closed) = (row["churn_sent_count"].as_u64().unwrap(), row["churn_closed_count"].as_u64().unwrap());
    assert!(begun > 0 && closed * 20 >= begun * 19, "{closed} of {begun} are seen to be closed: {row}");
}

#[test]
fn an_address_without_a_listener() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    is_no_target(addr, "refused");
}
