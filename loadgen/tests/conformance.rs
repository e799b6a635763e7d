//! Every check of the conformance suite, on every server of the table, through the built executable.

use std::path::PathBuf;

use libtest_mimic::{Arguments, Trial};
use loadgen::verify::{Subject, checks};
use servers::SERVERS;

fn main() {
    let trials = SERVERS.iter().filter(|server| server.violates.is_empty()).flat_map(|server| {
        checks().map(|check| {
            let executable = PathBuf::from(env!("CARGO_BIN_EXE_loadgen"));
            let subject = Subject { executable, name: server.name.to_owned() };
            let name = format!("{}: {} {}", server.name, check.clause, check.name);
            Trial::test(name, move || (check.run)(&subject).map_err(|error| format!("{error:#}").into()))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
