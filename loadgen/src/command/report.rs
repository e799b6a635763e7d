//! `loadgen report`: recorded sessions, rendered again.

use anyhow::{Result, anyhow};

use crate::{
    cli::{Format, ReportArgs},
    error::Usage,
    exit::Exit,
    report::{render, render_into, render_sessions, render_sessions_csv, render_trend},
    terminal,
};

/// Renders a session again and prints it; several of them side by side.
///
/// # Errors
/// If a folder holds no session, if sessions may not be compared, if a file has no place for the text, or it cannot be
/// printed.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let text = match (&args.folders[..], args.format, &args.splice) {
        ([folder], Format::Gha, None) => render_trend(folder).map_err(Usage::from)?.into(),
        ([_], Format::Csv, _) => {
            return usage(
                "--format csv takes two or more sessions: name another folder, or read verdicts.csv in this one",
            );
        }
        (_, Format::Gha, _) => return usage("--format gha takes one session alone"),
        ([folder], Format::Text, None) => render(folder).map_err(Usage::from)?,
        ([folder], Format::Text, Some(file)) => render_into(folder, file)?,
        (_, _, Some(_)) => return usage("--splice takes one session: name one folder"),
        (folders, Format::Text, None) => render_sessions(folders).map_err(Usage::from)?,
        (folders, Format::Csv, None) => render_sessions_csv(folders).map_err(Usage::from)?,
    };
    terminal::print(text)?;
    Ok(Exit::Ok)
}

fn usage(problem: &'static str) -> Result<Exit> {
    Err(Usage::from(anyhow!(problem)))
}
