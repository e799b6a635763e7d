use proptest::prelude::*;

use super::*;
use crate::observe::topology::{
    Cpu, CpuSet,
    fixture::{Recorded, recorded},
};

fn request(kind: PlacementKind, pacing: PacingChoice) -> PlacementRequest {
    PlacementRequest { kind, server_cpus: None, loadgen_cpus: None, pacing, threads: 1 }
}

/// The placement of this request on a host of loadgen/tests/topologies.
fn placed(request: &PlacementRequest, host: &str) -> Placed {
    let Recorded { topology, available, quota } = recorded(host);
    request.place_on(&Host { available, quota, topology: &topology }).unwrap()
}

#[test]
fn lists_of_cpus_are_read() {
    assert_eq!(cpus("0"), Ok(vec![0]));
    assert_eq!(cpus("3,0-1"), Ok(vec![0, 1, 3]));
    for text in ["", "a", "1-", "3-1", "0,,1", "-1"] {
        assert!(cpus(text).is_err(), "{text:?}");
    }
}

/// Host, CPU of the server, CPU of the generator, their siblings, and why.
const CHOICES: [(&str, usize, usize, &[usize], &str); 14] = [
    ("vm-2", 0, 1, &[], "different cores of one kind under one L3"),
    ("vm-one-core", 0, 1, &[], "they share a core, as two of its hardware threads"),
    ("vm-4-sockets", 1, 2, &[], "different cores under different L3 caches"),
    ("smt-far", 1, 2, &[5, 6], "different cores of one kind under one L3; siblings 5 and 6 stay empty"),
    ("smt-near", 2, 4, &[3, 5], "different cores under one L3; siblings 3 and 5 stay empty"),
    ("hybrid", 2, 4, &[3, 5], "different cores of one kind under one L3; siblings 3 and 5 stay empty"),
    ("two-ccx", 1, 2, &[9, 10], "different cores of one kind under one L3; siblings 9 and 10 stay empty"),
    ("two-sockets", 1, 3, &[], "different cores under one L3"),
    ("big-little", 4, 5, &[], "different cores of one kind"),
    ("cpuset-3", 1, 6, &[2, 5], "different cores of one kind under one L3; siblings 2 and 5 stay empty"),
    ("quota", 2, 4, &[3, 5], "different cores under one L3; siblings 3 and 5 stay empty; a quota of 1.5 CPUs for both"),
    ("isolated", 2, 3, &[6, 7], "different cores of one kind under one L3; siblings 6 and 7 stay empty"),
    ("isolated-away", 0, 1, &[4, 5], "different cores of one kind under one L3; siblings 4 and 5 stay empty"),
    ("masked-sys", 1, 2, &[], "different CPUs; this host does not tell which of them share a core"),
];

#[test]
fn server_and_generator_get_a_cpu_each_on_different_cores_of_a_kind_under_one_cache() {
    for (host, server, generator, siblings, why) in CHOICES {
        let Placed { placement, .. } = placed(&request(PlacementKind::Split, PacingChoice::Auto), host);
        assert_eq!(
            (&placement.server_cpus[..], &placement.loadgen_cpus[..]),
            (&[server][..], &[generator][..]),
            "{host}"
        );
        assert_eq!(placement.sibling_cpus, siblings, "{host}");
        assert_eq!(placement.reason, format!("server on CPU {server}, generator on CPU {generator}: {why}"), "{host}");
    }
}

#[test]
fn every_recorded_host_is_in_the_table_or_has_one_cpu() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".txt") else { continue };
        assert!(name == "one-cpu" || CHOICES.iter().any(|choice| choice.0 == name), "{name}");
    }
}

#[test]
fn a_trial_on_a_shared_core_or_under_a_quota_is_flagged_and_no_other() {
    for (host, ..) in CHOICES {
        let Placed { pacing, flags, .. } = placed(&request(PlacementKind::Split, PacingChoice::Auto), host);
        let expected = match host {
            "vm-one-core" => (Pacing::Spin, vec![Caveat::SharedCore]),
            "quota" => (Pacing::Timer, vec![Caveat::CpuQuota]),
            _ => (Pacing::Spin, vec![]),
        };
        assert_eq!((pacing, flags), expected, "{host}");
    }
}

