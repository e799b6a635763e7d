//! Status lines to all connections, in chunks.

use protocol::{
    limits::FAN_OUT_CHUNK,
    status::{Status, StatusLine},
};

use super::{Connection, Server, token};

/// A fan-out under way, to the connections that were open when it began.
pub(super) struct FanOut {
    line: StatusLine,
    cursor: usize,
    /// The number of connections that had been opened.
    before: u64,
}

impl FanOut {
    /// Whether the fan-out counts the connection and has not reached it yet (B1).
    pub(super) fn awaits(&self, key: usize, connection: &Connection) -> bool {
        key >= self.cursor && connection.opened < self.before
    }
}

impl Server {
    /// Begins the fan-out of a due tick or continues the current one, by one chunk, so that I/O is served in between (B5).
    pub(super) fn tick(&mut self, now_ns: u64) {
        self.since_look = 0;
        if self.stop.is_some() {
            return self.close_settled(now_ns);
        }
        if self.fan_out.is_none()
            && let Some(tick) = self.schedule.take(now_ns)
        {
            self.counters.ticks += 1;
            self.counters.ticks_skipped += tick.skipped;
            let active = self.connections.len();
            // region: handshake
            let active = active - self.greeted;
            // endregion
            let active = active as u64;
            let status = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns: now_ns };
            self.fan_out = Some(FanOut { line: status.line(), cursor: 0, before: self.opened });
        }
        let Some(mut fan_out) = self.fan_out.take() else { return };
        let mut left = FAN_OUT_CHUNK;
        // Keys lie below the capacity, and a vacant slot costs next to nothing.
        while fan_out.cursor < self.connections.capacity() {
            if left == 0 {
                self.fan_out = Some(fan_out);
                return;
            }
            let key = fan_out.cursor;
            fan_out.cursor += 1;
            if self.connections.get(key).is_some_and(|connection| connection.opened < fan_out.before) {
                left -= 1;
                self.send_status(key, &fan_out.line);
            }
        }
    }

    fn send_status(&mut self, key: usize, line: &StatusLine) {
        let connection = &mut self.connections[key];
        connection.outgoing.offer(StatusLine::clone(line), &mut self.counters);
        if connection.blocked {
            return;
        }
        let sent = connection.write(&[], &mut self.counters);
        let sent = sent.and_then(|()| connection.watch(token(key, connection.serial), &self.registry));
        if sent.is_err() {
            self.close(key);
        }
    }
}
