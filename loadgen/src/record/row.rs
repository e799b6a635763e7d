//! A row of trials.csv, which is what `--json` prints: one trial. The meaning of the columns is in results/README.md.

use anyhow::Result;
use serde_json::{Map, Value};

use super::{
    BriefLatency, Latency, Misbehaving, Mode, Outcome, Reason, Shape, TargetKind, Validity,
    column::{Column, Fields},
    format,
};
use crate::plan::{Arrivals, Pacing, PlacementKind};

/// Makes the struct, and what reads and writes it.
macro_rules! row {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty,)*) => {
        /// One trial. `None` is unknown or not measured, never 0.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Row {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        impl Row {
            /// The names of the columns, in their order.
            pub fn columns() -> Vec<String> {
                let mut names = Vec::new();
                $(<$type>::names(stringify!($name), &mut names);)*
                names
            }

            /// The values, in the order of the columns; null is unknown.
            pub fn values(&self) -> Vec<Value> {
                let mut values = Vec::new();
                $(self.$name.values(&mut values);)*
                values
            }

            pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
                Ok(Self { $($name: Column::read(stringify!($name), fields)?,)* })
            }
        }
    };
}

row! {
    /// `SCHEMA_VERSION` of the loadgen that recorded it.
    schema_version: u64,
    /// Time and host; empty without a session.
    session_id: String,
    /// Counted from 1 over the session.
    trial_id: u64,
    /// Which of several loads of the session; `None` if there is only one.
    cell: Option<String>,
    /// Counted from 1 in each cell; every arm runs once per block.
    block: u64,
    /// Counted from 1: a block with an invalid trial is run again.
    attempt: u64,
    /// Place within the block, counted from 1.
    order_in_block: u64,
    /// The label under which it is compared.
    arm: String,
    /// The server's name, if it is one of this project.
    server: Option<String>,
    /// What was measured.
    target_kind: Option<TargetKind>,
    /// Wall clock.
    started_at_unix_ms: Option<u64>,
    /// Since the session began, by CLOCK_MONOTONIC; `None` without a session.
    started_after_ms: Option<u64>,
    /// Of the checkout that loadgen was built from.
    git_revision: Option<String>,
    /// Built without optimisation.
    debug_build: bool,
    /// Bytes that the server's environment was padded by.
    environment_padding_bytes: Option<u64>,

    /// When messages were sent.
    mode: Option<Mode>,
    /// How the gaps between messages were distributed; open loop only.
    arrivals: Option<Arrivals>,
    /// How the generator waited in the load window.
    pacing: Option<Pacing>,
    /// Server and generator on CPUs of their own, or not.
    placement: Option<PlacementKind>,
    /// Seed of the schedule.
    seed: Option<u64>,
    /// Measured connections.
    connections: Option<u64>,
    /// Messages in flight on each connection; closed loop only.
    depth: Option<u64>,
    /// Mean size of a message with its newline.
    payload_bytes: Option<u64>,
    /// Sizes as they were asked for.
    payload_mix: Option<String>,
    /// Mean messages per second over all connections; open loop only.
    rate_offered_per_sec: Option<f64>,
    /// The rate as it was asked for.
    rate_profile: Option<String>,
    /// Time between two status lines, 0 for none.
    status_interval_ms: Option<f64>,
    /// TCP_NODELAY, on both sides.
    nodelay: Option<bool>,
    /// TCP_CONGESTION, on both sides.
    congestion_control: Option<String>,
    /// Length of the idle window.
    idle_ms: Option<f64>,
    /// Load that is not counted.
    warmup_ms: Option<f64>,
    /// The load window without its drain.
    load_ms: Option<f64>,
    /// Closed loop after the load: of depth 1 or, after a closed loop, of its depth.
    peak_ms: Option<f64>,
    /// Time that the generator wastes before each message, to see who follows; 0 of a measurement.
    loadgen_delay_ns: Option<u64>,
    /// CPUs of the server.
    server_cpus: Option<String>,
    /// CPUs of the generator.
    loadgen_cpus: Option<String>,
    /// Threads of the engine.
    loadgen_threads: Option<u64>,
    /// Worker threads of a runtime that has any.
    server_workers: Option<u64>,
    /// Loopback addresses that the clients connect from.
    source_addresses: Option<u64>,
    /// Connections that hardly read.
    slow_readers: Option<u64>,
    /// Connections per second that come and go.
    churn_per_sec: Option<f64>,
    /// Connections that write and read as fast as they can.
    flooders: Option<u64>,
    /// CPU time that each message costs the server, as it was asked for; `None` of none.
    work: Option<String>,
    /// Time for the client's part of the handshake; `None` without.
    handshake_ms: Option<f64>,
    /// Time after which a silent connection is closed; `None` for never.
    idle_timeout_ms: Option<f64>,

    /// Whether its figures may be believed.
    validity: Validity,
    /// Why they may not.
    invalid_reasons: Vec<Reason>,
    /// Reservations about the figures.
    flags: Vec<Reason>,
    /// What the server made of the load.
    outcome: Outcome,
    /// What went wrong, in words.
    error: Option<String>,
    /// What this host lacked when it could not carry a connection.
    host_shortage: Option<String>,
    /// Whether medians are taken of it; known when the session ends.
    counted: Option<bool>,

    /// Slots of the load window; open loop only.
    scheduled_count: Option<u64>,
    /// Messages of the load window handed to the kernel or queued behind a full socket.
    sent_count: Option<u64>,
    /// Of these, came back unaltered.
    echoed_count: Option<u64>,
    /// Never came back although a later one did, or the connection was closed, over the trial.
    lost_count: Option<u64>,
    /// Had not come back when the waiting ended, over the trial.
    unanswered_count: Option<u64>,
    /// Lines that are neither a message nor a status, over the trial.
    corrupt_count: Option<u64>,
    /// Came back twice, over the trial.
    echo_duplicate_count: Option<u64>,
    /// Came back after a later one, over the trial.
    echo_reordered_count: Option<u64>,
    /// Connections that the server closed or reset, over the trial.
    reset_count: Option<u64>,
    /// Connections that the server did not take or never echoed on.
    connect_failed_count: Option<u64>,
    /// Connections of every kind that the generator's host could not carry, over the trial.
    host_shortage_count: Option<u64>,
    /// Status lines received in the load window.
    status_count: Option<u64>,
    /// Ticks passed over, as the server counts them.
    status_skipped_count: Option<u64>,
    /// Statuses replaced by a newer one, as the server counts them.
    status_replaced_count: Option<u64>,
    /// Connections closed for a wrong answer in the handshake, as the server counts them.
    handshakes_failed_count: Option<u64>,
    /// Connections closed for a late answer in the handshake, as the server counts them.
    handshakes_timed_out_count: Option<u64>,
    /// Connections closed for their silence, as the server counts them.
    idle_timeout_count: Option<u64>,
    /// Status lines that a connection did not get and another one did, over the trial.
    status_missed_count: Option<u64>,
    /// Status lines that a connection got twice, over the trial.
    status_duplicate_count: Option<u64>,
    /// Status lines that came after a newer one, over the trial.
    status_reordered_count: Option<u64>,
    /// Ticks within the idle window; `None` if it could not be aligned to them.
    ticks_idle_count: Option<u64>,
    /// Ticks within its first part, at whose end a second reading was taken.
    ticks_idle_part_count: Option<u64>,
    /// Status lines received in the idle window.
    status_count_idle: Option<u64>,

    /// Echoed before the end of the load window, per second.
    rate_achieved_per_sec: Option<f64>,
    /// Echoed in the windows without a delay of the peak, per second.
    peak_rate_per_sec: Option<f64>,
    /// The same in those in which the generator wasted time before each message; the two took turns.
    peak_rate_delayed_per_sec: Option<f64>,
    /// The time that it wasted.
    peak_delay_ns: Option<u64>,
    /// Messages per second with which a server answers one message on each of many connections, all of which are there
    /// when it starts: the median of the bursts.
    drain_rate_per_sec: Option<f64>,
    /// The bursts.
    drain_bursts: Option<u64>,
    /// Messages of each burst, which is one per connection.
    drain_messages: Option<u64>,
    /// What the generator can do with these connections and sizes.
    ceiling_rate_per_sec: Option<u64>,
    /// What the load leaves of it, in millionths; open loop only.
    headroom_ppm: Option<u64>,
    /// The drift probe before the block.
    drift_probe_rate_per_sec: Option<u64>,
    /// The drift probe after the block.
    drift_probe_after_rate_per_sec: Option<u64>,
    /// The median of the session's probes when the block began.
    drift_probe_median_rate_per_sec: Option<u64>,
    /// Messages in flight, integrated over the load window: number times nanoseconds.
    in_flight_ns: Option<u64>,

    /// Received - intended send time.
    response_ns: Latency,
    /// Received - first write attempt.
    service_ns: Latency,
    /// First write attempt - intended, while the socket had room.
    send_lag_ns: Latency,
    /// Responses of messages intended soon after a tick was due, within a span that is the same for all servers.
    response_in_fanout_ns: Latency,
    /// Those of all others.
    response_outside_fanout_ns: Latency,
    /// The response under the same load without misbehaving clients.
    response_undisturbed_ns: Latency,
    /// Responses of the messages that cost no more than most; only if `work` has shares.
    response_light_ns: Latency,
    /// connect() until the server's welcome, of the connections of the churn in the load window; only with a handshake.
    welcome_ns: Latency,
    /// More quantiles of the response.
    response_shape_ns: Shape,
    /// More quantiles of the service time.
    service_shape_ns: Shape,
    /// From the kernel's time stamp of a message's arrival until the generator read it, from a trial of its own.
    receive_lag_ns: BriefLatency,
    /// When the fan-out of a tick began - when the tick was due.
    status_emit_lag_ns: Latency,
    /// When a status arrived - when the tick was due.
    status_delivery_ns: Latency,
    /// Last arrival of a tick - its first one.
    status_spread_ns: Latency,
    /// connect() until the first echo.
    connect_ns: Latency,

    /// `status_emit_lag_ns` in the idle window.
    status_emit_lag_idle_ns: BriefLatency,
    /// Ticks that arrived in the idle window.
    tick_count_idle: Option<u64>,
    /// Standard deviation of the time between emissions, less that between their due times.
    tick_jitter_ns_idle: Option<u64>,
    /// How much slower than its interval the schedule runs, in parts per billion.
    tick_drift_ppb_idle: Option<i64>,
    /// Ticks that arrived in the load window.
    tick_count_load: Option<u64>,
    /// As `tick_jitter_ns_idle`.
    tick_jitter_ns_load: Option<u64>,
    /// As `tick_drift_ppb_idle`.
    tick_drift_ppb_load: Option<i64>,

    /// Between the two readings of the idle window.
    idle_span_ns: Option<u64>,
    /// The load window with its drain.
    load_span_ns: Option<u64>,
    /// CPU time of the server in the idle window.
    server_cpu_ns_idle: Option<u64>,
    /// In the load window, drain included.
    server_cpu_ns_load: Option<u64>,
    /// In the peak window, with a delay and without.
    server_cpu_ns_peak: Option<u64>,
    /// Time that the server's CPUs were not idle in the idle window, for any process.
    server_cpus_busy_ns_idle: Option<u64>,
    /// In the load window.
    server_cpus_busy_ns_load: Option<u64>,
    /// Voluntary switches of all threads in the idle window; `None` if a thread exited.
    server_wakeups_idle: Option<u64>,
    /// In the first part of the idle window, that of `ticks_idle_part_count`.
    server_wakeups_idle_part: Option<u64>,
    /// In the load window.
    server_wakeups_load: Option<u64>,
    /// Times that a thread was preempted.
    server_involuntary_switches_load: Option<u64>,
    /// Time that threads were runnable and did not run.
    server_run_delay_ns_load: Option<u64>,
    /// System calls per thousand messages, from a trial of its own.
    server_syscalls_per_1000_messages: Option<u64>,
    /// The most threads seen.
    server_threads_max: Option<u64>,
    /// Resident memory at the end of the idle window.
    server_rss_bytes_idle: Option<u64>,
    /// The same, shared pages divided by their users.
    server_pss_bytes_idle: Option<u64>,
    /// Kernel stacks of the whole host, idle window - before the connections.
    kernel_stack_bytes_delta: Option<i64>,
    /// Kernel objects of the whole host, likewise.
    slab_bytes_delta: Option<i64>,
    /// Page tables of the whole host, likewise.
    page_tables_bytes_delta: Option<i64>,

    /// CPU time of the engine's threads.
    loadgen_cpu_ns_load: Option<u64>,
    /// Share of the load window in which the busiest engine thread had something to do, in millionths.
    loadgen_busy_ppm: Option<u64>,
    /// Time that the one that waited longest was runnable and did not run.
    loadgen_run_delay_ns: Option<u64>,
    /// Time that CPUs were neither idle nor stolen, all of them.
    machine_busy_ns_load: Option<u64>,
    /// Time that the hypervisor gave to others, on the CPUs of server and generator and their SMT siblings.
    steal_ns: Option<u64>,
    /// CPU time of all threads that are neither server's nor generator's, on the CPUs of both and their SMT siblings.
    foreign_cpu_ns: Option<u64>,
    /// The same on all other CPUs.
    foreign_cpu_ns_elsewhere: Option<u64>,

    /// Slow readers: send what the server takes and read 1 KiB ten times per second.
    slow_reader: Misbehaving,
    /// Churn: connect, have one message echoed and go.
    churn: Misbehaving,
    /// Flooders: write and read as fast as they can.
    flooder: Misbehaving,
}

