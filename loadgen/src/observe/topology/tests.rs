use proptest::prelude::*;

use super::{fixture::recorded, *};

fn set(list: &str) -> Option<CpuSet> {
    cpu_list(list).map(CpuSet::from_iter)
}

#[test]
fn the_cores_and_caches_of_every_host_are_counted() {
    for (name, summary) in [
        ("vm-2", "2 CPUs online on 2 cores of 1 kind, 1 L3, 1 package, 1 NUMA node"),
        ("one-cpu", "1 CPU online on 1 core, 1 L2, 1 package"),
        ("vm-one-core", "2 CPUs online on 1 core, 1 L3, 1 package"),
        ("vm-4-sockets", "4 CPUs online on 4 cores, 4 L3s, 4 packages"),
        ("smt-far", "8 CPUs online on 4 cores of 1 kind, 1 L3, 1 package, 1 NUMA node"),
        ("hybrid", "20 CPUs online on 14 cores of 2 kinds, 1 L3, 1 package, 1 NUMA node"),
        ("two-ccx", "16 CPUs online on 8 cores of 1 kind, 2 L3s, 1 package, 1 NUMA node"),
        ("two-sockets", "8 CPUs online on 8 cores, 2 L3s, 2 packages, 2 NUMA nodes"),
        ("big-little", "8 CPUs online on 8 cores of 2 kinds, 1 package"),
        ("masked-sys", "4 CPUs online, cores unknown"),
    ] {
        assert_eq!(recorded(name).topology.summary(), summary, "{name}");
    }
}

#[test]
fn what_the_files_say_of_a_cpu_is_read() {
    let hybrid = recorded("hybrid").topology;
    assert_eq!((&hybrid.cpu(3).core, hybrid.cpu(3).kind), (&set("2-3"), Some(0)));
    assert_eq!((&hybrid.cpu(13).core, hybrid.cpu(13).kind), (&set("13"), Some(1)));
    assert_eq!((&hybrid.cpu(13).cluster, &hybrid.cpu(13).cache), (&set("12-15"), &set("0-19")));
    assert_eq!(hybrid.cpu(13).cache_level, Some(3));
    let arm = recorded("big-little").topology;
    assert_eq!([arm.cpu(0).kind, arm.cpu(7).kind], [Some(1), Some(0)], "the big cores are the first kind");
    let isolated = recorded("isolated").topology;
    assert_eq!([1, 2].map(|cpu| isolated.cpu(cpu).is_isolated), [false, true]);
    let sockets = recorded("two-sockets").topology;
    assert_eq!((&sockets.cpu(5).node, &sockets.cpu(5).package), (&set("1,3,5,7"), &set("1,3,5,7")));
}

#[test]
fn what_no_file_says_is_unknown() {
    let nothing = recorded("masked-sys").topology;
    assert_eq!((nothing.numbers(), nothing.cpu(2)), (vec![0, 1, 2, 3], &Cpu::default()));
    assert_eq!((nothing.core_of(2), nothing.core_of(99)), (CpuSet::from([2]), CpuSet::from([99])));
}

#[test]
fn a_file_that_makes_no_sense_is_unknown_as_well() {
    let wrong = |path: &str| match path.rsplit('/').next().unwrap() {
        "online" => Some("0-1".to_owned()),
        "core_cpus_list" => Some("5".to_owned()),
        "package_cpus_list" => Some("0-x".to_owned()),
        "level" => path.contains("index0").then(|| "last".to_owned()),
        "cpu_capacity" => path.contains("cpu0").then(|| "1024".to_owned()),
        _ => None,
    };
    let topology = Topology::of(&wrong, &[0]);
    assert_eq!((topology.numbers(), topology.cpu(0), topology.cpu(1)), (vec![0, 1], &Cpu::default(), &Cpu::default()));
}

#[test]
fn older_kernels_have_other_names_for_the_same() {
    let old = |path: &str| match path.rsplit('/').next().unwrap() {
        "thread_siblings_list" => Some("0,4".to_owned()),
        "core_siblings_list" => Some("0-7".to_owned()),
        _ => None,
    };
    let topology = Topology::of(&old, &[0]);
    assert_eq!((&topology.cpu(0).core, &topology.cpu(0).package), (&set("0,4"), &set("0-7")));
}

#[test]
fn cores_of_one_kind_may_differ_by_less_than_a_tenth() {
    let kinds_of = |name: &'static str, values: &'static [u32]| {
        let cpus: Vec<usize> = (0..values.len()).collect();
        let read = move |path: &str| {
            let cpu: usize = path.strip_prefix("sys/devices/system/cpu/cpu")?.split('/').next()?.parse().ok()?;
            path.ends_with(name).then(|| values[cpu].to_string())
        };
        kinds(&read, &cpus)
    };
    let ranks = |ranks: &[usize]| ranks.iter().map(|rank| Some(*rank)).collect::<Vec<_>>();
    assert_eq!(kinds_of("cpu_capacity", &[1024, 1009, 980]), ranks(&[0, 0, 0]));
    assert_eq!(kinds_of("cpu_capacity", &[250, 1024, 800]), ranks(&[2, 0, 1]));
    assert_eq!(kinds_of("cpufreq/cpuinfo_max_freq", &[5_100_000, 3_300_000]), ranks(&[0, 1]));
    assert_eq!(kinds_of("nothing", &[1, 2]), [None, None]);
}

#[test]
fn equal_capacities_leave_the_kind_to_the_frequency() {
    let read = |path: &str| match path.strip_prefix("sys/devices/system/cpu/cpu")? {
        path if path.ends_with("cpu_capacity") => Some("1024".to_owned()),
        "0/cpufreq/cpuinfo_max_freq" => Some("3300000".to_owned()),
        "1/cpufreq/cpuinfo_max_freq" => Some("5100000".to_owned()),
        _ => None,
    };
    assert_eq!(kinds(&read, &[0, 1]), [Some(1), Some(0)]);
}

#[test]
fn a_list_of_cpus_is_read_as_the_kernel_writes_it() {
    assert_eq!(cpu_list("\n"), Some(vec![]));
    assert_eq!(cpu_list("0-1,4\n"), Some(vec![0, 1, 4]));
    for text in ["a", "1-", "3-1", "0,,1", "-1", "0-99999999"] {
        assert_eq!(cpu_list(text), None, "{text:?}");
    }
    assert_eq!(show_cpu_list(&[7, 0, 1, 3]), "0-1,3,7");
}

proptest! {
    #[test]
    fn a_list_that_was_written_is_read_again(cpus in prop::collection::btree_set(0_usize..300, 0..40)) {
        let cpus: Vec<usize> = cpus.into_iter().collect();
        prop_assert_eq!(cpu_list(&show_cpu_list(&cpus)), Some(cpus));
    }
}
