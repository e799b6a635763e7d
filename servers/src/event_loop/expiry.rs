//! Connections that run out of time.

// region: handshake
use std::hash::{BuildHasher, RandomState};

use protocol::handshake::Handshake;
// endregion
use mio::Token;
use slab::Slab;

use super::{Connection, Server, find, token};
use crate::clock;

/// Deadlines dealt with before I/O is served again.
const DEADLINE_CHUNK: usize = 64;

impl Server {
    // region: handshake
    /// Begins a handshake, which must be over within `limit_ns`.
    pub(super) fn greet(&mut self, key: usize, limit_ns: u64) {
        let handshake = Handshake::new(RandomState::new().hash_one(0));
        let connection = &mut self.connections[key];
        connection.handshake = Some(handshake);
        self.greeted += 1;
        let (token, is_sent) = (token(key, connection.serial), connection.send_at_once(&handshake.hello()).is_ok());
        let connections = &self.connections;
        self.handshakes.push(clock::now_ns() + limit_ns, token, |token| is_greeted(connections, token));
        if !is_sent {
            self.counters.handshakes_failed += 1;
            self.close(key);
        }
    }
    // endregion

    /// When the first connection runs out of time.
    pub(super) fn next_deadline_ns(&mut self) -> Option<u64> {
        // region: handshake
        let connections = &self.connections;
        let handshake_ns = self.handshakes.next_ns(|token| is_greeted(connections, token));
        // endregion
        handshake_ns
    }

    /// Closes connections that have run out of time, up to one chunk of them.
    pub(super) fn expire(&mut self, now_ns: u64) {
        // region: handshake
        for _ in 0..DEADLINE_CHUNK {
            let Some(token) = self.handshakes.take(now_ns) else { break };
            if let Some(key) = self.key(token).filter(|_| is_greeted(&self.connections, token)) {
                self.counters.handshakes_timed_out += 1;
                self.close(key);
            }
        }
        // endregion
    }
}

// region: handshake
/// Whether a connection is in its handshake.
fn is_greeted(connections: &Slab<Connection>, token: Token) -> bool {
    find(connections, token).is_some_and(|connection| connection.handshake.is_some())
}
// endregion
