//! Lines of logic: how much code a model takes, on its own and with the shared code that it uses.
//!
//! Shared code is counted by item: a type with its methods, or a function. An item is used if its name occurs in the
//! model's own code, or in an item that is used. What every server has in common (the command line, the listening socket,
//! the status line's text) is named by no model and counted for none.

use crate::Server;

/// The shared code that models use or do without.
const SHARED: &[&str] = &[
    include_str!("../protocol/src/handshake.rs"),
    include_str!("../protocol/src/outgoing.rs"),
    include_str!("../protocol/src/schedule.rs"),
    include_str!("../protocol/src/work.rs"),
    include_str!("clock.rs"),
    include_str!("linger.rs"),
    include_str!("listen.rs"),
    include_str!("shutdown.rs"),
    include_str!("work.rs"),
];

/// A part of a file that stands at its margin, from its head to its closing brace.
struct Item<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl Server {
    /// Lines of logic in its file, without blank lines, comments, imports and tests.
    pub fn logic_lines(&self) -> usize {
        logic(self.source).count()
    }

    /// The same, with those of the shared code that it uses.
    pub fn logic_lines_with_shared(&self) -> usize {
        let used = used(&logic(self.source).collect::<Vec<_>>(), SHARED);
        self.logic_lines() + used.iter().map(|item| item.lines.len()).sum::<usize>()
    }
}

/// The lines of logic of one file or of several behind each other.
fn logic(source: &str) -> impl Iterator<Item = &str> {
    let (mut importing, mut testing) = (false, false);
    source.lines().filter(move |line| {
        importing |= line.starts_with("use ");
        testing |= *line == "#[cfg(test)]";
        let is_code = !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let counts = is_code && !importing && !testing;
        importing &= !line.ends_with(';');
        testing &= *line != "}";
        counts
    })
}

/// The items of `shared` that `code` uses, and those that they use.
fn used<'a>(code: &[&str], shared: &[&'a str]) -> Vec<Item<'a>> {
    let mut others: Vec<Item<'a>> = shared.iter().flat_map(|source| items(source)).collect();
    let mut used: Vec<Item<'a>> = Vec::new();
    loop {
        let names = |name: &str| {
            let mut lines = code.iter().chain(used.iter().flat_map(|item| &item.lines));
            lines.any(|line| occurs(name, line))
        };
        let (found, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|item| names(item.name));
        if found.is_empty() {
            return used;
        }
        used.extend(found);
        others = rest;
    }
}

/// The items of a file as rustfmt writes it.
fn items(source: &str) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut is_open = false;
    for line in logic(source).filter(|line| !line.starts_with("#[")) {
        if !is_open {
            items.push(Item { name: name(line), lines: Vec::new() });
        }
        items.last_mut().expect("one was begun").lines.push(line);
        is_open = line.starts_with(' ') || !line.ends_with(['}', ';']);
    }
    items
}

/// The name of the item that begins with `head`; empty if it is an implementation of a foreign trait, which no other code
/// names.
fn name(head: &str) -> &str {
    const KEYWORDS: [&str; 11] =
        ["", "pub", "crate", "const", "static", "unsafe", "async", "fn", "struct", "enum", "impl"];
    if head.starts_with("impl") && head.contains(" for ") {
        return "";
    }
    let mut words = head.split(|character: char| !character.is_alphanumeric() && character != '_');
    words.find(|word| !KEYWORDS.contains(word)).unwrap_or_default()
}

/// Whether a line has `name` as a word, and neither as a method nor as a variant of an enum.
fn occurs(name: &str, line: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let is_use = |before: &str, after: &str| match name.starts_with(char::is_uppercase) {
        true => !before.ends_with("::") && !(before.trim().is_empty() && after == ","),
        false => !before.ends_with('.') && (after.starts_with('(') || after.starts_with("::<")),
    };
    !name.is_empty()
        && line.match_indices(name).any(|(start, _)| {
            let (before, after) = (&line[..start], &line[start + name.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word) && is_use(before, after)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counters, SERVERS, by_name};

    fn server(source: &'static str) -> Server {
        Server { name: "", summary: "", violates: &[], lacks: &[], source, run: |_, _| Ok(Counters::default()) }
    }

    fn used_names(code: &'static str) -> Vec<&'static str> {
        used(&logic(code).collect::<Vec<_>>(), SHARED).iter().map(|item| item.name).collect()
    }

    #[test]
    fn only_logic_is_counted() {
        let source = "//! Doc.\n\nuse a::b;\nuse c::{\n    d,\n    e,\n};\n\n/// Doc.\nfn f() {\n    // Why.\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\n\n//! Another file.\n\nstatic S: u8 = 0;\n";
        assert_eq!(server(source).logic_lines(), 4);
        assert_eq!(server(source).logic_lines_with_shared(), 4);
    }

    #[test]
    fn a_shared_item_is_counted_with_its_methods_and_whatever_they_use() {
        let own = "fn f() {\n    Stop::new(now());\n}\n";
        let shared = "pub struct Stop {\n    at: u64,\n}\n\nimpl Stop {\n    fn new(at: u64) -> Self {\n        Self { at: later(at) }\n    }\n}\n\nfn later(\n    at: u64,\n) -> u64 {\n    at + PAUSE\n}\n\nconst PAUSE: u64 = 1;\n\nimpl fmt::Display for Stop {\n}\n\nfn unused() {}\n";
        let names: Vec<&str> = used(&logic(own).collect::<Vec<_>>(), &[shared]).iter().map(|item| item.name).collect();
        assert_eq!(names, ["Stop", "Stop", "later", "PAUSE"]);
    }

    #[test]
    fn a_word_in_a_comment_a_longer_word_or_a_method_is_no_use() {
        assert_eq!(
            used_names("fn f() {\n    // Backlog\n    MyBacklog::new().log(1);\n    let line = line;\n}\n"),
            [""; 0]
        );
    }

    #[test]
    fn every_model_uses_the_schedule_and_only_event_loops_the_policy_of_accepting() {
        for server in SERVERS {
            let names = used_names(server.source);
            assert!(names.contains(&"Schedule"), "{}: {names:?}", server.name);
            assert!(server.logic_lines_with_shared() > server.logic_lines());
        }
        let uses = |server: &str, name: &str| used_names(by_name(server).unwrap().source).contains(&name);
        assert!(uses("mio", "Backlog") && uses("mio", "Outgoing") && uses("mio", "Stage"));
        // `Outgoing` has a variant of this name.
        assert!(!uses("threads", "Backlog") && uses("threads", "Warning") && uses("threads", "is_connection_error"));
        assert!(uses("tokio", "Handshake") && uses("tokio", "Worker") && !uses("tokio-idiomatic", "Outgoing"));
    }
}
