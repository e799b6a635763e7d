//! Printing: the only module that writes to stdout and stderr, and the only one that uses colours.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Color, Style};
use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::text::plain_lines;

/// When the output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in pipes
    Always,
    /// Never
    Never,
}

impl Colour {
    /// The choice on a command line, read before the command line is parsed: a usage error is printed in that colour.
    pub fn requested(words: &[OsString]) -> Self {
        let mut words = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
        let mut requested = None;
        while let Some(word) = words.next() {
            let value = if word == "--color" { words.next() } else { word.strip_prefix("--color=") };
            requested = value.or(requested);
        }
        requested.and_then(|value| Self::from_str(value, false).ok()).unwrap_or_default()
    }
}

impl From<Colour> for clap::ColorChoice {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Auto => Self::Auto,
            Colour::Always => Self::Always,
            Colour::Never => Self::Never,
        }
    }
}

/// Sets the choice for everything printed later.
pub fn choose(colour: Colour) {
    let choice = match colour {
        Colour::Auto => ColorChoice::Auto,
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Prints a result with keywords coloured and control characters escaped.
///
/// # Errors
/// See [`print_plain`].
pub(crate) fn print(text: &str) -> Result<()> {
    print_plain(&text.split_inclusive('\n').map(|line| painted(&plain_lines(line))).collect::<String>())
}

/// Prints a text as it is.
///
/// # Errors
/// If the text cannot be written, since missing output must not look like a result. A closed pipe is no error.
pub fn print_plain(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Prints a line of progress, a warning or an error to stderr.
///
/// A write error (a full disk, a closed pipe) is ignored, so that it cannot affect the measurement; `eprintln!` would
/// panic.
pub fn say(line: impl Display) {
    servers::listen::log(format_args!("{line}"));
}

/// Whether stderr is a terminal, so that progress is shown.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

const GOOD: Style = style(AnsiColor::Green);
const DOUBTFUL: Style = style(AnsiColor::Yellow);
const BAD: Style = style(AnsiColor::Red);

const fn style(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour))).bold()
}

/// Keywords and their styles.
const WORDS: [(&str, Style); 9] = [
    ("VALID", GOOD),
    ("FLAGGED", DOUBTFUL),
    ("INVALID", BAD),
    ("UNTRUSTED", BAD),
    ("WARN", DOUBTFUL),
    ("FAIL", BAD),
    ("NO", BAD),
    ("PARTIAL", DOUBTFUL),
    ("DISAGREE", BAD),
];

/// A line with its first keyword coloured.
fn painted(line: &str) -> String {
    let is_word = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, style)| *style);
    for word in line.split(|c: char| !c.is_ascii_uppercase()) {
        if let (Some(style), Some(at)) = (is_word(word), line.find(word)) {
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            return format!("{before}{style}{word}{style:#}{after}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_of_a_line_is_coloured() {
        assert_eq!(painted("validity    INVALID: late\n"), format!("validity    {BAD}INVALID{BAD:#}: late\n"));
        assert_eq!(painted("validity    VALID\n"), format!("validity    {GOOD}VALID{GOOD:#}\n"));
        for plain in ["p99 89 us, NODELAY\n", "NOTHING\n", "\n", ""] {
            assert_eq!(painted(plain), plain);
        }
    }

    #[test]
    fn the_colour_option_takes_its_value_in_two_ways() {
        let requested = |words: &str| Colour::requested(&words.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(requested("loadgen --color never run"), Colour::Never);
        assert_eq!(requested("loadgen run --color=always --rate"), Colour::Always);
        for auto in ["loadgen list", "loadgen --color", "loadgen --color=pink", "loadgen -- --color=never"] {
            assert_eq!(requested(auto), Colour::Auto, "{auto}");
        }
    }

    #[test]
    fn colours_change_no_other_byte() {
        for line in ["WARN  governor  powersave\n", "  kept    yes   NO   NO\n"] {
            assert_eq!(anstream::adapter::strip_str(&painted(line)).to_string(), line);
        }
    }
}
