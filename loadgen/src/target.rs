//! What is measured: a server of this project in a process of its own, or whatever listens at an address.
//!
//! Only this module starts processes. A child is spawned from the main thread, because its parent-death signal is tied
//! to the thread that spawned it; it has a process group of its own, so that Ctrl-C does not reach it first.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, BufRead, BufReader, Read},
    net::{SocketAddr, ToSocketAddrs},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use protocol::Counters;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, set_parent_process_death_signal},
    thread::set_current_timer_slack,
};

use crate::{observe, units};

/// How long a server may take to say that it listens.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long a server may take to exit: the second that it may flush, and another for ten thousand threads.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Lines of a server's stderr kept for a message about its failure.
const LOG_LINES: usize = 20;

/// What to measure.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server of this project, started afresh.
    Server(ServerCommand),
    /// Any program that keeps the start-up contract, started afresh.
    Command(GuestCommand),
    /// Something that listens already.
    Address {
        /// Where.
        addr: SocketAddr,
        /// Its process, if it is on this host and to be observed.
        pid: Option<i32>,
    },
}

/// How a server of this project is started.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    /// This executable, or for a bench target the `loadgen` that cargo built with it: never a stale build.
    pub executable: PathBuf,
    /// The server's name.
    pub name: String,
    /// Time between two status lines.
    pub status_interval: Duration,
    /// Connections that it must take.
    pub max_connections: u32,
    /// Worker threads of a runtime that has any.
    pub workers: usize,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion: String,
    /// Where it may run; empty for anywhere.
    pub cpus: Vec<usize>,
    /// See [`Target::padded`].
    pub padding_bytes: usize,
}

/// How any other program is started that says `listening on ADDR:PORT` on its first line of stdout.
#[derive(Clone, Debug)]
pub struct GuestCommand {
    /// What to start.
    pub template: Template,
    /// Time between two status lines.
    pub status_interval: Duration,
    /// Connections that it must take.
    pub max_connections: u32,
    /// Where it may run; empty for anywhere.
    pub cpus: Vec<usize>,
    /// See [`Target::padded`].
    pub padding_bytes: usize,
}

/// A program and its arguments, in which `{addr}`, `{status_interval_ms}` and `{max_connections}` are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<String>);

impl Template {
    /// Splits a command line into words as a shell does; no shell is started.
    ///
    /// # Errors
    /// If there is no word, a quote is not closed, or a placeholder is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = shell_words::split(text).map_err(|error| error.to_string())?;
        if words.is_empty() {
            return Err("it names no program; write for example 'python3 server.py {addr}'".to_owned());
        }
        let known = |name: &str| PLACEHOLDERS.contains(&name);
        let unknown = words.iter().flat_map(|word| placeholders(word)).find(|name| !known(name));
        match unknown {
            Some(name) => Err(format!("{{{name}}} is no placeholder; there are {{{}}}", PLACEHOLDERS.join("}, {"))),
            None => Ok(Self(words)),
        }
    }

    /// Whether it says where a value goes.
    pub fn takes(&self, placeholder: &str) -> bool {
        self.0.iter().flat_map(|word| placeholders(word)).any(|name| name == placeholder)
    }

    fn fill(&self, status_interval: Duration, max_connections: u32) -> Vec<String> {
        let fill = |word: &String| {
            word.replace("{addr}", "127.0.0.1:0")
                .replace("{status_interval_ms}", &status_interval.as_millis().to_string())
                .replace("{max_connections}", &max_connections.to_string())
        };
        self.0.iter().map(fill).collect()
    }
}

const PLACEHOLDERS: [&str; 3] = ["addr", "status_interval_ms", "max_connections"];

/// The names in braces in a word.
fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// The host could not be reached or is no server of this protocol.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// What a server leaves when it ends.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Its counters; `None` if nothing was started, or a guest that prints none.
    pub counters: Option<Counters>,
    /// The last line of its stderr.
    pub last_words: String,
}

