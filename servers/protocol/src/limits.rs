//! The numbers of SPEC.md, each with its clause.

use std::time::Duration;

/// Size of a read buffer in bytes; also the most a connection holds back unsent (F1).
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The most unsent bytes a connection may hold in user space (F1).
pub const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// The most an event loop reads from one connection before it turns to the next (F2).
pub const TURN_BYTES: usize = 256 * 1024;

/// How many connections a fan-out serves before I/O has its turn again (B5).
pub const FAN_OUT_CHUNK: usize = 32;

/// The shortest interval between ticks (B4).
pub const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How long a server may take to flush what is queued when it is told to stop (F4).
pub const SHUTDOWN_FLUSH: Duration = Duration::from_secs(1);

/// How long a server that ends waits for a silent peer before it looks whether everything has arrived there (F4).
pub const LINGER_PAUSE: Duration = Duration::from_millis(50);

/// How long an acceptor waits after a shortage of descriptors, threads or memory before it tries again (F3).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The listen backlog (S1); the kernel caps it at net.core.somaxconn.
pub const BACKLOG: i32 = 4096;
