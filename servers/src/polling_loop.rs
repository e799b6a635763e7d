//! `busy-loop` and `sleep-loop`: one thread that polls every socket in turn.
//!
//! Without readiness notification each round costs a system call per connection, even if nothing happens (I1). Without a
//! pause the thread never sleeps; with one, every message waits for the next round.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use protocol::{
    Counters, Outgoing, Schedule,
    limits::{ACCEPT_RETRY, READ_BUFFER_BYTES, SHUTDOWN_FLUSH, TURN_BYTES},
    status::{Status, StatusLine},
};
use signal_hook::flag;

use crate::{
    Config, clock,
    linger::{Stage, is_settled},
    listen::{Warning, announce, is_connection_error},
    shutdown,
};

/// The pause of `sleep-loop`: as short as is common, and longer than most messages take.
const PAUSE: Duration = Duration::from_millis(1);

/// Serves `listener` without ever pausing.
pub(crate) fn run_busy(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    run(&listener, config, || {})
}

/// Serves `listener` with a pause after each round.
pub(crate) fn run_sleepy(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    run(&listener, config, || thread::sleep(PAUSE))
}

fn run(listener: &TcpListener, config: &Config, pause: impl Fn()) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in shutdown::SIGNALS {
        flag::register(signal, Arc::clone(&stop))?;
    }
    shutdown::exit_on_second_signal()?;
    listener.set_nonblocking(true)?;
    let mut server = Server {
        places: config.max_connections.get(),
        connections: Vec::new(),
        schedule,
        accept_again_ns: 0,
        warning: Warning::default(),
        buffer: vec![0; READ_BUFFER_BYTES].into(),
        counters: Counters::default(),
    };
    announce(listener.local_addr()?)?;
    while !stop.load(Ordering::Relaxed) {
        server.accept_all(listener);
        server.tick();
        server.visit_all();
        pause();
    }
    server.drain(pause);
    Ok(server.counters)
}

struct Server {
    places: usize,
    connections: Vec<Connection>,
    schedule: Schedule,
    accept_again_ns: u64,
    warning: Warning,
    buffer: Box<[u8]>,
    counters: Counters,
}

struct Connection {
    stream: TcpStream,
    outgoing: Outgoing,
    stage: Stage,
}

impl Server {
    fn accept_all(&mut self, listener: &TcpListener) {
        while self.connections.len() < self.places && clock::now_ns() >= self.accept_again_ns {
            match listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.counters.accepts += 1;
                    self.connections.push(Connection { stream, outgoing: Outgoing::default(), stage: Stage::Open });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) => {}
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    self.warning.print("cannot accept", &error);
                    self.accept_again_ns = clock::now_ns() + ACCEPT_RETRY.as_nanos() as u64;
                }
            }
        }
    }

    /// One round: polls every connection and drops those that are over.
    fn visit_all(&mut self) {
        let mut index = 0;
        while let Some(connection) = self.connections.get_mut(index) {
            match connection.visit(&mut self.buffer, &mut self.counters) {
                Ok(true) => index += 1,
                // An error concerns this connection alone (F2).
                Ok(false) | Err(_) => self.close(index),
            }
        }
    }

    fn tick(&mut self) {
        let emit_ns = clock::now_ns();
        let Some(tick) = self.schedule.take(emit_ns) else { return };
        self.counters.ticks += 1;
        self.counters.ticks_skipped += tick.skipped;
        let active = self.connections.len() as u64;
        let line = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns }.line();
        // The next round, which visits every connection anyway, sends it.
        for connection in &mut self.connections {
            connection.outgoing.offer(StatusLine::clone(&line), &mut self.counters);
        }
    }

    fn close(&mut self, index: usize) {
        self.connections.swap_remove(index).outgoing.abandon(&mut self.counters);
        // After a shortage, a descriptor is free again.
        self.accept_again_ns = 0;
    }

    /// Stops reading; queued output is still flushed (F4).
    fn drain(&mut self, pause: impl Fn()) {
        let until_ns = clock::now_ns() + SHUTDOWN_FLUSH.as_nanos() as u64;
        for connection in &mut self.connections {
            connection.stage = Stage::Leaving;
            connection.outgoing.end_of_input(&mut self.counters);
        }
        while !self.connections.is_empty() && clock::now_ns() < until_ns {
            self.visit_all();
            pause();
        }
        while !self.connections.is_empty() {
            self.close(0);
        }
    }
}

impl Connection {
    /// Writes pending output, then reads and echoes; false once the connection is over.
    fn visit(&mut self, buffer: &mut [u8], counters: &mut Counters) -> io::Result<bool> {
        let mut turn_bytes = 0;
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        while self.write(&[], counters)? && turn_bytes < TURN_BYTES {
            if self.stage.is_over(&self.stream)? || (self.stage == Stage::Lingering && is_settled(&self.stream)) {
                return Ok(false);
            }
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.stage = Stage::Ended;
                    self.outgoing.end_of_input(counters);
                }
                Ok(count) => {
                    turn_bytes += count;
                    if self.stage == Stage::Open {
                        self.write(&buffer[..count], counters)?;
                    }
                    if count < buffer.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes pending output and `input`; if the socket is full, keeps the rest and returns false.
    fn write(&mut self, mut input: &[u8], counters: &mut Counters) -> io::Result<bool> {
        loop {
            let next = self.outgoing.next(input);
            if next.is_empty() {
                return Ok(true);
            }
            match self.stream.write(next) {
                Ok(count) => input = self.outgoing.sent(input, count, counters),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing.keep(input, counters);
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
