//! An echo server with known faults, for proving the instrument; without any it is the null server, which does nothing
//! but echo and so shows what the generator can do.
//!
//! It prints the ground truth of its faults and delays, with which the generator's figures are compared. It sends no status
//! lines.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::Result;
use hdrhistogram::Histogram;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
    unix::SourceFd,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::{
    fd::OwnedFd,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};
use serde::{Deserialize, Serialize};
use servers::{
    clock,
    listen::{self, SocketOptions},
};
use slab::Slab;

use crate::{
    cli::{Fault, FaultServerArgs},
    exit::Exit,
    interrupt, terminal,
};

/// Serves until SIGTERM, then prints the ground truth as one line of JSON on stderr.
///
/// # Errors
/// If it cannot listen.
pub fn serve(args: &FaultServerArgs) -> Result<Exit> {
    interrupt::install()?;
    listen::raise_descriptor_limit();
    let options = SocketOptions { nodelay: true, congestion: Some(args.congestion.clone()) };
    let listener = listen::bind(&[args.addr], &options)?;
    terminal::print_plain(&format!("listening on {}\n", listener.local_addr()?))?;
    listener.set_nonblocking(true)?;
    let mut server = Server {
        args: args.clone(),
        connections: Slab::new(),
        truth: Truth::new(),
        random: ChaCha8Rng::seed_from_u64(1),
        buffer: vec![0; 64 * 1024].into(),
    };
    server.run(TcpListener::from_std(listener))?;
    terminal::say(serde_json::to_string(&server.truth.statement())?);
    Ok(Exit::Ok)
}

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

struct Server {
    args: FaultServerArgs,
    connections: Slab<Connection>,
    truth: Truth,
    random: ChaCha8Rng,
    buffer: Box<[u8]>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a message.
    partial: Vec<u8>,
    /// A message that is sent after the next one.
    held: Vec<u8>,
    /// Bytes that a full socket did not take.
    unsent: Vec<u8>,
}

impl Server {
    fn run(&mut self, mut listener: TcpListener) -> io::Result<()> {
        let mut poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(stop) = interrupt::wake_fd() {
            poll.registry().register(&mut SourceFd(&stop), STOP, Interest::READABLE)?;
        }
        let timer = self.args.wake.map(periodic).transpose()?;
        if let Some(timer) = &timer {
            poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), WAKE, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(1024);
        while !interrupt::requested() {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(&listener, &poll)?,
                    WAKE => self.wake(timer.as_ref()),
                    STOP => {}
                    Token(key) => self.serve(key),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(Connection { stream, partial: Vec::new(), held: Vec::new(), unsent: Vec::new() });
        }
        Ok(())
    }

    fn wake(&mut self, timer: Option<&OwnedFd>) {
        if let Some(timer) = timer {
            // Only to rearm the event: the number of expirations does not matter.
            let _ = rustix::io::read(timer, &mut [0; 8]);
        }
        self.truth.wakes += 1;
        self.truth.spun_ns += spin(self.args.spin);
    }

    fn serve(&mut self, key: usize) {
        if self.echo(key).is_err() {
            self.connections.try_remove(key);
        }
    }

