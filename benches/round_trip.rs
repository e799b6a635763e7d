//! How long one message takes there and back, alone: `round_trip/{server}/{payload}`.
//!
//! The server is a child process, started outside of what is timed; the client is a blocking socket that compares every
//! byte. The time includes the client's cost and the wake-ups of both sides, so it is no latency of the server; and
//! criterion's verdicts compare a server with its own past, not with another one.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use loadgen::{
    observe,
    plan::{PacingChoice, PlacementKind, PlacementWish, place},
    target::{ServerCommand, Target},
    units,
};
use servers::SERVERS;

const PAYLOADS: [usize; 2] = [64, 16 * 1024];

fn round_trip(criterion: &mut Criterion) {
    let wish = PlacementWish { kind: PlacementKind::Split, server_cpus: None, loadgen_cpus: None };
    let (placement, ..) = place(&wish, PacingChoice::Auto, 1).expect("some CPU is available");
    // With a CPU each, the times do not depend on where the scheduler puts the two.
    observe::pin_thread(&placement.loadgen_cpus).expect("the CPU is available");

    let mut group = criterion.benchmark_group("round_trip");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(50);
    group.sampling_mode(SamplingMode::Linear);
    for server in SERVERS.iter().filter(|server| server.violates.is_empty()) {
        let running = Target::Server(ServerCommand {
            executable: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
            name: server.name.to_owned(),
            status_interval: Duration::ZERO,
            max_connections: 16,
            workers: placement.server_cpus.len(),
            nodelay: true,
            congestion: "reno".to_owned(),
            cpus: placement.server_cpus.clone(),
        });
        let running = running.start().expect("the server starts");
        for payload in PAYLOADS {
            let mut client = Client::connect(running.addr, payload);
            group.throughput(Throughput::Bytes(payload as u64));
            let id = BenchmarkId::new(server.name, units::show_bytes(payload as u64));
            group.bench_function(id, |bencher| bencher.iter_custom(|iterations| client.round_trips(iterations)));
        }
        running.stop().expect("the server stops in order");
    }
    group.finish();
}

struct Client {
    stream: TcpStream,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(addr: std::net::SocketAddr, payload: usize) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        let mut client = Self { stream, message: vec![b'x'; payload], answer: vec![0; payload] };
        client.message[payload - 1] = b'\n';
        // Accepted and served: from here on nothing but the messages costs time.
        client.round_trips(1);
        client
    }

    /// Exactly that many, each of them verified: a benchmark is a test as well.
    fn round_trips(&mut self, iterations: u64) -> Duration {
        let begun = Instant::now();
        for iteration in 0..iterations {
            self.message[..8].copy_from_slice(&(iteration | 0x8080_8080_8080_8080).to_le_bytes());
            self.stream.write_all(&self.message).expect("the server reads");
            self.stream.read_exact(&mut self.answer).expect("the server echoes");
            assert!(black_box(&self.answer) == &self.message, "the echo differs from the message");
        }
        begun.elapsed()
    }
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
