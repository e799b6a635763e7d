//! The script of a client, drawn from a seed in advance.

use protocol::status::PREFIX;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// Maximum size of a write.
const WRITE_BYTES_MAX: usize = 100 * 1024;

/// The behaviour of one client.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    /// Lengths of the writes; the rest is written at once.
    pub(crate) writes: Vec<usize>,
    pub(crate) ending: Ending,
    pub(crate) reading: Reading,
    /// SO_RCVBUF, small enough that the socket is soon full, as behind an Ethernet; `None` for the host's default.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// Urgent data is sent before each write (MSG_OOB).
    pub(crate) is_urgent: bool,
    /// How many of eight opportunities to write the client uses.
    pub(crate) eagerness: u8,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Shuts down its sending side after the last byte and reads until the server closes.
    HalfClose,
    /// Closes once everything sent has been echoed, with statuses unread.
    Leave,
    /// Closes by RST once it has written this many bytes, whether or not they were echoed.
    Reset(usize),
    /// Stays until the server closes.
    Stay,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Everything available.
    Eager,
    /// At most this many bytes, at one of four opportunities.
    Slow(usize),
    /// Only when its own writes are stuck or done.
    WhenStuck,
}

/// The endings in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endings {
    /// By half-close alone, so that every byte can be accounted for.
    Orderly,
    /// All of them.
    Any,
}

impl Script {
    /// One line; afterwards the client only receives.
    pub(crate) fn witness() -> Self {
        Self {
            bytes: b"hello\n".to_vec(),
            writes: Vec::new(),
            ending: Ending::Stay,
            reading: Reading::Eager,
            receive_buffer_bytes: None,
            is_urgent: false,
            eagerness: 8,
        }
    }

    /// One line and the end of input.
    pub(crate) fn greeting() -> Self {
        Self { ending: Ending::HalfClose, ..Self::witness() }
    }

    pub(crate) fn draw(random: &mut ChaCha8Rng, endings: Endings) -> Self {
        // With less, the kernel drops segments for lack of accounted memory, and TCP backs off to ever longer timers.
        let narrow = |random: &mut ChaCha8Rng| Some(random.random_range(16_000..64_000));
        let (reading, receive_buffer_bytes, bytes_max) = match random.random_range(0..10) {
            0 => (Reading::Slow(random.random_range(1..400)), None, 60_000),
            1 | 2 => (Reading::Slow(random.random_range(200..4_000)), narrow(random), 300_000),
            3 | 4 => (Reading::WhenStuck, narrow(random), 600_000),
            5 => (Reading::Eager, None, 1_000_000),
            _ => (Reading::Eager, None, 30_000),
        };
        let mut bytes = if random.random_ratio(1, 12) { Vec::new() } else { lines(random, bytes_max) };
        let ending = match (endings, random.random_range(0..6)) {
            (Endings::Any, 0) => Ending::Reset(random.random_range(0..=bytes.len())),
            (Endings::Any, 1) => Ending::Leave,
            _ => Ending::HalfClose,
        };
        if ending == Ending::Leave {
            // The parser cannot tell an incomplete line from a status, and would wait for the rest.
            bytes.push(b'\n');
        }
        let writes = cuts(random, bytes.len());
        // The echo is undefined, so there is nothing to wait for.
        let is_urgent = matches!(ending, Ending::Reset(_)) && random.random();
        Self { bytes, writes, ending, reading, receive_buffer_bytes, is_urgent, eagerness: random.random_range(1..=8) }
    }
}

/// Lines of all kinds that a client may send (C1); the last one may be incomplete.
fn lines(random: &mut ChaCha8Rng, bytes_max: usize) -> Vec<u8> {
    let length = random.random_range(1..bytes_max);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let begin = bytes.len();
        push_line(random, &mut bytes, length - begin);
    }
    bytes.truncate(length);
    let mut begin = 0;
    while begin < bytes.len() {
        if bytes[begin..].starts_with(PREFIX) {
            bytes[begin] = b's';
        }
        begin += memchr::memchr(b'\n', &bytes[begin..]).map_or(bytes.len() - begin, |newline| newline + 1);
    }
    bytes
}

fn push_line(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, room: usize) {
    /// Lines that a careless parser would mistake for a status.
    const NEAR_MISSES: [&[u8]; 9] = [
        b"Server status:",
        b"Server status:\n",
        b"Server status:1 active connections tick=1 due_ns=1 emit_ns=1\n",
        b"server status: 1 active connections tick=1 due_ns=1 emit_ns=1\n",
        b" Server status: 1 active connections tick=1 due_ns=1 emit_ns=1\n",
        b"x\rServer status: 1 active connections tick=1 due_ns=1 emit_ns=1\n",
        b"\0Server status: 2 active connections tick=2 due_ns=2 emit_ns=2\n",
        b"SServer status: 1 active connections\n",
        b"Server statu\n",
    ];
    match random.random_range(0..12) {
        0 => bytes.push(b'\n'),
        1 => bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n"),
        2 => bytes.resize(bytes.len() + random.random_range(1..200), 0),
        3 | 4 => bytes.extend_from_slice(NEAR_MISSES[random.random_range(0..NEAR_MISSES.len())]),
        5 => bytes.extend_from_slice(&PREFIX[..random.random_range(0..PREFIX.len())]),
        6 => {
            // A line longer than any buffer, if the script has room for it.
            let length = random.random_range(0..=room.min(300_000));
            bytes.extend((0..length).map(|index| b'a' + (index % 23) as u8));
            bytes.push(b'\n');
        }
        7 | 8 => {
            let begin = bytes.len();
            bytes.resize(begin + random.random_range(1..2_000), 0);
            random.fill_bytes(&mut bytes[begin..]);
        }
        _ => {
            let length = random.random_range(1..120);
            bytes.extend((0..length).map(|_| random.random_range(b' '..=b'~')));
            bytes.push(b'\n');
        }
    }
}

/// Lengths of writes, from 1 byte to 100 KiB, short ones as often as long ones.
fn cuts(random: &mut ChaCha8Rng, length: usize) -> Vec<usize> {
    // Some clients write a byte at a time for a while.
    let mut writes = if random.random_ratio(1, 4) { vec![1; 200] } else { Vec::new() };
    let mut left = length.saturating_sub(writes.len());
    while left > 0 {
        let count = (1_usize << random.random_range(0..18)).min(WRITE_BYTES_MAX).min(left);
        let count = random.random_range(1..=count);
        writes.push(count);
        left -= count;
    }
    writes
}
