//! What a server with a thread per connection does about the limits of its host (F3).

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use protocol::limits::ACCEPT_RETRY;
use rustix::process::{Resource, getrlimit};

use super::lock;
use crate::listen::log;

/// Tells an acceptor that is short of descriptors when a stream was closed.
#[derive(Default)]
pub(super) struct Closed {
    /// A stream was closed since the last check.
    lately: Mutex<bool>,
    changed: Condvar,
}

/// Reports on drop that a stream's descriptor is free again.
pub(super) struct Descriptor(pub(super) Arc<Closed>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        *lock(&self.0.lately) = true;
        self.0.changed.notify_one();
    }
}

impl Closed {
    /// After a shortage, waits until a connection is closed or a pause is over.
    pub(super) fn wait(&self) {
        let waited = self.changed.wait_timeout_while(lock(&self.lately), ACCEPT_RETRY, |lately| !*lately);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// The limit of connections: beyond the host's own limits, starting a thread would abort the process (F3).
pub(super) fn places(max_connections: usize) -> usize {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let descriptors = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
    let limits = [
        ("descriptors", descriptors.saturating_sub(64)),
        ("kernel.pid_max", read("kernel/pid_max").map_or(usize::MAX, |max| max / 2)),
        // A thread has four mappings: its stack and its signal stack, each with a guard page.
        ("vm.max_map_count", read("vm/max_map_count").map_or(usize::MAX, |max| (max / 4).saturating_sub(512))),
    ];
    let (name, limit) = limits.into_iter().min_by_key(|(_, limit)| *limit).unwrap_or(("", usize::MAX));
    // If not even one is possible, the first client's failure shows it.
    let places = limit.min(max_connections).max(1);
    if places < max_connections {
        let connections = if places == 1 { "connection" } else { "connections" };
        log(format_args!("serving at most {places} {connections} at a time instead of {max_connections}: {name}"));
    }
    places
}
