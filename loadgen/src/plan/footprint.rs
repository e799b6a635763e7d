//! How much memory a plan takes, so that one that takes too much is refused before anything is started.

use anyhow::{Result, bail};

use super::{Load, Plan, units::show_memory};

/// Bytes per slot of a schedule: in the schedule, in its thread's part of it while that grows, and for its response.
const SLOT_BYTES: f64 = 64.0;

/// Bytes per message in flight: when it was due and tried, and its number while it waits behind a full socket, each in a
/// queue that may have doubled.
const UNDER_WAY_BYTES: f64 = 80.0;

/// Bytes per connection.
const CONNECTION_BYTES: f64 = 512.0;

/// Bytes per thread: its stack, its buffers and the histograms of its windows.
const THREAD_BYTES: f64 = 4e6;

/// The share of the available memory that the generator may take: the server needs some as well.
const SHARE: f64 = 0.5;

/// Refuses a plan that takes more memory than the generator may have.
///
/// # Errors
/// One line that names the greatest part with its size, and the option that reduces it.
pub(super) fn check(plan: &Plan, available: Option<u64>) -> Result<()> {
    let Some(available) = available else { return Ok(()) };
    let mut parts = parts(plan);
    let sum: f64 = parts.iter().map(|(bytes, ..)| bytes).sum();
    if sum <= available as f64 * SHARE {
        return Ok(());
    }
    parts.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (bytes, what, instead) = parts[0];
    bail!(
        "{what} take about {} of memory, and of {} available at most half may be taken: ask for {instead}",
        show_memory(bytes),
        show_memory(available as f64)
    )
}

/// The parts of the footprint: bytes, their cause, and the option that reduces them.
fn parts(plan: &Plan) -> [(f64, &'static str, &'static str); 4] {
    let connections = plan.all_connections() as f64;
    let (slots, under_way) = match &plan.load {
        Load::Open { rate, .. } => (plan.slots(rate), 0.0),
        Load::Closed { depth } => (0.0, f64::from(plan.connections) * f64::from(*depth)),
    };
    let sizes = || plan.payloads.sizes().iter().map(|(bytes, _)| *bytes as f64);
    // The measured clients and the others have a copy of each size, and a batch that holds the longest.
    let texts = 2.0 * (sizes().sum::<f64>() + sizes().fold(0.0, f64::max));
    [
        (slots * SLOT_BYTES, "the messages of a window", "a lower --rate or a shorter window"),
        (under_way * UNDER_WAY_BYTES, "the messages under way", "a lower --depth or fewer --connections"),
        (connections * CONNECTION_BYTES, "the connections", "fewer --connections"),
        (
            f64::from(plan.threads) * (THREAD_BYTES + texts),
            "the threads' buffers",
            "fewer --threads or a shorter --payload",
        ),
    ]
}
