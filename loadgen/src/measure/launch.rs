//! From a plan to the command line of its server, in the same way for every command.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, anyhow, bail, ensure};
use protocol::{Feature, Service};

use super::target::{GuestCommand, OWN_EXECUTABLE, Placeholder, ServerCommand, Target, Template, serves_one};
use crate::{
    error::Usage,
    plan::{Plan, STATUS_INTERVAL, units::show_duration},
};

/// Connections that a server takes beyond those of the plan.
const SPARE_CONNECTIONS: u64 = 16;

/// The start of any other program for a plan.
///
/// # Errors
/// If its command line takes a status interval that is no whole number of milliseconds.
pub(crate) fn guest(template: &Template, plan: &Plan) -> Result<GuestCommand> {
    let status_interval = plan.status_interval.unwrap_or(STATUS_INTERVAL);
    ensure_whole_ms(template, status_interval).map_err(Usage::from)?;
    ensure_service(template, &plan.service).map_err(Usage::from)?;
    Ok(GuestCommand {
        template: template.clone(),
        listen: plan.listen(),
        status_interval,
        max_connections: room(plan),
        service: plan.service,
        cpus: server_cpus(plan),
        padding_bytes: 0,
    })
}

/// A guest that got a rounded interval would be blamed for the drift.
fn ensure_whole_ms(template: &Template, status_interval: Duration) -> Result<()> {
    let floor = Duration::from_millis(status_interval.as_millis() as u64);
    ensure!(
        floor == status_interval || !template.takes(Placeholder::StatusInterval),
        "--status-interval {} cannot be told with {}: ask for {} or {}",
        show_duration(status_interval),
        Placeholder::StatusInterval,
        show_duration(floor),
        show_duration(floor + Duration::from_millis(1))
    );
    Ok(())
}

/// A guest cannot do what it is not asked for.
pub(crate) fn ensure_service(template: &Template, service: &Service) -> Result<()> {
    if let Some(feature) = not_passed_on(template, service) {
        let placeholder = Placeholder::Of(feature);
        bail!("{} is not passed on to the command: it needs {placeholder} on its command line", feature.option());
    }
    Ok(())
}

/// What is asked for, but has no place on the command line of a guest.
pub(crate) fn not_passed_on(template: &Template, service: &Service) -> Option<Feature> {
    service.features().find(|feature| !template.takes(Placeholder::Of(*feature)))
}

/// Limit of connections for a server. A prepared plan has no more connections than there are descriptors.
fn room(plan: &Plan) -> u32 {
    let drained = u64::from(plan.drain_connections());
    u32::try_from(plan.all_connections() + drained + SPARE_CONNECTIONS).unwrap_or(u32::MAX)
}

fn server_cpus(plan: &Plan) -> Vec<usize> {
    if plan.placement.kind.is_pinned() { plan.placement.server_cpus.clone() } else { Vec::new() }
}

/// The start of a server of this project for a plan.
///
/// # Errors
/// If the server's model cannot take the plan's connections: a trial would measure nothing but failures.
pub(crate) fn server(name: &str, plan: &Plan) -> Result<ServerCommand> {
    if serves_one(name) && plan.connections > 1 {
        return Err(Usage::from(anyhow!("{name} serves one connection at a time: ask for --connections 1")));
    }
    ensure_has(name, &plan.service)?;
    Ok(ServerCommand {
        executable: OWN_EXECUTABLE.into(),
        name: name.to_owned(),
        listen: plan.listen(),
        status_interval: plan.status_interval.unwrap_or(STATUS_INTERVAL),
        max_connections: room(plan),
        workers: plan.placement.server_cpus.len().max(1),
        nodelay: plan.nodelay,
        congestion: plan.congestion.clone(),
        service: plan.service,
        cpus: server_cpus(plan),
        padding_bytes: 0,
    })
}

/// A server of this project is not asked for an option that it lacks.
///
/// # Errors
/// A usage error that names the first.
pub(crate) fn ensure_has(name: &str, service: &Service) -> Result<()> {
    match servers::by_name(name).and_then(|server| server.lacking(service)) {
        None => Ok(()),
        Some(missing) => Err(Usage::from(anyhow!("{name} has no {}", missing.option()))),
    }
}

/// The fault server with these arguments on the CPUs that the plan gives its server.
pub(crate) fn fault_server(plan: &Plan, arguments: &[&str]) -> Result<Target> {
    let addr = SocketAddr::new(plan.listen(), 0).to_string();
    let template = Template::own(&[&["fault-server", "--addr", &addr], arguments].concat());
    // It does nothing but echo, and fail in a known way.
    guest(&template, &Plan { service: Service::default(), ..plan.clone() }).map(Target::Command)
}
