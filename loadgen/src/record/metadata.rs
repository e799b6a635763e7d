//! session.json: configuration, build and host of a session.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{
    Build, EndedBy, Gate, METADATA, Mode, SCHEMA_VERSION, State,
    column::decimal,
    files,
    format::{READ, other_schema},
    hosts::HostRecord,
};
use crate::{
    observe::{Facts, fitness::HostCheck},
    plan::{Arrivals, Caveat, Load, Pacing, PlacementKind, Plan},
    text::plain_value,
};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// [`SCHEMA_VERSION`] of the loadgen that recorded it.
    pub schema_version: u64,
    /// Time and host.
    pub session_id: String,
    /// State of the session.
    pub state: State,
    /// Wall clock at its beginning.
    pub started_at_unix_ms: u64,
    /// The same by CLOCK_MONOTONIC, until the session is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_monotonic_ns: Option<u64>,
    /// A mark of this boot of the host, until the session is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mark: Option<String>,
    /// The words of the command line.
    pub command: Vec<String>,
    /// The options and plans that reproduce the session.
    pub configuration: Configuration,
    /// Every gate, by its name.
    #[serde(default)]
    pub gates: BTreeMap<String, Gate>,
    /// Every other limit, by its name.
    #[serde(default)]
    pub limits: BTreeMap<String, f64>,
    /// The build of the executable.
    pub build: Build,
    /// The findings of `loadgen doctor`.
    #[serde(default)]
    pub doctor: Vec<HostCheck>,
    /// Lines of logic of each server.
    #[serde(default)]
    pub logic_lines: BTreeMap<String, u64>,
    /// The same, with the shared code that the server uses.
    #[serde(default)]
    pub logic_lines_with_shared: BTreeMap<String, u64>,
    /// Those of them that only the handshake needs, or only the idle timeout, of the servers that have it.
    #[serde(default)]
    pub region_lines: BTreeMap<String, BTreeMap<String, u64>>,
    /// Facts about the host.
    pub environment: Facts,
}

/// Checksums of files, by the label of a guest and the word of its command line.
pub(super) type GuestFiles = BTreeMap<String, BTreeMap<String, String>>;

/// The options and plans that reproduce a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// `smoke`, `quick`, `full` or `capacity`; `None` of a single trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seed of the order and of the schedules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Labels of the arms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<String>,
    /// Number of blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// The plan, or that of the cell from which the primary claims on latency come; without such claims, of the first
    /// cell that sends messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRecord>,
    /// The cells; none if there is one load only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellRecord>,
    /// Loads that were left out, since the host does not carry them or something is missing that they need.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped_cells: Vec<DroppedCell>,
    /// Results of the pilot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pilot: Vec<PilotEntry>,
    /// The rate that fractions are taken of.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole")]
    pub slowest_rate_per_sec: Option<f64>,
    /// The cells from which the primary claims come; none if there is one load only, or not all of them were chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<Primary>,
    /// Working folder at the start, to which commands of guests may be relative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_folder: Option<String>,
    /// SHA-256 of the files that each guest's command line names, by its label and the word: what was compared, if the
    /// same path holds another build tomorrow.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guest_files: GuestFiles,
    /// The generators on other hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostRecord>,
    /// The ceiling of the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_rate_per_sec: Option<u64>,
    /// The objective of a ladder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<String>,
    /// Each rung of a ladder is higher than the one below by this factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Trials of each rung.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials_per_rung: Option<u64>,
}

/// One load of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Its name.
    pub cell: String,
    /// Labels of the arms.
    pub arms: Vec<String>,
    /// Number of blocks.
    pub blocks: u64,
    /// The load.
    pub plan: PlanRecord,
}

/// A load that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedCell {
    /// Its name.
    pub cell: String,
    /// Reason for leaving it out.
    pub reason: String,
}

/// Result of the pilot for one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PilotEntry {
    /// Label of the arm.
    pub arm: String,
    /// CPU time that each message cost it; `None` of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<String>,
    /// The highest rate that it sustained, in messages per second.
    #[serde(serialize_with = "whole_number")]
    pub rate_per_sec: f64,
    /// Reason for not sustaining the next rate.
    pub ended_by: EndedBy,
}

