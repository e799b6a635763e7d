//! What people read on the terminal. Nothing is measured here and nothing is decided.

mod benchmark;
mod cells;
mod comparison;
#[cfg(test)]
mod fixture;
mod forest;
mod html;
mod markdown;
mod pictures;
mod reasons;
mod recorded;
mod scorecard;
mod session;
mod side_by_side;
mod trial;
mod verdicts;

use std::fmt::Write;

pub use reasons::sentence as reason;
pub use session::{benchmark_of, beside, render, render_into};
pub(crate) use trial::trial;

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
