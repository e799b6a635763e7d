//! `loadgen`: parse, dispatch, one error printer.

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::Result;
use loadgen::{
    cli::{Cli, Command},
    command::{capacity, compare, doctor, generate, list, manual, report, run, verify},
    error::Usage,
    exit::Exit,
    interrupt, selftest,
    selftest::fault_server,
    terminal::{self, Colour},
    text,
};
use servers::cli::ServeArgs;

fn main() -> ExitCode {
    // A process started through /proc/self/exe would otherwise be named `exe` in process lists.
    let _ = rustix::thread::set_name(c"loadgen");
    let words: Vec<OsString> = env::args_os().collect();
    terminal::choose(Colour::requested(&words));
    let result = match Cli::read(words) {
        Ok(cli) => run_command(cli.command),
        Err(error) => explain(&error),
    };
    let exit = result.unwrap_or_else(|error| match Exit::of(&error) {
        Exit::Interrupted => {
            terminal::say(format_args!("{error:#}"));
            Exit::Interrupted
        }
        exit => {
            terminal::say(format_args!("error: {}", text::plain(&format!("{error:#}"))));
            // An error after a signal may be a consequence of the signal.
            if interrupt::signalled() { exit.min(Exit::Interrupted) } else { exit }
        }
    });
    ExitCode::from(exit.code())
}

/// Prints the requested help or version, or the usage error.
fn explain(error: &clap::Error) -> Result<Exit> {
    if error.use_stderr() {
        // If stderr cannot be written, the exit code still reports the error.
        let _ = error.print();
        return Ok(Exit::Usage);
    }
    terminal::print_plain(&error.render().ansi().to_string()).map(|()| Exit::Ok)
}

fn run_command(command: Command) -> Result<Exit> {
    match command {
        Command::List => list::list(),
        Command::Serve(args) => serve(&args),
        Command::Run(args) => install_interrupt().and_then(|()| run::run(&args)),
        Command::Verify(args) => install_interrupt().and_then(|()| verify::verify(&args)),
        Command::Compare(args) => install_interrupt().and_then(|()| compare::compare(&args)),
        Command::Capacity(args) => install_interrupt().and_then(|()| capacity::capacity(&args)),
        Command::Generate(args) => install_interrupt().and_then(|()| generate::generate(&args)),
        Command::Report(args) => report::report(&args),
        Command::Selftest(args) => install_interrupt().and_then(|()| selftest::selftest(&args.known)),
        Command::Doctor => doctor::doctor(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::man(folder.as_deref()),
        Command::FaultServer(args) => fault_server::serve(&args),
    }
}

fn serve(args: &ServeArgs) -> Result<Exit> {
    args.ensure_possible().map_err(Usage::from)?;
    servers::cli::serve(args).map(|()| Exit::Ok)
}

fn install_interrupt() -> Result<()> {
    Ok(interrupt::install()?)
}
