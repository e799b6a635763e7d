//! How long messages take if many are under way: `pipelined/{server}/{connections}x{window}`.
//!
//! An iteration sends a window of messages on every connection, each window with one write, and then compares every echo.

mod client;
mod support;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use client::Client;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

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

impl Client {
    /// Sends messages with these numbers at once.
    fn send_all(&mut self, numbers: std::ops::Range<u64>) {
        let mut batch = Vec::new();
        for number in numbers {
            self.label(number);
            batch.extend_from_slice(&self.message);
        }
        self.stream.get_mut().write_all(&batch).expect("the server reads");
    }
}

criterion_group!(benches, pipelined);
criterion_main!(benches);
