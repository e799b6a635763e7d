//! Layout of text of fixed width: tables whose numbers are right-aligned, and lines that are wrapped.
//!
//! Tables have no borders, and the columns of several tables stand below each other: a table crate would be given fixed
//! widths, names that are broken already, and lines to trim.

use textwrap::{WordSplitter, core::Fragment, wrap_algorithms::wrap_first_fit};
use unicode_width::UnicodeWidthStr;

use crate::text::{Span, Text, Tone, plain};

/// Columns of a terminal.
pub(super) const WIDTH: usize = 80;

/// Widths of the columns of a table: of the names, and of each of the others.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    pub(super) names: usize,
    pub(super) others: usize,
}

impl Widths {
    /// A line with a name on the left and cells on the right, at least a space apart.
    pub(super) fn line(self, name: &str, cells: impl IntoIterator<Item = Text>) -> Text {
        let name = plain(name);
        let mut line = Text::from(&*name);
        let (mut end, mut column) = (self.names, name.width());
        for cell in cells {
            end += self.others;
            if cell.width() > 0 {
                let gap = end.saturating_sub(column + cell.width()).max(1);
                column += gap + cell.width();
                line.push(" ".repeat(gap));
                line.push(cell);
            }
        }
        line.with("\n")
    }

    /// A title and the names of columns; long names are broken at hyphens and slashes and stand on several lines.
    pub(super) fn heading(self, title: &str, names: &[String]) -> Text {
        let broken: Vec<Vec<String>> = names.iter().map(|name| self.broken(&plain(name))).collect();
        let height = broken.iter().map(Vec::len).max().unwrap_or(0);
        let line = |line: usize| {
            let cell = |name: &Vec<String>| {
                let part = (line + name.len()).checked_sub(height).and_then(|part| name.get(part));
                part.map_or_else(Text::default, Text::from)
            };
            self.line(if line + 1 == height { title } else { "" }, broken.iter().map(cell))
        };
        (0..height).map(line).collect()
    }

    /// A name in parts that leave a space in front of them.
    fn broken(self, name: &str) -> Vec<String> {
        let options =
            textwrap::Options::new(self.others - 1).word_splitter(WordSplitter::Custom(at_hyphens)).break_words(true);
        textwrap::wrap(name, options).into_iter().map(|part| part.into_owned()).collect()
    }
}

/// Behind every hyphen, and between the names of a pair.
fn at_hyphens(word: &str) -> Vec<usize> {
    word.match_indices(['-', '/']).map(|(at, _)| at + 1).collect()
}

/// What is not broken: a word, or what stands in brackets.
#[derive(Debug)]
struct Unbroken {
    spans: Vec<Span>,
}

impl Fragment for Unbroken {
    fn width(&self) -> f64 {
        self.spans.iter().map(|span| span.text.width()).sum::<usize>() as f64
    }

    fn whitespace_width(&self) -> f64 {
        1.0
    }

    fn penalty_width(&self) -> f64 {
        0.0
    }
}

/// A line, and those below it if it does not fit; they are indented by so many columns more than nothing.
pub(super) fn wrapped(line: &Text, indent: usize) -> Text {
    let fragments = unbroken(line);
    let first = WIDTH as f64;
    let lines = wrap_first_fit(&fragments, &[first, first - indent as f64]);
    let mut text = Text::default();
    for (index, line) in lines.into_iter().enumerate() {
        text.push(" ".repeat(if index == 0 { 0 } else { indent }));
        for (place, fragment) in line.iter().enumerate() {
            text.push(if place == 0 { "" } else { " " });
            fragment.spans.iter().for_each(|span| text.push(Text::toned(span.text.clone(), span.tone)));
        }
        text.push("\n");
    }
    text
}

/// Splits at spaces, but not within brackets that fit on a line.
fn unbroken(line: &Text) -> Vec<Unbroken> {
    const BRACKETS_MAX: usize = 60;
    let mut fragments = vec![Unbroken { spans: Vec::new() }];
    let mut is_in_brackets = false;
    for span in line.spans() {
        let text = plain(&span.text);
        for (index, word) in text.split(' ').enumerate() {
            let is_new = index > 0 && !is_in_brackets;
            if is_new {
                fragments.push(Unbroken { spans: Vec::new() });
            }
            let word = if index > 0 && is_in_brackets { format!(" {word}") } else { word.to_owned() };
            is_in_brackets = match (word.rfind('('), word.rfind(')')) {
                (Some(open), Some(close)) => open > close,
                (Some(_), None) => text.len() < BRACKETS_MAX || text.contains(')'),
                (None, Some(_)) => false,
                (None, None) => is_in_brackets,
            };
            if let Some(fragment) = fragments.last_mut() {
                fragment.spans.push(Span { text: word, tone: span.tone });
            }
        }
    }
    fragments
}

/// Items behind a name, on as many lines as they need, each item unbroken.
pub(super) fn listed(name: &str, items: &[String]) -> Text {
    const INDENT: usize = 12;
    let last = items.len().saturating_sub(1);
    let item = |(index, item): (usize, &String)| {
        let comma = if index < last { "," } else { "" };
        Unbroken { spans: vec![Span { text: format!("{item}{comma}"), tone: Tone::Neutral }] }
    };
    let fragments: Vec<Unbroken> = items.iter().enumerate().map(item).collect();
    let lines = wrap_first_fit(&fragments, &[(WIDTH - INDENT) as f64]);
    let line = |(index, line): (usize, &[Unbroken])| {
        let items: Vec<&str> = line.iter().flat_map(|item| &item.spans).map(|span| span.text.as_str()).collect();
        Text::from(format!("{:<INDENT$}{}\n", if index == 0 { name } else { "" }, items.join(" ")))
    };
    lines.into_iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_stands_on_several_lines_and_numbers_are_right_aligned() {
        let widths = Widths { names: 10, others: 11 };
        let names = ["mio", "tokio-current-thread"].map(str::to_owned);
        let text = widths.heading("p50, us", &names).with(widths.line("rate-10", ["26.1".into(), "9".into()]));
        let expected = "                          tokio-\n\
                        \x20                       current-\n\
                        p50, us           mio     thread\n\
                        rate-10          26.1          9\n";
        assert_eq!(text.without_tones(), expected);
    }

    #[test]
    fn a_wide_character_takes_two_columns_and_trailing_cells_that_are_empty_none() {
        let widths = Widths { names: 6, others: 5 };
        assert_eq!(widths.line("名", ["名".into(), "".into()]).without_tones(), "名       名\n");
    }

    #[test]
    fn a_line_is_broken_in_front_of_brackets_and_keeps_its_tones() {
        let long = "x".repeat(40);
        let line = Text::from(format!("  {long} "))
            .with(Text::toned("BAD", Tone::Bad))
            .with(" (80 % power to detect 2 %; 23 more blocks)");
        let text = wrapped(&line, 4);
        let expected = format!("  {long} BAD\n    (80 % power to detect 2 %; 23 more blocks)\n");
        assert_eq!(text.without_tones(), expected);
        assert!(text.spans().contains(&Span { text: "BAD".to_owned(), tone: Tone::Bad }));
    }
}
