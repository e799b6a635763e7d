//! How long a status takes to reach everybody: `fan_out/{server}/{connections}`.
//!
//! An iteration is a tick; its time is from the beginning of the fan-out, as the server says, until the last connection
//! has it. Nothing else triggers a tick, so an iteration lasts 20 ms. The client reads one connection after the other: with
//! a fast server that is what takes the time.

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use protocol::status::Status;
use servers::clock;

const CONNECTIONS: usize = 100;
const INTERVAL: Duration = Duration::from_millis(20);

fn fan_out(criterion: &mut Criterion) {
    let placement = support::settle();
    let mut group = criterion.benchmark_group("fan_out");
    support::configure(&mut group, SamplingMode::Flat, 10);
    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    for server in support::contestants() {
        let running = support::start(server, &placement, INTERVAL, CONNECTIONS as u32);
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(running.addr)).collect();
        group.bench_function(BenchmarkId::new(server.name, CONNECTIONS), |bencher| {
            bencher.iter_custom(|iterations| (0..iterations).map(|_| tick(&mut clients)).sum());
        });
        drop(clients);
        running.stop().expect("the server stops in order");
    }
    group.finish();
}

/// A connection that only listens.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, and waits for an echo among the status lines: then it is accepted.
    fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).expect("the server listens");
        stream.write_all(b"hello\n").expect("the server reads");
        let mut client = Self(BufReader::new(stream));
        while client.line() != b"hello\n" {}
        client
    }

    /// The next status line.
    fn status(&mut self) -> Status {
        Status::parse(&self.line()).expect("nothing else is sent")
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("the server sends");
        line
    }
}

/// The time of one tick that everybody gets.
fn tick(clients: &mut [Client]) -> Duration {
    let mut statuses: Vec<Status> = clients.iter_mut().map(Client::status).collect();
    // After a pause of the benchmark's some may be ahead of others: the newest is waited for.
    let newest = statuses.iter().map(|status| status.tick).max().expect("there are connections");
    for (client, status) in clients.iter_mut().zip(&mut statuses) {
        while status.tick < newest {
            *status = client.status();
        }
    }
    Duration::from_nanos(clock::now_ns().saturating_sub(statuses[0].emit_ns))
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
