//! Shared by the benchmarks of servers: a server in its own process, and the placement on CPUs.

use std::{net::Ipv4Addr, net::SocketAddr, path::PathBuf, sync::OnceLock, time::Duration};

use criterion::{BenchmarkGroup, BenchmarkId, measurement::WallTime};
use loadgen::{
    measure::target::{Running, ServerCommand, Target},
    observe,
    plan::{Placement, PlacementRequest},
};
use protocol::Service;
use servers::{Server, available};

/// The servers that break no clause and that this host can run.
pub(crate) fn contestants() -> impl Iterator<Item = &'static Server> {
    available().filter(|server| server.violates.is_empty())
}

/// A server for a benchmark.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) server: &'static Server,
    pub(crate) status_interval: Duration,
    pub(crate) connections: usize,
}

impl Subject {
    /// Benchmarks a fresh server with clients from `connect`; `iterate` returns the time of a number of iterations.
    ///
    /// The server is started when criterion first requests a time, outside of the timed code, and stopped with the
    /// benchmark: a benchmark that is filtered out or only listed starts no server.
    pub(crate) fn bench<C>(
        self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        id: BenchmarkId,
        connect: impl Fn(SocketAddr) -> C,
        iterate: impl Fn(&mut C, u64) -> Duration,
    ) {
        let mut started = None;
        group.bench_function(id, |bencher| {
            let (_, clients) = started.get_or_insert_with(|| {
                let running = self.start();
                let clients = connect(running.addr);
                (running, clients)
            });
            bencher.iter_custom(|iterations| iterate(clients, iterations));
        });
        if let Some((running, clients)) = started {
            drop(clients);
            running.stop().expect("the server stops in order");
        }
    }

    fn start(self) -> Running {
        let placement = settle();
        let command = ServerCommand {
            executable: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
            name: self.server.name.to_owned(),
            listen: Ipv4Addr::LOCALHOST.into(),
            status_interval: self.status_interval,
            max_connections: self.connections as u32 + 16,
            workers: placement.server_cpus.len(),
            nodelay: true,
            congestion: "reno".to_owned(),
            service: Service::default(),
            cpus: placement.server_cpus.clone(),
            padding_bytes: 0,
        };
        Target::Server(command).start().expect("the server starts")
    }
}

/// Pins this thread to the generator's CPUs: with separate CPUs, the times do not depend on the scheduler. Returns the
/// placement, which is decided once, because afterwards this thread sees no other CPUs.
fn settle() -> &'static Placement {
    static PLACEMENT: OnceLock<Placement> = OnceLock::new();
    PLACEMENT.get_or_init(|| {
        let placement = PlacementRequest::default().place().expect("some CPU is available").placement;
        observe::pin_thread(&placement.loadgen_cpus).expect("the CPU is available");
        placement
    })
}
