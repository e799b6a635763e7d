//! The listening socket and what accepted sockets inherit from it (S1): one place for all servers.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use protocol::limits;
use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use socket2::{Domain, Protocol, Socket, Type};

/// What accepted sockets inherit from the listener.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// TCP_NODELAY: send small segments at once (tcp(7)).
    pub nodelay: bool,
    /// TCP_CONGESTION, by name; `None` leaves the host's default.
    pub congestion: Option<String>,
}

/// Says `listening on ADDR:PORT`, the first line on stdout.
///
/// From then on clients come and a signal may: whatever a server needs to survive them has to stand before.
///
/// # Errors
/// If stdout cannot be written: then no client would learn of the address.
pub(crate) fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {addr}")
        .and_then(|()| stdout.flush())
        .map_err(|error| explain(&error, "cannot say on stdout where it listens"))
}

/// Binds and listens, with the options of S1; of several addresses the first that can be had.
///
/// # Errors
/// Names the addresses or the option that the kernel refused.
pub fn bind(addrs: &[SocketAddr], options: &SocketOptions) -> io::Result<TcpListener> {
    let mut refused = Vec::new();
    for addr in addrs {
        match bind_one(*addr, options) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused.push(error),
        }
    }
    let kind = refused.first().map_or(io::ErrorKind::InvalidInput, io::Error::kind);
    let words: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Err(io::Error::new(kind, words.join("; ")))
}

fn bind_one(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    #[cfg(target_os = "linux")]
    if let Some(congestion) = &options.congestion {
        socket
            .set_tcp_congestion(congestion.as_bytes())
            .map_err(|error| explain(&error, &format!("congestion control {congestion}")))?;
    }
    socket.bind(&addr.into()).map_err(|error| explain(&error, &format!("cannot listen on {addr}")))?;
    socket.listen(limits::BACKLOG).map_err(|error| explain(&error, &format!("cannot listen on {addr}")))?;
    Ok(socket.into())
}

/// Raises the soft limit of descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Grows the descriptor table for `connections` sockets before there is a second thread.
///
/// In a process with several threads the kernel grows the table under synchronize_rcu, and accept stalls for tens of
/// milliseconds at 64, 128, 256 ... descriptors; a single-threaded one does not notice. Grown here, all servers start
/// alike. Under a small descriptor limit it grows as far as that allows.
pub fn grow_descriptor_table(listener: &TcpListener, connections: usize, descriptor_limit: usize) {
    let highest = connections.saturating_add(64).min(descriptor_limit.saturating_sub(1));
    // Bounded for the sake of hosts without a limit: 8 bytes of kernel memory a descriptor.
    let highest = i32::try_from(highest.min(1 << 20)).unwrap_or(i32::MAX);
    // An error only means that the table stays small.
    drop(fcntl_dupfd_cloexec(listener, highest));
}

/// Whether an error of accept(2) concerns only the client that was to be accepted, so that the next one may do better.
///
/// Every other error is taken for a shortage (descriptors, memory) that passes: accepting again at once would spin (F3).
pub(crate) fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::NOPROTOOPT
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
        )
    )
}

/// Whether there is any use in asking a listener that says only once that clients wait (F3).
#[derive(Debug)]
pub(crate) struct Backlog {
    /// The last accept did not say that it is empty.
    pub(crate) has_clients: bool,
    max_connections: usize,
    /// When to try again after a shortage, if no place frees before.
    pub(crate) retry_ns: Option<u64>,
    warning: Warning,
}

impl Backlog {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { has_clients: false, max_connections, retry_ns: None, warning: Warning::default() }
    }

    /// The next client, if one waits and there is room beside `connections`.
    pub(crate) fn next<T>(
        &mut self,
        connections: usize,
        now_ns: u64,
        mut accept: impl FnMut() -> io::Result<T>,
    ) -> Option<T> {
        self.retry_ns = self.retry_ns.filter(|retry_ns| now_ns < *retry_ns);
        while self.is_ready(connections) {
            match accept() {
                Ok(client) => return Some(client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.has_clients = false,
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    self.warning.print("cannot accept", &error);
                    self.retry_ns = Some(now_ns + limits::ACCEPT_RETRY.as_nanos() as u64);
                }
            }
        }
        None
    }

    pub(crate) fn is_ready(&self, connections: usize) -> bool {
        self.has_clients && self.retry_ns.is_none() && connections < self.max_connections
    }

    /// A client was accepted and cannot be served.
    pub(crate) fn refused(&mut self, error: &io::Error) {
        self.warning.print("cannot register a connection", error);
    }

    /// A place and a descriptor are free again.
    pub(crate) fn freed(&mut self) {
        self.retry_ns = None;
    }

    /// No client is accepted any more.
    pub(crate) fn close(&mut self) {
        (self.has_clients, self.retry_ns) = (false, None);
    }
}