#[test]
fn each_thread_of_the_generator_has_a_core_while_there_are_any() {
    let split = request(PlacementKind::Split, PacingChoice::Auto);
    for (host, threads, server, generator, pacing) in [
        ("smt-far", 2, 1, &[2, 3][..], Pacing::Spin),
        ("smt-far", 3, 0, &[1, 2, 3], Pacing::Spin),
        ("smt-far", 5, 0, &[1, 2, 3, 5, 6], Pacing::Spin),
        ("smt-far", 7, 0, &[1, 2, 3, 5, 6, 7], Pacing::Timer),
        ("hybrid", 4, 2, &[4, 6, 8, 10], Pacing::Spin),
        ("two-ccx", 5, 1, &[2, 3, 4, 5, 6], Pacing::Spin),
        ("two-sockets", 3, 1, &[3, 5, 7], Pacing::Spin),
        ("vm-2", 2, 0, &[1], Pacing::Timer),
    ] {
        let placed = placed(&PlacementRequest { threads, ..split.clone() }, host);
        assert_eq!(placed.placement.server_cpus, [server], "{host}, {threads} threads");
        assert_eq!(
            (&placed.placement.loadgen_cpus[..], placed.pacing),
            (generator, pacing),
            "{host}, {threads} threads"
        );
    }
    let crowded = placed(&PlacementRequest { threads: 5, ..split }, "smt-far");
    assert!(crowded.placement.reason.contains("; threads of the generator share a core"), "{:?}", crowded.placement);
}

#[test]
fn what_was_asked_for_is_obeyed_and_flagged_where_it_shares_a_core() {
    let asked = |server: Option<&[usize]>, generator: Option<&[usize]>| {
        let (server_cpus, loadgen_cpus) = (server.map(<[usize]>::to_vec), generator.map(<[usize]>::to_vec));
        let request =
            PlacementRequest { server_cpus, loadgen_cpus, ..request(PlacementKind::Split, PacingChoice::Auto) };
        let Placed { placement, pacing, flags } = placed(&request, "smt-far");
        (placement.server_cpus, placement.loadgen_cpus, pacing, flags)
    };
    for (server, generator, expected) in [
        (Some(&[2][..]), Some(&[6][..]), (vec![2], vec![6], Pacing::Spin, vec![Caveat::SharedCore])),
        (Some(&[2]), Some(&[2]), (vec![2], vec![2], Pacing::Timer, vec![Caveat::SharedCore])),
        (Some(&[2, 3]), None, (vec![2, 3], vec![1], Pacing::Spin, vec![])),
        (Some(&[0, 1, 2, 3]), None, (vec![0, 1, 2, 3], vec![4], Pacing::Spin, vec![Caveat::SharedCore])),
        (None, Some(&[1, 2]), (vec![3], vec![1, 2], Pacing::Spin, vec![])),
        (Some(&[0]), Some(&[1]), (vec![0], vec![1], Pacing::Spin, vec![])),
    ] {
        assert_eq!(asked(server, generator), expected);
    }
    let all: Vec<usize> = (0..8).collect();
    let (server, generator, pacing, flags) = asked(Some(&all), None);
    assert_eq!((server, generator, pacing, flags), (all, vec![7], Pacing::Timer, vec![Caveat::SharedCore]));
}

#[test]
fn who_asked_for_the_cpus_is_said() {
    let asked = PlacementRequest { server_cpus: Some(vec![0, 1]), ..request(PlacementKind::Split, PacingChoice::Auto) };
    assert_eq!(
        placed(&asked, "two-sockets").placement.reason,
        "server on CPUs 0-1 (as asked), generator on CPU 2: different cores under different L3 caches"
    );
}

