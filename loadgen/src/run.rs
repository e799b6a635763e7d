//! `loadgen run`: one trial of one target.

use std::{io::Write, time::Duration};

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};

use crate::{
    cli::{HostArgs, RunArgs, TargetChoice},
    failure::{Exit, Usage},
    plan::{Load, PacingChoice, PlacementKind, PlacementWish, Plan, Windows, place},
    record::{self, Entry, Session, State},
    report,
    target::{GuestCommand, ServerCommand, Target, Template},
    trial,
    validity::{Outcome, Validity, judge},
};

/// What a status line comes after if nothing else is asked for.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Connections that a server takes beyond those of the plan.
const SPARE_CONNECTIONS: u32 = 16;

/// Measures, prints, and records if asked to.
///
/// # Errors
/// What cannot be measured at all; see [`trial::run`].
pub fn run(args: &RunArgs) -> Result<Exit> {
    let plan = plan(args).map_err(Usage::from)?;
    let choice = args.target();
    let target = match &choice {
        TargetChoice::Server(name) => Target::Server(server(name, &plan)?),
        TargetChoice::Command(template) => Target::Command(guest(template, &plan)),
        TargetChoice::Address { addr, pid } => Target::Address { addr: *addr, pid: *pid },
    };
    let session = match &args.out {
        None => None,
        Some(folder) => Some(Session::create(Some(folder), json!({ "plan": plan.describe() })).map_err(Usage::from)?),
    };
    let trial = trial::run(&plan, &target)?;
    let verdict = judge(&plan, &trial);
    let (arm, server, target_kind) = match &choice {
        TargetChoice::Server(name) => (name.as_str(), Some(name.as_str()), "server"),
        TargetChoice::Command(_) => ("command", None, "command"),
        TargetChoice::Address { .. } => ("target", None, "address"),
    };
    let measured = Ok((&trial, &verdict));
    let entry = Entry { trial_id: 1, block: 1, order_in_block: 1, arm, server, target_kind, plan: &plan, measured };
    let (row, files) = match session {
        None => (record::row("", &record::build(), &entry), None),
        Some(mut session) => {
            let row = session.append(&entry)?;
            session.mark(if trial.interrupted { State::Partial } else { State::Complete })?;
            (row, Some(session.folder().to_owned()))
        }
    };
    let text = if args.json {
        serde_json::to_string(&row.into_iter().collect::<Map<String, Value>>())? + "\n"
    } else {
        report::trial(arm, &plan, &trial, &verdict, files.as_deref())
    };
    // A reader that has seen enough is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));

    let exits = [
        trial.interrupted.then_some(Exit::Interrupted),
        (verdict.outcome == Outcome::Failed).then_some(Exit::Target),
        (verdict.validity == Validity::Invalid).then_some(Exit::Invalid),
    ];
    Ok(exits.into_iter().flatten().next().unwrap_or(Exit::Ok))
}

/// How any other program is started for a plan.
pub(crate) fn guest(template: &Template, plan: &Plan) -> GuestCommand {
    GuestCommand {
        template: template.clone(),
        status_interval: plan.status_interval.unwrap_or(STATUS_INTERVAL),
        max_connections: plan.connections + SPARE_CONNECTIONS,
        cpus: server_cpus(plan),
    }
}

fn server_cpus(plan: &Plan) -> Vec<usize> {
    match plan.placement.kind {
        PlacementKind::Split => plan.placement.server_cpus.clone(),
        PlacementKind::Shared => Vec::new(),
    }
}

/// How a server of this project is started for a plan.
///
/// # Errors
/// If the server cannot take the plan's connections by its nature: then there would be nothing but failures to measure.
pub(crate) fn server(name: &str, plan: &Plan) -> Result<ServerCommand> {
    let alone = servers::by_name(name).is_some_and(|server| server.violates.contains(&"F2"));
    if alone && plan.connections > 1 {
        return Err(Usage::from(anyhow!("{name} serves one connection at a time: ask for --connections 1")));
    }
    Ok(ServerCommand {
        executable: std::env::current_exe()?,
        name: name.to_owned(),
        status_interval: plan.status_interval.unwrap_or(STATUS_INTERVAL),
        max_connections: plan.connections + SPARE_CONNECTIONS,
        workers: plan.placement.server_cpus.len(),
        nodelay: plan.nodelay,
        congestion: plan.congestion.clone(),
        cpus: server_cpus(plan),
    })
}

fn plan(args: &RunArgs) -> Result<Plan> {
    let load = if args.closed {
        Load::Closed { depth: args.depth }
    } else {
        Load::Open { rate_per_sec: args.rate, arrivals: args.arrivals }
    };
    let status_interval = match args.target() {
        TargetChoice::Command(template) if !template.takes("status_interval_ms") => args.status_interval,
        TargetChoice::Server(_) | TargetChoice::Command(_) => Some(args.status_interval.unwrap_or(STATUS_INTERVAL)),
        TargetChoice::Address { .. } => args.status_interval,
    };
    let windows = Windows { idle: args.idle, warmup: args.warmup, load: args.duration, peak: args.peak };
    let shape = Shape { connections: args.connections, load, payload_bytes: args.payload, windows, status_interval };
    checked(shape, &args.host, args.seed)
}

/// What a plan needs besides the host.
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) load: Load,
    pub(crate) payload_bytes: u64,
    pub(crate) windows: Windows,
    pub(crate) status_interval: Option<Duration>,
}

/// Completes a plan for this host and checks it.
pub(crate) fn checked(shape: Shape, host: &HostArgs, seed: u64) -> Result<Plan> {
    let wish = PlacementWish {
        kind: host.placement,
        server_cpus: host.server_cpus.as_ref().map(|cpus| cpus.0.clone()),
        loadgen_cpus: host.loadgen_cpus.as_ref().map(|cpus| cpus.0.clone()),
    };
    let (placement, pacing, flags) = place(&wish, host.pacing)?;
    let plan = Plan {
        connections: shape.connections,
        load: shape.load,
        pacing,
        spin_asked: host.pacing == PacingChoice::Spin,
        payload_bytes: usize::try_from(shape.payload_bytes)?,
        windows: shape.windows,
        status_interval: shape.status_interval,
        seed,
        placement,
        nodelay: !host.nagle,
        congestion: host.congestion.clone(),
        flags,
    };
    plan.check()?;
    Ok(plan)
}