/// A warning on stderr, at most one in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Warning {
    last: Option<Instant>,
}

impl Warning {
    /// Prints what failed and what becomes of it, unless it was said a moment ago.
    pub(crate) fn print(&mut self, what: &str, error: &io::Error) {
        const PAUSE: Duration = Duration::from_secs(10);
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            log(format_args!("{what}: {error}; connections wait in the backlog until there is room"));
        }
    }
}

/// Writes a line to stderr. That it cannot be written (a full disk, a reader that has gone) is no reason to stop serving,
/// and there is no other place to say so.
pub fn log(line: std::fmt::Arguments<'_>) {
    drop(io::stderr().write_all(format!("{line}\n").as_bytes()));
}

fn explain(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};
    use socket2::SockRef;
    use std::net::TcpStream;

    const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn options(nodelay: bool) -> SocketOptions {
        SocketOptions { nodelay, congestion: Some("reno".to_owned()) }
    }

    #[test]
    fn accepted_sockets_inherit_the_options_of_the_listener() {
        for nodelay in [true, false] {
            let listener = bind(&[ANYWHERE], &options(nodelay)).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.tcp_nodelay().unwrap(), nodelay);
            assert!(accepted.tcp_congestion().unwrap().starts_with(b"reno"));
            assert!(fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn the_port_of_a_listener_that_closed_a_moment_ago_can_be_taken_again() {
        let listener = bind(&[ANYWHERE], &options(true)).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The server's side closes first and is left in TIME_WAIT.
        drop((accepted, listener, client));
        bind(&[addr], &options(true)).unwrap();
    }

    #[test]
    fn of_several_addresses_the_first_that_can_be_had_is_taken_and_else_all_are_named() {
        let taken = [(); 2].map(|()| bind(&[ANYWHERE], &options(true)).unwrap());
        let [first, second] = taken.each_ref().map(|listener| listener.local_addr().unwrap());
        let listener = bind(&[first, ANYWHERE], &options(true)).unwrap();
        assert_ne!(listener.local_addr().unwrap(), first);
        let error = bind(&[first, second], &options(true)).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()) && error.contains(&second.to_string()), "{error}");
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let options = SocketOptions { nodelay: true, congestion: Some("no-such".to_owned()) };
        let error = bind(&[ANYWHERE], &options).unwrap_err().to_string();
        assert!(error.contains("congestion control no-such"), "{error}");
    }

    #[test]
    fn after_a_shortage_a_listener_is_asked_again_when_a_place_frees_or_some_time_has_passed() {
        let mut backlog = Backlog::new(2);
        let shortage = || Err::<(), _>(Errno::MFILE.into());
        assert_eq!(backlog.next(0, 0, || Ok(())), None, "nothing said that a client waits");
        backlog.has_clients = true;
        assert_eq!(backlog.next(2, 0, || Ok(())), None, "there is no room");
        assert_eq!(backlog.next(1, 0, shortage), None);
        assert_eq!(backlog.next(1, 1, || Ok(())), None, "it is waited for better times");
        backlog.freed();
        assert_eq!(backlog.next(1, 1, || Ok(())), Some(()));
        assert_eq!(backlog.next(1, 1, shortage), None);
        let retry_ns = backlog.retry_ns.unwrap();
        assert_eq!(backlog.next(1, retry_ns, || Ok(())), Some(()));
        let mut answers = [Err(Errno::CONNABORTED.into()), Err(Errno::AGAIN.into())].into_iter();
        assert_eq!(backlog.next(1, retry_ns, || answers.next().unwrap_or(Ok(()))), None, "the backlog is empty");
        assert!(!backlog.is_ready(1));
    }

    #[test]
    fn growing_the_descriptor_table_keeps_within_small_limits() {
        let listener = bind(&[ANYWHERE], &options(true)).unwrap();
        grow_descriptor_table(&listener, usize::MAX, 256);
        grow_descriptor_table(&listener, 10, 0);
    }
}
