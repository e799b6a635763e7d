//! How long one message takes there and back, alone: `round_trip/{server}/{payload}`.
//!
//! The server is a child process, started outside of what is timed; the client is a blocking socket that compares every
//! byte. The time includes the client's cost and the wake-ups of both sides, so it is no latency of the server; and
//! criterion's verdicts compare a server with its own past, not with another one.

mod client;
mod support;

use std::time::{Duration, Instant};

use client::Client;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use loadgen::units;

const PAYLOADS: [usize; 2] = [64, 16 * 1024];

fn round_trip(criterion: &mut Criterion) {
    let placement = support::settle();
    let mut group = criterion.benchmark_group("round_trip");
    support::configure(&mut group, SamplingMode::Linear, 30);
    for server in support::contestants() {
        let running = support::start(server, &placement, Duration::ZERO, PAYLOADS.len() as u32);
        for payload in PAYLOADS {
            let mut client = Client::connect(running.addr, payload);
            group.throughput(Throughput::Bytes(payload as u64));
            let id = BenchmarkId::new(server.name, units::show_bytes(payload as u64));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let begun = Instant::now();
                    (0..iterations).for_each(|number| client.round_trip(number));
                    begun.elapsed()
                });
            });
        }
        running.stop().expect("the server stops in order");
    }
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
