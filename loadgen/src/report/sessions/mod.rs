//! Several sessions: for each metric and pair of servers what each of them found, whether that replicates, and from three
//! sessions on what another one would find. What is combined are comparisons within a session: sessions were not
//! interleaved, and host drift between them is unknown.

mod admission;
mod comparisons;
mod csv;
mod figures;
mod forest;
mod losses;
#[cfg(test)]
mod tests;

use anyhow::Result;

use self::{
    admission::{Candidate, admitted},
    comparisons::comparisons,
};
use super::{layout::wrapped, session::JudgedSession};
use crate::{judge::verdicts::Direction, text::Text};

/// The sessions side by side, as text.
///
/// # Errors
/// If the sessions may not be compared: one line with the reason.
pub(super) fn compare(sessions: &[JudgedSession]) -> Result<Text> {
    let candidates = admitted(sessions)?;
    let comparisons = comparisons(&candidates)?;
    let mut text: Text = candidates.iter().map(|candidate| title(candidate, &candidates)).collect();
    text.push(figures::figures(&candidates));
    text.push("\n");
    text.push(wrapped(&NOTE.into(), 0));
    text.push(forest::forest(&comparisons));
    Ok(text.with(losses::losses(&candidates, &comparisons)))
}

/// The same as a table: a line per comparison and session, and one for each mean and prediction.
///
/// # Errors
/// As [`compare`].
pub(super) fn table(sessions: &[JudgedSession]) -> Result<Vec<u8>> {
    csv::table(&comparisons(&admitted(sessions)?)?)
}

/// A session with its build and host, and the reason if it is not used.
fn title(candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> Text {
    let Candidate { label, session, withheld, .. } = candidate;
    let revision = session.metadata.build.git_revision.as_deref().unwrap_or("revision unknown");
    let build = admission::build_number(candidate, all);
    let (cpu, kernel) = admission::host(session);
    let mut text = wrapped(&format!("{label}  {} (build {build}: {revision})", session.metadata.session_id).into(), 3);
    match withheld {
        Some(reason) => text.push(wrapped(&Text::from("   not used: ").with(reason.clone()), 3)),
        None => text.push(wrapped(&format!("   {cpu}, kernel {kernel}").into(), 3)),
    }
    text
}

/// The word for a direction.
fn word(direction: Direction) -> &'static str {
    if direction == Direction::Lower { "lower" } else { "higher" }
}

const NOTE: &str = "ratios (or differences) of the second server to the first within each session, with simultaneous 95 % \
                    intervals; |: no difference. Margin claims (equivalent) are about one host each. *: another build is \
                    another server, and the build of a guest is not recorded: shown, not combined. next: 95 % prediction interval for another session.";
