//! The cost of the echo-and-boundary state, without any I/O: `boundary/{case}`.

mod arguments;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use protocol::{
    Counters, Outgoing,
    status::{Status, StatusLine},
};

fn main() {
    let mut criterion = arguments::criterion(100);
    boundary(&mut criterion);
    criterion.final_summary();
}

fn boundary(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("boundary");
    let mut message = vec![b'x'; 64];
    message[63] = b'\n';
    let mut counters = Counters::default();

    group.throughput(Throughput::Bytes(64));
    group.bench_function("echo", |bencher| {
        let mut outgoing = Outgoing::default();
        bencher.iter(|| echo(&mut outgoing, black_box(&message), &mut counters));
    });

    let line = Status { active: 64, tick: 7, due_ns: 1_000_000_000, emit_ns: 1_000_000_100 }.line();
    group.bench_function("status_between_echoes", |bencher| {
        let mut outgoing = Outgoing::default();
        bencher.iter(|| {
            outgoing.offer(StatusLine::clone(&line), &mut counters);
            echo(&mut outgoing, black_box(&message), &mut counters);
        });
    });
    group.finish();
}

/// A server's handling of a read buffer if the socket accepts everything.
fn echo(outgoing: &mut Outgoing, mut input: &[u8], counters: &mut Counters) {
    loop {
        let next = black_box(outgoing.next(input));
        if next.is_empty() {
            return;
        }
        let count = next.len();
        input = outgoing.sent(input, count, counters);
    }
}
