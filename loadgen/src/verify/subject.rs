//! The server under check, and how a check starts it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use protocol::{Counters, Service, work::Work};
use rustix::process::Pid;

use super::client::{Endpoint, PATIENCE};
use crate::{
    measure::target::{GuestCommand, Running, ServerCommand, Target, Template},
    observe::Process,
};

/// A server and its declared exceptions.
#[derive(Clone, Debug)]
pub struct Subject {
    /// How to reach or start it.
    pub candidate: Candidate,
    /// The clauses that are declared broken.
    pub violates: &'static [&'static str],
    /// Time limit of an operation.
    pub patience: Duration,
}

/// How to reach or start a server.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// A server of this project, started anew for every check.
    Server {
        /// The executable.
        executable: PathBuf,
        /// The server's name.
        name: String,
    },
    /// Any other program, started anew for every check.
    Command(Template),
    /// A running server, shared by all checks.
    Address {
        /// Its address.
        addr: SocketAddr,
        /// Its process, if it is on this host.
        pid: Option<i32>,
        /// Its status interval, zero for none; `None` if unknown.
        status_interval: Option<Duration>,
    },
}

/// The options that a check needs of its server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) status_interval: Duration,
    /// `None` if the check does not depend on the value.
    pub(super) max_connections: Option<u32>,
    pub(super) workers: usize,
    pub(super) service: Service,
}

const PLAIN: Service = Service::working(Work::each(Duration::ZERO));

/// No status lines, and enough workers for races between them.
pub(super) const QUIET: Options =
    Options { status_interval: Duration::ZERO, max_connections: None, workers: 2, service: PLAIN };

/// Status lines at the shortest interval allowed.
pub(super) const BUSY: Options = Options { status_interval: Duration::from_millis(10), ..QUIET };

/// A limit of connections that no check reaches unless it sets its own.
const MANY: u32 = 2_000;

/// The check cannot be made on this server.
#[derive(Debug)]
pub(super) struct Skipped(pub(super) String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

impl Subject {
    /// The server of this project named `name`, if there is one.
    pub fn server(executable: PathBuf, name: &str) -> Option<Self> {
        let violates = servers::by_name(name)?.violates;
        Some(Self { candidate: Candidate::Server { executable, name: name.to_owned() }, violates, patience: PATIENCE })
    }

    /// A server from elsewhere, without declared exceptions.
    pub fn guest(candidate: Candidate) -> Self {
        Self { candidate, violates: &[], patience: PATIENCE }
    }

    pub(super) fn declares(&self, clause: &str) -> bool {
        self.violates.contains(&clause)
    }

    /// Why this host cannot run the server, if it cannot.
    fn refusal(&self) -> Option<String> {
        let Candidate::Server { name, .. } = &self.candidate else { return None };
        servers::by_name(name)?.refusal()
    }

    pub(super) fn start(&self, options: Options) -> Result<Served> {
        if let Some(refusal) = self.refusal() {
            return Err(Skipped(refusal).into());
        }
        let max_connections = options.max_connections.unwrap_or(MANY);
        let target = match &self.candidate {
            Candidate::Server { executable, name } => Target::Server(ServerCommand {
                executable: executable.clone(),
                name: name.clone(),
                status_interval: options.status_interval,
                max_connections,
                workers: options.workers,
                nodelay: true,
                congestion: "reno".to_owned(),
                service: options.service,
                cpus: Vec::new(),
                padding_bytes: 0,
            }),
            Candidate::Command(template) => {
                for (needed, name) in
                    [(true, "status_interval_ms"), (options.max_connections.is_some(), "max_connections")]
                {
                    if needed && !template.takes(name) {
                        return Err(Skipped(format!("the command has no {{{name}}}")).into());
                    }
                }
                let status_interval = options.status_interval;
                Target::Command(GuestCommand {
                    template: template.clone(),
                    status_interval,
                    max_connections,
                    service: options.service,
                    cpus: Vec::new(),
                    padding_bytes: 0,
                })
            }
            Candidate::Address { addr, pid, status_interval } => {
                if *status_interval != Some(options.status_interval) {
                    let wanted = crate::plan::units::show_duration(options.status_interval);
                    return Err(Skipped(format!("needs a status interval of {wanted}")).into());
                }
                if options.max_connections.is_some() {
                    return Err(Skipped("its connection limit cannot be set".to_owned()).into());
                }
                Target::Address { addr: *addr, pid: *pid }
            }
        };
        let running = target.start()?;
        Ok(Served { addr: Endpoint { addr: running.addr, patience: self.patience }, running })
    }
}

/// A running server under check.
pub(super) struct Served {
    pub(super) addr: Endpoint,
    running: Running,
}

impl Served {
    pub(super) fn pid(&self) -> Result<Pid> {
        let pid = self.running.pid().and_then(Pid::from_raw);
        pid.with_context(|| Skipped("its process is not known".to_owned()))
    }

    pub(super) fn process(&self) -> Result<Process> {
        self.pid()?;
        Ok(Process::open(&self.running.pids)?)
    }

    /// Stops the server and returns its counters.
    pub(super) fn stop(self) -> Result<Counters> {
        self.running.stop()?.counters.with_context(|| Skipped("it prints no counters".to_owned()))
    }

    /// Waits until the server has exited; returns its exit code and the last line on stderr.
    pub(super) fn wait(self) -> Result<(i32, String)> {
        self.running.wait()
    }

    /// A check that stops the server needs a server that was started for it.
    pub(super) fn is_ours(&self) -> Result<()> {
        if self.running.is_child() {
            return Ok(());
        }
        Err(Skipped("the server was not started here, so it is not stopped".to_owned()).into())
    }
}
