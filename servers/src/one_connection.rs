//! `blocking`: one connection at a time, with plain blocking reads and writes.
//!
//! The lower bound of latency: nothing stands between the socket and the echo. The price is that a connection waits in
//! the backlog until the previous one has ended (F2). The next tick is the timeout of a poll on the one socket; a client
//! that does not read delays its own status, and there is no other client to delay.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use protocol::{
    Counters, Outgoing, Schedule,
    limits::{ACCEPT_RETRY, LINGER_PAUSE, READ_BUFFER_BYTES, SHUTDOWN_FLUSH},
    status::Status,
    work::{Line, WORK_TURN},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::low_level::pipe;

use crate::{
    Config, clock,
    linger::is_settled,
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};

/// Serves `listener` from this thread, one connection at a time.
pub(crate) fn run(listener: TcpListener, config: &Config) -> io::Result<Counters> {
    let mut server = Server {
        schedule: Schedule::new(clock::now_ns(), config.status_interval),
        worker: Worker::new(&config.service),
        stop: stop_signal()?,
        stop_by: None,
        buffer: vec![0; READ_BUFFER_BYTES].into(),
        counters: Counters::default(),
    };
    listener.set_nonblocking(true)?;
    let mut warning = Warning::default();
    announce(listener.local_addr()?)?;
    while server.wait(&listener, None)? {
        match listener.accept() {
            Ok((stream, _)) => {
                server.counters.accepts += 1;
                // An error ends this connection alone.
                drop(server.serve(&stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock || is_connection_error(&error) => {}
            Err(error) => {
                warning.print("cannot accept", &error);
                std::thread::sleep(ACCEPT_RETRY);
            }
        }
    }
    Ok(server.counters)
}

struct Server {
    schedule: Schedule,
    worker: Worker,
    /// Readable once a signal has arrived.
    stop: UnixStream,
    stop_by: Option<Instant>,
    buffer: Box<[u8]>,
    counters: Counters,
}

impl Server {
    fn serve(&mut self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        // Non-blocking, so that a peer that does not read cannot keep the server from noticing a signal.
        stream.set_write_timeout(Some(SHUTDOWN_FLUSH))?;
        let mut outgoing = Outgoing::default();
        let result = self.echo_all(stream, &mut outgoing);
        outgoing.abandon(&mut self.counters);
        result
    }

    fn echo_all(&mut self, mut stream: &TcpStream, outgoing: &mut Outgoing) -> io::Result<()> {
        let (mut buffer, mut line) = (std::mem::take(&mut self.buffer), Line::default());
        let result = loop {
            match self.wait(stream, Some((stream, &mut *outgoing))) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            match stream.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    if let Err(error) = self.echo(stream, outgoing, &mut line, &buffer[..count]) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        outgoing.end_of_input(&mut self.counters);
        self.write(stream, outgoing, &[])?;
        self.linger(stream)?;
        result
    }

    /// Works on the messages of `input` and writes them back, with ticks in between (W2).
    fn echo(
        &mut self,
        stream: &TcpStream,
        outgoing: &mut Outgoing,
        line: &mut Line,
        mut input: &[u8],
    ) -> io::Result<()> {
        let mut worked = Duration::ZERO;
        while !input.is_empty() {
            let (first, cost) = self.worker.first_line(line, input);
            self.write(stream, outgoing, first)?;
            input = &input[first.len()..];
            worked += cost;
            if worked >= WORK_TURN {
                worked = Duration::ZERO;
                self.tick(Some((stream, &mut *outgoing)))?;
                if self.stop_by().is_some_and(|by| Instant::now() >= by) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// When everything has to be over, once a signal has arrived (F4).
    fn stop_by(&mut self) -> Option<Instant> {
        is_readable(&self.stop).then(|| *self.stop_by.get_or_insert_with(|| Instant::now() + SHUTDOWN_FLUSH))
    }

    /// If the server is stopping, shuts down the sending side and discards input until the peer's FIN (F4).
    fn linger(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        let Some(deadline) = self.stop_by() else { return Ok(()) };
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(LINGER_PAUSE))?;
        while !is_settled(stream) && Instant::now() < deadline {
            match stream.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until `socket` is readable, sending ticks as they come due; false once a signal has arrived.
    fn wait(&mut self, socket: impl AsFd, mut peer: Option<(&TcpStream, &mut Outgoing)>) -> io::Result<bool> {
        loop {
            let next_ns = self.schedule.next_due_ns();
            let timeout = next_ns.map(|due_ns| timespec(due_ns.saturating_sub(clock::now_ns())));
            let mut sockets = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut sockets, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [ready, stopped] = sockets.map(|socket| !socket.revents().is_empty());
            if stopped {
                return Ok(false);
            }
            self.tick(peer.as_mut().map(|(stream, outgoing)| (*stream, &mut **outgoing)))?;
            if ready {
                return Ok(true);
            }
        }
    }

    /// Writes pending output and `input`, waiting while the peer does not read, unless a signal arrives.
    fn write(&mut self, mut stream: &TcpStream, outgoing: &mut Outgoing, mut input: &[u8]) -> io::Result<()> {
        loop {
            let next = outgoing.next(input);
            if next.is_empty() {
                return Ok(());
            }
            match stream.write(next) {
                Ok(count) => input = outgoing.sent(input, count, &mut self.counters),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !is_readable(&self.stop) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn tick(&mut self, peer: Option<(&TcpStream, &mut Outgoing)>) -> io::Result<()> {
        let emit_ns = clock::now_ns();
        let Some(tick) = self.schedule.take(emit_ns) else { return Ok(()) };
        self.counters.ticks += 1;
        self.counters.ticks_skipped += tick.skipped;
        let Some((stream, outgoing)) = peer else { return Ok(()) };
        let status = Status { active: 1, tick: tick.number, due_ns: tick.due_ns, emit_ns };
        outgoing.offer(status.line(), &mut self.counters);
        self.write(stream, outgoing, &[])
    }
}

/// A stream that becomes readable with the first signal.
fn stop_signal() -> io::Result<UnixStream> {
    let (stop, write) = UnixStream::pair()?;
    for signal in shutdown::SIGNALS {
        pipe::register(signal, write.try_clone()?)?;
    }
    shutdown::exit_on_second_signal()?;
    Ok(stop)
}

fn is_readable(socket: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timespec(0))).is_ok_and(|ready| ready > 0)
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ }
}
