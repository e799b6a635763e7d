//! The loads of `full`, as a table.

use std::time::Duration;

use anyhow::{Result, ensure};
use protocol::{Service, work::Work};

use super::cells::ms;
use crate::{
    judge::primary::FLOOR,
    plan::{Cohorts, HostArgs, PacingChoice, PlacementKind, Windows, cores_for_server},
};

/// The connections of the pilot, and of every load that does not vary them.
pub(super) const CONNECTIONS: u32 = 64;

/// The percentage at which everything but the rate is varied: low enough for a thousand connections and long messages.
const SWEEP_PERCENT: u64 = 30;

/// A load of `full`, before its rate and its host are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) weight: Weight,
    pub(super) percent: u64,
    /// What the percentage is taken of.
    pub(super) of: Whole,
    pub(super) connections: u32,
    pub(super) payload_bytes: usize,
    pub(super) windows: Windows,
    pub(super) status_interval: Duration,
    pub(super) cohorts: Cohorts,
    pub(super) service: Service,
    pub(super) pacing: PacingChoice,
    pub(super) placement: PlacementKind,
    /// Servers of this project that also run, where this build has them.
    pub(super) beside: &'static [&'static str],
    /// The only servers of this project that run in this cell, whichever are compared; empty for all. Guests
    /// are always asked.
    pub(super) only: &'static [&'static str],
    /// CPUs of the server, each on a core of its own; `None` for those of the command line.
    pub(super) server_cpus: Option<usize>,
    /// What there has to be that not every host has.
    pub(super) needs: Option<Need>,
}

/// What a load's rate is a percentage of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// What the slowest server sustains in the pilot; of a load with work, what it can be expected to sustain with it.
    Slowest,
    /// What the fastest server sustains in a pilot with the work of this load, so that all reach their limits.
    FastestWithWork,
}

/// How many blocks a load is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// All: primary claims are made here, and the control runs.
    Primary,
    /// Enough for claims within the load's own family.
    Sweep,
    /// Counts that hardly vary: enough for an interval.
    Idle,
}

/// Something that a load needs of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// So many CPUs for the server, apart from the generator's.
    ServerCpus(usize),
    /// Generators on other hosts, be they network namespaces of this one.
    OtherHosts,
}

impl Need {
    /// Why it is not there; `None` if it is.
    pub(super) fn unmet(self, host: &HostArgs) -> Option<String> {
        match self {
            Self::ServerCpus(_) if host.server_cpus.is_some() || host.loadgen_cpus.is_some() => {
                Some("chooses the CPUs itself: leave --server-cpus and --loadgen-cpus out".to_owned())
            }
            Self::ServerCpus(needed) => match cores_for_server(needed, host.local_threads()) {
                Ok(_) => None,
                Err(has) => Some(format!(
                    "needs {needed} cores for the server beside the generator's; this host has {has} cores"
                )),
            },
            Self::OtherHosts if host.generators.is_some() => None,
            Self::OtherHosts => {
                Some("needs --generators: scripts/netns.sh 1 compare --profile full --cells veth".to_owned())
            }
        }
    }
}

const PLAIN: Service = Service::working(Work::each(Duration::ZERO));

const NO_COHORTS: Cohorts = Cohorts { slow_readers: 0, churn_per_sec: 0.0, flooders: 0 };

const fn load(load: u64) -> Windows {
    Windows { idle: ms(0), warmup: ms(150), load: ms(load), peak: ms(0), drain_bursts: 0 }
}

const fn idle(idle: u64) -> Windows {
    Windows { idle: ms(idle), warmup: ms(0), load: ms(0), peak: ms(0), drain_bursts: 0 }
}

/// What most loads are like.
const fn spec(name: &'static str, percent: u64) -> Spec {
    Spec {
        name,
        weight: Weight::Sweep,
        percent,
        of: Whole::Slowest,
        connections: CONNECTIONS,
        payload_bytes: 64,
        windows: load(500),
        status_interval: ms(100),
        cohorts: NO_COHORTS,
        service: PLAIN,
        pacing: PacingChoice::Auto,
        placement: PlacementKind::Split,
        beside: &[],
        only: &[],
        server_cpus: None,
        needs: None,
    }
}

/// Their memory is read when they are idle. Two ticks per window: with ten thousand connections that is as many statuses
/// as messages.
const fn connected(name: &'static str, connections: u32) -> Spec {
    let windows = Windows { idle: ms(500), ..load(1_000) };
    Spec { connections, windows, status_interval: ms(500), ..spec(name, SWEEP_PERCENT) }
}

const fn crowded(name: &'static str, percent: u64) -> Spec {
    Spec { connections: 1_000, ..spec(name, percent) }
}

