//! Properties of servers beyond the clauses of the protocol: start, end and log of `loadgen serve`.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use servers::available;

const PATIENCE: Duration = Duration::from_secs(30);

/// Kills the process when the test ends, even by a panic.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// A server with this stderr, started by a shell after `setup`.
fn start(name: &str, shell: &str, stderr: Stdio) -> Killed {
    start_with_interval("10ms", name, shell, stderr)
}

fn start_with_interval(interval: &str, name: &str, shell: &str, stderr: Stdio) -> Killed {
    let serve = format!("{shell} exec \"$0\" serve {name} --addr 127.0.0.1:0 --workers 2 --status-interval {interval}");
    let executable = env!("CARGO_BIN_EXE_loadgen");
    let mut command = Command::new("sh");
    command.args(["-c", &serve, executable]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    Killed(command.spawn().unwrap())
}

/// The first line of stdout, without the newline; empty if the server ends without one.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn connect(line: &str) -> TcpStream {
    let addr = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?} says nothing of listening"));
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Sends a line and waits for its echo, skipping statuses.
fn greet(mut client: &TcpStream) {
    client.write_all(b"hello\n").unwrap();
    let mut received = Vec::new();
    while !received.windows(6).any(|window| window == b"hello\n") {
        let mut buffer = [0; 4096];
        let count = match client.read(&mut buffer) {
            // A read with a timeout is not restarted after the process was frozen (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert!(count > 0, "the connection ended");
        received.extend_from_slice(&buffer[..count]);
    }
}

fn end(mut server: Killed) -> Option<i32> {
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    server.0.wait().unwrap().code()
}

/// Makes a server run out of descriptors, which it logs, and checks that it serves again afterwards.
fn survives_a_shortage(name: &str, stderr: Stdio) {
    const DESCRIPTORS: u64 = 24;
    let mut server = start(name, "", stderr);
    let line = first_line(&mut server.0);
    let first = connect(&line);
    greet(&first);
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(Some(Pid::from_child(&server.0)), Resource::Nofile, limit).unwrap();
    let crowd: Vec<TcpStream> = (0..2 * DESCRIPTORS).map(|_| connect(&line)).collect();
    greet(&first);
    drop((crowd, first));
    greet(&connect(&line));
    assert_eq!(end(server), Some(0), "{name}");
}

#[test]
fn a_log_line_that_cannot_be_written_affects_no_part_of_a_server() {
    for server in available() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        survives_a_shortage(server.name, full.into());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        survives_a_shortage(server.name, writer.into());
    }
}

#[test]
fn a_server_without_its_resources_does_not_announce_that_it_listens() {
    for server in available() {
        for descriptors in (4..40).step_by(3) {
            let mut child = start(server.name, &format!("ulimit -n {descriptors};"), Stdio::piped());
            let line = first_line(&mut child.0);
            if line.is_empty() {
                let mut words = String::new();
                child.0.stderr.as_mut().unwrap().read_to_string(&mut words).unwrap();
                // With very few descriptors the loader fails, with a message of its own.
                let understood = words.starts_with("error: ") && words.contains("ulimit -n");
                assert!(understood || words.contains("shared libraries"), "{}: {words:?}", server.name);
                assert_eq!(words.lines().count(), 1, "{words}");
            } else {
                assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
                assert_eq!(end(child), Some(0), "{} with {descriptors} descriptors", server.name);
            }
        }
    }
}

/// More clients than any server has buffers, or takes events at a time.
#[test]
fn after_a_standstill_every_one_of_many_clients_is_echoed() {
    const CLIENTS: usize = 800;
    // A server for one client at a time declares that it breaks F2.
    for server in available().filter(|server| !server.violates.contains(&"F2")) {
        let mut child = start_with_interval("0s", server.name, "", Stdio::null());
        let line = first_line(&mut child.0);
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&line)).collect();
        clients.iter().for_each(greet);
        let pid = Pid::from_child(&child.0);
        for _ in 0..2 {
            kill_process(pid, Signal::STOP).unwrap();
            for mut client in &clients {
                client.write_all(b"during the standstill\n").unwrap();
            }
            kill_process(pid, Signal::CONT).unwrap();
            clients.iter().for_each(greet);
        }
        assert_eq!(end(child), Some(0), "{}", server.name);
    }
}

#[test]
fn the_announced_limit_of_connections_is_the_actual_one() {
    let mut server = start("threads", "ulimit -n 64;", Stdio::piped());
    let line = first_line(&mut server.0);
    let mut words = BufReader::new(server.0.stderr.take().unwrap());
    let mut said = String::new();
    words.read_line(&mut said).unwrap();
    assert!(said.contains("at most 1 connection at a time"), "{said}");
    greet(&connect(&line));
    assert_eq!(end(server), Some(0));
}

#[test]
fn a_server_listens_on_a_host_name_and_warns_of_an_address_reachable_from_outside() {
    let serve = |addr: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(["serve", "mio", "--addr", addr]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Killed(command.spawn().unwrap());
        let line = first_line(&mut server.0);
        let mut stderr = server.0.stderr.take().unwrap();
        end(server);
        let mut words = String::new();
        stderr.read_to_string(&mut words).unwrap();
        (line, words)
    };
    let (line, words) = serve("localhost:0");
    assert!(line.starts_with("listening on 127.0.0.1:") || line.starts_with("listening on [::1]:"), "{line}");
    assert!(!words.contains("warning"), "{words}");
    let (line, words) = serve("0.0.0.0:0");
    assert!(line.starts_with("listening on 0.0.0.0:"), "{line}");
    assert!(words.contains("warning") && words.contains("not a loopback address"), "{words}");
    let (line, words) = serve("no such host:0");
    assert!(line.is_empty() && words.contains("--addr") && words.contains("127.0.0.1:9000"), "{words}");
}
