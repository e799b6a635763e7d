//! The arms of a comparison.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use protocol::{Feature, Service};

use crate::{
    cli::Guest,
    judge::metrics::is_control,
    measure::{
        launch::{guest, not_passed_on, server},
        target::{Target, Template},
    },
    plan::Plan,
    record::{TargetKind, file_checksum, without_home},
};

/// A label, and the server or guest behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arm {
    pub(super) label: String,
    contestant: Contestant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contestant {
    Server(String),
    Guest(Template),
}

impl Arm {
    /// A server under its own name.
    pub(super) fn server(name: &str) -> Self {
        Self { label: name.to_owned(), contestant: Contestant::Server(name.to_owned()) }
    }

    /// The target to start for a plan.
    ///
    /// # Errors
    /// If the server's model cannot take the plan's connections.
    pub(super) fn target(&self, plan: &Plan) -> Result<Target> {
        Ok(match &self.contestant {
            Contestant::Server(name) => Target::Server(server(name, plan)?),
            Contestant::Guest(template) => Target::Command(guest(template, plan)?),
        })
    }

    /// The server's name, if it is one of this project.
    pub(super) fn server_name(&self) -> Option<&str> {
        match &self.contestant {
            Contestant::Server(name) => Some(name),
            Contestant::Guest(_) => None,
        }
    }

    /// What is asked for, but not an option of the server, or not on the command line of the guest.
    pub(super) fn lacks(&self, service: &Service) -> Option<Feature> {
        match &self.contestant {
            Contestant::Server(name) => servers::by_name(name)?.lacking(service),
            Contestant::Guest(template) => not_passed_on(template, service),
        }
    }

    /// What is measured.
    pub(super) fn kind(&self) -> TargetKind {
        match self.contestant {
            Contestant::Server(_) => TargetKind::Server,
            Contestant::Guest(_) => TargetKind::Command,
        }
    }

    /// SHA-256 of the files that a guest's command line names, by the word; none of a server of this project.
    pub(super) fn files(&self) -> Option<BTreeMap<String, String>> {
        let Contestant::Guest(template) = &self.contestant else { return None };
        let known = template.files().into_iter().filter_map(|(word, file)| Some((word, file_checksum(&file)?)));
        Some(known.map(|(word, checksum)| (without_home(&word), checksum)).collect())
    }

    /// Whether it is the second run of another arm.
    pub(super) fn is_control(&self) -> bool {
        is_control(&self.label)
    }
}

/// The arms of a comparison: a server named again gets a number, and if none is the first one runs twice, as a control.
pub(super) fn arms(servers: &[String], guests: &[Guest]) -> Vec<Arm> {
    let mut named: Vec<&String> = servers.iter().collect();
    let again = named.iter().enumerate().any(|(index, name)| named[..index].contains(name));
    if !again {
        named.extend(servers.first());
    }
    let mut arms: Vec<Arm> = Vec::new();
    for server in named {
        let mut arm = Arm::server(server);
        match arms.iter().filter(|other| other.contestant == arm.contestant).count() {
            0 => {}
            before => arm.label = format!("{server}#{}", before + 1),
        }
        arms.push(arm);
    }
    arms.extend(
        guests
            .iter()
            .map(|guest| Arm { label: guest.name.clone(), contestant: Contestant::Guest(guest.template.clone()) }),
    );
    arms
}

/// Two guests of one name could not be told apart in the records.
pub(super) fn ensure_names(arms: &[Arm]) -> Result<()> {
    for (index, arm) in arms.iter().enumerate() {
        let again = arms[..index].iter().any(|other| other.label == arm.label);
        ensure!(!again, "two guests are called {}: give each a name of its own", arm.label);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(servers: &[&str]) -> Vec<String> {
        let servers: Vec<String> = servers.iter().map(|name| (*name).to_owned()).collect();
        arms(&servers, &[]).into_iter().map(|arm| arm.label).collect()
    }

    #[test]
    fn the_first_server_runs_twice_unless_one_is_named_twice() {
        assert_eq!(labels(&["mio", "tokio"]), ["mio", "tokio", "mio#2"]);
        assert_eq!(labels(&["mio", "mio"]), ["mio", "mio#2"]);
        assert_eq!(labels(&["mio", "tokio", "tokio"]), ["mio", "tokio", "tokio#2"]);
    }
}
