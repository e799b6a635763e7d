//! `loadgen completions` and `loadgen man`: made from the definition of the command line, so they are never stale.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use crate::failure::Exit;

/// Prints the completions for a shell.
///
/// # Errors
/// Never so far.
pub fn completions(shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut text);
    // A reader that has seen enough is no error.
    drop(std::io::stdout().write_all(&text));
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes it and those of all sub-commands into a folder.
///
/// # Errors
/// If a file cannot be written.
pub fn man(folder: Option<&Path>) -> Result<Exit> {
    let Some(folder) = folder else {
        let mut text = Vec::new();
        Man::new(Cli::command()).render(&mut text)?;
        drop(std::io::stdout().write_all(&text));
        return Ok(Exit::Ok);
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(Exit::Ok)
}