#[test]
fn flooders_get_neither_siblings_nor_cpus_in_use() {
    let Placed { placement, .. } = placed(&request(PlacementKind::Split, PacingChoice::Auto), "smt-far");
    assert_eq!((placement.cpus_in_use(), placement.spare_cpus), (vec![1, 2, 5, 6], vec![0, 3, 4, 7]));
}

#[test]
fn a_shared_placement_has_all_cpus_for_both() {
    let Placed { placement, pacing, flags } = placed(&request(PlacementKind::Shared, PacingChoice::Auto), "cpuset-3");
    assert_eq!((placement.server_cpus, placement.loadgen_cpus), (vec![1, 5, 6], vec![1, 5, 6]));
    assert_eq!((pacing, flags), (Pacing::Timer, vec![]));
    assert_eq!(placement.reason, "server and generator on CPUs 1,5-6, as the scheduler places them");
}

#[test]
fn a_host_of_one_cpu_shares_it_and_is_flagged() {
    let placed = placed(&request(PlacementKind::Split, PacingChoice::Auto), "one-cpu");
    assert_eq!((placed.placement.kind, placed.pacing), (PlacementKind::Shared, Pacing::Timer));
    assert_eq!(placed.flags, [Caveat::OneCpu]);
    assert_eq!(placed.placement.reason, "server and generator share CPU 0, since there is no other");
}

#[test]
fn under_a_cpu_quota_the_generator_spins_only_on_request() {
    for (choice, pacing) in [(PacingChoice::Auto, Pacing::Timer), (PacingChoice::Spin, Pacing::Spin)] {
        let placed = placed(&request(PlacementKind::Split, choice), "quota");
        assert_eq!((placed.pacing, placed.flags), (pacing, vec![Caveat::CpuQuota]));
    }
}

