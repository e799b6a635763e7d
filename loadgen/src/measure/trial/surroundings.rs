//! What else happened on the host during a window.

use super::HostActivity;
use crate::{
    observe::{Machine, ThreadTimes},
    plan::Plan,
};

/// The CPU times of all processes but the server's and this one; `None` if the server's are not known.
pub(super) fn others(server: &[i32], earlier: Option<&ThreadTimes>) -> Option<ThreadTimes> {
    let own = std::process::id().cast_signed();
    (!server.is_empty()).then(|| ThreadTimes::read(&[server, &[own]].concat(), earlier))
}

/// The activity of the host between two readings of the whole machine, and of all others around them.
pub(super) fn activity(
    plan: &Plan,
    [before, now]: [&Machine; 2],
    [others_before, others]: [Option<&ThreadTimes>; 2],
) -> HostActivity {
    let cpus = plan.placement.cpus_in_use();
    let foreign = others.zip(others_before).map(|(now, then)| now.since(then, &cpus));
    HostActivity {
        span_ns: None,
        steal_ns: now.stolen_since(before, &cpus),
        machine_busy_ns: now.busy_since(before, None),
        server_cpus_busy_ns: now.busy_since(before, Some(&plan.placement.server_cpus)),
        foreign_cpu_ns: foreign.map(|time| time.there_ns),
        foreign_cpu_ns_elsewhere: foreign.map(|time| time.elsewhere_ns),
    }
}