/// A target that listens.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, if it is known.
    pub pid: Option<i32>,
    child: Option<ServerChild>,
}

impl Target {
    /// The same with so many bytes more in the environment of what is started. The environment's size moves the stack, and
    /// that alone can make a program faster or slower by more than what is compared (Mytkowicz et al., Producing wrong data
    /// without doing anything obviously wrong, ASPLOS 2009): drawn anew for each trial it is noise, and no bias.
    pub fn padded(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Server(command) => command.padding_bytes = bytes,
            Self::Command(command) => command.padding_bytes = bytes,
            Self::Address { .. } => {}
        }
        self
    }

    /// Starts it if need be, and returns once it listens.
    ///
    /// # Errors
    /// [`Unreachable`] if it does not start or does not say that it listens.
    pub fn start(&self) -> Result<Running> {
        match self {
            Self::Address { addr, pid } => Ok(Running { addr: *addr, pid: *pid, child: None }),
            Self::Server(command) => {
                let mut prepared = prepare_server(command);
                pad(&mut prepared, command.padding_bytes);
                Running::spawn(&command.name, prepared, &command.cpus, false)
            }
            Self::Command(command) => {
                let words = command.template.fill(command.status_interval, command.max_connections);
                let mut prepared = Command::new(&words[0]);
                prepared.args(&words[1..]);
                pad(&mut prepared, command.padding_bytes);
                Running::spawn(&words[0], prepared, &command.cpus, true)
            }
        }
    }
}

impl Running {
    fn spawn(name: &str, command: Command, cpus: &[usize], guest: bool) -> Result<Self> {
        let (child, addr) = ServerChild::spawn(name, command, cpus, guest)?;
        Ok(Self { addr, pid: Some(child.child.id().cast_signed()), child: Some(child) })
    }

    /// Ends what was started and returns what it left.
    ///
    /// # Errors
    /// If it died, had to be killed, or is of this project and printed no counters.
    pub fn stop(mut self) -> Result<Stopped> {
        self.child.take().map_or(Ok(Stopped::default()), ServerChild::stop)
    }

    /// Waits for what was started to exit by itself, and returns its exit code and the last line of its stderr.
    ///
    /// # Errors
    /// If nothing was started, or if it does not exit in time or is ended by a signal.
    pub fn wait(mut self) -> Result<(i32, String)> {
        let mut child = self.child.take().context("nothing was started")?;
        let status = child.wait()?;
        let code = status.code().with_context(|| format!("the server ended with {status}"))?;
        Ok((code, child.log.last().unwrap_or_default()))
    }

    /// Whether it was started here.
    pub fn is_child(&self) -> bool {
        self.child.is_some()
    }

    /// What it last wrote to stderr, for a message about a failure.
    pub fn log(&self) -> String {
        self.child.as_ref().map(|child| child.log.text()).unwrap_or_default()
    }
}

/// Resolves `HOST:PORT`.
///
/// # Errors
/// One line that says what would be right.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addrs = text.to_socket_addrs().map_err(|error| format!("{error}; write for example 127.0.0.1:9000"))?;
    addrs.next().ok_or_else(|| "it has no address".to_owned())
}

#[derive(Debug)]
struct ServerChild {
    child: Child,
    /// Not of this project: it need not print counters, nor handle SIGTERM.
    guest: bool,
    log: Log,
    drain: Option<JoinHandle<()>>,
}

impl ServerChild {
    fn spawn(name: &str, mut command: Command, cpus: &[usize], guest: bool) -> Result<(Self, SocketAddr)> {
        prepare(&mut command, cpus);
        let mut child = command.spawn().map_err(|error| Unreachable(format!("cannot start {name}: {error}")))?;
        let log = Log::default();
        let stderr = child.stderr.take().context("stderr is piped")?;
        let drain = thread::Builder::new().name("stderr".to_owned()).spawn({
            let log = log.clone();
            move || log.fill(BufReader::new(stderr))
        })?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut server = Self { child, guest, log, drain: Some(drain) };
        match first_line(stdout).and_then(|line| address(&line)) {
            Ok(addr) => Ok((server, addr)),
            Err(error) => {
                server.kill();
                Err(Unreachable(format!("{name} did not start: {error:#}; {}", server.log.text())).into())
            }
        }
    }