/// The cells from which the primary claims come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    /// Of latency and of idle wake-ups.
    pub latency: String,
    /// Of CPU per message.
    pub cpu: String,
}

/// A plan, as far as it can be written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Measured connections.
    pub connections: u32,
    /// When messages are sent.
    pub mode: Mode,
    /// The rate as it was asked for; open loop only.
    pub rate_per_sec: Option<String>,
    /// How gaps are distributed; open loop only.
    pub arrivals: Option<Arrivals>,
    /// Messages in flight on each connection; closed loop only.
    pub depth: Option<u32>,
    /// How the generator waits.
    pub pacing: Pacing,
    /// Sizes of the messages.
    pub payloads: String,
    /// Length of the idle window.
    #[serde(serialize_with = "whole_number")]
    pub idle_ms: f64,
    /// Load that is not counted.
    #[serde(serialize_with = "whole_number")]
    pub warmup_ms: f64,
    /// The load window.
    #[serde(serialize_with = "whole_number")]
    pub load_ms: f64,
    /// Closed loop after the load.
    #[serde(serialize_with = "whole_number")]
    pub peak_ms: f64,
    /// Bursts of the drain window.
    #[serde(default)]
    pub drain_bursts: u32,
    /// Time between two status lines; `None` if it is not known.
    #[serde(serialize_with = "whole")]
    pub status_interval_ms: Option<f64>,
    /// Seed of the schedule.
    pub seed: u64,
    /// Placement of server and generator.
    pub placement: PlacementKind,
    /// CPUs of the server.
    pub server_cpus: Vec<usize>,
    /// CPUs of the generator.
    pub loadgen_cpus: Vec<usize>,
    /// Why these CPUs; empty in records of before.
    #[serde(default)]
    pub placement_reason: String,
    /// Threads of the engine.
    pub loadgen_threads: u32,
    /// Time that the generator wastes before each message.
    #[serde(default)]
    pub loadgen_delay_ns: u64,
    /// Addresses to connect from.
    pub source_addresses: u32,
    /// Connections that hardly read.
    pub slow_readers: u32,
    /// Connections per second that come and go.
    #[serde(serialize_with = "whole_number")]
    pub churn_per_sec: f64,
    /// Connections that write and read as fast as they can.
    pub flooders: u32,
    /// CPU time that each message costs the server, as it was asked for; `None` of none.
    #[serde(default)]
    pub work: Option<String>,
    /// Time for the client's part of the handshake; `None` without.
    #[serde(default, serialize_with = "whole")]
    pub handshake_ms: Option<f64>,
    /// Time after which a silent connection is closed; `None` for never.
    #[serde(default, serialize_with = "whole")]
    pub idle_timeout_ms: Option<f64>,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CONGESTION.
    pub congestion_control: String,
    /// Flags of every trial.
    pub flags: Vec<Caveat>,
}

