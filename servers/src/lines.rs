//! Lines of logic: how much code a model takes, on its own and with the shared code that it uses.
//!
//! Shared code is counted by item: a type with its methods, or a function. An item is used if its name occurs in the
//! model's own code, or in an item that is used. What every server has in common (the command line, the listening socket,
//! the status line's text) is named by no model and counted for none.

use protocol::Feature;

use crate::Server;

/// The regions of the servers' files that hold what an option alone needs.
pub const REGIONS: [(&str, Feature); 2] = [("handshake", Feature::Handshake), ("idle timeout", Feature::IdleTimeout)];

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

    /// Those of them that stand in a region of this name, which the files mark for editors to fold: from
    /// `// region: NAME` to `// endregion`. A region within another one belongs to both.
    pub fn region_lines(&self, name: &str) -> usize {
        logic_in(self.source, |regions| regions.contains(&name)).count()
    }

    /// All of them, with those of the shared code that it uses.
    pub fn logic_lines_with_shared(&self) -> usize {
        let used = used(&logic(self.source).collect::<Vec<_>>(), SHARED);
        self.logic_lines() + used.iter().map(|item| item.lines.len()).sum::<usize>()
    }
}

/// The lines of logic of one file or of several behind each other.
fn logic(source: &str) -> impl Iterator<Item = &str> {
    logic_in(source, |_| true)
}

/// The same, but only in these regions, of which the open ones are given from the outermost to the innermost.
fn logic_in<'a>(source: &'a str, counts: impl Fn(&[&'a str]) -> bool) -> impl Iterator<Item = &'a str> {
    let (mut importing, mut testing, mut regions) = (false, false, Vec::new());
    source.lines().filter(move |line| {
        let text = line.trim();
        // Tests stand at the end of a file, behind which another one may follow.
        testing |= *line == "#[cfg(test)]";
        if testing {
            testing = line.starts_with(' ') || !(*line == "}" || line.ends_with(';') || line.ends_with("{}"));
            return false;
        }
        if let Some(name) = text.strip_prefix("// region: ") {
            regions.push(name);
        } else if text == "// endregion" {
            regions.pop();
        }
        importing |= line.starts_with("use ");
        let is_logic = !importing && !text.is_empty() && !text.starts_with("//");
        importing &= !line.ends_with(';');
        is_logic && counts(&regions)
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
        true => !(before.ends_with("::") || before.trim().is_empty() && after == ","),
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
    fn the_tests_of_one_file_do_not_hide_the_file_behind_it() {
        let server = server(
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    fn t() {\n    }\n}\n//! Doc.\nuse a::b;\n\nfn \
             h() {}\n#[cfg(test)]\nmod tests;\nfn i() {}\n#[cfg(test)]\nmod tests {}\nfn j() {}\n",
        );
        assert_eq!(server.logic_lines(), 4);
    }

    #[test]
    fn a_region_has_the_lines_of_logic_between_its_marks() {
        let server = server(
            "fn f() {\n    // region: handshake\n    // Why.\n    greet();\n\n    // endregion\n    // region: idle \
             timeout\n    wait();\n    // region: handshake\n    now();\n    // endregion\n    more();\n    // \
             endregion\n}\n// region: handshake\nfn g() {}\n#[cfg(test)]\nmod tests {}\n",
        );
        assert_eq!((server.region_lines("handshake"), server.region_lines("idle timeout")), (3, 3));
        assert_eq!((server.region_lines("work"), server.logic_lines()), (0, 7));
    }

    #[test]
    fn what_an_option_needs_is_marked_in_the_files_that_have_it_and_every_region_ends() {
        for server in SERVERS {
            for (region, feature) in REGIONS {
                // A file may serve several models, of which one lacks it.
                let (lacks, lines) = (server.lacks.contains(&feature), server.region_lines(region));
                assert!(lacks || lines > 0, "{}: no line between the marks of {region}", server.name);
                assert!(lines < server.logic_lines());
            }
            let marks = |text: &str| server.source.lines().filter(|line| line.trim().starts_with(text)).count();
            assert_eq!(marks("// region: "), marks("// endregion"), "{}", server.name);
        }
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
