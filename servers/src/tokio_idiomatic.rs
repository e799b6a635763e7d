//! `tokio-idiomatic`: one task per connection, as most applications on tokio are written.
//!
//! A task awaits whatever comes first: input, a status or the end of the server. It reads into a buffer of its own and
//! awaits each write. The main loop does everything else, so nothing needs a lock. All this costs what `tokio` saves: a
//! status wakes every task, and all at once, so that input waits behind them; an idle task holds its buffer; and `select!`
//! sets up its futures anew for every message.

use std::{io, net, time::Duration};

use protocol::{
    Counters, Schedule,
    limits::{ACCEPT_RETRY, LINGER_PAUSE, SHUTDOWN_FLUSH},
    status::{Status, StatusLine},
    work::{Line, WORK_TURN},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime, select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    Config, clock,
    linger::is_settled,
    listen::{Warning, announce, is_connection_error},
    shutdown,
    work::Worker,
};

/// Size of a task's buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Serves `listener` on the number of worker threads in `config`.
pub(crate) fn run(listener: net::TcpListener, config: &Config) -> io::Result<Counters> {
    let schedule = Schedule::new(clock::now_ns(), config.status_interval);
    let workers = config.workers.get();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(serve(listener, config, schedule))
}

/// What the main loop tells every task.
#[derive(Clone, Default)]
struct News {
    status: Option<StatusLine>,
    /// Number of statuses so far.
    emitted: u64,
    stopping: bool,
}