impl PlanRecord {
    /// The record of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let (mode, rate, arrivals, depth) = match &plan.load {
            Load::Open { rate, arrivals } => (Mode::Open, Some(rate.to_string()), Some(*arrivals), None),
            Load::Closed { depth } => (Mode::Closed, None, None, Some(*depth)),
        };
        Self {
            connections: plan.connections,
            mode,
            rate_per_sec: rate,
            arrivals,
            depth,
            pacing: plan.load_pacing(),
            payloads: plan.payloads.to_string(),
            idle_ms: ms(plan.windows.idle),
            warmup_ms: ms(plan.windows.warmup),
            load_ms: ms(plan.windows.load),
            peak_ms: ms(plan.windows.peak),
            drain_bursts: plan.windows.drain_bursts,
            status_interval_ms: plan.status_interval.map(ms),
            seed: plan.seed,
            placement: plan.placement.kind,
            server_cpus: plan.placement.server_cpus.clone(),
            loadgen_cpus: plan.placement.loadgen_cpus.clone(),
            placement_reason: plan.placement.reason.clone(),
            loadgen_threads: plan.threads,
            loadgen_delay_ns: plan.generator_delay.as_nanos() as u64,
            source_addresses: plan.source_addresses,
            slow_readers: plan.cohorts.slow_readers,
            churn_per_sec: recorded_rate(plan.cohorts.churn_per_sec),
            flooders: plan.cohorts.flooders,
            work: (!plan.service.work.is_none()).then(|| plan.service.work.to_string()),
            handshake_ms: plan.service.handshake.map(ms),
            idle_timeout_ms: plan.service.idle_timeout.map(ms),
            nodelay: plan.nodelay,
            congestion_control: plan.congestion.clone(),
            flags: plan.flags.clone(),
        }
    }

    /// The first thing by which two plans differ that makes their figures incomparable: its name and both values. Seeds
    /// may differ, and so may the idle window's length, since its figures are per tick or per second, and the number of
    /// bursts of the drain window, which comes after the load. Of the server's CPUs their number counts, which is that of
    /// its workers: where they lie depends on the host.
    pub fn difference(&self, other: &Self) -> Option<(String, Value, Value)> {
        const MAY_DIFFER: [&str; 6] = ["seed", "idle_ms", "drain_bursts", "loadgen_cpus", "placement_reason", "flags"];
        let fields = |plan: &Self| match serde_json::to_value(plan) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("a struct is an object"),
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        let mut compared = pairs.filter(|((name, _), _)| !MAY_DIFFER.contains(&name.as_str()));
        let are_equal = |name: &str, one: &Value, other: &Value| match name {
            "server_cpus" => one.as_array().map(Vec::len) == other.as_array().map(Vec::len),
            _ => one == other,
        };
        compared
            .find(|((name, one), (_, other))| !are_equal(name, one, other))
            .map(|((name, one), (_, other))| (name, one, other))
    }
}

impl Metadata {
    /// Reads session.json of a folder.
    ///
    /// # Errors
    /// If there is none, or none that can be read: one line.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::parse(folder, |value| value)
    }

    /// The same with every text as it may be shown on a terminal.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_to_show(folder: &Path) -> Result<Self> {
        Self::parse(folder, plain_value)
    }

    fn parse(folder: &Path, shown: fn(Value) -> Value) -> Result<Self> {
        let file = folder.join(METADATA);
        let bytes = files::read(&file)
            .with_context(|| format!("{} holds no session: there is no session.json", folder.display()))?;
        let cannot_read = || format!("cannot read {}", file.display());
        let value: Value = serde_json::from_slice(&bytes).with_context(cannot_read)?;
        ensure!(value.is_object(), "{}: it is no object", cannot_read());
        match value.get("schema_version").and_then(Value::as_u64) {
            Some(version) if READ.contains(&version) => serde_json::from_value(shown(value)).with_context(cannot_read),
            Some(version) => bail!("{}: {}", cannot_read(), other_schema(version)),
            None => bail!("{}: it has no schema_version", cannot_read()),
        }
    }

    /// The metadata of a session whose session.json was cut: nothing is known except that it did not end.
    pub fn unknown() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            session_id: "unknown".to_owned(),
            state: State::Partial,
            started_at_unix_ms: 0,
            started_at_monotonic_ns: None,
            boot_mark: None,
            command: Vec::new(),
            configuration: Configuration::default(),
            gates: BTreeMap::new(),
            limits: BTreeMap::new(),
            build: Build::default(),
            doctor: Vec::new(),
            logic_lines: BTreeMap::new(),
            logic_lines_with_shared: BTreeMap::new(),
            region_lines: BTreeMap::new(),
            environment: Facts::default(),
        }
    }
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// A rate as it is recorded: whole per second from 100 on, thousandths below.
pub fn recorded_rate(per_sec: f64) -> f64 {
    if per_sec < 100.0 { (per_sec * 1e3).round() / 1e3 } else { per_sec.round() }
}

fn whole_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    decimal(*number).serialize(serializer)
}

fn whole<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    number.map(decimal).serialize(serializer)
}

#[cfg(test)]
mod tests;
