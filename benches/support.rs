//! What the benchmarks have in common: a server in a process of its own, and a blocking client that checks every byte.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use criterion::{BenchmarkGroup, SamplingMode, measurement::WallTime};
use loadgen::{
    observe,
    plan::{PacingChoice, Placement, PlacementKind, PlacementWish, place},
    target::{Running, ServerCommand, Target},
};
use protocol::status::Status;
use servers::{SERVERS, Server};

/// The servers that break no clause.
pub(crate) fn contestants() -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(|server| server.violates.is_empty())
}

/// Moves this thread to the generator's CPUs: with a CPU each, the times do not depend on where the scheduler puts the
/// two. Returns who runs where.
pub(crate) fn settle() -> Placement {
    let wish = PlacementWish { kind: PlacementKind::Split, server_cpus: None, loadgen_cpus: None };
    let (placement, ..) = place(&wish, PacingChoice::Auto, 1).expect("some CPU is available");
    observe::pin_thread(&placement.loadgen_cpus).expect("the CPU is available");
    placement
}

/// Starts a server.
pub(crate) fn start(server: &Server, placement: &Placement, status_interval: Duration, connections: u32) -> Running {
    let command = ServerCommand {
        executable: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
        name: server.name.to_owned(),
        status_interval,
        max_connections: connections + 16,
        workers: placement.server_cpus.len(),
        nodelay: true,
        congestion: "reno".to_owned(),
        cpus: placement.server_cpus.clone(),
    };
    Target::Server(command).start().expect("the server starts")
}

/// Short enough that all of them and the comparison end within five minutes.
pub(crate) fn configure(group: &mut BenchmarkGroup<'_, WallTime>, mode: SamplingMode, samples: usize) {
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.sample_size(samples).sampling_mode(mode).nresamples(10_000);
}

/// A connection that is accepted and served: from here on nothing but the messages costs time.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

#[allow(dead_code, reason = "not every target uses all of it")]
impl Client {
    /// Connects and has `bytes` echoed once.
    pub(crate) fn connect(addr: SocketAddr, bytes: usize) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        let stream = BufReader::with_capacity(64 * 1024, stream);
        let mut client = Self { stream, message: vec![b'x'; bytes], answer: vec![0; bytes] };
        client.message[bytes - 1] = b'\n';
        client.round_trip(0);
        client
    }

    /// The same where status lines may come before the first echo.
    pub(crate) fn connect_among_statuses(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        let mut client = Self { stream: BufReader::new(stream), message: b"hello\n".to_vec(), answer: Vec::new() };
        client.stream.get_mut().write_all(&client.message).expect("the server reads");
        while client.line() != client.message {}
        client
    }

    /// Closes and waits until the server has closed as well.
    pub(crate) fn close(mut self) {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).expect("the connection is open");
        let rest = self.stream.read(&mut self.answer).expect("the server closes in order");
        assert_eq!(rest, 0, "the server has nothing more to send");
    }

    /// The next status line.
    pub(crate) fn status(&mut self) -> Status {
        Status::parse(&self.line()).expect("nothing else is sent")
    }

    /// Sends a message that says its number, and compares what comes back.
    pub(crate) fn round_trip(&mut self, number: u64) {
        self.send(number);
        self.receive(number);
    }

    /// Sends a message that says its number.
    pub(crate) fn send(&mut self, number: u64) {
        self.label(number);
        self.stream.get_mut().write_all(&self.message).expect("the server reads");
    }

    /// Sends messages with these numbers at once.
    pub(crate) fn send_all(&mut self, numbers: std::ops::Range<u64>) {
        let mut batch = Vec::new();
        for number in numbers {
            self.label(number);
            batch.extend_from_slice(&self.message);
        }
        self.stream.get_mut().write_all(&batch).expect("the server reads");
    }

    /// Compares what comes back with the message of that number.
    pub(crate) fn receive(&mut self, number: u64) {
        self.label(number);
        self.stream.read_exact(&mut self.answer).expect("the server echoes");
        assert!(self.answer == self.message, "the echo differs from the message");
    }

    /// The next line that the server sends.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the server sends");
        line
    }

    fn label(&mut self, number: u64) {
        // No byte of it is a newline.
        self.message[..8].copy_from_slice(&(number | 0x8080_8080_8080_8080).to_le_bytes());
    }
}