impl Row {
    /// The name of its cell; empty if the session has one load only.
    pub fn cell_name(&self) -> &str {
        self.cell.as_deref().unwrap_or_default()
    }

    /// Reads what `--json` printed.
    ///
    /// # Errors
    /// If it is no row.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let object: Map<String, Value> = serde_json::from_slice(text)?;
        let fields: Vec<_> = object.iter().map(|(name, value)| (name.as_str(), written(value))).collect();
        let by_column = fields.iter().map(|(name, field)| (*name, field.as_str())).collect();
        Self::read(&Fields { line: 1, by_column })
    }

    /// The row as an object, for `--json`.
    pub fn to_json(&self) -> Map<String, Value> {
        Self::columns().into_iter().zip(self.values()).collect()
    }
}

/// A row of which nothing is known but that it is the only one of its block, valid and ok: what the others are made of
/// by struct update.
impl Default for Row {
    fn default() -> Self {
        let fields = Fields { line: 0, by_column: KNOWN.into_iter().collect() };
        Self::read(&fields).expect("every column that is needed has a value")
    }
}

/// A value as a field of the file: nothing if it is unknown.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The columns that cannot be unknown.
pub(super) const KNOWN: [(&str, &str); 8] = [
    ("schema_version", format::SCHEMA),
    ("trial_id", "1"),
    ("block", "1"),
    ("attempt", "1"),
    ("order_in_block", "1"),
    ("debug_build", "false"),
    ("validity", "valid"),
    ("outcome", "ok"),
];
