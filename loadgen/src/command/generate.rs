//! `loadgen generate`: carries out the orders of a coordinator on another host.

use anyhow::{Context, Result};

use crate::{
    cli::GenerateArgs,
    engine::Generator,
    error::Usage,
    exit::Exit,
    hosts::{self, Hello, Hosts},
    observe,
    plan::{HostArgs, Pacing, place_generator},
    record, terminal,
};

/// Runs a generator until its coordinator ends the session.
///
/// # Errors
/// [`Usage`] if this host cannot do what was asked, or the coordinator refuses it; otherwise if the coordinator is gone.
pub fn generate(args: &GenerateArgs) -> Result<Exit> {
    let asked = args.loadgen_cpus.as_ref().map(|cpus| cpus.0.clone());
    let (cpus, pacing) = place_generator(asked, args.threads, args.pacing).map_err(Usage::from)?;
    servers::listen::raise_descriptor_limit();
    let hello = Hello::here(build()?, args.threads, cpus.clone(), pacing == Pacing::Spin);
    let joined = hosts::join(&args.coordinator, &hello, args.look_for)?;
    terminal::say(format_args!("generating for {}", args.coordinator));
    observe::pin_thread(&cpus)?;
    let mut generator = Generator::new(joined.server, args.threads, cpus);
    hosts::serve(joined, |order| generator.carry_out(order)).map(|()| Exit::Ok)
}

/// The options with the generators that they ask for, once those have come.
///
/// # Errors
/// If they do not come, or nothing can listen for them.
pub(super) fn gathered(host: &HostArgs) -> Result<HostArgs> {
    let (Some(count), Some(listen)) = (host.generators, host.listen) else { return Ok(host.clone()) };
    let hosts: Hosts = hosts::gather(listen, count, &build()?, host.gather_for)?;
    Ok(HostArgs { hosts: Some(hosts), ..host.clone() })
}

/// What identifies the executable: another build measures in another way.
///
/// # Errors
/// If it cannot be read.
fn build() -> Result<String> {
    record::own_checksum().context("the executable cannot be read, so nobody can tell which build it is")
}
