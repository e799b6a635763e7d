//! How long messages take if many are under way: `pipelined/{server}/{connections}x{window}`.
//!
//! An iteration sends a window of messages on every connection, each window with one write, and then compares every echo.

mod support;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use support::Client;

const CONNECTIONS: usize = 8;
const WINDOW: u64 = 32;
const PAYLOAD: usize = 64;

fn pipelined(criterion: &mut Criterion) {
    let placement = support::settle();
    let mut group = criterion.benchmark_group("pipelined");
    support::configure(&mut group, SamplingMode::Linear, 30);
    group.throughput(Throughput::Elements(CONNECTIONS as u64 * WINDOW));
    for server in support::contestants() {
        let running = support::start(server, &placement, Duration::ZERO, CONNECTIONS as u32);
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(running.addr, PAYLOAD)).collect();
        let id = BenchmarkId::new(server.name, format!("{CONNECTIONS}x{WINDOW}"));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| {
                let begun = Instant::now();
                for _ in 0..iterations {
                    clients.iter_mut().for_each(|client| client.send_all(0..WINDOW));
                    clients.iter_mut().for_each(|client| (0..WINDOW).for_each(|number| client.receive(number)));
                }
                begun.elapsed()
            });
        });
        drop(clients);
        running.stop().expect("the server stops in order");
    }
    group.finish();
}

criterion_group!(benches, pipelined);
criterion_main!(benches);
