//! The time to connect, echo one message and close: `connect_echo_close/{server}`.
//!
//! The client closes first and waits until the server has closed, so that neither side keeps a connection.

mod arguments;
mod client;
mod support;

use std::{
    io::Read,
    time::{Duration, Instant},
};

use client::Client;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use support::Subject;

fn main() {
    let mut criterion = arguments::criterion(30);
    connect_echo_close(&mut criterion);
    criterion.final_summary();
}

fn connect_echo_close(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connect_echo_close");
    group.sampling_mode(SamplingMode::Linear);
    for server in support::contestants() {
        let subject = Subject { server, status_interval: Duration::ZERO, connections: 1 };
        let id = BenchmarkId::from_parameter(server.name);
        subject.bench(
            &mut group,
            id,
            |addr| addr,
            |addr, iterations| {
                let begun = Instant::now();
                (0..iterations).for_each(|_| Client::connect(*addr, 64).close());
                begun.elapsed()
            },
        );
    }
    group.finish();
}

impl Client {
    /// Closes and waits until the server has closed as well.
    fn close(mut self) {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).expect("the connection is open");
        let rest = self.stream.read(&mut self.answer).expect("the server closes in order");
        assert_eq!(rest, 0, "the server has nothing more to send");
    }
}
