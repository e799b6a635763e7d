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

use crate::text::{Text, Tone, plain_lines};

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

/// Prints a result in the colours of its tones; text from others in it cannot command the terminal.
///
/// # Errors
/// See [`print_plain`].
pub(crate) fn print(text: impl Into<Text>) -> Result<()> {
    print_plain(&coloured(&text.into()))
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
const WARNING: Style = style(AnsiColor::Yellow);
const BAD: Style = style(AnsiColor::Red);

const fn style(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour))).bold()
}

fn coloured(text: &Text) -> String {
    let span = |text: &str, tone| {
        let text = plain_lines(text);
        let style = match tone {
            Tone::Neutral => return text.into_owned(),
            Tone::Good => GOOD,
            Tone::Warning => WARNING,
            Tone::Bad => BAD,
        };
        format!("{style}{text}{style:#}")
    };
    text.spans().iter().map(|part| span(&part.text, part.tone)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_shown_as_a_colour_and_nothing_else_is() {
        let text = Text::from("validity    ").with(Text::toned("INVALID", Tone::Bad)).with(": VALID \u{1b}[2J\n");
        assert_eq!(coloured(&text), format!("validity    {BAD}INVALID{BAD:#}: VALID \\u{{1b}}[2J\n"));
        assert_eq!(text.without_tones(), "validity    INVALID: VALID \\u{1b}[2J\n");
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
}
