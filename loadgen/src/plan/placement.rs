//! Which CPUs the server and the generator run on, and how the generator waits there.

mod choice;
mod reason;

use anyhow::{Result, ensure};

use self::{choice::Cores, reason::share_a_core};
use super::Pacing;
use crate::observe::{
    self,
    topology::{Topology, cpu_list},
};

/// Which CPUs the server and the generator run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whether server and generator have CPUs of their own, or run wherever the scheduler puts them.
    pub kind: PlacementKind,
    /// CPUs of the server, which has as many worker threads.
    pub server_cpus: Vec<usize>,
    /// CPUs of the engine's threads.
    pub loadgen_cpus: Vec<usize>,
    /// CPUs that neither uses: flooders may have them.
    pub spare_cpus: Vec<usize>,
    /// The SMT siblings of the server's and the generator's CPUs, which share their cores; nothing is placed there.
    pub sibling_cpus: Vec<usize>,
    /// Why these, in a line.
    pub reason: String,
}

impl Placement {
    /// The CPUs on which the work of others spoils a measurement: those of server and generator, and their SMT siblings.
    pub(crate) fn cpus_in_use(&self) -> Vec<usize> {
        let mut cpus = [&self.server_cpus[..], &self.loadgen_cpus, &self.sibling_cpus].concat();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

/// A condition that every trial of a plan is flagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caveat {
    /// Server and generator share the only CPU.
    OneCpu,
    /// A cgroup limits the CPU time.
    CpuQuota,
    /// Server and generator are on hardware threads of one core, or on one CPU of several.
    SharedCore,
}

/// Whether server and generator are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementKind {
    /// Server on one set of CPUs, generator on another
    Split,
    /// Neither is pinned
    Shared,
    /// Server here, generators on other hosts (--generators)
    #[value(skip)]
    Hosts,
}

impl PlacementKind {
    /// Name on the command line and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Shared => "shared",
            Self::Hosts => "hosts",
        }
    }

    /// Whether the server has CPUs of its own.
    pub(crate) fn is_pinned(self) -> bool {
        matches!(self, Self::Split | Self::Hosts)
    }
}

/// How pacing is chosen on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PacingChoice {
    /// Spin where the generator owns a CPU, else timer
    Auto,
    /// Poll without a timeout and read the clock
    Spin,
    /// Sleep until an absolute timer
    Timer,
}

/// A placement as the command line requests it.
#[derive(Clone, Debug)]
pub struct PlacementRequest {
    /// Split or shared; split needs two CPUs.
    pub kind: PlacementKind,
    /// CPUs of the server; `None` chooses one.
    pub server_cpus: Option<Vec<usize>>,
    /// CPUs of the generator; `None` chooses one for each thread.
    pub loadgen_cpus: Option<Vec<usize>>,
    /// How the generator waits.
    pub pacing: PacingChoice,
    /// Threads of the generator.
    pub threads: u32,
}

/// A placement that this host can carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which CPUs the server and the generator run on.
    pub placement: Placement,
    /// How the generator waits there.
    pub pacing: Pacing,
    /// Conditions worth a flag on every trial.
    pub flags: Vec<Caveat>,
}

/// What is placed if nothing is asked for: server and generator apart, one thread.
impl Default for PlacementRequest {
    fn default() -> Self {
        Self {
            kind: PlacementKind::Split,
            server_cpus: None,
            loadgen_cpus: None,
            pacing: PacingChoice::Auto,
            threads: 1,
        }
    }
}

impl PlacementRequest {
    /// Decides on the CPUs that this process may use.
    ///
    /// # Errors
    /// If the request names CPUs that this process may not use, or a spinning generator gets no CPU of its own.
    pub fn place(&self) -> Result<Placed> {
        self.place_on(&Host::current())
    }

    fn place_on(&self, host: &Host<'_>) -> Result<Placed> {
        self.ensure_available(host)?;
        let is_short = self.kind == PlacementKind::Split && host.available.len() < 2;
        let kind = if is_short { PlacementKind::Shared } else { self.kind };
        let mut placement = self.cpus(kind, host);
        placement.reason = reason::reason(&placement, self, host);
        let shares_core = share_a_core(&placement.server_cpus, &placement.loadgen_cpus, host.topology);
        let caveats = [
            (kind != self.kind, Caveat::OneCpu),
            (host.quota.is_some(), Caveat::CpuQuota),
            (kind == PlacementKind::Split && shares_core, Caveat::SharedCore),
        ];
        let flags = caveats.into_iter().filter(|(applies, _)| *applies).map(|(_, caveat)| caveat).collect();
        let pacing = self.pacing_on(&placement, host)?;
        Ok(Placed { placement, pacing, flags })
    }

    fn ensure_available(&self, host: &Host<'_>) -> Result<()> {
        for (option, cpus) in [("--server-cpus", &self.server_cpus), ("--loadgen-cpus", &self.loadgen_cpus)] {
            for cpu in cpus.iter().flatten() {
                ensure!(
                    host.available.contains(cpu),
                    "{option}: CPU {cpu} is not available: this process may use {:?}",
                    host.available
                );
            }
        }
        Ok(())
    }

