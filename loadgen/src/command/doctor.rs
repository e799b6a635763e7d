//! `loadgen doctor`: is this host fit to measure on?

use anyhow::Result;

use crate::{
    exit::Exit,
    measure::validity::{FOREIGN_CPU, STEAL},
    observe::{
        self,
        fitness::{self, QuietSecond, Tolerated},
    },
    terminal,
    text::{Text, Tone},
};

/// Prints every check, one per line.
///
/// # Errors
/// If they cannot be printed.
pub fn doctor() -> Result<Exit> {
    // As every run does.
    servers::listen::raise_descriptor_limit();
    let mut checks = fitness::checks(&observe::facts());
    checks.extend(QuietSecond::observe().checks(&Tolerated { stolen: STEAL.flag, others: FOREIGN_CPU.flag }));
    let mut text = Text::default();
    for check in &checks {
        text.push(if check.fix.is_some() { Text::toned("WARN", Tone::Warning) } else { "OK  ".into() });
        text.push(format!("  {:<20} {}\n", check.check, check.found));
        if let Some(fix) = &check.fix {
            text.push(format!("{:<26} -> {fix}\n", ""));
        }
    }
    text.push(match checks.iter().filter(|check| check.fix.is_some()).count() {
        0 => "nothing seen that speaks against it; every trial is judged by itself all the same\n".to_owned(),
        warnings => format!("{warnings} of {} could be better\n", checks.len()),
    });
    terminal::print(text)?;
    Ok(Exit::Ok)
}
