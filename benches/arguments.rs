//! What `cargo bench -- ARGUMENTS` hands to every target, as criterion understands it.

use std::{env, process, time::Duration};

use criterion::Criterion;

/// criterion, configured by the command line over what is short enough that all targets and the comparison end within
/// five minutes. Ends the process if only help or the version is asked for, or what no target understands.
pub(crate) fn criterion(samples: usize) -> Criterion {
    // Before the arguments and not in a group, where criterion would prefer it to what the command line asks for.
    let short = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let criterion = short.sample_size(samples).nresamples(10_000).configure_from_args();
    // criterion takes the flag and goes on to run everything.
    if env::args().any(|argument| argument == "--version" || argument == "-V") {
        println!("{} {}", env!("CARGO_CRATE_NAME"), env!("CARGO_PKG_VERSION"));
        process::exit(0);
    }
    criterion
}
