//! The round-trip time of a single message: `round_trip/{server}/{payload}`.
//!
//! The server is a child process, started outside of the timed code; the client is a blocking socket that compares every
//! byte. The time includes the client's cost and the wake-ups of both sides, so it is not the server's latency, and
//! criterion's verdicts compare a server with its own past, not with another server.

mod arguments;
mod client;
mod support;

use std::time::{Duration, Instant};

use client::Client;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use loadgen::plan::units;
use support::Subject;

const PAYLOADS: [usize; 2] = [64, 16 * 1024];

fn main() {
    let mut criterion = arguments::criterion(30);
    round_trip(&mut criterion);
    criterion.final_summary();
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_trip");
    group.sampling_mode(SamplingMode::Linear);
    for server in support::contestants() {
        for payload in PAYLOADS {
            group.throughput(Throughput::Bytes(payload as u64));
            let id = BenchmarkId::new(server.name, units::show_bytes(payload as u64));
            let subject = Subject { server, status_interval: Duration::ZERO, connections: 1 };
            let connect = |addr| Client::connect(addr, payload);
            subject.bench(&mut group, id, connect, |client, iterations| {
                let begun = Instant::now();
                (0..iterations).for_each(|number| client.round_trip(number));
                begun.elapsed()
            });
        }
    }
    group.finish();
}
