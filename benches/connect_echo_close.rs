//! How long it takes to connect, have a message echoed and close: `connect_echo_close/{server}`.
//!
//! The client closes first and waits until the server has: no connection is left behind on either side.

mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use support::Client;

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

criterion_group!(benches, connect_echo_close);
criterion_main!(benches);
