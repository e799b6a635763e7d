//! The time until a status has reached every connection: `fan_out/{server}/{connections}`.
//!
//! An iteration is a tick, timed from the start of the fan-out (in the status) until the last connection has received it.
//! Ticks come at their interval only, so an iteration lasts 20 ms. The client reads the connections one by one, which
//! dominates the time with a fast server.

mod arguments;
mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use protocol::status::Status;
use servers::clock;
use support::Subject;

const CONNECTIONS: usize = 100;
const INTERVAL: Duration = Duration::from_millis(20);

fn main() {
    let mut criterion = arguments::criterion(10);
    fan_out(&mut criterion);
    criterion.final_summary();
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(CONNECTIONS as u64));
    for server in support::contestants() {
        let id = BenchmarkId::new(server.name, CONNECTIONS);
        let subject = Subject { server, status_interval: INTERVAL, connections: CONNECTIONS };
        let connect = |addr| -> Vec<Client> { (0..CONNECTIONS).map(|_| Client::connect(addr)).collect() };
        subject.bench(&mut group, id, connect, |clients, ticks| (0..ticks).map(|_| tick(clients)).sum());
    }
    group.finish();
}

/// A connection that only receives statuses.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and waits for an echo among the status lines, which shows that the connection is accepted.
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

/// The time of one tick, until every connection has received it.
fn tick(clients: &mut [Client]) -> Duration {
    let mut statuses: Vec<Status> = clients.iter_mut().map(Client::status).collect();
    // After a pause of the benchmark some connections may be ahead of others: wait for the newest tick.
    let newest = statuses.iter().map(|status| status.tick).max().expect("there are connections");
    for (client, status) in clients.iter_mut().zip(&mut statuses) {
        while status.tick < newest {
            *status = client.status();
        }
    }
    Duration::from_nanos(clock::now_ns().saturating_sub(statuses[0].emit_ns))
}
