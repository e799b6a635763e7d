//! Echo-and-status servers, one per concurrency model, that all implement the same [specification](protocol).
//!
//! They share the protocol, the bound listener, the lingering close and the work on messages, and little else; each is
//! written in the idiom of its library.
//! To add one, write a file with a `run` function and add a line to [`SERVERS`].

pub mod cli;
pub mod clock;
pub mod listen;

mod census;
#[cfg(target_os = "linux")]
mod completion_loop;
mod connection_task;
mod deadlines;
mod event_loop;
mod event_loops;
mod lines;
mod linger;
mod one_connection;
mod polling_loop;
#[cfg(target_os = "linux")]
mod raw_epoll;
#[cfg(target_os = "linux")]
mod runtime_per_core;
mod shutdown;
mod task_and_channel;
mod task_per_connection;
mod thread_per_connection;
mod tokio_idiomatic;
mod work;

use std::{io, net::TcpListener, num::NonZeroUsize, time::Duration};

pub use lines::REGIONS;
use protocol::{Counters, Feature, Service};

/// A server: its name, and the function that runs it.
#[derive(Debug)]
pub struct Server {
    /// Its name on the command line and in records.
    pub name: &'static str,
    /// Its concurrency model, in one line.
    pub summary: &'static str,
    /// The clauses of the specification that it breaks by construction.
    pub violates: &'static [&'static str],
    /// The options of the specification that it does not have.
    pub lacks: &'static [Feature],
    /// The source text of its files, from which lines are counted.
    pub source: &'static str,
    /// Sets up everything it needs (signal handlers above all), announces that it listens, serves the listener until
    /// SIGTERM or SIGINT, and returns its counters.
    ///
    /// # Errors
    /// Only if it cannot start; an error on a connection ends that connection alone (F2).
    pub run: fn(TcpListener, &Config) -> io::Result<Counters>,
}

/// The source of the servers on tokio that share one.
const TOKIO: &str = concat!(include_str!("task_per_connection.rs"), include_str!("connection_task.rs"));

/// Every server, in display order.
pub const SERVERS: &[Server] = &[
    Server {
        name: "mio",
        summary: "one thread, one edge-triggered event loop on mio",
        violates: &[],
        lacks: &[],
        source: concat!(
            include_str!("event_loop.rs"),
            include_str!("event_loop/connection.rs"),
            include_str!("event_loop/expiry.rs"),
            include_str!("event_loop/fan_out.rs"),
            include_str!("event_loop/timer.rs"),
            include_str!("deadlines.rs")
        ),
        run: event_loop::run,
    },
    Server {
        name: "mio-multi",
        summary: "one event loop per worker thread, among which the first deals the connections",
        violates: &[],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: concat!(
            include_str!("event_loops.rs"),
            include_str!("event_loops/acceptor.rs"),
            include_str!("event_loops/connection.rs"),
            include_str!("event_loop/timer.rs"),
            include_str!("census.rs")
        ),
        run: event_loops::run,
    },
    Server {
        name: "threads",
        summary: "one blocking thread per connection plus a broadcaster",
        violates: &[],
        lacks: &[],
        source: concat!(
            include_str!("thread_per_connection.rs"),
            include_str!("thread_per_connection/connection.rs"),
            include_str!("thread_per_connection/shortage.rs")
        ),
        run: thread_per_connection::run,
    },
    Server {
        name: "tokio",
        summary: "one task per connection on tokio's multi-thread runtime",
        violates: &[],
        lacks: &[],
        source: TOKIO,
        run: task_per_connection::run_multi_thread,
    },
    Server {
        name: "tokio-current-thread",
        summary: "the same tasks on one thread",
        violates: &[],
        lacks: &[],
        source: TOKIO,
        run: task_per_connection::run_current_thread,
    },
    Server {
        name: "tokio-idiomatic",
        summary: "one task per connection on tokio, written as most applications are",
        violates: &[],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: include_str!("tokio_idiomatic.rs"),
        run: tokio_idiomatic::run,
    },
    Server {
        name: "tokio-block-in-place",
        summary: "the `tokio` server, but work of more than 100 us is handed over (`block_in_place`)",
        violates: &[],
        lacks: &[],
        source: TOKIO,
        run: task_per_connection::run_block_in_place,
    },
    Server {
        name: "tokio-channel",
        summary: "one task per connection on tokio, which statuses reach through `watch` channels",
        violates: &[],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: include_str!("task_and_channel.rs"),
        run: task_and_channel::run,
    },
    #[cfg(target_os = "linux")]
    Server {
        name: "tokio-per-core",
        summary: "one current-thread runtime per worker thread, among which the first deals the connections",
        violates: &[],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: concat!(
            include_str!("runtime_per_core.rs"),
            include_str!("runtime_per_core/connection.rs"),
            include_str!("census.rs")
        ),
        run: runtime_per_core::run,
    },
    #[cfg(target_os = "linux")]
    Server {
        name: "epoll",
        summary: "the algorithm of the `mio` server on bare epoll: shows what the mio library costs",
        violates: &[],
        lacks: &[],
        source: concat!(
            include_str!("raw_epoll.rs"),
            include_str!("raw_epoll/connection.rs"),
            include_str!("raw_epoll/expiry.rs"),
            include_str!("raw_epoll/fan_out.rs"),
            include_str!("raw_epoll/timer.rs"),
            include_str!("deadlines.rs")
        ),
        run: raw_epoll::run,
    },
    #[cfg(target_os = "linux")]
    Server {
        name: "io-uring",
        summary: "one thread, one completion queue on io_uring",
        violates: &[],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: concat!(
            include_str!("completion_loop.rs"),
            include_str!("completion_loop/connection.rs"),
            include_str!("completion_loop/ring.rs"),
        ),
        run: completion_loop::run,
    },
    Server {
        name: "blocking",
        summary: "one connection at a time: the lower bound of latency",
        violates: &["F2"],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: include_str!("one_connection.rs"),
        run: one_connection::run,
    },
    Server {
        name: "busy-loop",
        summary: "polls every socket in turn, without a pause",
        violates: &["I1"],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: include_str!("polling_loop.rs"),
        run: polling_loop::run_busy,
    },
    Server {
        name: "sleep-loop",
        summary: "polls every socket in turn, with a pause of 1 ms",
        violates: &["I1"],
        lacks: &[Feature::Handshake, Feature::IdleTimeout],
        source: include_str!("polling_loop.rs"),
        run: polling_loop::run_sleepy,
    },
];

/// The server named `name`.
pub fn by_name(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// The servers that this host can run, in display order.
pub fn available() -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(|server| server.refusal().is_none())
}

impl Server {
    /// The first of the options that are asked for, but that it lacks.
    pub fn lacking(&self, service: &Service) -> Option<Feature> {
        service.features().find(|feature| self.lacks.contains(feature))
    }

    /// Why this host cannot run the server, if it cannot: its kernel, or the container's filter of system calls, refuses
    /// what the server is made of.
    pub fn refusal(&self) -> Option<String> {
        #[cfg(target_os = "linux")]
        if self.name == "io-uring" {
            return completion_loop::refusal();
        }
        None
    }
}

/// A server's configuration, besides its listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Interval between status lines; zero for none.
    pub status_interval: Duration,
    /// Maximum number of concurrent connections; further ones wait in the listen backlog.
    pub max_connections: NonZeroUsize,
    /// Number of worker threads, if the runtime has any.
    pub workers: NonZeroUsize,
    /// What it does besides echoing and broadcasting. A server is never asked for what it lacks.
    pub service: Service,
}

/// The sketches of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