const fn sized(name: &'static str, payload_bytes: usize) -> Spec {
    Spec { payload_bytes, ..spec(name, SWEEP_PERCENT) }
}

/// Nothing is sent, so that the rate does not matter.
const fn silent(name: &'static str, connections: u32, length: u64) -> Spec {
    Spec { weight: Weight::Idle, connections, windows: idle(length), status_interval: ms(0), ..spec(name, 1) }
}

const fn ticking(name: &'static str, connections: u32, length: u64) -> Spec {
    Spec { status_interval: ms(1_000), ..silent(name, connections, length) }
}

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// The client sleeps, as in the load of the primary claims on CPU, which is the one without work.
const fn working(name: &'static str, work: Duration) -> Spec {
    Spec { service: Service::working(Work::each(work)), pacing: PacingChoice::Timer, ..spec(name, 50) }
}

const fn rung(name: &'static str, percent: u64) -> Spec {
    let service = Service::working(Work::each(us(20)));
    Spec { of: Whole::FastestWithWork, service, windows: load(400), ..spec(name, percent) }
}

/// The load runs without and with them.
const fn storm(name: &'static str, churn_per_sec: f64) -> Spec {
    let cohorts = Cohorts { churn_per_sec, ..NO_COHORTS };
    let service = Service { handshake: Some(ms(1_000)), ..PLAIN };
    Spec { cohorts, service, ..spec(name, 10) }
}

/// With work, since without any the generator would be the limit of the drain, not several CPUs.
const fn scale(name: &'static str, cpus: usize, needed: usize) -> Spec {
    Spec {
        service: Service::working(Work::each(us(20))),
        windows: Windows { drain_bursts: 12, ..load(200) },
        beside: &["mio-multi", "tokio-per-core"],
        only: &["mio", "threads", "tokio"],
        server_cpus: Some(cpus),
        needs: Some(Need::ServerCpus(needed)),
        ..spec(name, 50)
    }
}

/// The load of the primary claims on latency, idle CPU and throughput.
pub(super) const PRIMARY_LATENCY: &str = "rate-50";

/// The load of the primary claims on CPU per message.
pub(super) const PRIMARY_CPU: &str = "cpu";

/// Every load of `full`.
pub(super) const TABLE: [Spec; 46] = [
    // The same load at several rates.
    spec("rate-10", 10),
    spec("rate-30", 30),
    Spec {
        weight: Weight::Primary,
        // Ten ticks: an occasional wake-up for a turn of a timer wheel would weigh much among three.
        windows: Windows { idle: ms(1_000), peak: ms(400), drain_bursts: 20, ..load(800) },
        ..spec(PRIMARY_LATENCY, 50)
    },
    spec("rate-70", 70),
    spec("rate-85", 85),
    spec("rate-100", 100),
    // A thousand connections cost a server more, but the generator hardly more: there the slowest server is saturated before the
    // generator falls behind.
    crowded("knee-100", 100),
    crowded("knee-115", 115),
    crowded("knee-130", 130),
    crowded("knee-145", 145),
    // As the primary load, with a client that sleeps, which the server has to wake.
    Spec { weight: Weight::Primary, windows: load(800), pacing: PacingChoice::Timer, ..spec(PRIMARY_CPU, 50) },
    // One factor at a time.
    connected("connections-1", 1),
    connected("connections-64", 64),
    connected("connections-1000", 1_000),
    connected("connections-10000", 10_000),
    sized("payload-1KiB", 1 << 10),
    sized("payload-8KiB", 8 << 10),
    // At a higher rate the generator would wait for the server's CPU, and every trial would be invalid.
    Spec { pacing: PacingChoice::Timer, placement: PlacementKind::Shared, ..spec("shared", 10) },
    // At the shortest interval that a server must accept, with so many connections that every tick is due before the last
    // one is out: the server sends as fast as it can.
    Spec { connections: 4_000, windows: idle(500), status_interval: ms(10), ..spec("fan-out", 1) },
    // The loads of the scorecard.
    Spec { connections: 1, beside: &[FLOOR], ..spec("floor", 10) },
    // 260 ticks in each window: in 12 blocks 30 of them lie beyond the p99.
    Spec {
        windows: Windows { idle: ms(2_600), ..load(2_600) },
        status_interval: ms(10),
        ..spec("ticks", SWEEP_PERCENT)
    },
    Spec {
        cohorts: Cohorts { slow_readers: 4, ..NO_COHORTS },
        // Until all buffers are full.
        windows: Windows { warmup: ms(500), ..load(500) },
        ..spec("stuck", SWEEP_PERCENT)
    },
    ticking("idle-0", 0, 1_000),
    silent("idle-0-silent", 0, 1_000),
    ticking("idle-100", 100, 2_000),
    silent("idle-100-silent", 100, 2_000),
    ticking("idle-1000", 1_000, 2_000),
    silent("idle-1000-silent", 1_000, 1_000),
    // From which work on does the model no longer matter?
    working("work-2us", us(2)),
    working("work-5us", us(5)),
    working("work-10us", us(10)),
    working("work-20us", us(20)),
    working("work-50us", us(50)),
    // Work that brings every server to its limit within the generator's reach.
    rung("work-20us-rate-50", 50),
    rung("work-20us-rate-70", 70),
    rung("work-20us-rate-85", 85),
    rung("work-20us-rate-100", 100),
    rung("work-20us-rate-115", 115),
    // A rare message that needs long: a few of them in each window, and enough light ones beyond their p99.
    Spec {
        service: Service::working(Work::each(us(2)).with_share(2_000, ms(20))),
        windows: load(2_000),
        // On one CPU the others are like these.
        only: &["mio", "threads", "tokio"],
        beside: &["tokio-block-in-place"],
        ..spec("heavy-tail", 10)
    },
    // In 12 blocks 36 connections lie beyond the p95, and too few beyond the p99.
    Spec { windows: load(600), ..storm("storm-100", 100.0) },
    storm("storm-1000", 1_000.0),
    storm("storm-5000", 5_000.0),
    // One CPU is where the others begin: it says nothing alone.
    scale("scale-1", 1, 2),
    scale("scale-2", 2, 2),
    scale("scale-4", 4, 4),
    Spec {
        windows: Windows { idle: ms(500), ..load(500) },
        needs: Some(Need::OtherHosts),
        ..spec("veth", SWEEP_PERCENT)
    },
];