    fn stop(mut self) -> Result<Stopped> {
        // It may have died: its exit status tells.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.wait()?;
        let terminated = self.guest && status.signal() == Some(Signal::TERM.as_raw());
        if !status.success() && !terminated {
            bail!("the server ended with {status}: {}", self.log.text());
        }
        let last_words = self.log.last().unwrap_or_default();
        match serde_json::from_str(&last_words) {
            Ok(counters) => Ok(Stopped { counters: Some(counters), last_words }),
            Err(_) if self.guest => Ok(Stopped { counters: None, last_words }),
            Err(_) => bail!("the server's last line is not its counters: {last_words}"),
        }
    }

    /// Waits until it has exited and all that it wrote is in the log; kills it if that takes too long.
    fn wait(&mut self) -> Result<ExitStatus> {
        let exited = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).and_then(|pidfd| {
            let timeout = Timespec { tv_sec: STOP_PATIENCE.as_secs() as _, tv_nsec: 0 };
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))
        });
        if !matches!(exited, Ok(1)) {
            self.kill();
            bail!("the server did not exit within {} of a signal", units::show_duration(STOP_PATIENCE));
        }
        let status = self.child.wait()?;
        self.join();
        Ok(status)
    }

    fn kill(&mut self) {
        // Both only fail if it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
        self.join();
    }

    fn join(&mut self) {
        if let Some(drain) = self.drain.take() {
            drop(drain.join());
        }
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        if self.drain.is_some() {
            self.kill();
        }
    }
}

fn prepare_server(command: &ServerCommand) -> Command {
    let mut prepared = Command::new(&command.executable);
    prepared
        .args(["serve", &command.name, "--addr", "127.0.0.1:0", "--congestion", &command.congestion])
        .arg("--status-interval")
        .arg(units::show_duration(command.status_interval))
        .arg("--max-connections")
        .arg(command.max_connections.to_string())
        .arg("--workers")
        .arg(command.workers.to_string())
        .args((!command.nodelay).then_some("--nagle"));
    prepared
}

fn pad(prepared: &mut Command, bytes: usize) {
    if bytes > 0 {
        prepared.env("LOADGEN_PADDING", "x".repeat(bytes));
    }
}

/// What every child has in common, whoever wrote it.
fn prepare(prepared: &mut Command, cpus: &[usize]) {
    prepared.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_scrubbed(name)) {
        prepared.env_remove(name);
    }
    let (cpus, parent) = (cpus.to_owned(), getpid());
    let set_up = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that took effect.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        set_current_timer_slack(None)?;
        observe::pin_thread(&cpus)
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor locks.
    unsafe { prepared.pre_exec(set_up) };
}

/// Variables that would configure a runtime behind the plan's back.
fn is_scrubbed(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("TOKIO_") || name.starts_with("RUST_"))
}

/// The first line of a server's stdout, waited for with a deadline.
fn first_line(mut stdout: ChildStdout) -> Result<String> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)).or_else(|error| match error {
            rustix::io::Errno::INTR => Ok(1),
            error => Err(error),
        })?;
        if ready == 0 {
            bail!("it said nothing for {}", units::show_duration(START_PATIENCE));
        }
        let mut byte = [0];
        if stdout.read(&mut byte)? == 0 {
            bail!("it exited before it said that it listens");
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn address(line: &str) -> Result<SocketAddr> {
    line.strip_prefix("listening on ")
        .and_then(|addr| addr.parse().ok())
        .ok_or_else(|| anyhow!("its first line is {line:?} and not `listening on ADDR:PORT`"))
}

/// The last lines of a server's stderr.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn fill(&self, stderr: impl BufRead) {
        for line in stderr.lines() {
            // Not UTF-8: not worth a message.
            let Ok(line) = line else { return };
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}
