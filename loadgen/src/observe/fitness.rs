//! Is this host fit to measure on? Judged by the facts that a record holds, and by one second of an idle host.

use std::{thread, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Facts, ThreadTimes};

/// Descriptors and ports that 10,000 connections need, and some to spare.
const CONNECTIONS_WANTED: u64 = 10_200;

/// One check of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCheck {
    /// Name of the check.
    pub check: String,
    /// The state that was found.
    pub found: String,
    /// A better state and the way to it; `None` if all is well.
    pub fix: Option<String>,
}

impl HostCheck {
    /// A check with what was found, which is well.
    pub(crate) fn new(check: &str, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), found: found.into(), fix: None }
    }

    /// Adds the way to a better state where one is needed.
    #[must_use]
    pub(crate) fn fix_if(self, needed: bool, fix: impl Into<String>) -> Self {
        Self { fix: needed.then(|| fix.into()), ..self }
    }
}

/// The checks of a host's facts.
pub fn checks(facts: &Facts) -> Vec<HostCheck> {
    let sysctl = |name: &str| text(facts.sysctl.get(name).unwrap_or(&None));
    vec![
        cpus(facts.cpus_available.len()),
        HostCheck::new("CPU quota", if facts.cpu_quota { "a cgroup's quota" } else { "none" })
            .fix_if(facts.cpu_quota, "it throttles for tens of milliseconds: run outside of this cgroup"),
        virtual_machine(facts.hypervisor),
        governor(facts.governor.as_deref()),
        // No warning: server and generator are placed on different cores, and what runs on their siblings is counted.
        HostCheck::new("SMT", text(&facts.smt)),
        HostCheck::new("clock source", text(&facts.clocksource)).fix_if(
            matches!(facts.clocksource.as_deref(), Some("hpet" | "acpi_pm" | "jiffies")),
            "reading it is a system call of a microsecond: boot with clocksource=tsc if the CPU has a stable one",
        ),
        descriptors(facts.nofile_soft),
        ports(&sysctl("net.ipv4.ip_local_port_range")),
        backlog(&sysctl("net.core.somaxconn")),
        HostCheck::new(
            "congestion control",
            format!("{}; loadgen sets its own on every socket", sysctl("net.ipv4.tcp_congestion_control")),
        ),
        HostCheck::new("build", if cfg!(debug_assertions) { "debug" } else { "release" }).fix_if(
            cfg!(debug_assertions),
            "every figure of a debug build is flagged: cargo run --release -p loadgen -- ...",
        ),
    ]
}

fn text(fact: &Option<String>) -> String {
    fact.clone().unwrap_or_else(|| "unknown".to_owned())
}

fn cpus(count: usize) -> HostCheck {
    HostCheck::new("CPUs", format!("{count} for this process")).fix_if(
        count < 2,
        "server and generator share one, and every trial is flagged: allow two or more (taskset, cpuset)",
    )
}

