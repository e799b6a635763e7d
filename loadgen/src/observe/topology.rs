//! Which CPUs share a core, a cache, a package or a kind, as sysfs tells (Documentation/admin-guide/cputopology.rst and
//! Documentation/ABI/testing/sysfs-devices-system-cpu of the kernel).
//!
//! What a file does not say is unknown, never guessed: a container may hide sysfs, and a virtual machine may have a
//! topology of its own.

use std::{collections::BTreeSet, fs, sync::OnceLock};

use super::available_cpus;

/// Reads a file by its path below the root, as `sys/devices/system/cpu/online`; `None` if there is none.
pub(crate) type ReadFile<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A set of CPUs, by number.
pub(crate) type CpuSet = BTreeSet<usize>;

/// The CPUs of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    cpus: Vec<(usize, Cpu)>,
}

/// What a CPU shares with which others. Each set includes the CPU itself; `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// CPUs of its core: its SMT siblings (core_cpus_list, formerly thread_siblings_list).
    pub(crate) core: Option<CpuSet>,
    /// CPUs under its last-level cache (shared_cpu_list of the highest cache level).
    pub(crate) cache: Option<CpuSet>,
    /// Level of that cache: 3 for an L3.
    pub(crate) cache_level: Option<usize>,
    /// CPUs of its cluster: cores that share more than a die does, such as an L2 (cluster_cpus_list).
    pub(crate) cluster: Option<CpuSet>,
    /// CPUs of its die (die_cpus_list).
    pub(crate) die: Option<CpuSet>,
    /// CPUs of its package (package_cpus_list, formerly core_siblings_list).
    pub(crate) package: Option<CpuSet>,
    /// CPUs of its NUMA node (node/nodeN/cpulist).
    pub(crate) node: Option<CpuSet>,
    /// Rank of its kind of core: 0 for the most capable kind of this host.
    pub(crate) kind: Option<usize>,
    /// Whether the kernel keeps tasks (isolated) or ticks (nohz_full) away from it.
    pub(crate) is_isolated: bool,
}

impl Topology {
    /// The topology of this host, as it was at the first call.
    pub(crate) fn current() -> &'static Self {
        static CURRENT: OnceLock<Topology> = OnceLock::new();
        CURRENT.get_or_init(|| Self::of(&read_root, &available_cpus()))
    }

    /// The topology that these files tell, of the online CPUs and those that this process may use.
    pub(crate) fn of(read: &ReadFile<'_>, available: &[usize]) -> Self {
        let list = |path: &str| read(path).and_then(|text| cpu_list(&text));
        let mut numbers: CpuSet = available.iter().copied().collect();
        numbers.extend(list("sys/devices/system/cpu/online").unwrap_or_default());
        let numbers: Vec<usize> = numbers.into_iter().collect();
        let isolated: CpuSet = ["isolated", "nohz_full"]
            .iter()
            .filter_map(|name| list(&format!("sys/devices/system/cpu/{name}")))
            .flatten()
            .collect();
        let nodes: Vec<CpuSet> = list("sys/devices/system/node/online")
            .unwrap_or_default()
            .iter()
            .filter_map(|node| list(&format!("sys/devices/system/node/node{node}/cpulist")))
            .map(CpuSet::from_iter)
            .collect();
        let kinds = kinds(read, &numbers);
        let cpu = |(cpu, kind): (usize, Option<usize>)| {
            let with_itself = |set: CpuSet| Some(set).filter(|set| set.contains(&cpu));
            let set = |name: &str| list(&format!("sys/devices/system/cpu/cpu{cpu}/topology/{name}"));
            let first = |names: &[&str]| names.iter().find_map(|name| set(name).map(CpuSet::from_iter));
            let last_level = last_level_cache(read, cpu).filter(|(_, set)| set.contains(&cpu));
            let (cache_level, cache) = last_level.unzip();
            let found = Cpu {
                core: first(&["core_cpus_list", "thread_siblings_list"]).and_then(with_itself),
                cache,
                cache_level,
                cluster: first(&["cluster_cpus_list"]).and_then(with_itself),
                die: first(&["die_cpus_list"]).and_then(with_itself),
                package: first(&["package_cpus_list", "core_siblings_list"]).and_then(with_itself),
                node: nodes.iter().find(|node| node.contains(&cpu)).cloned(),
                kind,
                is_isolated: isolated.contains(&cpu),
            };
            (cpu, found)
        };
        Self { cpus: numbers.iter().copied().zip(kinds).map(cpu).collect() }
    }

    /// A CPU; one of which nothing is known if it is not there.
    pub(crate) fn cpu(&self, cpu: usize) -> &Cpu {
        static UNKNOWN: Cpu = Cpu {
            core: None,
            cache: None,
            cache_level: None,
            cluster: None,
            die: None,
            package: None,
            node: None,
            kind: None,
            is_isolated: false,
        };
        let at = self.cpus.binary_search_by_key(&cpu, |(number, _)| *number);
        at.map_or(&UNKNOWN, |at| &self.cpus[at].1)
    }

    /// CPUs of the same core; the CPU alone if that is not known.
    pub(crate) fn core_of(&self, cpu: usize) -> CpuSet {
        self.cpu(cpu).core.clone().unwrap_or_else(|| CpuSet::from([cpu]))
    }

    /// CPUs that are online, and those that this process may use.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.cpus.iter().map(|(number, _)| *number).collect()
    }

    /// Counts of what is known: `8 CPUs on 4 cores of one kind, one L3`.
    pub(crate) fn summary(&self) -> String {
        let count = |sets: BTreeSet<Option<&CpuSet>>| (!sets.contains(&None)).then_some(sets.len());
        let part = |of: fn(&Cpu) -> Option<&CpuSet>| count(self.cpus.iter().map(|(_, cpu)| of(cpu)).collect());
        let kinds: BTreeSet<Option<usize>> = self.cpus.iter().map(|(_, cpu)| cpu.kind).collect();
        let level = self.cpus.iter().filter_map(|(_, cpu)| cpu.cache_level).max().unwrap_or_default();
        let mut summary = format!("{} online", counted(self.cpus.len(), "CPU"));
        summary += &match part(|cpu| cpu.core.as_ref()) {
            Some(cores) => format!(" on {}", counted(cores, "core")),
            None => ", cores unknown".to_owned(),
        };
        if !kinds.contains(&None) {
            summary += &format!(" of {}", counted(kinds.len(), "kind"));
        }
        let wholes = [
            (part(|cpu| cpu.cache.as_ref()), format!("L{level}")),
            (part(|cpu| cpu.package.as_ref()), "package".to_owned()),
            (part(|cpu| cpu.node.as_ref()), "NUMA node".to_owned()),
        ];
        for (count, name) in wholes {
            summary += &count.map_or_else(String::new, |count| format!(", {}", counted(count, &name)));
        }
        summary
    }
}

