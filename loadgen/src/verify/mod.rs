//! The conformance suite: every clause of SPEC.md, checked from outside over blocking sockets.
//!
//! It is the one home of these checks. A check waits for events with a deadline and never for time to pass, so it says
//! the same on a slow host.

mod broadcast;
mod client;
mod echo;
mod flow;
mod lifecycle;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use crate::target::{Running, ServerCommand, Target};

/// One side of one clause.
#[derive(Debug)]
pub struct Check {
    /// The clause's number in SPEC.md.
    pub clause: &'static str,
    /// What must hold, as a sentence.
    pub name: &'static str,
    /// Fails with the words that say what happened instead.
    pub run: fn(&Subject) -> Result<()>,
}

/// Every check, in the order of the clauses.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [echo::CHECKS, broadcast::CHECKS, flow::CHECKS, lifecycle::CHECKS].into_iter().flatten()
}

/// The server that is checked: every check starts its own.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The executable that serves.
    pub executable: PathBuf,
    /// The server's name.
    pub name: String,
}

/// How a check wants its server.
#[derive(Clone, Copy, Debug)]
struct Options {
    status_interval: Duration,
    max_connections: u32,
    workers: usize,
}

/// No status lines, room for everybody, and as many workers as it takes to get into each other's way.
const QUIET: Options = Options { status_interval: Duration::ZERO, max_connections: 2_000, workers: 2 };

/// Status lines as often as allowed.
const BUSY: Options = Options { status_interval: Duration::from_millis(10), ..QUIET };

impl Subject {
    fn start(&self, options: Options) -> Result<Running> {
        Target::Server(ServerCommand {
            executable: self.executable.clone(),
            name: self.name.clone(),
            status_interval: options.status_interval,
            max_connections: options.max_connections,
            workers: options.workers,
            nodelay: true,
            congestion: "reno".to_owned(),
            cpus: Vec::new(),
        })
        .start()
    }
}
