//! The numbers of SPEC.md, each with its clause.

use std::time::Duration;

/// Size of a read buffer in bytes, and so the most that a connection holds unsent (F1).
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Maximum of unsent bytes per connection in user space (F1).
pub const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// The most that an event loop reads from one connection before it serves the next (F2).
pub const TURN_BYTES: usize = 256 * 1024;

/// Number of connections that a fan-out serves before I/O is served again (B5).
pub const FAN_OUT_CHUNK: usize = 32;

/// The shortest interval between ticks (B4).
pub const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How long a server may take to flush queued output on shutdown (F4).
pub const SHUTDOWN_FLUSH: Duration = Duration::from_secs(1);

/// How long a stopping server waits for a silent peer before it checks whether the peer has acknowledged everything (F4).
pub const LINGER_PAUSE: Duration = Duration::from_millis(50);

/// How long an acceptor waits after a shortage of descriptors, threads or memory before it tries again (F3).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The listen backlog (S1); the kernel caps it at net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// The paragraphs of a clause, in one line.
    fn clause(name: &str) -> String {
        let specification = include_str!("../SPEC.md");
        let start = specification.find(&format!("**{name} ")).expect("a clause of this name");
        let text = &specification[start..];
        let end = text[2..].find("\n**").map_or(text.len(), |next| next + 2);
        text[..end].split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_limit_is_the_number_that_its_clause_gives() {
        let kib = |bytes: usize| format!(" {} KiB", bytes / 1024);
        for (name, number) in [
            ("F1", kib(READ_BUFFER_BYTES)),
            ("F1", kib(UNSENT_BYTES_MAX)),
            ("F2", kib(TURN_BYTES)),
            ("B5", format!("({FAN_OUT_CHUNK} connections")),
            ("B4", format!(" {} ms", STATUS_INTERVAL_MIN.as_millis())),
            ("F4", format!(" {} s,", SHUTDOWN_FLUSH.as_secs())),
            ("S1", format!("backlog {BACKLOG},")),
        ] {
            let clause = clause(name);
            assert!(clause.contains(&number), "{number} in: {clause}");
        }
    }
}