fn virtual_machine(hypervisor: Option<bool>) -> HostCheck {
    let found = match hypervisor {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    HostCheck::new("virtual machine", found).fix_if(
        hypervisor == Some(true),
        "slow spells of seconds that steal does not show: many short blocks, and look at the flags of the drift probe",
    )
}

fn governor(governor: Option<&str>) -> HostCheck {
    HostCheck::new("governor", governor.unwrap_or("none visible, as in a virtual machine")).fix_if(
        governor.is_some_and(|governor| governor != "performance"),
        "the clock rate follows the load: cpupower frequency-set -g performance",
    )
}

fn descriptors(limit: Option<u64>) -> HostCheck {
    let found = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    HostCheck::new("descriptors", found).fix_if(
        limit.is_some_and(|limit| limit < CONNECTIONS_WANTED),
        format!(
            "too few for 10,000 connections, and the hard limit too: LimitNOFILE={CONNECTIONS_WANTED} of the unit, or \
             limits.conf"
        ),
    )
}

fn ports(range: &str) -> HostCheck {
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let count = ends.next().zip(ends.next()).map(|(first, last)| (last + 1).saturating_sub(first));
    HostCheck::new("ports", range.replace('\t', "-")).fix_if(
        count.is_some_and(|count| count < CONNECTIONS_WANTED),
        "too few for 10,000 connections: --source-addresses 4, or sysctl net.ipv4.ip_local_port_range='20000 60999'",
    )
}

fn backlog(somaxconn: &str) -> HostCheck {
    let few = somaxconn.parse::<u64>().is_ok_and(|count| count < 1_024);
    HostCheck::new("listen backlog", somaxconn).fix_if(few, "churn may be refused: sysctl net.core.somaxconn=4096")
}

/// The shares of the CPUs of this process that others took in a second in which this process slept.
#[derive(Clone, Copy, Debug)]
pub struct QuietSecond {
    /// The hypervisor; `None` if the platform does not tell.
    stolen: Option<f64>,
    /// Other processes.
    others: f64,
}

/// The shares beyond which a trial would be flagged.
#[derive(Clone, Copy, Debug)]
pub struct Tolerated {
    /// Of the hypervisor.
    pub stolen: f64,
    /// Of other processes.
    pub others: f64,
}

impl QuietSecond {
    /// Sleeps for a second and reads the host's counters before and after.
    pub fn observe() -> Self {
        let (own, cpus) = ([std::process::id().cast_signed()], super::available_cpus());
        let others = ThreadTimes::read(&own, None);
        let before = super::machine();
        thread::sleep(Duration::from_secs(1));
        let now = super::machine();
        let foreign = ThreadTimes::read(&own, Some(&others)).since(&others, &cpus);
        let time_ns = (now.at_ns - before.at_ns) as f64 * cpus.len().max(1) as f64;
        Self {
            stolen: now.stolen_since(&before, &cpus).map(|ns| ns as f64 / time_ns),
            others: foreign.there_ns as f64 / time_ns,
        }
    }

    /// The checks of it.
    pub fn checks(&self, tolerated: &Tolerated) -> [HostCheck; 2] {
        let percent = |share: f64| format!("{:.1} % of a second", share * 100.0);
        [
            HostCheck::new("steal", self.stolen.map_or_else(|| "unknown".to_owned(), percent)).fix_if(
                self.stolen.is_some_and(|share| share > tolerated.stolen),
                "the hypervisor gives the CPUs to others: another host, or another hour",
            ),
            HostCheck::new("other processes", percent(self.others))
                .fix_if(self.others > tolerated.others, "they use what is to be measured: end them, or wait"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(facts: &Facts, name: &str) -> HostCheck {
        checks(facts).into_iter().find(|check| check.check == name).unwrap()
    }

    #[test]
    fn what_could_be_better_comes_with_its_fix() {
        let text = |text: &str| Some(text.to_owned());
        let sysctl = |name: &str, value: &str| (name.to_owned(), text(value));
        let bad = Facts {
            cpus_available: vec![0],
            cpu_quota: true,
            governor: text("powersave"),
            clocksource: text("hpet"),
            nofile_soft: Some(1024),
            sysctl: BTreeMap::from([
                sysctl("net.ipv4.ip_local_port_range", "60000\t60999"),
                sysctl("net.core.somaxconn", "128"),
                sysctl("net.ipv4.tcp_congestion_control", "bbr"),
            ]),
            ..Facts::default()
        };
        for name in ["CPUs", "CPU quota", "governor", "clock source", "descriptors", "ports", "listen backlog"] {
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

    #[test]
    fn a_quiet_second_warns_of_what_would_flag_a_trial() {
        let tolerated = Tolerated { stolen: 0.01, others: 0.02 };
        let warned =
            |stolen, others| QuietSecond { stolen, others }.checks(&tolerated).map(|check| check.fix.is_some());
        assert_eq!(warned(Some(0.01), 0.02), [false, false]);
        assert_eq!(warned(Some(0.02), 0.0), [true, false]);
        assert_eq!(warned(None, 0.03), [false, true]);
    }
}
