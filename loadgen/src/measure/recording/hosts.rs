//! What is recorded of each generator on another host.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::series;
use crate::{
    engine::{HostPart, Window},
    hosts::Hosts,
    record::{HostRecord, HostRecording, HostRow},
};

/// The generators, as the configuration of a session names them.
pub(crate) fn records(hosts: &Hosts) -> Vec<HostRecord> {
    let record = |(hello, host): (crate::hosts::Hello, u64)| HostRecord {
        host,
        name: hello.host,
        threads: hello.threads.into(),
        cpus: hello.cpus,
        pacing: if hello.spins { "spin" } else { "timer" }.to_owned(),
        boot_id: hello.boot_id,
    };
    hosts.hellos().into_iter().zip(1..).map(record).collect()
}

/// A row and the distributions of each generator of a window.
pub(super) fn recordings<'a>(window: &'a Window, hosts: &Hosts, length: Duration) -> Vec<HostRecording<'a>> {
    let names = hosts.hellos().into_iter().map(|hello| hello.host);
    let parts = window.parts.iter().zip(names).zip(1..);
    parts
        .map(|((part, name), host)| {
            let tally = &part.window.tally;
            HostRecording { row: row(part, host, name), series: series(tally, &part.window.cohorts, length) }
        })
        .collect()
}

fn row(part: &HostPart, host: u64, name: String) -> HostRow {
    let quantile =
        |histogram: &Histogram<u64>, quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    let (tally, conditions) = (&part.window.tally, &part.conditions);
    HostRow {
        trial_id: 0,
        host,
        name,
        connections: conditions.live.into(),
        scheduled_count: tally.counts.scheduled,
        sent_count: tally.counts.sent,
        echoed_count: tally.counts.echoed,
        status_count: tally.counts.statuses,
        response_p50_ns: quantile(&tally.response, 0.5),
        response_p99_ns: quantile(&tally.response, 0.99),
        service_p50_ns: quantile(&tally.service, 0.5),
        send_lag_p99_ns: quantile(&tally.send_lag, 0.99),
        busy_ns: part.window.busy_ns,
        run_delay_ns: part.window.usage.run_delay_ns,
        lead_ns: conditions.lead_ns,
        clock_offset_ns: conditions.clock.map.offset_ns(),
        clock_error_ns: conditions.clock.error_ns,
    }
}