#[test]
fn a_request_that_the_host_cannot_meet_is_refused_with_the_option() {
    let absent = PlacementRequest { server_cpus: Some(vec![7]), ..request(PlacementKind::Split, PacingChoice::Auto) };
    let shared = request(PlacementKind::Shared, PacingChoice::Spin);
    let crowded = PlacementRequest { threads: 2, ..request(PlacementKind::Split, PacingChoice::Spin) };
    for (request, words) in
        [(absent, "--server-cpus: CPU 7"), (shared, "use --pacing timer"), (crowded, "each of the 2 threads")]
    {
        let Recorded { topology, available, quota } = recorded("vm-2");
        let error = request.place_on(&Host { available, quota, topology: &topology }).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Any host: cores of one to four threads in any numbering, dealt to caches and kinds, of which some are isolated or
/// unknown; and the CPUs of it that a process may use.
fn hosts() -> impl Strategy<Value = (Topology, Vec<usize>)> {
    let core = (1_usize..=4, 0_usize..3, prop::option::of(0_usize..3), any::<bool>());
    let numbered = (prop::collection::vec(core, 1..12), any::<bool>()).prop_flat_map(|(cores, is_told)| {
        let threads: Vec<usize> =
            cores.iter().enumerate().flat_map(|(core, (threads, ..))| std::iter::repeat_n(core, *threads)).collect();
        (Just(cores), Just(is_told), Just(threads).prop_shuffle())
    });
    let host = numbered.prop_map(|(cores, is_told, core_of)| {
        let cpus_where = |is_there: &dyn Fn(usize) -> bool| -> CpuSet {
            core_of.iter().enumerate().filter(|(_, core)| is_there(**core)).map(|(cpu, _)| cpu).collect()
        };
        let cpu = |(number, core): (usize, &usize)| {
            let (_, cache, kind, is_isolated) = cores[*core];
            let told = |set: CpuSet| is_told.then_some(set);
            let cpu = Cpu {
                core: told(cpus_where(&|other| other == *core)),
                cache: told(cpus_where(&|other| cores[other].1 == cache)),
                cache_level: is_told.then_some(3),
                kind,
                is_isolated,
                ..Cpu::default()
            };
            (number, cpu)
        };
        core_of.iter().enumerate().map(cpu).collect::<Topology>()
    });
    host.prop_flat_map(|topology| {
        let numbers = topology.numbers();
        let count = numbers.len();
        (Just(topology), prop::sample::subsequence(numbers, 1..=count))
    })
}

proptest! {
    #[test]
    fn a_choice_stays_within_the_affinity_and_off_the_servers_core((topology, available) in hosts(), threads in 1_u32..5) {
        let split = PlacementRequest { threads, ..request(PlacementKind::Split, PacingChoice::Auto) };
        let host = Host { available: available.clone(), quota: None, topology: &topology };
        let Placed { placement, flags, .. } = split.place_on(&host).unwrap();
        let Placement { kind, server_cpus: server, loadgen_cpus: generator, sibling_cpus, spare_cpus, .. } = placement;
        if available.len() == 1 {
            prop_assert_eq!(kind, PlacementKind::Shared);
            return Ok(());
        }
        prop_assert_eq!(server.len(), 1);
        prop_assert!(!generator.is_empty() && generator.len() <= threads as usize);
        prop_assert!(server.iter().chain(&generator).chain(&spare_cpus).all(|cpu| available.contains(cpu)));
        prop_assert!(!generator.contains(&server[0]));
        let cores: std::collections::BTreeSet<CpuSet> = available.iter().map(|cpu| topology.core_of(*cpu)).collect();
        let is_shared = topology.core_of(server[0]).iter().any(|cpu| generator.contains(cpu));
        prop_assert_eq!(is_shared, cores.len() == 1, "only where there is no other core");
        prop_assert_eq!(flags.contains(&Caveat::SharedCore), is_shared);
        let used: Vec<CpuSet> = generator.iter().map(|cpu| topology.core_of(*cpu)).collect();
        if cores.len() > threads as usize {
            prop_assert_eq!(used.len(), threads as usize);
            prop_assert!((1..used.len()).all(|at| !used[..at].contains(&used[at])), "one core for each thread");
        }
        prop_assert!(sibling_cpus.iter().all(|cpu| !spare_cpus.contains(cpu) && !generator.contains(cpu) && *cpu != server[0]));
        let in_use: CpuSet = used.iter().flatten().copied().chain(topology.core_of(server[0])).collect();
        prop_assert!(spare_cpus.iter().all(|cpu| !in_use.contains(cpu)));
    }

    #[test]
    fn one_kind_under_one_cache_is_chosen_wherever_there_are_two_such_cores((topology, available) in hosts()) {
        let split = request(PlacementKind::Split, PacingChoice::Auto);
        let host = Host { available: available.clone(), quota: None, topology: &topology };
        let Placed { placement, .. } = split.place_on(&host).unwrap();
        let are_near = |one: usize, other: usize| {
            let (one, other) = (topology.cpu(one), topology.cpu(other));
            one.core != other.core && one.cache == other.cache && one.kind == other.kind
        };
        let is_known = topology.cpu(available[0]).core.is_some();
        if is_known && available.iter().any(|one| available.iter().any(|other| are_near(*one, *other))) {
            prop_assert!(are_near(placement.server_cpus[0], placement.loadgen_cpus[0]), "{:?}", placement);
        }
    }
}

#[test]
fn a_server_of_several_cpus_has_a_core_for_each_and_leaves_the_generator_its_own() {
    let cores = |host: &str, count, threads| {
        let Recorded { topology, available, quota } = recorded(host);
        cores_on(&Host { available, quota, topology: &topology }, count, threads)
    };
    assert_eq!((cores("vm-2", 1, 1), cores("vm-2", 2, 1)), (Ok(vec![0]), Err(2)));
    assert_eq!(cores("smt-far", 4, 1), Err(4), "hardware threads are no cores");
    for count in 1..=3 {
        let cpus = cores("smt-far", count, 1).unwrap();
        let request =
            PlacementRequest { server_cpus: Some(cpus.clone()), ..request(PlacementKind::Split, PacingChoice::Auto) };
        let Placed { placement, flags, .. } = placed(&request, "smt-far");
        assert_eq!((cpus.len(), placement.loadgen_cpus.len(), flags), (count, 1, Vec::new()));
    }
}
