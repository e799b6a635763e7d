//! `loadgen doctor`: is this host fit to measure on?

mod bystanders;

use std::path::Path;

use anyhow::Result;

use crate::{
    exit::Exit,
    measure::validity::{FOREIGN_CPU, STEAL},
    observe::{
        self,
        bystanders::Counters,
        fitness::{self, HostCheck, QuietSecond, Tolerated},
        topology::Topology,
    },
    plan::{Caveat, Placed, PlacementRequest},
    terminal,
    text::{Text, Tone},
};

/// Prints every check, one per line, and who else runs on the CPUs of a measurement. Changes nothing.
///
/// # Errors
/// If it cannot be printed.
pub fn doctor() -> Result<Exit> {
    // As every run does.
    servers::listen::raise_descriptor_limit();
    let mut checks = fitness::checks(&observe::facts());
    let placed = default_placement()?;
    checks.extend(placement(&placed));
    let cpus = placed.placement.cpus_in_use();
    let before = Counters::now();
    checks.extend(QuietSecond::observe().checks(&Tolerated { stolen: STEAL.flag, others: FOREIGN_CPU.flag }));
    let bystanders = before.bystanders(&cpus);
    let mut text = Text::default();
    for check in &checks {
        text.push(if check.fix.is_some() { Text::toned("WARN", Tone::Warning) } else { "OK  ".into() });
        text.push(format!("  {:<20} {}\n", check.check, check.found));
        if let Some(fix) = &check.fix {
            text.push(format!("{:<26} -> {fix}\n", ""));
        }
    }
    text.push(match checks.iter().filter(|check| check.fix.is_some()).count() {
        0 => "nothing seen that speaks against it; every trial is judged by itself all the same\n".to_owned(),
        warnings => format!("{warnings} of {} could be better\n", checks.len()),
    });
    let others: Vec<usize> = Topology::current().numbers().into_iter().filter(|cpu| !cpus.contains(cpu)).collect();
    // So libsystemd tells whether systemd is there (sd_booted(3)).
    let has_systemd = Path::new("/run/systemd/system").is_dir();
    text.push(bystanders::text(&bystanders, &cpus, &others, has_systemd));
    terminal::print(text)?;
    Ok(Exit::Ok)
}

/// Where a measurement runs unless it is told.
fn default_placement() -> Result<Placed> {
    PlacementRequest::default().place()
}

/// The topology, and the placement on it.
fn placement(placed: &Placed) -> [HostCheck; 2] {
    [
        HostCheck::new("topology", Topology::current().summary()),
        HostCheck::new("placement", placed.placement.reason.as_str()).fix_if(
            placed.flags.contains(&Caveat::SharedCore),
            "each slows the other down, and every trial is flagged: allow CPUs of another core (taskset, cpuset)",
        ),
    ]
}
