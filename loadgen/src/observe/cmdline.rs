//! The recorded part of the kernel's command line: parameters that a measurement may depend on, without disks, networks
//! and the provider's own settings.

/// Names of parameters, with `_` for `-`, which the kernel treats as equal.
const RELEVANT: [&str; 77] = [
    // Mitigations.
    "mitigations",
    "gather_data_sampling",
    "indirect_target_selection",
    "kpti",
    "l1d_flush",
    "l1tf",
    "mds",
    "mmio_stale_data",
    "nopti",
    "nospec_store_bypass_disable",
    "nospectre_v1",
    "nospectre_v2",
    "pti",
    "reg_file_data_sampling",
    "retbleed",
    "spec_rstack_overflow",
    "spec_store_bypass_disable",
    "spectre_bhi",
    "spectre_v2",
    "spectre_v2_user",
    "srbds",
    "tsa",
    "tsx",
    "tsx_async_abort",
    "vmscape",
    // CPU assignment.
    "irqaffinity",
    "isolcpus",
    "kthread_cpus",
    "maxcpus",
    "nosmt",
    "nr_cpus",
    "possible_cpus",
    "noirqbalance",
    "numa",
    "numa_balancing",
    // Ticks, clocks and the scheduler.
    "clocksource",
    "highres",
    "hpet",
    "hz",
    "nmi_watchdog",
    "no_timer_check",
    "nohlt",
    "nohz",
    "nohz_full",
    "nosoftlockup",
    "notsc",
    "nowatchdog",
    "preempt",
    "psi",
    "rcu_nocb_poll",
    "rcu_nocbs",
    "schedstats",
    "skew_tick",
    "threadirqs",
    "tsc",
    "watchdog",
    // Power.
    "acpi_pstate",
    "amd_prefcore",
    "amd_pstate",
    "cpufreq",
    "idle",
    "intel_pstate",
    // Memory.
    "default_hugepagesz",
    "hugepages",
    "hugepagesz",
    "init_on_alloc",
    "init_on_free",
    "kfence",
    "page_alloc.shuffle",
    "page_poison",
    "slab_nomerge",
    "slub_debug",
    "thp_anon",
    "transparent_hugepage",
    "transparent_hugepage_shmem",
    // Observation by others.
    "audit",
    "noibrs",
];

/// Module prefixes of parameter names.
const MODULES: [&str; 6] = ["cpufreq.", "cpuidle.", "cpuidle_haltpoll.", "haltpoll.", "kfence.", "rcutree."];

/// The relevant parameters of a command line, in order. Words after `--` are not for the kernel.
pub(super) fn relevant(cmdline: &str) -> String {
    let words = words(cmdline);
    let own = words.iter().take_while(|word| **word != "--");
    own.filter(|word| is_relevant(word)).copied().collect::<Vec<_>>().join(" ")
}

fn is_relevant(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default().trim_matches('"').replace('-', "_");
    let module = MODULES.iter().any(|module| name.starts_with(module));
    module || RELEVANT.contains(&name.as_str()) || name.contains("cstate")
}

/// Splits at blanks outside of quotes.
fn words(cmdline: &str) -> Vec<&str> {
    let mut quoted = false;
    let blank = |character: char| {
        quoted ^= character == '"';
        !quoted && character.is_whitespace()
    };
    cmdline.split(blank).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_only_parameters_that_a_measurement_depends_on() {
        let cmdline = "BOOT_IMAGE=/vmlinuz root=UUID=1234 ro mitigations=off isolcpus=2,3 nohz-full=2,3 ip=10.0.0.7 \
                       intel_idle.max_cstate=1 ssh_key=\"a b mitigations=x\" idle=poll cpuidle.off=1 dis_ucode_ldr \
                       luks.key=/secret nosmt -- --token mitigations=auto\n";
        assert_eq!(
            relevant(cmdline),
            "mitigations=off isolcpus=2,3 nohz-full=2,3 intel_idle.max_cstate=1 idle=poll cpuidle.off=1 nosmt"
        );
        assert_eq!(relevant(""), "");
    }
}
