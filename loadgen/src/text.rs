//! Text that is shown, with the tones of its words. Escapes text from elsewhere (records, file names, server output), so
//! that it cannot control the terminal.

use std::{borrow::Cow, fmt::Write};

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

/// The text with invisible characters escaped: control characters, line ends and changes of direction.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            hidden if is_hidden(hidden) => {
                // Writing to a string cannot fail.
                let _ = write!(shown, "{}", hidden.escape_default());
            }
            seen => shown.push(seen),
        }
    }
    shown.into()
}

/// Escapes each of several lines.
pub(crate) fn plain_lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| character == '\n' || !is_hidden(character)) {
        return text.into();
    }
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n").into()
}

/// Escapes every text in a value, including keys.
pub(crate) fn plain_value(value: Value) -> Value {
    match value {
        Value::String(text) => plain(&text).into(),
        Value::Array(items) => items.into_iter().map(plain_value).collect(),
        Value::Object(entries) => {
            entries.into_iter().map(|(key, value)| (plain(&key).into_owned(), plain_value(value))).collect()
        }
        value => value,
    }
}

fn is_hidden(character: char) -> bool {
    // Direction marks and overrides, and the two separators that some programs treat as line ends.
    (character.is_control() && character != '\t')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The meaning of a word, which is shown by a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Neutral,
    Good,
    Warning,
    Bad,
}

/// A part of a text in one tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// Text in several tones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<Span>);

impl Text {
    /// A word in one tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self(vec![Span { text: text.into(), tone }])
    }

    /// Appends another text.
    pub(crate) fn push(&mut self, text: impl Into<Self>) {
        self.0.extend(text.into().0);
    }

    /// The text followed by another one.
    #[must_use]
    pub(crate) fn with(mut self, text: impl Into<Self>) -> Self {
        self.push(text);
        self
    }

    pub(crate) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Columns that it takes on a terminal.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|span| span.text.width()).sum()
    }

    /// The text without its tones, control characters escaped.
    pub(crate) fn without_tones(&self) -> String {
        self.0.iter().map(|span| plain_lines(&span.text)).collect()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::default() } else { Self::toned(text, Tone::Neutral) }
    }
}

impl FromIterator<Self> for Text {
    fn from_iter<I: IntoIterator<Item = Self>>(texts: I) -> Self {
        Self(texts.into_iter().flat_map(|text| text.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terminal_control_sequences_are_shown_escaped() {
        assert_eq!(plain("\u{1b}[2J\u{1b}]0;title\u{7}"), r"\u{1b}[2J\u{1b}]0;title\u{7}");
        assert_eq!(plain("one\r\ntwo\u{9b}31m"), r"one\r\ntwo\u{9b}31m");
        assert_eq!(plain("abc\u{202e}def"), r"abc\u{202e}def");
        assert_eq!(plain_lines("a\u{8}\nb\n"), "a\\u{8}\nb\n");
        assert!(matches!(plain("p99 of 4096\t16384 µs"), Cow::Borrowed(_)));
        assert_eq!(plain_value(json!({ "\u{1b}": ["\u{7}", 1] })), json!({ r"\u{1b}": [r"\u{7}", 1] }));
    }
}
