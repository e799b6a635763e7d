//! What the connections of an engine have in common.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::progress::Progress;
use crate::{
    hosts::Hosts,
    plan::{Cohorts, Pacing, Payloads},
};

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where the server listens.
    pub(crate) addr: SocketAddr,
    /// The generators on other hosts, if those are to connect.
    pub(crate) hosts: Option<Hosts>,
    /// Number of measured connections.
    pub(crate) connections: u32,
    /// Sizes of the messages.
    pub(crate) payloads: Payloads,
    /// TCP_NODELAY on the client's side.
    pub(crate) nodelay: bool,
    /// TCP_CONGESTION on the client's side.
    pub(crate) congestion: Option<String>,
    /// The server begins with a handshake.
    pub(crate) handshake: bool,
    /// How the next slot is waited for.
    pub(crate) pacing: Pacing,
    /// Threads of all hosts, each with its part of the connections; at least 1.
    pub(crate) threads: u32,
    /// The CPU of each thread, in turn; if empty, threads are not pinned.
    pub(crate) cpus: Vec<usize>,
    /// CPUs of the flooders alone; if empty, flooders yield to all other threads.
    pub(crate) flood_cpus: Vec<usize>,
    /// Addresses to connect from, 127.0.0.1 and the following; with 1 the kernel chooses.
    pub(crate) source_addresses: u32,
    /// Time that measured clients waste before each message; zero in a measurement.
    pub(crate) generator_delay: Duration,
    /// The kernel stamps what arrives, and the receive lag is recorded; reads are dearer then.
    pub(crate) stamps_arrivals: bool,
    /// Misbehaving clients beside the measured ones.
    pub(crate) cohorts: Cohorts,
    /// How long after its due time a tick may still interfere with messages, in nanoseconds.
    pub(crate) fan_out_span_ns: u64,
    /// Where the engine reports how many messages came back.
    pub(crate) progress: Arc<Progress>,
}
