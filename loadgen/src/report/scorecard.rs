//! The scorecard of the four rules as text.

use crate::judge::scorecard::{Figure, Kept, Section};

/// Width of the names and of each arm.
const WIDTHS: (usize, usize) = (36, 11);

/// As many arms side by side as 80 columns hold, section by section.
pub(super) fn scorecard(sections: &[Section], arms: &[String]) -> String {
    if sections.is_empty() {
        return String::new();
    }
    let mut text = "medians over blocks; kept: by 95 % intervals, not corrected for their number\n\n".to_owned();
    for first in (0..arms.len()).step_by(ARMS) {
        let arms = &arms[first..arms.len().min(first + ARMS)];
        for section in sections {
            text.push_str(&format!("{}\n{}", section.title, heading("", arms, WIDTHS)));
            for line in section.lines.iter().filter(|line| !line.figures.is_empty()) {
                let figures = &line.figures[first..first + arms.len()];
                text.push_str(&row(&line.name, figures, show));
                if figures.iter().any(|figure| matches!(figure, Figure::Interval { .. })) {
                    text.push_str(&row("  from", figures, |figure| end(figure, false)));
                    text.push_str(&row("  to", figures, |figure| end(figure, true)));
                }
            }
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// Arms in one table.
const ARMS: usize = 4;

/// A title and the names of the arms, long ones on several lines, broken at their hyphens.
pub(super) fn heading(title: &str, arms: &[String], (first, others): (usize, usize)) -> String {
    let broken: Vec<Vec<String>> = arms.iter().map(|arm| broken(arm, others)).collect();
    let height = broken.iter().map(Vec::len).max().unwrap_or(0);
    let line = |line: usize| {
        let cell = |name: &Vec<String>| {
            let part = (line + name.len()).checked_sub(height).and_then(|part| name.get(part));
            format!("{:>others$}", part.map_or("", String::as_str))
        };
        let cells: String = broken.iter().map(cell).collect();
        let title = if line + 1 == height { title } else { "" };
        format!("{title:<first$}{cells}").trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

/// A name in parts that are narrower than a column.
fn broken(name: &str, width: usize) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in name.split_inclusive('-') {
        let word: String = word.chars().take(width - 1).collect();
        match parts.last_mut() {
            Some(last) if last.len() + word.len() < width => last.push_str(&word),
            _ => parts.push(word),
        }
    }
    parts
}

fn row(name: &str, figures: &[Figure], show: impl Fn(&Figure) -> String) -> String {
    let cells: String = figures.iter().map(|figure| format!("{:>1$}", show(figure), WIDTHS.1)).collect();
    format!("  {name:<0$}{cells}", WIDTHS.0 - 2).trim_end().to_owned() + "\n"
}

/// One end of an interval.
fn end(figure: &Figure, upper: bool) -> String {
    match figure {
        Figure::Interval { low, high, .. } => digits(if upper { *high } else { *low }),
        _ => "-".to_owned(),
    }
}

pub(super) fn show(figure: &Figure) -> String {
    match figure {
        Figure::Unknown => "-".to_owned(),
        Figure::Number(number) => digits(*number),
        Figure::Interval { estimate, .. } => digits(*estimate),
        Figure::Verdict(Kept::Yes) => "yes".to_owned(),
        Figure::Verdict(Kept::No) => "NO".to_owned(),
        Figure::Verdict(Kept::Unclear) => "unclear".to_owned(),
    }
}

/// Three significant digits, no more than one behind the point above 1.
fn digits(number: f64) -> String {
    match number.abs() {
        small if small < 0.005 => "0".to_owned(),
        small if small < 1.0 => format!("{number:.2}"),
        middle if middle < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::scorecard::Line;

    #[test]
    fn a_long_name_stands_on_two_lines_and_all_fits_80_columns() {
        let arms = ["mio", "tokio", "tokio-current-thread", "threads"].map(str::to_owned);
        let figures = vec![
            Figure::Verdict(Kept::Yes),
            Figure::Number(1234.56),
            Figure::Interval { estimate: 1.23, low: -0.4, high: 12.3 },
            Figure::Unknown,
        ];
        let lines = vec![Line { name: "p50 added, us (95 %)".to_owned(), figures }];
        let text = scorecard(&[Section { title: "3. no added latency".to_owned(), lines }], &arms);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[3..6],
            [vec!["tokio-"], vec!["current-"], vec!["mio", "tokio", "thread", "threads"]],
            "{text}"
        );
        assert!(text.contains("yes") && text.contains("1235"), "{text}");
        assert!(lines.contains(&vec!["from", "-", "-", "-0.40", "-"]), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
