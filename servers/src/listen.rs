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

/// Prints `listening on ADDR:PORT`, the first line on stdout.
///
/// Clients and signals may arrive as soon as the line is out, so a server must be ready for both before.
///
/// # Errors
/// If stdout cannot be written: no client would learn the address.
pub(crate) fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {addr}")
        .and_then(|()| stdout.flush())
        .map_err(|error| explain(&error, "cannot write the listening address to stdout"))
}

/// Binds the first of `addrs` that is available and listens, with the socket options of S1.
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
/// In a multi-threaded process the kernel grows the table under synchronize_rcu, and accept stalls for tens of
/// milliseconds at 64, 128, 256 ... descriptors; a single-threaded process does not stall. Growing the table here gives
/// all servers the same start. Under a small descriptor limit the table grows as far as the limit allows.
pub fn grow_descriptor_table(listener: &TcpListener, connections: usize, descriptor_limit: usize) {
    let highest = connections.saturating_add(64).min(descriptor_limit.saturating_sub(1));
    // Bounded for hosts without a limit: each descriptor takes 8 bytes of kernel memory.
    let highest = i32::try_from(highest.min(1 << 20)).unwrap_or(i32::MAX);
    // On an error the table merely stays small.
    drop(fcntl_dupfd_cloexec(listener, highest));
}

/// Whether an error of accept(2) concerns only the connection that was to be accepted, so that the next accept may succeed.
///
/// Every other error is treated as a temporary shortage (descriptors, memory), where accepting again at once would spin (F3).
pub(crate) fn is_connection_error(error: &io::Error) -> bool {
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

/// Decides when to accept from an edge-triggered listener, which reports waiting clients only once (F3).
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Clients may be waiting: the last accept did not find the backlog empty.
    pub(crate) has_clients: bool,
    max_connections: usize,
    /// When to try again after a shortage, unless a connection ends before.
    pub(crate) retry_ns: Option<u64>,
    warning: Warning,
}

impl Backlog {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { has_clients: false, max_connections, retry_ns: None, warning: Warning::default() }
    }

    /// Accepts the next client, if one is waiting and there is room beside the `connections` open ones.
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
                Err(error) if is_connection_error(&error) => {}
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

    /// Reports that an accepted client cannot be served: further ones wait, as after any shortage.
    pub(crate) fn refused(&mut self, error: &io::Error, now_ns: u64) {
        self.warning.print("cannot register a connection", error);
        self.retry_ns = Some(now_ns + limits::ACCEPT_RETRY.as_nanos() as u64);
    }

    /// Reports that a connection has ended and its descriptor is free.
    pub(crate) fn freed(&mut self) {
        self.retry_ns = None;
    }

    /// Stops accepting clients.
    pub(crate) fn close(&mut self) {
        (self.has_clients, self.retry_ns) = (false, None);
    }
}

/// A warning on stderr, printed at most once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Warning {
    last: Option<Instant>,
}

impl Warning {
    /// Prints the failure and its consequence, unless a warning was printed within the last ten seconds.
    pub(crate) fn print(&mut self, what: &str, error: &io::Error) {
        const PAUSE: Duration = Duration::from_secs(10);
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            log(format_args!("{what}: {error}; further connections wait in the backlog"));
        }
    }
}

/// Writes a line to stderr. A write error (a full disk, a closed pipe) is ignored: it is no reason to stop serving, and
/// there is no other place to report it.
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
    fn the_port_of_a_listener_that_has_just_closed_can_be_bound_again() {
        let listener = bind(&[ANYWHERE], &options(true)).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The server's side closes first and is left in TIME_WAIT.
        drop((accepted, listener, client));
        bind(&[addr], &options(true)).unwrap();
    }

    #[test]
    fn the_first_available_address_is_bound_and_an_error_names_them_all() {
        let taken = [(); 2].map(|()| bind(&[ANYWHERE], &options(true)).unwrap());
        let [first, second] = taken.each_ref().map(|listener| listener.local_addr().unwrap());
        let listener = bind(&[first, ANYWHERE], &options(true)).unwrap();
        assert_ne!(listener.local_addr().unwrap(), first);
        let error = bind(&[first, second], &options(true)).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()) && error.contains(&second.to_string()), "{error}");
    }

    #[test]
    fn an_error_names_the_option_that_the_kernel_refused() {
        let options = SocketOptions { nodelay: true, congestion: Some("no-such".to_owned()) };
        let error = bind(&[ANYWHERE], &options).unwrap_err().to_string();
        assert!(error.contains("congestion control no-such"), "{error}");
    }

    #[test]
    fn after_a_shortage_accepting_resumes_when_a_connection_ends_or_after_a_pause() {
        let mut backlog = Backlog::new(2);
        let shortage = || Err::<(), _>(Errno::MFILE.into());
        assert_eq!(backlog.next(0, 0, || Ok(())), None, "no client was reported");
        backlog.has_clients = true;
        assert_eq!(backlog.next(2, 0, || Ok(())), None, "there is no room");
        assert_eq!(backlog.next(1, 0, shortage), None);
        assert_eq!(backlog.next(1, 1, || Ok(())), None, "the shortage is waited out");
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
    fn the_descriptor_table_grows_within_a_small_limit() {
        let listener = bind(&[ANYWHERE], &options(true)).unwrap();
        grow_descriptor_table(&listener, usize::MAX, 256);
        grow_descriptor_table(&listener, 10, 0);
    }
}
