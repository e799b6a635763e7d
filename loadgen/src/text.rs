//! Escapes text from elsewhere (records, file names, server output), so that it cannot control the terminal.

use std::{borrow::Cow, fmt::Write};

use serde_json::Value;

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