impl Spec {
    /// Whether messages are sent.
    pub(super) fn has_load(&self) -> bool {
        !self.windows.load.is_zero()
    }

    /// Whether `word` means this load: its name, or the first words of it.
    fn is_meant(&self, word: &str) -> bool {
        self.name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// The loads that these words mean, in the order of the table; a word that is a name means that load alone.
///
/// # Errors
/// If a word means none: one line that lists all names.
pub(super) fn chosen(words: &[String]) -> Result<Vec<Spec>> {
    let is_name = |word: &str| TABLE.iter().any(|spec| spec.name == word);
    let means = |word: &str, spec: &Spec| if is_name(word) { spec.name == word } else { spec.is_meant(word) };
    for word in words {
        ensure!(
            TABLE.iter().any(|spec| means(word, spec)),
            "--profile full has no cell {word:?}: write names or their first words, such as rate or work-20us, of {}",
            TABLE.map(|spec| spec.name).join(", ")
        );
    }
    Ok(TABLE.into_iter().filter(|spec| words.iter().any(|word| means(word, spec))).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(words: &str) -> Vec<&'static str> {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        chosen(&words).unwrap().iter().map(|spec| spec.name).collect()
    }

    #[test]
    fn a_cell_is_chosen_by_its_name_or_by_the_first_words_of_several() {
        assert_eq!(names("idle-100"), ["idle-100"], "a whole name is one cell, although others begin with it");
        assert_eq!(names("payload,heavy-tail,heavy"), ["payload-1KiB", "payload-8KiB", "heavy-tail"]);
        assert_eq!(names("work-20us-rate").len(), 5);
        assert_eq!(names("work").len(), 10);
        assert_eq!(names("storm,cpu")[0], "cpu", "in the order of the table");
        for wrong in ["rate-1", "rat", "", "rate-", "work-20us-rate-50-"] {
            let error = chosen(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")) && error.contains("idle-1000-silent"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn every_cell_has_a_name_of_its_own_that_the_methodology_explains() {
        let names: BTreeSet<&str> = TABLE.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), TABLE.len());
        let page = include_str!("../../../METHODOLOGY.md");
        let unexplained: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
        assert!(unexplained.is_empty(), "{unexplained:?} are not in METHODOLOGY.md");
    }

    #[test]
    fn a_need_that_is_not_met_is_said_with_what_there_is() {
        let host = HostArgs::standard(PacingChoice::Auto, PlacementKind::Split);
        let why = Need::ServerCpus(100_000).unmet(&host).unwrap();
        assert!(why.starts_with("needs 100000 cores for the server beside the generator's; this host has "), "{why}");
        let named = HostArgs { server_cpus: Some("0".parse().unwrap()), ..host };
        let why = Need::ServerCpus(1).unmet(&named).unwrap();
        assert!(why.contains("leave --server-cpus"), "{why}");
    }

    #[test]
    fn a_cell_of_work_is_called_by_its_work() {
        for spec in TABLE.iter().filter(|spec| spec.name.starts_with("work-")) {
            let work = spec.service.work.to_string();
            assert!(spec.is_meant(&format!("work-{work}")), "{} has {work}", spec.name);
        }
    }
}
