//! What people read on the terminal. Nothing is measured here and nothing is decided.

mod benchmark;
mod cells;
mod comparison;
mod forest;
mod html;
mod markdown;
mod pictures;
mod recorded;
mod scorecard;
mod session;
mod side_by_side;
mod trial;
mod verdicts;

use std::fmt::Write;

pub use session::{render, report};
pub use trial::trial;

use crate::{failure::Exit, terminal};

/// Prints the servers, a line each, with the lines of logic that they took.
///
/// # Errors
/// If they cannot be printed.
pub fn list() -> anyhow::Result<Exit> {
    let mut text = format!("{:<20} {:>5}  {:<8}  model\n", "name", "lines", "breaks");
    for server in servers::SERVERS {
        let breaks = if server.violates.is_empty() { "-".to_owned() } else { server.violates.join(" ") };
        text.push_str(&format!("{:<20} {:>5}  {breaks:<8}  {}\n", server.name, server.logic_lines(), server.summary));
    }
    text.push_str("lines: of logic, without comments, imports and tests; breaks: clauses of SPEC.md, by nature\n");
    terminal::print(&text)?;
    Ok(Exit::Ok)
}

/// Lines under each other, the first column left and the others right-aligned, with a space in between at least.
fn table(rows: &[Vec<String>], first: usize, others: usize) -> String {
    let mut text = String::new();
    for row in rows {
        let (name, cells) = row.split_first().map_or(("", &[][..]), |(name, cells)| (name.as_str(), cells));
        let cells: String = cells.iter().fold(String::new(), |mut line, cell| {
            // Writing to a string does not fail.
            let _ = write!(line, " {cell:>others$}");
            line
        });
        text.push_str(format!("{name:<first$}{cells}").trim_end());
        text.push('\n');
    }
    text
}
