//! `servers NAME` runs one server, for use with nc, strace and perf. `loadgen serve NAME` does the same.

use std::process::ExitCode;

use clap::Parser;
use servers::cli::{ServeArgs, serve};

/// Echo-and-status servers, one per concurrency model
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  servers mio\n  servers tokio --addr 127.0.0.1:0 --status-interval 1s\n\nThen: nc 127.0.0.1 9000"
)]
struct Cli {
    #[command(flatten)]
    args: ServeArgs,
}

fn main() -> ExitCode {
    /// As of any other usage error.
    const USAGE: u8 = 2;
    let args = Cli::parse().args;
    let refused = args.ensure_possible().map_err(|error| (error, ExitCode::from(USAGE)));
    match refused.and_then(|()| serve(&args).map_err(|error| (error, ExitCode::FAILURE))) {
        Ok(()) => ExitCode::SUCCESS,
        Err((error, code)) => {
            servers::listen::log(format_args!("error: {error:#}"));
            code
        }
    }
}
