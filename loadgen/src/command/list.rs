//! `loadgen list`.

use crate::{exit::Exit, terminal};

/// Prints the servers, one per line, with their lines of logic.
///
/// # Errors
/// If they cannot be printed.
pub fn list() -> anyhow::Result<Exit> {
    let mut text = format!("{:<20} {:>5} {:>8}  {:<8}  model\n", "name", "lines", "+ shared", "breaks");
    for server in servers::SERVERS {
        let breaks = if server.violates.is_empty() { "-".to_owned() } else { server.violates.join(" ") };
        let (own, all) = (server.logic_lines(), server.logic_lines_with_shared());
        text.push_str(&format!("{:<20} {own:>5} {all:>8}  {breaks:<8}  {}\n", server.name, server.summary));
    }
    text.push_str(
        "lines: of logic, without comments, imports and tests; + shared: with the shared code that the model uses\n\
         breaks: clauses of SPEC.md, by construction\n",
    );
    terminal::print(&text)?;
    Ok(Exit::Ok)
}
