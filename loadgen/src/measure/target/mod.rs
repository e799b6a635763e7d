//! The measured server: one of this project in a process of its own, another program, or a listener at an address.
//!
//! Only this module starts processes, and only it stops and continues them. A child is spawned from the main thread, because its parent-death signal is tied
//! to the thread that spawned it; it has a process group of its own, so that Ctrl-C does not reach it first, and so that
//! what it starts in turn can be ended with it.

mod child;
mod host_port;
mod log;
mod standstill;
mod template;
mod wait;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use protocol::{Counters, Service};

use self::child::{Origin, ServerChild};
pub(crate) use self::standstill::Stoppable;
pub(crate) use self::template::Placeholder;
pub use self::{host_port::HostPort, template::Template};
use crate::plan::units;

/// This executable as it runs. Its path may meanwhile be that of another build: `cargo build` replaces the file.
pub(crate) const OWN_EXECUTABLE: &str = "/proc/self/exe";

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

/// The start of a server of this project.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    /// `/proc/self/exe`, or for a bench target the `loadgen` that cargo built with it: never a stale build.
    pub executable: PathBuf,
    /// The server's name.
    pub name: String,
    /// The address that it is to listen on.
    pub listen: IpAddr,
    /// Time between two status lines.
    pub status_interval: Duration,
    /// Connections that the server must take.
    pub max_connections: u32,
    /// Worker threads of a runtime that has any.
    pub workers: usize,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion: String,
    /// What it does besides echoing and broadcasting.
    pub service: Service,
    /// CPUs of the server; empty for all.
    pub cpus: Vec<usize>,
    /// Bytes that pad the environment, see `Target::padded`.
    pub padding_bytes: usize,
}

/// How any other program is started that says `listening on ADDR:PORT` on its first line of stdout.
#[derive(Clone, Debug)]
pub struct GuestCommand {
    pub(crate) template: Template,
    /// The address that it is to listen on.
    pub(crate) listen: IpAddr,
    /// Time between two status lines.
    pub(crate) status_interval: Duration,
    /// Connections that the server must take.
    pub(crate) max_connections: u32,
    /// What the server must do besides echoing and broadcasting.
    pub(crate) service: Service,
    /// CPUs of the server; empty for all.
    pub(crate) cpus: Vec<usize>,
    /// Bytes that pad the environment, see `Target::padded`.
    pub(crate) padding_bytes: usize,
}

/// What remains of a server after it was stopped.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Its counters; `None` if nothing was started, or a guest that prints none.
    pub(crate) counters: Option<Counters>,
    /// The last line of its stderr.
    pub(crate) last_words: String,
}

/// A target that listens.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The server's processes, in most cases one; none if they are not known.
    pub(crate) pids: Vec<i32>,
    child: Option<ServerChild>,
}

impl Target {
    /// Adds so many bytes to the environment of the server. The environment's size moves the stack, and that alone can
    /// make a program faster or slower by more than the differences in question (Mytkowicz et al., Producing wrong data
    /// without doing anything obviously wrong, ASPLOS 2009): drawn anew for each trial it is noise and not bias.
    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Server(command) => command.padding_bytes = bytes,
            Self::Command(command) => command.padding_bytes = bytes,
            Self::Address { .. } => {}
        }
        self
    }

    /// How many of `wanted` connections this server may take beside the measured ones, as far as its model is known.
    pub(crate) fn room_beside(&self, measured: u32, wanted: u32) -> u32 {
        match self {
            Self::Server(command) if serves_one(&command.name) => wanted.min(1_u32.saturating_sub(measured)),
            Self::Server(_) | Self::Command(_) | Self::Address { .. } => wanted,
        }
    }

    /// Starts the server if need be, and returns once it listens.
    ///
    /// # Errors
    /// [`CannotStart`](crate::error::CannotStart) if it does not start or does not say that it listens,
    /// [`Interrupted`](crate::error::Interrupted) if a signal comes first.
    pub fn start(&self) -> Result<Running> {
        match self {
            Self::Address { addr, pid } => {
                Ok(Running { addr: *addr, pids: pid.iter().copied().collect(), child: None })
            }
            Self::Server(command) => {
                let mut prepared = prepare_server(command);
                pad(&mut prepared, command.padding_bytes);
                Running::spawn(&command.name, prepared, &command.cpus, Origin::Own)
            }
            Self::Command(command) => {
                let words = command.template.fill(command);
                let mut prepared = Command::new(&words[0]);
                prepared.args(&words[1..]);
                pad(&mut prepared, command.padding_bytes);
                Running::spawn(&command.template.name(), prepared, &command.cpus, Origin::Guest)
            }
        }
    }
}

impl Running {
    fn spawn(name: &str, command: Command, cpus: &[usize], origin: Origin) -> Result<Self> {
        let (child, addr) = ServerChild::spawn(name, command, cpus, origin)?;
        Ok(Self { addr, pids: child.listening.clone(), child: Some(child) })
    }

    /// The server's process, or the first of several; `None` if it is not known.
    pub fn pid(&self) -> Option<i32> {
        self.pids.first().copied()
    }

    /// Ends the server, if it was started here.
    ///
    /// # Errors
    /// If it died, had to be killed, or is of this project and printed no counters.
    pub fn stop(mut self) -> Result<Stopped> {
        self.child.take().map_or(Ok(Stopped::default()), ServerChild::stop)
    }

    /// Waits for the server to exit by itself, and returns its exit code and the last line of its stderr.
    ///
    /// # Errors
    /// If nothing was started, or if it does not exit in time or is ended by a signal.
    pub(crate) fn wait(mut self) -> Result<(i32, String)> {
        let (status, last_words) = self.child.take().context("nothing was started")?.wait()?;
        let code = status.code().with_context(|| format!("the server ended with {status}"))?;
        Ok((code, last_words))
    }

    /// Whether the server was started here.
    pub(crate) fn is_child(&self) -> bool {
        self.child.is_some()
    }

    /// The server's last lines on stderr, for a message about a failure.
    pub(crate) fn log(&self) -> String {
        self.child.as_ref().map(ServerChild::log).unwrap_or_default()
    }
}

/// Whether a server of this project serves one connection at a time.
pub(crate) fn serves_one(name: &str) -> bool {
    servers::by_name(name).is_some_and(|server| server.violates.contains(&"F2"))
}

fn prepare_server(command: &ServerCommand) -> Command {
    let mut prepared = Command::new(&command.executable);
    prepared
        .args(["serve", &command.name, "--congestion", &command.congestion, "--addr"])
        .arg(SocketAddr::new(command.listen, 0).to_string())
        .arg("--status-interval")
        .arg(units::show_duration(command.status_interval))
        .arg("--max-connections")
        .arg(command.max_connections.to_string())
        .arg("--workers")
        .arg(command.workers.to_string())
        .args((!command.nodelay).then_some("--nagle"))
        .args(command.service.options());
    prepared
}

fn pad(prepared: &mut Command, bytes: usize) {
    if bytes > 0 {
        prepared.env("LOADGEN_PADDING", "x".repeat(bytes));
    }
}
