//! `loadgen`: parse, dispatch, one error printer.

use std::{env, process::ExitCode};

use loadgen::{
    capacity,
    cli::{Cli, Command, manual},
    compare, doctor,
    failure::Exit,
    interrupt, reference, report, run, selftest, terminal, text, verify,
};

fn main() -> ExitCode {
    let cli = Cli::read(env::args_os().collect());
    terminal::choose(cli.color);
    let result = match cli.command {
        Command::List => report::list(),
        Command::Serve(args) => servers::cli::serve(&args).map(|()| Exit::Ok),
        Command::Run(args) => install_interrupt().and_then(|()| run::run(&args)),
        Command::Verify(args) => install_interrupt().and_then(|()| verify::verify(&args)),
        Command::Compare(args) => install_interrupt().and_then(|()| compare::compare(&args)),
        Command::Capacity(args) => install_interrupt().and_then(|()| capacity::capacity(&args)),
        Command::Report(args) => report::report(&args),
        Command::Selftest(args) => install_interrupt().and_then(|()| selftest::selftest(&args.known)),
        Command::Doctor => doctor::doctor(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::man(folder.as_deref()),
        Command::Reference(args) => reference::reference(&args),
    };
    let exit = result.unwrap_or_else(|error| {
        eprintln!("error: {}", text::plain(&format!("{error:#}")));
        Exit::of(&error)
    });
    ExitCode::from(exit.code())
}

fn install_interrupt() -> anyhow::Result<()> {
    Ok(interrupt::install()?)
}
