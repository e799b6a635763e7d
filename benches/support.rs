//! What the benchmarks of servers have in common: a server in a process of its own, and who runs where.

use std::{path::PathBuf, time::Duration};

use criterion::{BenchmarkGroup, SamplingMode, measurement::WallTime};
use loadgen::{
    observe,
    plan::{PacingChoice, Placement, PlacementKind, PlacementWish, place},
    target::{Running, ServerCommand, Target},
};
use servers::{SERVERS, Server};

/// The servers that break no clause.
pub(crate) fn contestants() -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(|server| server.violates.is_empty())
}

/// Moves this thread to the generator's CPUs: with a CPU each, the times do not depend on where the scheduler puts the
/// two. Returns who runs where.
pub(crate) fn settle() -> Placement {
    let wish = PlacementWish { kind: PlacementKind::Split, server_cpus: None, loadgen_cpus: None };
    let (placement, ..) = place(&wish, PacingChoice::Auto, 1).expect("some CPU is available");
    observe::pin_thread(&placement.loadgen_cpus).expect("the CPU is available");
    placement
}

/// Starts a server.
pub(crate) fn start(server: &Server, placement: &Placement, status_interval: Duration, connections: u32) -> Running {
    let command = ServerCommand {
        executable: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
        name: server.name.to_owned(),
        status_interval,
        max_connections: connections + 16,
        workers: placement.server_cpus.len(),
        nodelay: true,
        congestion: "reno".to_owned(),
        cpus: placement.server_cpus.clone(),
        padding_bytes: 0,
    };
    Target::Server(command).start().expect("the server starts")
}

/// Short enough that all of them and the comparison end within five minutes.
pub(crate) fn configure(group: &mut BenchmarkGroup<'_, WallTime>, mode: SamplingMode, samples: usize) {
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.sample_size(samples).sampling_mode(mode).nresamples(10_000);
}
