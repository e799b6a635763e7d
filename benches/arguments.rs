//! The arguments of `cargo bench -- ARGUMENTS`, interpreted as criterion does.

use std::{env, process, time::Duration};

use criterion::Criterion;

/// criterion, configured by the command line over defaults short enough that all targets and the comparison take at most
/// five minutes. Exits the process on --help, --version and usage errors.
pub(crate) fn criterion(samples: usize) -> Criterion {
    // Set before the arguments are applied and not in a group, where it would override the command line.
    let short = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let criterion = short.sample_size(samples).nresamples(10_000).configure_from_args();
    // criterion accepts the flag, but then runs everything.
    if env::args().any(|argument| argument == "--version" || argument == "-V") {
        println!("{} {}", env!("CARGO_CRATE_NAME"), env!("CARGO_PKG_VERSION"));
        process::exit(0);
    }
    criterion
}