#[cfg(test)]
impl FromIterator<(usize, Cpu)> for Topology {
    fn from_iter<I: IntoIterator<Item = (usize, Cpu)>>(cpus: I) -> Self {
        let cpus: std::collections::BTreeMap<usize, Cpu> = cpus.into_iter().collect();
        Self { cpus: cpus.into_iter().collect() }
    }
}

/// `1 core`, `2 cores`.
fn counted(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// A file of this host.
pub(super) fn read_root(path: &str) -> Option<String> {
    fs::read(format!("/{path}")).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Level and CPUs of the highest cache level that is not one for instructions only.
fn last_level_cache(read: &ReadFile<'_>, cpu: usize) -> Option<(usize, CpuSet)> {
    let caches = (0..).map_while(|index| {
        let file = |name: &str| read(&format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{name}"));
        let level = file("level")?;
        let is_data = file("type").is_none_or(|kind| kind.trim() != "Instruction");
        let shared = file("shared_cpu_list").and_then(|text| cpu_list(&text));
        Some(level.trim().parse::<usize>().ok().zip(shared).filter(|_| is_data))
    });
    let caches = caches.flatten().filter(|(level, _)| *level > 1);
    caches.max_by_key(|(level, _)| *level).map(|(level, cpus)| (level, cpus.into_iter().collect()))
}

/// The rank of each CPU's kind: 0 for the most capable one.
///
/// A hybrid of Intel names its kinds as performance counters (cpu_core, cpu_atom). Elsewhere the capacity tells, or the
/// highest frequency where capacities do not differ. Cores of one kind may differ by some per cent (favoured cores): a
/// kind ends where the next core is more than a tenth below.
fn kinds(read: &ReadFile<'_>, cpus: &[usize]) -> Vec<Option<usize>> {
    const GAP: f64 = 0.9;
    let counters: Vec<Option<CpuSet>> = ["cpu_core", "cpu_atom", "cpu_lowpower"]
        .iter()
        .map(|name| read(&format!("sys/devices/{name}/cpus")).and_then(|text| cpu_list(&text)))
        .map(|list| list.map(CpuSet::from_iter))
        .collect();
    let is_hybrid = counters.iter().any(Option::is_some);
    let counter = |cpu: &usize| counters.iter().position(|set| set.as_ref().is_some_and(|set| set.contains(cpu)));
    let numbers = |name: &str| -> Option<Vec<f64>> {
        let number = |cpu: &usize| read(&format!("sys/devices/system/cpu/cpu{cpu}/{name}"))?.trim().parse().ok();
        cpus.iter().map(number).collect()
    };
    let differing = |values: &Vec<f64>| values.windows(2).any(|pair| pair[0] != pair[1]);
    let capacity = numbers("cpu_capacity");
    let speed = capacity.clone().filter(differing).or_else(|| numbers("cpufreq/cpuinfo_max_freq")).or(capacity);
    if !is_hybrid && speed.is_none() {
        return vec![None; cpus.len()];
    }
    let mut ordered: Vec<(usize, f64, usize)> = Vec::new();
    for (at, cpu) in cpus.iter().enumerate() {
        match (is_hybrid, counter(cpu)) {
            // A CPU of a hybrid that is in no list: its kind is not known.
            (true, None) => continue,
            (_, counter) => {
                ordered.push((counter.unwrap_or(0), speed.as_ref().map_or(1.0, |speed| speed[at]), at));
            }
        }
    }
    ordered.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)));
    let (mut kinds, mut kind) = (vec![None; cpus.len()], 0);
    for (index, (counter, speed, at)) in ordered.iter().enumerate() {
        if let Some((above, faster, _)) = index.checked_sub(1).map(|above| ordered[above])
            && (above != *counter || *speed < faster * GAP)
        {
            kind += 1;
        }
        kinds[*at] = Some(kind);
    }
    kinds
}

/// Reads a list of CPUs such as `0,2-3`; an empty one names none. `None` if it is no list.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    /// More than any kernel is built for.
    const CPUS_MAX: usize = 65_536;
    let mut cpus = CpuSet::new();
    for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

/// Writes a list of CPUs as the kernel does: `0,2-3`.
pub(crate) fn show_cpu_list(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus.iter().copied().collect::<CpuSet>() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
