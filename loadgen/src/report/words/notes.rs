//! What has to be known to read a report, and what the session cannot tell.

use crate::{
    judge::{
        primary::{ALPHA, FLOOR, MARGIN},
        scorecard::{ADDED_SHARE, DRIFT_PPB, IDLE_CPU_US, IDLE_WAKEUPS, LATENESS_NS, Rule},
    },
    report::model::{Limit, LoadNote, Note},
};

/// A note, without the last end of a line.
pub(in crate::report) fn note(note: &Note) -> String {
    match note {
        Note::Basics => "median (quartiles) over blocks; response counts from the intended send time\n\
                         idle CPU: no messages, but a status line to every connection at each tick\n\
                         drain rate: messages that all wait when the server starts, answered per second"
            .to_owned(),
        Note::CpuCell(cell) => {
            format!("CPU/message: from the load {cell}, whose client sleeps and has to be woken as well")
        }
        Note::SpinningClient => "CPU/message: with a spinning client, which excludes the cost of waking it".to_owned(),
    }
}

/// How to read the loads.
pub(in crate::report) fn load(note: LoadNote) -> &'static str {
    match note {
        LoadNote::Basics => "medians over blocks; sat. 3/15: saturated in 3 of 15 blocks, no claim\n",
        LoadNote::Rates => "rate-N: N % of --rate, or of what the slowest server sustained in the pilot\n",
        LoadNote::Cpu => "cpu: rate-50 with a sleeping client\n",
        LoadNote::Shared => "shared: no CPU pinning\n",
        LoadNote::ManyConnections => "connections-10000: as many status lines as messages, CPU/message includes both\n",
        LoadNote::Stuck => "stuck: with four slow readers\n",
        LoadNote::Work => {
            "work-N: N of CPU time for each message, with a client that sleeps, at 50 % of\n\
             what the slowest server can be expected to sustain with it\n\
             work-N-rate-M: M % of what the fastest one sustained with it in the pilot\n"
        }
        LoadNote::Heavy => {
            "heavy-tail: one message in 500 costs 20 ms; light p99: of all the others\n\
             (with one thread they wait for it, with several the scheduler decides)\n"
        }
        LoadNote::Handshake => {
            "storm-N: N connections/s that come, shake hands, have one message echoed and go\n\
             CPU/connection: by how much CPU time grows with them, least squares over cells\n"
        }
        LoadNote::Scale => "scale-N: the server has N CPUs and as many workers, and 20us of work per message\n",
    }
}

/// How to read the scorecard.
pub(in crate::report) const SCORECARD: &str =
    "medians over blocks; satisfied: by 95 % confidence intervals, uncorrected\n";

/// How to read the claims of a family.
pub(in crate::report) fn family(size: usize) -> String {
    format!(
        "ratios of the first to the second; all {size} intervals hold together at {:.0} %,
\
         and stepwise tests decide which one is lower; within {:.0} %: equivalent (TOST);
\
         open, sees 9 %: no verdict, though 9 % would have been found with 80 % power;
\
         not tested: a lower quantile is open
",
        (1.0 - ALPHA) * 100.0,
        MARGIN * 100.0,
    )
}

/// How to read a claim about a latency that the generator may have caused.
pub(in crate::report) const LAG: &str = "!: the generator sent later to one of the two by more than a claim can bear\n";

/// A rule and its limits.
pub(in crate::report) fn rule(rule: Rule) -> String {
    match rule {
        Rule::SingleThread => "1. a single thread".to_owned(),
        Rule::NoBusyWaiting => format!(
            "2. no busy waiting: silent, 100 connections: {IDLE_CPU_US} us/s and {IDLE_WAKEUPS} wake-up/s at most"
        ),
        Rule::NoAddedLatency { floor_ns } => {
            let floor = floor_ns.map_or_else(|| "unknown".to_owned(), |floor| format!("{:.1} us", floor / 1e3));
            format!(
                "3. no added latency: at most {:.0} % over {FLOOR} (p50 {floor}), 1 connection",
                ADDED_SHARE * 100.0
            )
        }
        Rule::TriggersByTime => format!(
            "4. punctual timers: p99 {:.0} ms late at most, idle and loaded; {:.0} ppm of drift",
            LATENESS_NS / 1e6,
            DRIFT_PPB / 1e3
        ),
        Rule::Beyond => "beyond the rules (kernel memory: server and generator together)".to_owned(),
    }
}

/// What the session cannot tell, as a sentence or two.
pub(in crate::report) fn limit(limit: &Limit) -> &'static str {
    match limit {
        Limit::OneHost { several_loads: false } => {
            "One host, loopback, one load: another host or load may reverse the order."
        }
        Limit::OneHost { several_loads: true } => {
            "One host, loopback, these loads: another host or load may reverse the order."
        }
        Limit::OneCpu => {
            "The server had one CPU, so threads, a runtime's workers included, could not run in parallel. The results do \
             not extend to servers with several CPUs."
        }
        Limit::Replication => {
            "A result counts as replicated only if a session on another day or host agrees (loadgen report A B)."
        }
        Limit::Inconclusive => {
            "\"Inconclusive\" and \"open\" do not mean \"equal\". \"Equivalent\" means equal within the margin (TOST)."
        }
        Limit::FanOutCpu => {
            "CPU time in a fan-out includes the receive path of the clients, since loopback executes it in the sender's \
             system call."
        }
        Limit::PeakBound => {
            "The rate of a closed loop is that of server and generator together, and no verdict is made on it; the drain \
             rate is the server's, without the costs of waking up and of messages that come one by one."
        }
        Limit::Hypervisor => "Under a hypervisor two virtual CPUs may share one physical core.",
    }
}
