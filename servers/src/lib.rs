//! Echo-and-status servers, one per concurrency model, that keep the same [specification](protocol).
//!
//! They share the protocol, the bound listener and nothing else; each is written the way its library wants it.
//! To add one: a file with a `run` function and a line in [`SERVERS`].

pub mod cli;
pub mod clock;
pub mod listen;

mod event_loop;
mod shutdown;
mod task_per_connection;
mod thread_per_connection;

use std::{io, net::TcpListener, num::NonZeroUsize, time::Duration};

use protocol::Counters;

/// A server: its name, and the function that runs it.
#[derive(Debug)]
pub struct Server {
    /// What it is called on the command line and in records.
    pub name: &'static str,
    /// Its concurrency model in a line.
    pub summary: &'static str,
    /// The clauses of the specification that it breaks by its nature.
    pub violates: &'static [&'static str],
    /// Serves the listener until SIGTERM or SIGINT and returns what it counted.
    ///
    /// # Errors
    /// Only what keeps it from starting; whatever happens to a connection ends that connection alone (F2).
    pub run: fn(TcpListener, &Config) -> io::Result<Counters>,
}

/// Every server, in the order in which they are shown.
pub const SERVERS: &[Server] = &[
    Server {
        name: "mio",
        summary: "one thread, one edge-triggered event loop on mio",
        violates: &[],
        run: event_loop::run,
    },
    Server {
        name: "threads",
        summary: "one blocking thread a connection, and one that broadcasts",
        violates: &[],
        run: thread_per_connection::run,
    },
    Server {
        name: "tokio",
        summary: "one task a connection on tokio's multi-thread runtime",
        violates: &[],
        run: task_per_connection::run,
    },
];

/// The server of that name.
pub fn by_name(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// What a server is told besides its listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between two status lines; zero turns them off.
    pub status_interval: Duration,
    /// How many connections are served at a time; more wait in the listen backlog.
    pub max_connections: NonZeroUsize,
    /// Worker threads of a runtime that has any.
    pub workers: NonZeroUsize,
}
