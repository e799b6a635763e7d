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
            self.look_at(token, |server| is_greeted(&server.connections, token));
            if let Some(key) = self.key(token).filter(|_| is_greeted(&self.connections, token)) {
                self.counters.handshakes_timed_out += 1;
                self.close(key);
            }
        }
        // endregion
        // region: idle timeout
        for _ in 0..DEADLINE_CHUNK {
            let Some(token) = self.silences.take(now_ns) else { break };
            self.look_at(token, |server| {
                server.silent_until_ns(token, now_ns).is_some_and(|until_ns| until_ns <= now_ns)
            });
            match (self.silent_until_ns(token, now_ns), self.key(token)) {
                (Some(until_ns), Some(key)) if until_ns <= now_ns => {
                    self.counters.idle_timeouts += 1;
                    self.close(key);
                }
                (Some(until_ns), Some(_)) => {
                    self.silences.push(until_ns, token, |token| find(&self.connections, token).is_some());
                }
                _ => {}
            }
        }
        // endregion
    }

    /// Gives a connection that `is_late` a last turn: what arrived in time counts, even if its event is still to come.
    fn look_at(&mut self, token: Token, is_late: impl Fn(&Self) -> bool) {
        if let Some(key) = self.key(token).filter(|_| is_late(self)) {
            self.drive(key);
        }
    }

    // region: idle timeout
    /// When a connection will have been silent for too long, unless it is heard before; one that waits for its turn is not
    /// silent yet.
    fn silent_until_ns(&self, token: Token, now_ns: u64) -> Option<u64> {
        let connection = find(&self.connections, token)?;
        let until_ns = connection.heard_ns? + self.silence_ns?;
        Some(if connection.queued { until_ns.max(now_ns + 1) } else { until_ns })
    }
    // endregion
}

// region: handshake
/// Whether a connection is in its handshake.
fn is_greeted(connections: &Slab<Connection>, token: Token) -> bool {
    find(connections, token).is_some_and(|connection| connection.handshake.is_some())
}
// endregion
