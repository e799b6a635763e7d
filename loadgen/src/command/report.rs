//! `loadgen report`: recorded sessions, rendered again.

use anyhow::{Result, anyhow};

use crate::{
    cli::{Format, ReportArgs},
    error::Usage,
    exit::Exit,
    report::{render, render_into, render_sessions, render_trend},
    terminal,
};

/// Renders a session again and prints it; two of them side by side.
///
/// # Errors
/// If a folder holds no session, if two may not be compared, if a file has no place for the text, or it cannot be printed.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let text = match (&args.folders[..], &args.splice) {
        ([folder], None) if args.format == Format::Gha => render_trend(folder).map_err(Usage::from)?.into(),
        _ if args.format == Format::Gha => return Err(Usage::from(anyhow!("--format gha takes one session alone"))),
        ([folder], None) => render(folder).map_err(Usage::from)?,
        ([folder], Some(file)) => render_into(folder, file)?,
        ([first, second], None) => render_sessions(&[first, second]).map_err(Usage::from)?,
        ([_, _], Some(_)) => return Err(Usage::from(anyhow!("--splice takes one session: name one folder"))),
        _ => return Err(Usage::from(anyhow!("three sessions cannot be compared: name one or two"))),
    };
    terminal::print(text)?;
    Ok(Exit::Ok)
}
