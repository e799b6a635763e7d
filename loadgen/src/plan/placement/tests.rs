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