    /// Reads and answers until nothing is left.
    fn echo(&mut self, key: usize) -> io::Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            connection.write(&[])?;
            let count = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            };
            if self.args.delay.is_zero() && self.args.fault.is_none() {
                connection.write(&self.buffer[..count])?;
            } else {
                connection.partial.extend_from_slice(&self.buffer[..count]);
                self.answer(key)?;
            }
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Answers every complete message, each after its delay.
    fn answer(&mut self, key: usize) -> io::Result<()> {
        let mut input = std::mem::take(&mut self.connections[key].partial);
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[begin..]) {
            let mut message = input[begin..=begin + length].to_vec();
            begin += length + 1;
            if !self.args.delay.is_zero() {
                let begun_ns = clock::now_ns();
                self.truth.spun_ns += spin(self.delay());
                self.truth.record_delay(clock::now_ns() - begun_ns);
            }
            self.truth.messages += 1;
            let fault = self.args.fault.filter(|_| self.truth.messages.is_multiple_of(self.args.every));
            self.truth.faults += u64::from(fault.is_some());
            let connection = &mut self.connections[key];
            let held = std::mem::take(&mut connection.held);
            match fault {
                None => connection.write(&message)?,
                Some(Fault::Drop) => {}
                Some(Fault::Duplicate) => connection.write(&message.repeat(2))?,
                Some(Fault::Corrupt) => {
                    // Never into a newline, which would make two lines.
                    message[length / 2] ^= 0x80;
                    connection.write(&message)?;
                }
                Some(Fault::Reorder) => connection.held = message,
            }
            connection.write(&held)?;
        }
        input.drain(..begin);
        self.connections[key].partial = input;
        Ok(())
    }

    fn delay(&mut self) -> Duration {
        if self.args.exponential {
            // The inverse of the exponential distribution; the drawn number is never 1.
            self.args.delay.mul_f64(-(1.0 - self.random.random::<f64>()).ln())
        } else {
            self.args.delay
        }
    }
}

impl Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            let unsent = std::mem::take(&mut self.unsent);
            return self.write(&unsent);
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}

/// The ground truth.
struct Truth {
    messages: u64,
    faults: u64,
    wakes: u64,
    spun_ns: u64,
    /// Realised delays on the clock, in nanoseconds.
    delays: Histogram<u64>,
}

impl Truth {
    fn new() -> Self {
        // The bounds are constants that the crate accepts.
        let delays = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        Self { messages: 0, faults: 0, wakes: 0, spun_ns: 0, delays }
    }

    fn record_delay(&mut self, delay_ns: u64) {
        // A delay of more than a minute is a stop in a debugger.
        let _ = self.delays.record(delay_ns.max(1));
    }

    /// The counts as the server prints them.
    fn statement(&self) -> Statement {
        let quantile_ns = |quantile| self.delays.value_at_quantile(quantile) as f64;
        Statement {
            messages: self.messages,
            faults: self.faults,
            wakes: self.wakes,
            spun_ns: self.spun_ns,
            delay_ns_mean: self.delays.mean(),
            delay_ns_stdev: self.delays.stdev(),
            delay_ns_p50: quantile_ns(0.5),
            delay_ns_p90: quantile_ns(0.9),
            delay_ns_p99: quantile_ns(0.99),
        }
    }
}

/// The last line of the server's stderr, in JSON: the faults and delays that it really injected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Statement {
    /// Messages received.
    pub(super) messages: u64,
    /// Faults injected.
    pub(super) faults: u64,
    /// Wake-ups by its timer.
    pub(super) wakes: u64,
    /// CPU time spent spinning, in nanoseconds.
    pub(super) spun_ns: u64,
    /// Mean delay, in nanoseconds.
    pub(super) delay_ns_mean: f64,
    /// Standard deviation of the delays, in nanoseconds.
    pub(super) delay_ns_stdev: f64,
    /// Median delay, in nanoseconds.
    pub(super) delay_ns_p50: f64,
    /// 90th percentile of the delays, in nanoseconds.
    pub(super) delay_ns_p90: f64,
    /// 99th percentile of the delays, in nanoseconds.
    pub(super) delay_ns_p99: f64,
}

/// Keeps the CPU busy for that long by the thread's own CPU clock; returns the real duration in nanoseconds.
fn spin(time: Duration) -> u64 {
    if time.is_zero() {
        return 0;
    }
    let now_ns = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
    };
    let begun_ns = now_ns();
    loop {
        let spun_ns = now_ns() - begun_ns;
        if spun_ns >= time.as_nanos() as u64 {
            return spun_ns;
        }
    }
}

/// A timer that expires at an interval, without drift.
fn periodic(interval: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let every = Timespec { tv_sec: interval.as_secs() as _, tv_nsec: interval.subsec_nanos().into() };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
    Ok(timer)
}
