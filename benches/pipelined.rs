//! The round-trip time with many messages in flight: `pipelined/{server}/{connections}x{window}`.
//!
//! An iteration sends a window of messages on every connection, each window with one write, and then compares every echo.

mod arguments;
mod client;
mod support;

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use client::Client;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use support::Subject;

const CONNECTIONS: usize = 8;
const WINDOW: u64 = 32;
const PAYLOAD: usize = 64;

fn main() {
    let mut criterion = arguments::criterion(30);
    pipelined(&mut criterion);
    criterion.final_summary();
}

fn pipelined(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipelined");
    group.sampling_mode(SamplingMode::Linear).throughput(Throughput::Elements(CONNECTIONS as u64 * WINDOW));
    for server in support::contestants() {
        let id = BenchmarkId::new(server.name, format!("{CONNECTIONS}x{WINDOW}"));
        let subject = Subject { server, status_interval: Duration::ZERO, connections: CONNECTIONS };
        let connect =
            |addr: SocketAddr| -> Vec<Client> { (0..CONNECTIONS).map(|_| Client::connect(addr, PAYLOAD)).collect() };
        subject.bench(&mut group, id, connect, |clients, iterations| {
            let begun = Instant::now();
            for _ in 0..iterations {
                clients.iter_mut().for_each(|client| client.send_all(0..WINDOW));
                clients.iter_mut().for_each(|client| (0..WINDOW).for_each(|number| client.receive(number)));
            }
            begun.elapsed()
        });
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
