//! Which CPUs the server and the generator run on, and how the generator waits there.

use anyhow::{Result, ensure};

use super::Pacing;
use crate::observe;

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
}

/// Whether server and generator are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementKind {
    /// Server on one set of CPUs, generator on another
    Split,
    /// Neither is pinned
    Shared,
}

impl PlacementKind {
    /// Name on the command line and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Shared => "shared",
        }
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
    /// CPUs of the server; `None` chooses.
    pub server_cpus: Option<Vec<usize>>,
    /// CPUs of the generator; `None` chooses.
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

impl PlacementRequest {
    /// Decides on the CPUs that this process may use.
    ///
    /// # Errors
    /// If the request names CPUs that this process may not use, or a spinning generator gets no CPU of its own.
    pub fn place(&self) -> Result<Placed> {
        self.place_on(&HostCpus { available: observe::available_cpus(), has_quota: observe::has_cpu_quota() })
    }

    fn place_on(&self, host: &HostCpus) -> Result<Placed> {
        for (option, cpus) in [("--server-cpus", &self.server_cpus), ("--loadgen-cpus", &self.loadgen_cpus)] {
            for cpu in cpus.iter().flatten() {
                ensure!(
                    host.available.contains(cpu),
                    "{option}: CPU {cpu} is not available: this process may use {:?}",
                    host.available
                );
            }
        }
        let kind = if host.available.len() < 2 { PlacementKind::Shared } else { self.kind };
        let mut flags = Vec::new();
        if kind != self.kind {
            flags.push(Caveat::OneCpu);
        }
        if host.has_quota {
            flags.push(Caveat::CpuQuota);
        }
        let placement = self.cpus(kind, &host.available);
        let pacing = self.pacing_on(&placement, host)?;
        Ok(Placed { placement, pacing, flags })
    }

    fn cpus(&self, kind: PlacementKind, available: &[usize]) -> Placement {
        let (first, second) = match kind {
            // One CPU for each of the generator's threads; the others stay idle.
            PlacementKind::Split => {
                let (server, generator) = available.split_at(available.len() / 2);
                (server, &generator[..generator.len().min(self.threads.max(1) as usize)])
            }
            PlacementKind::Shared => (available, available),
        };
        let server_cpus = self.server_cpus.clone().unwrap_or_else(|| first.to_vec());
        let loadgen_cpus = self.loadgen_cpus.clone().unwrap_or_else(|| second.to_vec());
        let taken = |cpu: &usize| server_cpus.contains(cpu) || loadgen_cpus.contains(cpu);
        let spare_cpus = available.iter().copied().filter(|cpu| !taken(cpu)).collect();
        Placement { kind, server_cpus, loadgen_cpus, spare_cpus, sibling_cpus: Vec::new() }
    }

    fn pacing_on(&self, placement: &Placement, host: &HostCpus) -> Result<Pacing> {
        let loadgen_cpus = &placement.loadgen_cpus;
        let apart = loadgen_cpus.iter().all(|cpu| !placement.server_cpus.contains(cpu));
        let enough = loadgen_cpus.len() >= self.threads as usize;
        let pinned = placement.kind == PlacementKind::Split;
        match self.pacing {
            PacingChoice::Auto if pinned && apart && enough && !host.has_quota => Ok(Pacing::Spin),
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

/// The CPUs that this process may use.
struct HostCpus {
    available: Vec<usize>,
    /// A cgroup limits the CPU time: a generator that spins would use it up.
    has_quota: bool,
}

/// Reads a list of CPUs such as `0,2-3`.
///
/// # Errors
/// One line with examples of lists that can be read.
pub(super) fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || "write for example 0, 0,2 or 0-3".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if last < first || last > 4096 {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: PlacementKind, pacing: PacingChoice) -> PlacementRequest {
        PlacementRequest { kind, server_cpus: None, loadgen_cpus: None, pacing, threads: 1 }
    }

    fn host(cpus: usize) -> HostCpus {
        HostCpus { available: (0..cpus).collect(), has_quota: false }
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0"), Ok(vec![0]));
        assert_eq!(cpus("3,0-1"), Ok(vec![0, 1, 3]));
        for text in ["", "a", "1-", "3-1", "0,,1", "-1"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_split_gives_the_server_the_first_half_and_each_thread_of_the_generator_a_cpu_of_the_second() {
        let split = request(PlacementKind::Split, PacingChoice::Auto);
        for (threads, server, generator, spare) in
            [(1, vec![0, 1], vec![2], vec![3]), (2, vec![0, 1], vec![2, 3], vec![])]
        {
            let placed = PlacementRequest { threads, ..split.clone() }.place_on(&host(4)).unwrap();
            let Placement { server_cpus, loadgen_cpus, spare_cpus, .. } = placed.placement;
            assert_eq!((server_cpus, loadgen_cpus, spare_cpus), (server, generator, spare));
            assert_eq!((placed.pacing, placed.flags), (Pacing::Spin, vec![]));
        }
        let placed = PlacementRequest { threads: 3, ..split }.place_on(&host(4)).unwrap();
        assert_eq!(placed.pacing, Pacing::Timer, "three threads cannot spin on two CPUs");
    }

    #[test]
    fn a_host_of_one_cpu_shares_it_and_is_flagged() {
        let placed = request(PlacementKind::Split, PacingChoice::Auto).place_on(&host(1)).unwrap();
        assert_eq!((placed.placement.kind, placed.pacing), (PlacementKind::Shared, Pacing::Timer));
        assert_eq!(placed.flags, [Caveat::OneCpu]);
    }

    #[test]
    fn under_a_cpu_quota_the_generator_spins_only_on_request() {
        let limited = HostCpus { has_quota: true, ..host(2) };
        for (choice, pacing) in [(PacingChoice::Auto, Pacing::Timer), (PacingChoice::Spin, Pacing::Spin)] {
            let placed = request(PlacementKind::Split, choice).place_on(&limited).unwrap();
            assert_eq!((placed.pacing, placed.flags), (pacing, vec![Caveat::CpuQuota]));
        }
    }

    #[test]
    fn a_request_that_the_host_cannot_meet_is_refused_with_the_option() {
        let absent =
            PlacementRequest { server_cpus: Some(vec![7]), ..request(PlacementKind::Split, PacingChoice::Auto) };
        let shared = request(PlacementKind::Shared, PacingChoice::Spin);
        let crowded = PlacementRequest { threads: 2, ..request(PlacementKind::Split, PacingChoice::Spin) };
        for (request, words) in
            [(absent, "--server-cpus: CPU 7"), (shared, "use --pacing timer"), (crowded, "each of the 2 threads")]
        {
            let error = request.place_on(&host(2)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
