//! The server under check, and how a check starts it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use protocol::{Counters, Feature, Service, work::Work};
use rustix::process::Pid;

use super::client::{Endpoint, PATIENCE};
use crate::{
    measure::target::{GuestCommand, Placeholder, Running, ServerCommand, Target, Template},
    observe::Process,
    plan::units::show_duration,
};

/// A server and its declared exceptions.
#[derive(Clone, Debug)]
pub struct Subject {
    /// How to reach or start it.
    pub candidate: Candidate,
    /// The clauses that are declared broken.
    pub violates: &'static [&'static str],
    /// The options that it does not have.
    pub lacks: &'static [Feature],
    /// What it is started with in every check that does not choose this itself; of a running server, what it was started
    /// with.
    pub service: Service,
    /// Worker threads that it is started with, unless a check needs a number of its own.
    pub workers: usize,
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
    /// `None` for the subject's.
    pub(super) workers: Option<usize>,
    /// What the check is about; anything else is as the subject has it.
    pub(super) service: Service,
}

/// Nothing besides echoing and broadcasting.
pub(super) const PLAIN: Service = Service::working(Work::each(Duration::ZERO));

/// Enough workers for races between them.
const WORKERS: usize = 2;

/// No status lines.
pub(super) const QUIET: Options =
    Options { status_interval: Duration::ZERO, max_connections: None, workers: None, service: PLAIN };

/// Status lines at the shortest interval allowed.
pub(super) const BUSY: Options = Options { status_interval: Duration::from_millis(10), ..QUIET };

/// A time that no check waits for.
pub(super) const LONG: Duration = Duration::from_secs(3600);

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
        let server = servers::by_name(name)?;
        let candidate = Candidate::Server { executable, name: name.to_owned() };
        Some(Self { violates: server.violates, lacks: server.lacks, ..Self::guest(candidate) })
    }

    /// A server from elsewhere, without declared exceptions.
    pub fn guest(candidate: Candidate) -> Self {
        Self { candidate, violates: &[], lacks: &[], service: PLAIN, workers: WORKERS, patience: PATIENCE }
    }

    /// The same server with this service.
    #[must_use]
    pub fn with_service(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// Whether it has an option.
    pub(super) fn has(&self, feature: Feature) -> Result<()> {
        let why = match &self.candidate {
            Candidate::Server { name, .. } if self.lacks.contains(&feature) => {
                format!("{name} has no {}", feature.option())
            }
            Candidate::Command(template) if !template.takes(Placeholder::Of(feature)) => {
                format!("the command has no {}", Placeholder::Of(feature))
            }
            Candidate::Address { .. } if self.service.features().all(|had| had != feature) => {
                format!("needs a server with {}, which is to be named here as well", feature.option())
            }
            _ => return Ok(()),
        };
        Err(Skipped(why).into())
    }

    pub(super) fn declares(&self, clause: &str) -> bool {
        self.violates.contains(&clause)
    }

    /// Why this host cannot run the server, if it cannot.
    fn refusal(&self) -> Option<String> {
        let Candidate::Server { name, .. } = &self.candidate else { return None };
        servers::by_name(name)?.refusal()
    }

    /// Starts it with what a check needs, and with what the subject has beyond that.
    pub(super) fn start(&self, options: Options) -> Result<Served> {
        if let Some(refusal) = self.refusal() {
            return Err(Skipped(refusal).into());
        }
        let service = self.service_for(options.service)?;
        let max_connections = options.max_connections.unwrap_or(MANY);
        let target = match &self.candidate {
            Candidate::Server { executable, name } => Target::Server(ServerCommand {
                executable: executable.clone(),
                name: name.clone(),
                listen: Ipv4Addr::LOCALHOST.into(),
                status_interval: options.status_interval,
                max_connections,
                workers: options.workers.unwrap_or(self.workers),
                nodelay: true,
                congestion: "reno".to_owned(),
                service,
                cpus: Vec::new(),
                padding_bytes: 0,
            }),
            Candidate::Command(template) => {
                let is_limited = options.max_connections.is_some();
                for (needed, placeholder) in
                    [(true, Placeholder::StatusInterval), (is_limited, Placeholder::MaxConnections)]
                {
                    if needed && !template.takes(placeholder) {
                        return Err(Skipped(format!("the command has no {placeholder}")).into());
                    }
                }
                let status_interval = options.status_interval;
                Target::Command(GuestCommand {
                    template: template.clone(),
                    listen: Ipv4Addr::LOCALHOST.into(),
                    status_interval,
                    max_connections,
                    service,
                    cpus: Vec::new(),
                    padding_bytes: 0,
                })
            }
            Candidate::Address { addr, pid, status_interval } => {
                if *status_interval != Some(options.status_interval) {
                    let wanted = show_duration(options.status_interval);
                    return Err(Skipped(format!("needs a status interval of {wanted}")).into());
                }
                if options.max_connections.is_some() {
                    return Err(Skipped("its connection limit cannot be set".to_owned()).into());
                }
                Target::Address { addr: *addr, pid: *pid }
            }
        };
        let running = target.start()?;
        let shakes_hands = service.handshake.is_some();
        Ok(Served { addr: Endpoint { addr: running.addr, patience: self.patience, shakes_hands }, service, running })
    }

    /// What the server is started with. A running one has what it has, which must do.
    fn service_for(&self, wanted: Service) -> Result<Service> {
        wanted.features().try_for_each(|feature| self.has(feature))?;
        if matches!(self.candidate, Candidate::Address { .. }) {
            for (feature, wanted, found) in [
                (Feature::Handshake, wanted.handshake, self.service.handshake),
                (Feature::IdleTimeout, wanted.idle_timeout, self.service.idle_timeout),
            ] {
                if let Some((wanted, found)) = wanted.zip(found) {
                    does(feature, wanted, found)?;
                }
            }
            return Ok(self.service);
        }
        Ok(Service {
            work: if wanted.work.is_none() { self.service.work } else { wanted.work },
            handshake: wanted.handshake.or(self.service.handshake),
            idle_timeout: wanted.idle_timeout.or(self.service.idle_timeout),
        })
    }
}

/// Whether a time that a running server was started with serves a check: one that is not to pass must be long, one that
/// the check waits for must be short.
fn does(feature: Feature, wanted: Duration, found: Duration) -> Result<()> {
    const LONG_ENOUGH: Duration = Duration::from_secs(60);
    const SHORT_ENOUGH: Duration = Duration::from_secs(5);
    let (ok, limit) = match wanted {
        LONG => (found >= LONG_ENOUGH, format!("at least {}", show_duration(LONG_ENOUGH))),
        _ => (found <= SHORT_ENOUGH, format!("at most {}", show_duration(SHORT_ENOUGH))),
    };
    if ok { Ok(()) } else { Err(Skipped(format!("needs {} of {limit}", feature.option())).into()) }
}

/// A running server under check.
pub(super) struct Served {
    pub(super) addr: Endpoint,
    /// What it was started with.
    pub(super) service: Service,
    running: Running,
}

impl Served {
    pub(super) fn pid(&self) -> Result<Pid> {
        let pid = self.running.pid().and_then(Pid::from_raw);
        pid.with_context(|| Skipped("its process is not known".to_owned()))
    }

    pub(super) fn process(&self) -> Result<Process> {
        Ok(Process::open(self.pids()?)?)
    }

    pub(super) fn pids(&self) -> Result<&[i32]> {
        self.pid()?;
        Ok(&self.running.pids)
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
