//! Who runs where, and how the generator waits there.

use anyhow::{Result, ensure};

use super::Pacing;
use crate::observe;

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Server and generator on CPUs of their own, or both wherever the scheduler puts them.
    pub kind: PlacementKind,
    /// CPUs of the server; its worker threads are as many.
    pub server_cpus: Vec<usize>,
    /// CPUs of the engine's threads.
    pub loadgen_cpus: Vec<usize>,
    /// CPUs of nobody: flooders may have them.
    pub spare_cpus: Vec<usize>,
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

/// The two placements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementKind {
    /// Server on one set of CPUs, generator on another
    Split,
    /// Nobody pinned
    Shared,
}

impl PlacementKind {
    /// As it is called on the command line and in records.
    pub fn name(self) -> &'static str {
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

/// What the command line asks of CPUs.
#[derive(Clone, Debug)]
pub struct PlacementWish {
    /// Split or shared; split needs two CPUs.
    pub kind: PlacementKind,
    /// CPUs of the server; `None` chooses.
    pub server_cpus: Option<Vec<usize>>,
    /// CPUs of the generator; `None` chooses.
    pub loadgen_cpus: Option<Vec<usize>>,
}

/// Decides who runs where and how the generator waits; the third value is what has to be flagged.
///
/// # Errors
/// If the wish names CPUs that this process may not use, or gives the server and a spinning generator the same one.
pub fn place(wish: &PlacementWish, pacing: PacingChoice, threads: u32) -> Result<(Placement, Pacing, Vec<Caveat>)> {
    let available = observe::available_cpus();
    for (option, cpus) in [("--server-cpus", &wish.server_cpus), ("--loadgen-cpus", &wish.loadgen_cpus)] {
        for cpu in cpus.iter().flatten() {
            ensure!(
                available.contains(cpu),
                "{option}: CPU {cpu} is not available: this process may use {available:?}"
            );
        }
    }
    let mut flags = Vec::new();
    let kind = if available.len() < 2 { PlacementKind::Shared } else { wish.kind };
    if kind != wish.kind {
        flags.push(Caveat::OneCpu);
    }
    let (first, second) = match kind {
        // One for each of the generator's threads; what is left over stays idle.
        PlacementKind::Split => {
            let half = available.len() / 2;
            let generator = available[half..].iter().copied().take(threads.max(1) as usize).collect();
            (available[..half].to_vec(), generator)
        }
        PlacementKind::Shared => (available.clone(), available.clone()),
    };
    let server_cpus = wish.server_cpus.clone().unwrap_or(first);
    let loadgen_cpus = wish.loadgen_cpus.clone().unwrap_or(second);
    let taken = |cpu: &usize| server_cpus.contains(cpu) || loadgen_cpus.contains(cpu);
    let spare_cpus = available.iter().copied().filter(|cpu| !taken(cpu)).collect();
    let placement = Placement { kind, server_cpus, loadgen_cpus, spare_cpus };
    let apart = placement.loadgen_cpus.iter().all(|cpu| !placement.server_cpus.contains(cpu));
    let enough = placement.loadgen_cpus.len() >= threads as usize;
    let quota = observe::has_cpu_quota();
    if quota {
        flags.push(Caveat::CpuQuota);
    }
    let pacing = match pacing {
        PacingChoice::Auto if kind == PlacementKind::Split && apart && enough && !quota => Pacing::Spin,
        PacingChoice::Auto | PacingChoice::Timer => Pacing::Timer,
        PacingChoice::Spin => {
            ensure!(
                apart,
                "--pacing spin needs a CPU of its own, but server and generator share CPUs {:?}: use --pacing timer",
                placement.loadgen_cpus
            );
            ensure!(
                enough,
                "--pacing spin needs a CPU for each of the {threads} threads, and the generator has {:?}: use --pacing timer",
                placement.loadgen_cpus
            );
            Pacing::Spin
        }
    };
    Ok((placement, pacing, flags))
}

/// Reads a list of CPUs such as `0,2-3`.
///
/// # Errors
/// One line that says what would be right.
pub fn cpus(text: &str) -> Result<Vec<usize>, String> {
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

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0"), Ok(vec![0]));
        assert_eq!(cpus("3,0-1"), Ok(vec![0, 1, 3]));
        for text in ["", "a", "1-", "3-1", "0,,1", "-1"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }
}
