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

    // region: idle timeout
    /// Watches for the silence of a connection, which begins now.
    pub(super) fn watch_silence(&mut self, key: usize, limit_ns: u64) {
        let connection = &mut self.connections[key];
        let now_ns = clock::now_ns();
        connection.heard_ns = Some(now_ns);
        let token = token(key, connection.serial);
        self.silences.push(now_ns + limit_ns, token, |token| find(&self.connections, token).is_some());
    }
    // endregion

    /// When the first connection runs out of time.
    pub(super) fn next_deadline_ns(&mut self) -> Option<u64> {
        let deadlines = [
            // region: handshake
            self.handshakes.next_ns(|token| is_greeted(&self.connections, token)),
            // endregion
            // region: idle timeout
            self.silences.next_ns(|token| find(&self.connections, token).is_some()),
            // endregion
        ];
        deadlines.into_iter().flatten().min()
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
        // region: idle timeout
        for _ in 0..DEADLINE_CHUNK {
            let Some(token) = self.silences.take(now_ns) else { break };
            let Some(connection) = find(&self.connections, token) else { continue };
            let (Some(limit_ns), Some(heard_ns)) = (self.silence_ns, connection.heard_ns) else { continue };
            // Whoever waits for a turn is not silent.
            if heard_ns + limit_ns > now_ns || connection.queued {
                let again_ns = (heard_ns + limit_ns).max(now_ns + 1);
                self.silences.push(again_ns, token, |token| find(&self.connections, token).is_some());
            } else if let Some(key) = self.key(token) {
                self.counters.idle_timeouts += 1;
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
