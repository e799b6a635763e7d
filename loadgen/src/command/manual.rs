//! `loadgen completions` and `loadgen man`: generated from the definition of the command line, so they are never stale.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{cli::Cli, exit::Exit, terminal::print_plain};

/// Prints the completions for a shell.
///
/// # Errors
/// If they cannot be printed.
pub fn completions(shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut text);
    print_plain(&String::from_utf8(text)?)?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes it and those of all sub-commands into a folder.
///
/// # Errors
/// If it cannot be printed, or a file cannot be written.
pub fn man(folder: Option<&Path>) -> Result<Exit> {
    let Some(folder) = folder else {
        let mut text = Vec::new();
        Man::new(Cli::command()).render(&mut text)?;
        print_plain(&String::from_utf8(text)?)?;
        return Ok(Exit::Ok);
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(Exit::Ok)
}
