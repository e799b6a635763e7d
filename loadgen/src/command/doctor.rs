//! `loadgen doctor`: is this host fit to measure on? Looks at facts that a record holds, and at one quiet second.

use std::{thread, time::Duration};

use anyhow::Result;
use servers::clock;

use crate::{
    exit::Exit,
    measure::validity::{FOREIGN_CPU, STEAL},
    observe::{self, Facts},
    record::HostCheck,
    terminal,
};

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// What would be better and how to get it; `None` if all is well.
    pub fix: Option<String>,
}

/// Prints every check, a line each.
///
/// # Errors
/// If they cannot be printed.
pub fn doctor() -> Result<Exit> {
    // As every run does.
    servers::listen::raise_descriptor_limit();
    let mut checks = checks(&observe::facts());
    checks.extend(quiet_second());
    let mut text = String::new();
    for check in &checks {
        let word = if check.fix.is_some() { "WARN" } else { "OK" };
        text.push_str(&format!("{word:<5} {:<20} {}\n", check.name, check.found));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("{:<26} -> {fix}\n", ""));
        }
    }
    text.push_str(&match checks.iter().filter(|check| check.fix.is_some()).count() {
        0 => "nothing seen that speaks against it; every trial is judged by itself all the same\n".to_owned(),
        warnings => format!("{warnings} of {} could be better\n", checks.len()),
    });
    terminal::print(&text)?;
    Ok(Exit::Ok)
}

/// The checks for session.json.
pub fn recorded(facts: &Facts) -> Vec<HostCheck> {
    let recorded = |check: Check| HostCheck { check: check.name.to_owned(), found: check.found, fix: check.fix };
    checks(facts).into_iter().map(recorded).collect()
}

/// What the facts of a record tell.
pub fn checks(facts: &Facts) -> Vec<Check> {
    let text = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "unknown".to_owned());
    let sysctl = |name: &str| text(facts.sysctl.get(name).unwrap_or(&None));
    vec![
        cpus(facts.cpus_available.len()),
        check("CPU quota", if facts.cpu_quota { "a cgroup's quota" } else { "none" }, facts.cpu_quota, || {
            "it throttles for tens of milliseconds: run outside of this cgroup".to_owned()
        }),
        check(
            "virtual machine",
            match facts.hypervisor {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            },
            facts.hypervisor == Some(true),
            || {
                "slow spells of seconds that steal does not show: many short blocks, and look at the flags of the drift \
                 probe"
                    .to_owned()
            },
        ),
        governor(facts.governor.as_deref()),
        check("SMT", &text(&facts.smt), facts.smt.as_deref() == Some("on"), || {
            "siblings share a core: give server and generator different cores with --server-cpus and --loadgen-cpus, or \
             echo off > /sys/devices/system/cpu/smt/control"
                .to_owned()
        }),
        check(
            "clock source",
            &text(&facts.clocksource),
            matches!(facts.clocksource.as_deref(), Some("hpet" | "acpi_pm" | "jiffies")),
            || {
                "reading it is a system call of a microsecond: boot with clocksource=tsc if the CPU has a stable one"
                    .to_owned()
            },
        ),
        descriptors(facts.nofile_soft),
        ports(&sysctl("net.ipv4.ip_local_port_range")),
        backlog(&sysctl("net.core.somaxconn")),
        check(
            "congestion control",
            &format!("{}; loadgen sets its own on every socket", sysctl("net.ipv4.tcp_congestion_control")),
            false,
            String::new,
        ),
        check("build", if cfg!(debug_assertions) { "debug" } else { "release" }, cfg!(debug_assertions), || {
            "every figure of a debug build is flagged: cargo run --release -p loadgen -- ...".to_owned()
        }),
    ]
}

fn check(name: &'static str, found: &str, bad: bool, fix: impl FnOnce() -> String) -> Check {
    Check { name, found: found.to_owned(), fix: bad.then(fix) }
}

fn cpus(count: usize) -> Check {
    check("CPUs", &format!("{count} for this process"), count < 2, || {
        "server and generator share one, and every trial is flagged: allow two or more (taskset, cpuset)".to_owned()
    })
}

