//! How the connections of an engine stand between two steps.

use serde::{Deserialize, Serialize};

use super::{broadcast::ReceivedTick, shard::Shard};
use crate::hosts::ClockMap;

/// The connections of some threads, as they stand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Open connections.
    pub(crate) live: u32,
    /// The first failure of a connection, shortages of the generator's host aside.
    pub(crate) first_problem: Option<String>,
    /// What the generator's host lacked when it first could not carry a connection.
    pub(crate) first_shortage: Option<String>,
    /// A signal came.
    pub(crate) is_interrupted: bool,
    /// The newest tick that any connection has received.
    pub(crate) newest_tick: Option<ReceivedTick>,
}

impl State {
    pub(super) fn of(shards: &[Shard]) -> Self {
        let newest_tick = shards.iter().filter_map(Shard::newest_tick).max_by_key(|tick| tick.number);
        Self {
            live: shards.iter().map(Shard::live).sum(),
            first_problem: shards.iter().find_map(Shard::first_problem).map(str::to_owned),
            first_shortage: shards.iter().find_map(Shard::first_shortage).map(str::to_owned),
            is_interrupted: shards.iter().any(Shard::is_interrupted),
            newest_tick: newest_tick.copied(),
        }
    }

    /// Of several hosts together.
    pub(super) fn sum<'a>(states: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for state in states {
            sum.live += state.live;
            sum.first_problem = sum.first_problem.or_else(|| state.first_problem.clone());
            sum.first_shortage = sum.first_shortage.or_else(|| state.first_shortage.clone());
            sum.is_interrupted |= state.is_interrupted;
            let ticks = [sum.newest_tick, state.newest_tick];
            sum.newest_tick = ticks.into_iter().flatten().max_by_key(|tick| tick.number);
        }
        sum
    }

    /// The same by this host's clock, if its times are by the other one.
    pub(super) fn here(self, clock: &ClockMap) -> Self {
        Self { newest_tick: self.newest_tick.map(|tick| tick.here(clock)), ..self }
    }
}
