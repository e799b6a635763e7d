//! How long it takes to connect, have a message echoed and close: `connect_echo_close/{server}`.
//!
//! The client closes first and waits until the server has: no connection is left behind on either side.

mod client;
mod support;

use std::{
    io::Read,
    time::{Duration, Instant},
};

use client::Client;
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};

fn connect_echo_close(criterion: &mut Criterion) {
    let placement = support::settle();
    let mut group = criterion.benchmark_group("connect_echo_close");
    support::configure(&mut group, SamplingMode::Linear, 30);
    for server in support::contestants() {
        let running = support::start(server, &placement, Duration::ZERO, 16);
        group.bench_function(server.name, |bencher| {
            bencher.iter_custom(|iterations| {
                let begun = Instant::now();
                (0..iterations).for_each(|_| Client::connect(running.addr, 64).close());
                begun.elapsed()
            });
        });
        running.stop().expect("the server stops in order");
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

criterion_group!(benches, connect_echo_close);
criterion_main!(benches);
