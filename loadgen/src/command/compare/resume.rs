//! Resuming a session that was interrupted: the same command, the same order, the blocks that are missing.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::{
    cli::{Cli, Command, CompareArgs, ProfileName},
    record::{Metadata, PilotEntry, Row, SessionFolder, State, Trials, is_own, read_rows},
    terminal,
    text::plain,
};

/// More blocks than any session has: a record with more is damaged.
const BLOCKS_MAX: u64 = 1_000_000;

/// A session that was interrupted.
pub(super) struct Interrupted {
    /// The command line, with the seed and the number of blocks that were drawn at its start.
    pub(super) args: CompareArgs,
    /// The session's folder, locked.
    pub(super) place: SessionFolder,
    pub(super) metadata: Metadata,
    /// The results of its pilot.
    pub(super) pilot: Vec<PilotEntry>,
    /// The recorded trials.
    pub(super) trials: Trials,
}

/// Which sessions may be resumed, since to resume one is to run the programs that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that this user has begun on this host since it was started.
    Own,
    /// Any.
    Any,
}

/// Reads the command and the progress of a session.
///
/// # Errors
/// If the folder holds no comparison that may be resumed.
pub(super) fn interrupted(folder: &Path, trust: Trust) -> Result<Interrupted> {
    let metadata = Metadata::read(folder)?;
    ensure!(metadata.state != State::Complete, "{} is complete: there is nothing to resume", folder.display());
    let place = SessionFolder::reclaim(folder)?;
    let words = &metadata.command;
    let command = Cli::try_parse_from(words).ok().map(|cli| cli.command);
    let Some(Command::Compare(mut args)) = command else {
        bail!("{} is no comparison: there is nothing to resume", folder.display())
    };
    if trust == Trust::Own && !is_own(folder, &metadata) {
        bail!(
            "{} was not begun by this user on this host since it was started, and to resume it is to run what it names: \
             if {} is what you want, add --trust",
            folder.display(),
            plain(&shell_words::join(words))
        );
    }
    let configuration = &metadata.configuration;
    let blocks = configuration.blocks.filter(|blocks| *blocks <= BLOCKS_MAX);
    let seed = configuration.seed;
    ensure!(seed.is_some() && blocks.is_some(), "{} does not say its seed and blocks", folder.display());
    args.seed = seed;
    if args.profile != ProfileName::Full {
        // The rehearsal decided on it.
        args.blocks = blocks;
    }
    if !args.guests.is_empty() {
        return_to_begin(&metadata, folder)?;
    }
    let (pilot, trials) = (configuration.pilot.clone(), read_rows(folder)?);
    Ok(Interrupted { args: *args, place, metadata, pilot, trials })
}

/// Changes to the folder in which the session was begun: the commands of its guests may be relative to it.
fn return_to_begin(metadata: &Metadata, folder: &Path) -> Result<()> {
    ensure!(
        !metadata.command.iter().any(|word| word.contains(char::REPLACEMENT_CHARACTER)),
        "the command of {} is not UTF-8 and cannot be repeated from its record: begin a session of its own",
        folder.display()
    );
    match &metadata.configuration.working_folder {
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

/// Progress of a block: its attempts so far, and whether the last of them has every arm.
pub(super) fn progress(rows: &[Row], cell: Option<&str>, block: u64, arms: usize) -> (u64, bool) {
    let own = rows.iter().filter(|row| row.cell_name() == cell.unwrap_or_default() && row.block == block);
    // Bounded, since a damaged record may hold anything.
    let attempts: Vec<u64> = own.map(|row| row.attempt.clamp(1, u64::from(u32::MAX))).collect();
    let last = attempts.iter().copied().max().unwrap_or(0);
    (last, attempts.iter().filter(|attempt| **attempt == last).count() >= arms)
}

/// A trial_id that no trial has.
pub(super) fn next_id(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.trial_id).max().unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_done_once_its_last_attempt_has_every_arm() {
        let row = |block: u64, attempt: u64| Row { block, attempt, ..Row::default() };
        let rows = [row(1, 1), row(1, 1), row(2, 1), row(2, 1), row(2, 2)];
        assert_eq!(progress(&rows, None, 1, 2), (1, true));
        assert_eq!(progress(&rows, None, 2, 2), (2, false));
        assert_eq!(progress(&rows, None, 3, 2), (0, false));
        assert_eq!(progress(&rows, Some("rate-50"), 1, 2), (0, false), "blocks are counted in each cell");
    }
}