async fn serve(listener: net::TcpListener, config: &Config, mut schedule: Schedule) -> io::Result<Counters> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    shutdown::exit_on_second_signal()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let worker = Worker::new(&config.service);
    announce(listener.local_addr()?)?;

    let news = watch::Sender::new(News::default());
    let cut_off = watch::Sender::new(());
    let mut connections = JoinSet::new();
    let (mut counters, mut warning) = (Counters::default(), Warning::default());
    let mut accept_at = Instant::now();
    loop {
        let has_room = connections.len() < config.max_connections.get();
        let is_short = accept_at > Instant::now();
        select! {
            accepted = listener.accept(), if has_room && !is_short => match accepted {
                Ok((stream, _)) => {
                    counters.accepts += 1;
                    connections.spawn(Connection::new(stream, news.subscribe(), worker).serve(cut_off.subscribe()));
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    warning.print("cannot accept", &error);
                    accept_at = Instant::now() + ACCEPT_RETRY;
                }
            },
            () = sleep_until(accept_at), if is_short => {}
            Some(ended) = connections.join_next() => {
                accept_at = Instant::now();
                counters.merge(&settled(ended, &news));
            }
            () = until_due(&schedule) => {
                let emit_ns = clock::now_ns();
                let Some(tick) = schedule.take(emit_ns) else { continue };
                counters.ticks += 1;
                counters.ticks_skipped += tick.skipped;
                let active = connections.len() as u64;
                let status = Status { active, tick: tick.number, due_ns: tick.due_ns, emit_ns };
                news.send_modify(|news| (news.status, news.emitted) = (Some(status.line()), news.emitted + 1));
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    news.send_modify(|news| news.stopping = true);
    let deadline = Instant::now() + SHUTDOWN_FLUSH;
    while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
        counters.merge(&settled(ended, &news));
    }
    // Those that are late are cut off.
    drop(cut_off);
    while let Some(ended) = connections.join_next().await {
        counters.merge(&settled(ended, &news));
    }
    Ok(counters)
}

/// Waits until the next tick is due; for ever if there is none.
async fn until_due(schedule: &Schedule) {
    match schedule.next_due_ns() {
        Some(due_ns) => sleep(Duration::from_nanos(due_ns.saturating_sub(clock::now_ns()))).await,
        None => std::future::pending().await,
    }
}

/// The counters of a connection that has ended; statuses that counted it but never reached it are dropped.
fn settled(ended: Result<(Counters, u64), JoinError>, news: &watch::Sender<News>) -> Counters {
    // A panic ends the connection of its task alone.
    let (mut counters, emitted_seen) = ended.unwrap_or_else(|_| (Counters::default(), news.borrow().emitted));
    counters.statuses_dropped_at_eof += news.borrow().emitted - emitted_seen;
    counters
}

struct Connection {
    stream: TcpStream,
    news: watch::Receiver<News>,
    /// A status that waits for the end of a line.
    held: Option<StatusLine>,
    inside_line: bool,
    worker: Worker,
    line: Line,
    /// Number of emitted statuses for which this connection is no longer accountable.
    emitted_seen: u64,
    counters: Counters,
}

impl Connection {
    fn new(stream: TcpStream, news: watch::Receiver<News>, worker: Worker) -> Self {
        let emitted_seen = news.borrow().emitted;
        let (line, counters) = (Line::default(), Counters::default());
        Self { stream, news, held: None, inside_line: false, worker, line, emitted_seen, counters }
    }

    /// Returns its counters, and how many statuses they account for.
    async fn serve(mut self, mut cut_off: watch::Receiver<()>) -> (Counters, u64) {
        let mut buffer = vec![0; BUFFER_BYTES];
        select! {
            // An error ends this connection alone.
            _ = self.echo_and_leave(&mut buffer) => {}
            // The sender is gone.
            _ = cut_off.changed() => {}
        }
        self.counters.statuses_dropped_at_eof += u64::from(self.held.is_some());
        (self.counters, self.emitted_seen)
    }

    async fn echo_and_leave(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.echo(buffer).await?;
        let is_stopping = self.news.borrow().stopping;
        if is_stopping { self.linger(buffer).await } else { Ok(()) }
    }

    async fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            select! {
                biased;
                _ = self.news.changed() => {
                    let news = self.news.borrow_and_update().clone();
                    if news.stopping {
                        return Ok(());
                    }
                    let replaced = news.emitted - self.emitted_seen - u64::from(self.held.is_none());
                    self.counters.statuses_replaced += replaced;
                    (self.held, self.emitted_seen) = (news.status, news.emitted);
                    self.send_held().await?;
                }
                count = self.stream.read(buffer) => match count? {
                    0 => return Ok(()),
                    count => self.write(&buffer[..count]).await?,
                },
            }
        }
    }

    /// Works on the messages of `input` and echoes them; a held status goes right behind the end of the line.
    async fn write(&mut self, mut input: &[u8]) -> io::Result<()> {
        let mut worked = Duration::ZERO;
        while !input.is_empty() {
            let (piece, cost) = self.worker.first_line(&mut self.line, input);
            let newline = piece.iter().position(|byte| *byte == b'\n').filter(|_| self.held.is_some());
            let (first, rest) = piece.split_at(newline.map_or(piece.len(), |newline| newline + 1));
            for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
                self.write_counted(part).await?;
                self.inside_line = !part.ends_with(b"\n");
                self.send_held().await?;
            }
            input = &input[piece.len()..];
            worked += cost;
            if worked >= WORK_TURN {
                worked = Duration::ZERO;
                yield_now().await;
            }
        }
        Ok(())
    }

    /// `write_all`, which would not tell how far it came if the connection breaks.
    async fn write_counted(&mut self, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() {
            let count = self.stream.write(part).await?;
            self.counters.bytes_echoed += count as u64;
            part = &part[count..];
        }
        Ok(())
    }

    async fn send_held(&mut self) -> io::Result<()> {
        if let Some(line) = self.held.as_ref().filter(|_| !self.inside_line) {
            self.stream.write_all(line).await?;
            self.held = None;
            self.counters.statuses_sent += 1;
        }
        Ok(())
    }

    /// Shuts down the sending side and discards input until the peer's FIN (F4).
    async fn linger(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if is_settled(&self.stream) {
            return Ok(());
        }
        self.stream.shutdown().await?;
        loop {
            match timeout(LINGER_PAUSE, self.stream.read(buffer)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(count) => _ = count?,
                Err(_) if is_settled(&self.stream) => return Ok(()),
                Err(_) => {}
            }
        }
    }
}
