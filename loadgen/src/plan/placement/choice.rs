//! Chooses CPUs: server and generator on different cores, of the same kind, under one last-level cache.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::observe::topology::{Cpu, CpuSet, Topology};

/// How near cores are to each other, from the nearest: in each, the same kind first, then any.
const SCOPES: [Scope; 8] = [
    Scope { is_of_one_kind: true, place: |cpu| cpu.cache.as_ref() },
    Scope { is_of_one_kind: true, place: |cpu| cpu.cluster.as_ref() },
    Scope { is_of_one_kind: true, place: |cpu| cpu.die.as_ref() },
    Scope { is_of_one_kind: true, place: |cpu| cpu.package.as_ref() },
    Scope { is_of_one_kind: true, place: |cpu| cpu.node.as_ref() },
    Scope { is_of_one_kind: true, place: anywhere },
    Scope { is_of_one_kind: false, place: |cpu| cpu.cache.as_ref() },
    Scope { is_of_one_kind: false, place: anywhere },
];

/// What cores have in common.
struct Scope {
    is_of_one_kind: bool,
    /// The CPUs of the same place; `None` if it is not known, then the core belongs to no group.
    place: fn(&Cpu) -> Option<&CpuSet>,
}

fn anywhere(_: &Cpu) -> Option<&CpuSet> {
    static ANYWHERE: CpuSet = CpuSet::new();
    Some(&ANYWHERE)
}

impl Scope {
    /// Cores with equal keys are one group.
    fn key<'a>(&self, cpu: &'a Cpu) -> Option<(Option<usize>, &'a CpuSet)> {
        Some((cpu.kind.filter(|_| self.is_of_one_kind), (self.place)(cpu)?))
    }
}

/// Those CPUs of one core that this process may use.
type Core = Vec<usize>;

/// The cores of a host, as far as this process may use them.
pub(super) struct Cores<'a> {
    topology: &'a Topology,
    available: &'a [usize],
    cores: Vec<Core>,
}

impl<'a> Cores<'a> {
    pub(super) fn new(topology: &'a Topology, available: &'a [usize]) -> Self {
        let mut cores: BTreeMap<CpuSet, Core> = BTreeMap::new();
        for cpu in available {
            cores.entry(topology.core_of(*cpu)).or_default().push(*cpu);
        }
        let mut cores: Vec<Core> = cores.into_values().collect();
        cores.sort_unstable();
        Self { topology, available, cores }
    }

    /// One CPU for a server whose generator will have so many threads.
    pub(super) fn server(&self, threads: usize) -> Vec<usize> {
        self.nearest(&[], threads + 1).into_iter().take(1).map(|core| core[0]).collect()
    }

    /// This many CPUs for a server, each on a core of its own, with a core for each of that many threads of the generator near
    /// them; else the number of cores.
    pub(super) fn for_server(&self, count: usize, threads: usize) -> Result<Vec<usize>, usize> {
        let cores = self.nearest(&[], count + threads);
        if cores.len() < count + threads {
            return Err(self.cores.len());
        }
        let mut cpus: Vec<usize> = cores.into_iter().take(count).map(|core| core[0]).collect();
        cpus.sort_unstable();
        Ok(cpus)
    }

    /// So many CPUs beside those that the other side has: one of each core. With fewer cores, further CPUs of those; if
    /// there is no other core, those that the other side leaves of its own; if there are none, some of the other side's.
    pub(super) fn beside(&self, others: &[usize], count: usize) -> Vec<usize> {
        let cores = self.nearest(others, count);
        let firsts = cores.iter().map(|core| core[0]);
        let mut cpus: Vec<usize> = firsts.chain(cores.iter().flat_map(|core| &core[1..]).copied()).collect();
        if cpus.is_empty() {
            cpus = self.available.iter().copied().filter(|cpu| !others.contains(cpu)).collect();
        }
        if cpus.is_empty() {
            cpus = self.available.iter().rev().copied().collect();
        }
        cpus.truncate(count);
        cpus.sort_unstable();
        cpus
    }

    /// So many cores, or all if there are fewer, that the others do not use: of the group nearest to the others, or that
    /// has them nearest to each other.
    fn nearest(&self, others: &[usize], count: usize) -> Vec<&Core> {
        let free: Vec<&Core> =
            self.cores.iter().filter(|core| !others.iter().any(|cpu| self.is_of(*cpu, core))).collect();
        let count = count.min(free.len());
        let anchor = others.first().map(|cpu| self.topology.cpu(*cpu));
        for scope in SCOPES {
            let mut groups: BTreeMap<_, Vec<&Core>> = BTreeMap::new();
            for core in &free {
                if let Some(key) = scope.key(self.first(core)) {
                    groups.entry(key).or_default().push(core);
                }
            }
            let own = anchor.map(|anchor| scope.key(anchor));
            let fitting = groups.into_iter().filter(|(key, cores)| {
                cores.len() >= count && own.as_ref().is_none_or(|own| own.as_ref() == Some(key))
            });
            let picked = fitting.map(|(_, cores)| self.best(cores, anchor, count));
            if let Some(picked) = picked.min_by_key(|cores| self.cost(cores)) {
                return picked;
            }
        }
        Vec::new()
    }

    /// The best of a group's cores. That of CPU 0 is left out if there are others: it keeps the time of the system, and
    /// what is not moved elsewhere, interrupts and threads of the kernel, runs there.
    fn best<'c>(&self, cores: Vec<&'c Core>, anchor: Option<&Cpu>, count: usize) -> Vec<&'c Core> {
        let mut picked: Vec<&Core> = cores.iter().copied().filter(|core| !self.is_of(0, core)).collect();
        if picked.len() < count {
            picked = cores;
        }
        picked.sort_by_key(|core| {
            let cpu = self.first(core);
            let is_far = anchor.is_some_and(|anchor| anchor.kind != cpu.kind || anchor.cache != cpu.cache);
            (Reverse(cpu.is_isolated), is_far, cpu.kind, core[0])
        });
        picked.truncate(count);
        picked
    }

    /// Compares groups that are equally near: isolated cores are better, then those of the more capable kind.
    fn cost(&self, cores: &[&Core]) -> impl Ord + use<> {
        let isolated = cores.iter().filter(|core| self.first(core).is_isolated).count();
        let kind = cores.iter().map(|core| self.first(core).kind).max();
        (Reverse(isolated), kind, cores.iter().any(|core| self.is_of(0, core)), cores.iter().map(|core| core[0]).min())
    }

    fn first(&self, core: &Core) -> &'a Cpu {
        self.topology.cpu(core[0])
    }

    /// Whether a CPU, which this process need not be allowed to use, belongs to a core.
    fn is_of(&self, cpu: usize, core: &Core) -> bool {
        self.topology.core_of(core[0]).contains(&cpu)
    }
}
