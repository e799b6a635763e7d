//! The sub-commands, one file or folder each.

pub mod capacity;
pub mod compare;
pub mod doctor;
pub mod generate;
pub mod list;
pub mod manual;
pub mod report;
pub mod run;
pub mod verify;

use crate::{
    hosts::Hello,
    measure::{recording, validity},
    observe::fitness,
    plan::HostArgs,
    record::{Configuration, Preamble},
};

/// The facts that stand at the beginning of a session's record.
fn preamble(configuration: Configuration, host: &HostArgs) -> Preamble {
    let hellos = host.hosts.as_ref().map(|hosts| hosts.hellos()).unwrap_or_default();
    Preamble {
        configuration: with_hosts(configuration, host),
        host_facts: hellos.into_iter().map(|Hello { facts, .. }| facts).collect(),
        gates: validity::gates(),
        limits: validity::limits(),
        doctor: Some(fitness::checks),
    }
}

/// The configuration with the generators on other hosts.
fn with_hosts(configuration: Configuration, host: &HostArgs) -> Configuration {
    let hosts = host.hosts.as_ref().map(recording::hosts::records).unwrap_or_default();
    Configuration { hosts, ..configuration }
}
