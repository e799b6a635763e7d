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
    work::{Line, WORK_TURN},
};
use signal_hook::flag;

use crate::{
    Config, clock,
    linger::{Stage, is_settled},
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
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
    let worker = Worker::new(&config.service);
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
        worker,
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
    worker: Worker,
    accept_again_ns: u64,
    warning: Warning,
    buffer: Box<[u8]>,
    counters: Counters,
}

struct Connection {
    stream: TcpStream,
    outgoing: Outgoing,
    stage: Stage,
    line: Line,
    /// Messages that were read and wait for the connection's next turn (W2).
    waiting: Vec<u8>,
}

impl Server {
    fn accept_all(&mut self, listener: &TcpListener) {
        while self.connections.len() < self.places && clock::now_ns() >= self.accept_again_ns {
            match listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.counters.accepts += 1;
                    self.connections.push(Connection {
                        stream,
                        outgoing: Outgoing::default(),
                        stage: Stage::Open,
                        line: Line::default(),
                        waiting: Vec::new(),
                    });
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
        let (mut index, mut worked) = (0, Duration::ZERO);
        while let Some(connection) = self.connections.get_mut(index) {
            let mut cost = Duration::ZERO;
            match connection.visit(&self.worker, &mut cost, &mut self.buffer, &mut self.counters) {
                Ok(true) => index += 1,
                // An error concerns this connection alone (F2).
                Ok(false) | Err(_) => self.close(index),
            }
            worked += cost;
            if worked >= WORK_TURN {
                worked = Duration::ZERO;
                self.tick();
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
    /// Writes pending output, then reads and echoes; false once the connection is over. Adds to `cost` what its messages
    /// have cost.
    fn visit(
        &mut self,
        worker: &Worker,
        cost: &mut Duration,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> io::Result<bool> {
        let mut turn_bytes = 0;
        if !self.waiting.is_empty() && self.write(&[], counters)? {
            let waiting = std::mem::take(&mut self.waiting);
            self.echo(worker, cost, &waiting, counters)?;
        }
        // One read buffer is written before the next is read, which bounds the memory of a connection (F1).
        while self.write(&[], counters)? && self.waiting.is_empty() && turn_bytes < TURN_BYTES && *cost < WORK_TURN {
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
                        self.echo(worker, cost, &buffer[..count], counters)?;
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

    /// Works on the messages of `input` and writes them back. If the socket is full or the turn's work done, the rest
    /// waits for the next turn.
    fn echo(
        &mut self,
        worker: &Worker,
        cost: &mut Duration,
        mut input: &[u8],
        counters: &mut Counters,
    ) -> io::Result<()> {
        let mut has_room = true;
        while has_room && !input.is_empty() && *cost < WORK_TURN {
            let (first, spent) = worker.first_line(&mut self.line, input);
            *cost += spent;
            has_room = self.write(first, counters)?;
            input = &input[first.len()..];
        }
        self.waiting.extend_from_slice(input);
        Ok(())
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
