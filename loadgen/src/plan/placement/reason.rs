//! Why server and generator run where they do, in a line.

use super::{Host, Placement, PlacementKind, PlacementRequest};
use crate::observe::topology::{Cpu, Topology, show_cpu_list};

/// `server on CPU 2, generator on CPU 4: different cores of one kind under one L3; siblings 3 and 5 stay empty`.
pub(super) fn reason(placement: &Placement, request: &PlacementRequest, host: &Host<'_>) -> String {
    let mut reason = match placement.kind {
        PlacementKind::Split => split(placement, request, host.topology),
        PlacementKind::Hosts => {
            let asked = if request.server_cpus.is_some() { " (as asked)" } else { "" };
            format!("server on {}{asked}, generators on other hosts", named(&placement.server_cpus))
        }
        PlacementKind::Shared if placement.server_cpus.len() == 1 => {
            format!("server and generator share CPU {}, since there is no other", placement.server_cpus[0])
        }
        PlacementKind::Shared => {
            format!("server and generator on {}, as the scheduler places them", named(&host.available))
        }
    };
    if let Some(quota) = host.quota {
        reason += &format!("; a quota of {quota} CPUs for both");
    }
    reason
}

fn split(placement: &Placement, request: &PlacementRequest, topology: &Topology) -> String {
    let Placement { server_cpus: server, loadgen_cpus: generator, sibling_cpus: siblings, .. } = placement;
    let asked = |cpus: &Option<Vec<usize>>| if cpus.is_some() { " (as asked)" } else { "" };
    let mut text = format!(
        "server on {}{}, generator on {}{}: {}",
        named(server),
        asked(&request.server_cpus),
        named(generator),
        asked(&request.loadgen_cpus),
        relation(server, generator, topology)
    );
    let is_shared = |cpu: &usize| topology.core_of(*cpu).iter().any(|other| other != cpu && generator.contains(other));
    if generator.iter().any(is_shared) {
        text += "; threads of the generator share a core";
    }
    match siblings[..] {
        [] => {}
        [sibling] => text += &format!("; sibling {sibling} stays empty"),
        [one, other] => text += &format!("; siblings {one} and {other} stay empty"),
        _ => text += &format!("; siblings {} stay empty", show_cpu_list(siblings)),
    }
    text
}

/// What server and generator have in common, as far as it is known.
fn relation(server: &[usize], generator: &[usize], topology: &Topology) -> String {
    if server.iter().any(|cpu| generator.contains(cpu)) {
        return "they share a CPU".to_owned();
    }
    if share_a_core(server, generator, topology) {
        return "they share a core, as two of its hardware threads".to_owned();
    }
    let cpus: Vec<&Cpu> = server.iter().chain(generator).map(|cpu| topology.cpu(*cpu)).collect();
    if cpus.iter().any(|cpu| cpu.core.is_none()) {
        return "different CPUs; this host does not tell which of them share a core".to_owned();
    }
    let kind = match are_equal(cpus.iter().map(|cpu| cpu.kind)) {
        Some(true) => " of one kind",
        Some(false) => " of different kinds",
        None => "",
    };
    let level = cpus[0].cache_level.unwrap_or_default();
    let cache = match are_equal(cpus.iter().map(|cpu| cpu.cache.as_ref())) {
        Some(true) => format!(" under one L{level}"),
        Some(false) => format!(" under different L{level} caches"),
        None => String::new(),
    };
    format!("different cores{kind}{cache}")
}

/// Whether a CPU of one side is on a core of the other side.
pub(super) fn share_a_core(one: &[usize], other: &[usize], topology: &Topology) -> bool {
    one.iter().any(|cpu| topology.core_of(*cpu).iter().any(|sibling| other.contains(sibling)))
}

/// Whether all values are equal; `None` if one of them is unknown.
fn are_equal<T: PartialEq>(values: impl Iterator<Item = Option<T>>) -> Option<bool> {
    let values: Vec<T> = values.collect::<Option<_>>()?;
    Some(values.windows(2).all(|pair| pair[0] == pair[1]))
}

/// `CPU 2`, `CPUs 2-3`.
fn named(cpus: &[usize]) -> String {
    format!("CPU{} {}", if cpus.len() == 1 { "" } else { "s" }, show_cpu_list(cpus))
}
