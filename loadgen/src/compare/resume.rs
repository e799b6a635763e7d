//! Going on with a session that was interrupted: the same command, the same order, the blocks that are missing.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

use crate::{
    cli::{Cli, Command, CompareArgs},
    record::{Figures, Row, read_rows},
    terminal,
};

/// What is left of a session.
pub(super) struct Interrupted {
    /// As it was started, with the seed and the number of blocks that were drawn then.
    pub(super) args: CompareArgs,
    /// What the pilot found then.
    pub(super) pilot: Value,
    /// The rows that there are.
    pub(super) rows: Vec<Row>,
}

/// Reads what a session was to be and how far it came.
///
/// # Errors
/// If the folder holds no comparison that may be gone on with.
pub(super) fn interrupted(folder: &Path) -> Result<Interrupted> {
    let file = folder.join("session.json");
    let about = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let about: Value = serde_json::from_str(&about).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(about["state"] != "complete", "{} is complete: there is nothing to resume", folder.display());
    let words = about["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let command = Cli::try_parse_from(words).ok().map(|cli| cli.command);
    let Some(Command::Compare(mut args)) = command else {
        anyhow::bail!("{} is no comparison: there is nothing to resume", folder.display())
    };
    let configuration = &about["configuration"];
    let (seed, blocks) = (configuration["seed"].as_u64(), configuration["blocks"].as_u64());
    ensure!(seed.is_some() && blocks.is_some(), "{} does not say its seed and blocks", file.display());
    (args.seed, args.blocks) = (seed, blocks);
    if !args.guests.is_empty() {
        return_to_begin(&about, folder)?;
    }
    Ok(Interrupted { args: *args, pilot: configuration["pilot"].clone(), rows: read_rows(folder)? })
}

/// Goes to the folder in which the session was begun: what the commands of its guests name may be relative to it.
fn return_to_begin(about: &Value, folder: &Path) -> Result<()> {
    let words = about["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    ensure!(
        !words.clone().any(|word| word.contains(char::REPLACEMENT_CHARACTER)),
        "the command of {} is not UTF-8 and cannot be repeated from its record: begin a session of its own",
        folder.display()
    );
    match about["configuration"]["working_folder"].as_str() {
        Some(begun) => {
            std::env::set_current_dir(begun).with_context(|| format!("cannot go to {begun}, where it was begun"))
        }
        None => {
            terminal::say(format_args!(
                "warning: {} does not say where it was begun: what its guests' commands name is looked for from here",
                folder.display()
            ));
            Ok(())
        }
    }
}

/// How far a block came: its attempts so far, and whether the last of them has every arm.
pub(super) fn progress(rows: &[Row], cell: Option<&str>, block: u64, arms: usize) -> (u64, bool) {
    let own =
        |row: &Figures<'_>| row.text("cell") == cell.unwrap_or_default() && row.get("block") == Some(block as f64);
    let attempts = rows.iter().map(Figures).filter(own);
    let attempts: Vec<u64> = attempts.map(|row| row.get("attempt").unwrap_or(1.0) as u64).collect();
    let last = attempts.iter().copied().max().unwrap_or(0);
    (last, attempts.iter().filter(|attempt| **attempt == last).count() >= arms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_done_once_its_last_attempt_has_every_arm() {
        let row = |block: u64, attempt: u64| -> Row {
            vec![("block".to_owned(), block.into()), ("attempt".to_owned(), attempt.into())]
        };
        let rows = [row(1, 1), row(1, 1), row(2, 1), row(2, 1), row(2, 2)];
        assert_eq!(progress(&rows, None, 1, 2), (1, true));
        assert_eq!(progress(&rows, None, 2, 2), (2, false));
        assert_eq!(progress(&rows, None, 3, 2), (0, false));
        assert_eq!(progress(&rows, Some("rate-50"), 1, 2), (0, false), "blocks are counted in each cell");
    }
}