fn governor(governor: Option<&str>) -> Check {
    let found = governor.unwrap_or("none visible, as in a virtual machine");
    let bad = governor.is_some_and(|governor| governor != "performance");
    check("governor", found, bad, || {
        "the clock rate follows the load: cpupower frequency-set -g performance".to_owned()
    })
}

fn descriptors(limit: Option<u64>) -> Check {
    const WANTED: u64 = 10_200;
    let found = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    check("descriptors", &found, limit.is_some_and(|limit| limit < WANTED), || {
        format!(
            "too few for 10,000 connections, and the hard limit too: LimitNOFILE={WANTED} of the unit, or limits.conf"
        )
    })
}

fn ports(range: &str) -> Check {
    const WANTED: u64 = 10_200;
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let count = ends.next().zip(ends.next()).map(|(first, last)| (last + 1).saturating_sub(first));
    check("ports", &range.replace('\t', "-"), count.is_some_and(|count| count < WANTED), || {
        "too few for 10,000 connections: --source-addresses 4, or sysctl net.ipv4.ip_local_port_range='20000 60999'"
            .to_owned()
    })
}

fn backlog(somaxconn: &str) -> Check {
    let few = somaxconn.parse::<u64>().is_ok_and(|count| count < 1_024);
    check("listen backlog", somaxconn, few, || "churn may be refused: sysctl net.core.somaxconn=4096".to_owned())
}

/// How much others, hypervisor or processes, take of a second in which nothing is asked of the host.
fn quiet_second() -> Vec<Check> {
    let before = observe::machine();
    let begun_ns = clock::now_ns();
    thread::sleep(Duration::from_secs(1));
    let now = observe::machine();
    let time_ns = (clock::now_ns() - begun_ns) as f64 * observe::available_cpus().len().max(1) as f64;
    let percent = |share: f64| format!("{:.1} % of a second", share * 100.0);
    let stolen = now.steal_ns.zip(before.steal_ns).map(|(now, then)| now.saturating_sub(then) as f64 / time_ns);
    let others = now.used_since(&before, &[std::process::id().cast_signed()]) as f64 / time_ns;
    let steal = stolen.map_or_else(
        || check("steal", "unknown", false, String::new),
        |share| {
            check("steal", &percent(share), share > STEAL.flag, || {
                "the hypervisor gives the CPUs to others: another host, or another hour".to_owned()
            })
        },
    );
    let others = check("other processes", &percent(others), others > FOREIGN_CPU.flag, || {
        "they use what is to be measured: end them, or wait".to_owned()
    });
    vec![steal, others]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(facts: &Facts, name: &str) -> Check {
        checks(facts).into_iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn what_could_be_better_comes_with_its_fix() {
        let text = |text: &str| Some(text.to_owned());
        let sysctl = |name: &str, value: &str| (name.to_owned(), text(value));
        let bad = Facts {
            cpus_available: vec![0],
            cpu_quota: true,
            governor: text("powersave"),
            smt: text("on"),
            clocksource: text("hpet"),
            nofile_soft: Some(1024),
            sysctl: BTreeMap::from([
                sysctl("net.ipv4.ip_local_port_range", "60000\t60999"),
                sysctl("net.core.somaxconn", "128"),
                sysctl("net.ipv4.tcp_congestion_control", "bbr"),
            ]),
            ..Facts::default()
        };
        for name in ["CPUs", "CPU quota", "governor", "SMT", "clock source", "descriptors", "ports", "listen backlog"] {
            let check = found(&bad, name);
            assert!(check.fix.is_some_and(|fix| fix.len() > 20), "{name}");
        }
    }

    #[test]
    fn what_is_unknown_is_no_warning() {
        let nothing = Facts { cpus_available: vec![0, 1], ..Facts::default() };
        for name in ["CPU quota", "governor", "SMT", "clock source", "descriptors", "ports", "listen backlog"] {
            assert_eq!(found(&nothing, name).fix, None, "{name}");
        }
    }
}
