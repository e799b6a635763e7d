//! One round of each drill.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use protocol::Counters;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use servers::{Server, clock};

use crate::{
    account::Account,
    crowd::Crowd,
    script::{Endings, Script},
    server::Served,
};

/// Clients connect, follow their scripts and leave; the server is told to stop afterwards, or before they have left.
pub(crate) fn any_clients(server: &Server, seed: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let endings = if seed.is_multiple_of(2) { Endings::Any } else { Endings::Orderly };
    let cut_short = seed.is_multiple_of(3);
    let status_interval = Duration::from_millis(if seed.is_multiple_of(5) { 0 } else { random.random_range(10..=30) });
    // Occasionally more clients than a chunk of a fan-out.
    let (clients, together) = if seed % 4 == 2 { (120, 100) } else { (40, random.random_range(1..=24)) };
    let scripts: Vec<Script> = (0..clients).map(|_| Script::draw(&mut random, endings)).collect();
    let is_alone = server.violates.contains(&"F2");

    let served = Served::start(server, status_interval)?;
    let mut crowd = Crowd::new(served.addr, random);
    // A server for a single client at a time cannot have a witness besides the others.
    crowd.come(if is_alone { Script::greeting() } else { Script::witness() })?;
    crowd.until("the first client is served", |crowd| match crowd.clients.first() {
        None => true,
        Some(_) if is_alone => false,
        Some(first) => first.is_answered() && (status_interval.is_zero() || first.last_status().is_some()),
    })?;
    let held = served.held()?;
    crowd.play(scripts, together)?;
    if !cut_short {
        let staying = usize::from(!is_alone);
        crowd.until("the scripts are over", |crowd| crowd.clients.len() == staying)?;
        // The backlog is a queue: once the last client is served, clients that were reset in it have been accepted too.
        crowd.come(Script::greeting())?;
        crowd.until("the last client has gone", |crowd| crowd.clients.len() == staying)?;
        if !is_alone && !status_interval.is_zero() {
            crowd.until("the witness is alone", |crowd| {
                crowd.clients[0].last_status().is_some_and(|status| status.active == 1)
            })?;
        }
        served.wait_for(held)?;
    }
    stop(served, crowd, status_interval, cut_short, !is_alone).map(drop)
}

/// The server is told to stop while it sends a tick to 600 clients.
pub(crate) fn stop_within_a_fan_out(server: &Server, seed: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let status_interval = Duration::from_millis(random.random_range(10..=60));
    let is_alone = server.violates.contains(&"F2");
    let clients = if is_alone { 1 } else { 600 };
    let observer = random.random_range(0..clients);

    let served = Served::start(server, status_interval)?;
    let mut crowd = Crowd::new(served.addr, random);
    for _ in 0..clients {
        crowd.come(Script::witness())?;
    }
    crowd.until("all are served", |crowd| crowd.clients.iter().all(|client| client.is_answered()))?;
    crowd.observe(observer)?;
    let counters = stop(served, crowd, status_interval, false, true)?;
    ensure!(counters.accepts == clients as u64, "{counters:?}");
    Ok(())
}

/// The server is told to stop as soon as it listens.
pub(crate) fn stop_at_once(server: &Server, seed: u64) -> Result<()> {
    let served = Served::start(server, Duration::from_millis(10))?;
    // At once, or a little later, when the server is about to wait for the first client.
    (0..seed % 8 * 100).for_each(|_| thread::yield_now());
    served.terminate()?;
    let counters = served.counters()?;
    let Counters { ticks, ticks_skipped, .. } = counters;
    ensure!(counters == Counters { ticks, ticks_skipped, ..Counters::default() }, "it had no clients: {counters:?}");
    Ok(())
}

/// Stops the server, waits until the clients have left, and compares their records with the counters.
fn stop(
    served: Served,
    mut crowd: Crowd,
    status_interval: Duration,
    cut_short: bool,
    has_witness: bool,
) -> Result<Counters> {
    let stop_ns = clock::now_ns();
    served.terminate()?;
    crowd.stopping = true;
    crowd.until_empty()?;
    let counters = served.counters()?;
    let gone = &crowd.gone;
    Account { gone, status_interval, stop_ns, exit_ns: clock::now_ns(), cut_short, has_witness }.settle(&counters)?;
    Ok(counters)
}
