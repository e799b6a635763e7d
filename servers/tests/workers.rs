//! Servers with several event loops, seen from outside: how they share connections, places and work.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use protocol::{Counters, status};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

const SERVERS: [&str; 2] = ["mio-multi", "tokio-per-core"];

/// Time limit of an operation.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, killed when the test ends.
struct Server {
    child: Child,
    addr: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

impl Server {
    fn start(name: &str, workers: usize, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_servers"))
            .args([name, "--addr", "127.0.0.1:0", "--workers", &workers.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("{name} says {line:?}"));
        Self { addr: addr.to_owned(), child }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(&self.addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// A client that is served.
    fn greeted(&self) -> TcpStream {
        let client = self.connect();
        greet(&client);
        client
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Number of sockets and other descriptors that each event loop waits for. A loop is known by the lowest of them,
    /// which it opened first: its own descriptor may have a duplicate.
    fn watched(&self) -> BTreeMap<u64, usize> {
        let proc = format!("/proc/{}", self.child.id());
        let mut watched = BTreeMap::new();
        for entry in fs::read_dir(format!("{proc}/fdinfo")).unwrap().flatten() {
            let target = fs::read_link(format!("{proc}/fd/{}", entry.file_name().display()));
            if target.is_ok_and(|target| target.to_string_lossy() == "anon_inode:[eventpoll]") {
                let text = fs::read_to_string(entry.path()).unwrap();
                let numbers = text.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
                let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
                watched.insert(*numbers.iter().min().unwrap(), numbers.len());
            }
        }
        watched
    }

    fn stop(self) -> Counters {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.wait()
    }

    fn wait(mut self) -> Counters {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{log}");
        serde_json::from_str(log.lines().last().unwrap()).unwrap()
    }
}

/// Sends a line and waits for its echo; statuses are off.
fn greet(mut client: &TcpStream) {
    client.write_all(b"hello\n").unwrap();
    expect_greeting(client);
}

fn expect_greeting(mut client: &TcpStream) {
    let mut echo = [0; 6];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello\n");
}

/// Whether nothing has arrived so far.
fn is_silent(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let silent = client.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    silent
}

/// What is left when the statuses are taken out.
fn without_statuses(stream: &[u8]) -> Vec<u8> {
    stream
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(status::PREFIX))
        .flatten()
        .copied()
        .collect()
}

/// Different lines, `bytes` of them together or a few more.
fn lines(bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < bytes {
        text.extend_from_slice(format!("message {:>200}\n", text.len()).as_bytes());
    }
    text
}

#[test]
fn connections_are_spread_evenly_over_the_loops() {
    for name in SERVERS {
        let server = Server::start(name, 3, &["--status-interval", "0s"]);
        let before = server.watched();
        assert_eq!(before.len(), 3, "{name}: {before:?}");
        for count in [1, 2, 3, 4, 5, 31] {
            let clients: Vec<TcpStream> = (0..count).map(|_| server.greeted()).collect();
            let added: Vec<usize> = server.watched().iter().map(|(lowest, after)| after - before[lowest]).collect();
            assert_eq!(added.iter().sum::<usize>(), count, "{name}: {added:?}");
            assert!(added.iter().max().unwrap() - added.iter().min().unwrap() <= 1, "{name}: {added:?}");
            // The next ones come when the last of these has gone.
            drop(clients);
            let begun = Instant::now();
            while server.watched() != before {
                assert!(begun.elapsed() < PATIENCE, "{name}: {:?} watched, and at first {before:?}", server.watched());
                thread::yield_now();
            }
        }
    }
}

#[test]
fn a_place_that_becomes_free_on_any_loop_serves_a_waiting_client() {
    const LOOPS: usize = 3;
    for name in SERVERS {
        let server = Server::start(name, LOOPS, &["--status-interval", "0s", "--max-connections", "3"]);
        // One on each loop.
        let mut served: Vec<TcpStream> = (0..LOOPS).map(|_| server.greeted()).collect();
        for _ in 0..4 {
            for loops in 0..LOOPS {
                let mut waiting = server.connect();
                waiting.write_all(b"hello\n").unwrap();
                served.iter().for_each(greet);
                assert!(is_silent(&waiting), "{name}: a client beyond the limit was served");
                let place = served.remove(loops);
                drop(place);
                expect_greeting(&waiting);
                served.insert(loops, waiting);
            }
        }
        assert_eq!(server.stop().accepts, 15, "{name}");
    }
}

#[test]
fn a_descriptor_that_becomes_free_on_any_loop_serves_a_waiting_client() {
    for name in SERVERS {
        let server = Server::start(name, 3, &["--status-interval", "0s"]);
        let mut served: Vec<TcpStream> = (0..6).map(|_| server.greeted()).collect();
        // The limit applies to descriptor numbers; the lowest is free that was closed last.
        let open = fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().flatten();
        let open: Vec<u64> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let free = (0..).find(|number| !open.contains(number)).unwrap();
        let limit = Rlimit { current: Some(free), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap();
        for which in 0..served.len() {
            let mut waiting = server.connect();
            waiting.write_all(b"hello\n").unwrap();
            served.iter().for_each(greet);
            assert!(is_silent(&waiting), "{name}: a client was served without a descriptor");
            drop(served.remove(which));
            expect_greeting(&waiting);
            served.insert(which, waiting);
        }
    }
}

#[test]
fn with_work_every_message_is_echoed_in_order_even_if_the_client_reads_late() {
    // More than the socket buffers hold, so that the server has to keep input that it has not worked on.
    let text = lines(12 << 20);
    for name in SERVERS {
        let server = Server::start(name, 3, &["--status-interval", "10ms", "--work", "500ns,0.1%:2ms"]);
        let mut client = server.connect();
        let mut source = client.try_clone().unwrap();
        source.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut sent = 0;
        // Until no thread reads any more.
        while let Ok(count @ 1..) = source.write(&text[sent..]) {
            sent += count;
        }
        let rest = text[sent..].to_vec();
        source.set_write_timeout(None).unwrap();
        let writer = thread::spawn(move || {
            source.write_all(&rest).unwrap();
            source.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(without_statuses(&received) == text, "{name}: {} bytes of {}", received.len(), text.len());
        let counters = server.stop();
        assert_eq!(counters.bytes_echoed, text.len() as u64, "{name}: {counters:?}");
    }
}

#[test]
fn work_on_one_connection_leaves_turns_to_the_others_of_its_loop() {
    const MESSAGES: usize = 2_000;
    let text = b"a\n".repeat(MESSAGES);
    for name in SERVERS {
        let server = Server::start(name, 1, &["--status-interval", "0s", "--work", "300us"]);
        let (mut busy, other) = (server.greeted(), server.greeted());
        busy.write_all(&text).unwrap();
        let mut echo = vec![0; text.len()];
        busy.read_exact(&mut echo[..2]).unwrap();
        // All that the server has read is worked on before any further input, if there are no turns.
        greet(&other);
        busy.set_nonblocking(true).unwrap();
        let count = 2 + busy.read(&mut echo[2..]).unwrap_or(0);
        assert!(count < text.len() / 2, "{name}: a client waited for {} messages of another", count / 2);
    }
}

#[test]
fn told_to_stop_at_work_a_server_counts_what_it_echoed_and_sends_it() {
    let text = lines(40 << 10);
    for name in SERVERS {
        let server = Server::start(name, 3, &["--status-interval", "10ms", "--work", "100us"]);
        let mut clients: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
        let mut received = vec![vec![0; 1]; clients.len()];
        for (client, received) in clients.iter_mut().zip(&mut received) {
            client.write_all(&text).unwrap();
            client.read_exact(received).unwrap();
        }
        kill_process(server.pid(), Signal::TERM).unwrap();
        let mut total = 0;
        for (client, received) in clients.iter_mut().zip(&mut received) {
            client.read_to_end(received).unwrap();
            let echo = without_statuses(received);
            assert!(text.starts_with(&echo), "{name}: the echo differs from the text");
            total += echo.len() as u64;
        }
        assert_eq!(server.wait().bytes_echoed, total, "{name}");
    }
}