    fn cpus(&self, kind: PlacementKind, host: &Host<'_>) -> Placement {
        let (available, topology) = (&host.available, host.topology);
        let cores = Cores::new(topology, available);
        let threads = self.threads.max(1) as usize;
        let (server_cpus, loadgen_cpus) = match (kind, self.server_cpus.clone(), self.loadgen_cpus.clone()) {
            (PlacementKind::Hosts, server, _) => (server.unwrap_or_else(|| cores.server(0)), Vec::new()),
            (_, Some(server), Some(generator)) => (server, generator),
            (PlacementKind::Shared, server, generator) => {
                (server.unwrap_or_else(|| available.clone()), generator.unwrap_or_else(|| available.clone()))
            }
            (PlacementKind::Split, None, Some(generator)) => (cores.beside(&generator, 1), generator),
            (PlacementKind::Split, server, None) => {
                let server = server.unwrap_or_else(|| cores.server(threads));
                let generator = cores.beside(&server, threads);
                (server, generator)
            }
        };
        let used = |cpu: &usize| server_cpus.contains(cpu) || loadgen_cpus.contains(cpu);
        // Of every core in use, also those that this process may not use: others may.
        let siblings = server_cpus.iter().chain(&loadgen_cpus).flat_map(|cpu| topology.core_of(*cpu));
        let mut sibling_cpus: Vec<usize> = siblings.filter(|cpu| !used(cpu)).collect();
        sibling_cpus.sort_unstable();
        sibling_cpus.dedup();
        let spare_cpus = available.iter().copied().filter(|cpu| !used(cpu) && !sibling_cpus.contains(cpu)).collect();
        Placement { kind, server_cpus, loadgen_cpus, spare_cpus, sibling_cpus, reason: String::new() }
    }

    fn pacing_on(&self, placement: &Placement, host: &Host<'_>) -> Result<Pacing> {
        let loadgen_cpus = &placement.loadgen_cpus;
        let apart = loadgen_cpus.iter().all(|cpu| !placement.server_cpus.contains(cpu));
        let enough = loadgen_cpus.len() >= self.threads as usize;
        let pinned = placement.kind == PlacementKind::Split;
        match self.pacing {
            PacingChoice::Auto if pinned && apart && enough && host.quota.is_none() => Ok(Pacing::Spin),
            PacingChoice::Auto | PacingChoice::Timer => Ok(Pacing::Timer),
            PacingChoice::Spin => {
                ensure!(
                    apart,
                    "--pacing spin needs a CPU of its own, but server and generator share CPUs {loadgen_cpus:?}: use \
                     --pacing timer"
                );
                ensure!(
                    enough,
                    "--pacing spin needs a CPU for each of the {} threads, and the generator has {loadgen_cpus:?}: use \
                     --pacing timer",
                    self.threads
                );
                Ok(Pacing::Spin)
            }
        }
    }
}

/// What a host has for server and generator.
struct Host<'a> {
    /// The CPUs that this process may use (sched_getaffinity(2)).
    available: Vec<usize>,
    /// The CPU time that a cgroup allows, in CPUs: a generator that spins would use it up.
    quota: Option<f64>,
    topology: &'a Topology,
}

impl Host<'_> {
    fn current() -> Self {
        Self { available: observe::available_cpus(), quota: observe::cpu_quota(), topology: Topology::current() }
    }
}

/// The CPUs of a generator whose server runs on another host, and how it waits there: it spins if it leaves a CPU to others.
///
/// # Errors
/// If the CPUs are not available, or too few to spin on.
pub(crate) fn place_generator(
    cpus: Option<Vec<usize>>,
    threads: u32,
    pacing: PacingChoice,
) -> Result<(Vec<usize>, Pacing)> {
    let host = Host::current();
    let request = PlacementRequest { loadgen_cpus: cpus, pacing, threads, ..PlacementRequest::default() };
    request.ensure_available(&host)?;
    let chosen = Cores::new(host.topology, &host.available).beside(&[], threads as usize);
    let cpus = request.loadgen_cpus.unwrap_or(chosen);
    let enough = cpus.len() >= threads as usize;
    ensure!(
        enough || pacing != PacingChoice::Spin,
        "--pacing spin needs a CPU for each of the {threads} threads, and there are {cpus:?}: use --pacing timer"
    );
    let spins = match pacing {
        PacingChoice::Auto => enough && host.available.len() > cpus.len() && host.quota.is_none(),
        PacingChoice::Spin => true,
        PacingChoice::Timer => false,
    };
    Ok((cpus, if spins { Pacing::Spin } else { Pacing::Timer }))
}

/// This many CPUs for a server, each on a core of its own, where a generator of that many threads has cores of its own as
/// well.
///
/// # Errors
/// The number of cores that this process may use, if they are too few.
pub(crate) fn cores_for_server(count: usize, threads: u32) -> Result<Vec<usize>, usize> {
    cores_on(&Host::current(), count, threads)
}

fn cores_on(host: &Host<'_>, count: usize, threads: u32) -> Result<Vec<usize>, usize> {
    Cores::new(host.topology, &host.available).for_server(count, threads as usize)
}

/// Reads a list of CPUs such as `0,2-3`.
///
/// # Errors
/// One line with examples of lists that can be read.
pub(super) fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let cpus = cpu_list(text).filter(|cpus| !cpus.is_empty());
    cpus.ok_or_else(|| "write for example 0, 0,2 or 0-3".to_owned())
}

#[cfg(test)]
mod tests;
