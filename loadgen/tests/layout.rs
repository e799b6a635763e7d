//! The structure that `# Layout` in lib.rs promises: modules whose imports only go down, small files, small functions, and
//! a record whose columns have their names in one place.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// Lines that a file of the generator may have, and one of a server, which is read from its top to its end.
const FILE_LINES: [(&str, usize); 4] =
    [("loadgen/src", 400), ("loadgen/tests", 450), ("benches", 400), ("servers", 450)];

/// Lines that a function may have.
const FUNCTION_LINES: usize = 60;

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of a folder and those below, by its path from the workspace, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let (mut folders, mut files) = (vec![workspace().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((from_workspace(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

fn from_workspace(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap().to_string_lossy().into_owned()
}

/// The text of a file without its tests, which may use whatever they need.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The files of the library that are compiled into it.
fn library() -> Vec<(String, String)> {
    let is_test =
        |path: &str| path.ends_with("/tests.rs") || path.ends_with("/streams.rs") || path.ends_with("/fixture.rs");
    let mut files = sources("loadgen/src");
    files.retain(|(path, _)| !is_test(path) && !path.ends_with("src/main.rs") && !path.ends_with("src/lib.rs"));
    files.into_iter().map(|(path, text)| (path, without_tests(&text).to_owned())).collect()
}

/// The modules of the library from top to bottom, as lib.rs lists them.
fn modules() -> Vec<String> {
    let text = fs::read_to_string(workspace().join("loadgen/src/lib.rs")).unwrap();
    let row = Regex::new(r"(?m)^//! \| (\[?`[^|]*) \|").unwrap();
    let name = Regex::new(r"`(\w+)`").unwrap();
    let cells = row.captures_iter(&text).map(|row| row[1].to_owned()).collect::<Vec<_>>().join(" ");
    name.captures_iter(&cells).map(|name| name[1].to_owned()).collect()
}

/// The module of a file: a folder of src, or a file beside them.
fn module(path: &str) -> &str {
    let path = path.strip_prefix("loadgen/src/").unwrap();
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The modules that a file imports from.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let path = Regex::new(r"\bcrate::(\w+)").unwrap();
    found.extend(path.captures_iter(text).map(|path| path[1].to_owned()));
    let group = Regex::new(r"(?s)use crate::\{(.*?)\};").unwrap();
    for group in group.captures_iter(text) {
        let mut depth = 0;
        let outer: String = group[1]
            .chars()
            .filter(|character| {
                depth += i32::from(*character == '{') - i32::from(*character == '}');
                depth == 0 && *character != '}'
            })
            .collect();
        found.extend(outer.split(',').filter_map(|item| item.trim().split("::").next()).map(str::to_owned));
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn every_module_is_listed_and_there_are_fewer_than_twenty() {
    let modules = modules();
    let found: BTreeSet<String> = library().iter().map(|(path, _)| module(path).to_owned()).collect();
    assert_eq!(modules.iter().cloned().collect::<BTreeSet<_>>(), found, "lib.rs lists the modules under # Layout");
    assert!(modules.len() < 20, "{} modules", modules.len());
}

#[test]
fn imports_only_go_down() {
    let modules = modules();
    let level = |name: &str| modules.iter().position(|module| module == name);
    for (path, text) in library() {
        let own = level(module(&path)).unwrap();
        for name in imports(&text) {
            let below = level(&name).is_none_or(|other| other >= own);
            assert!(below, "{path} imports from {name}, which stands above it under # Layout");
        }
    }
}

#[test]
fn files_stay_small_enough_to_be_held_in_mind() {
    for (folder, limit) in FILE_LINES {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= limit, "{path} has {lines} lines and may have {limit}");
        }
    }
}

#[test]
fn a_function_fits_a_screen() {
    // As rustfmt writes it: a function ends with a brace below its first letter.
    let head = Regex::new(r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const |async |unsafe )*fn (\w+)").unwrap();
    for (path, text) in FILE_LINES.iter().flat_map(|(folder, _)| sources(folder)) {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(head) = head.captures(line) else { continue };
            let end = format!("{}}}", &head[1]);
            let length = lines[index..].iter().position(|line| **line == end).map_or(1, |end| end + 1);
            assert!(length <= FUNCTION_LINES, "{path}: {} has {length} lines", &head[2]);
        }
    }
}

#[test]
fn a_column_is_named_in_the_record_alone() {
    // Where the placeholders in the command of a guest get their names, of which some are those of columns as well.
    const PLACEHOLDERS: &str = "measure/target/template.rs";
    let columns: BTreeSet<String> =
        loadgen::record::Row::columns().into_iter().filter(|name| name.contains('_')).collect();
    let literal = Regex::new(r#""([a-z_0-9]+)""#).unwrap();
    let index = Regex::new(r#"\w\["[a-z_]+"\]"#).unwrap();
    for (path, text) in library().iter().filter(|(path, _)| module(path) != "record") {
        for name in literal.captures_iter(text) {
            let is_column = columns.contains(&name[1]) && !path.ends_with(PLACEHOLDERS);
            assert!(!is_column, "{path} looks a column up by its name, {}", &name[1]);
        }
        assert!(!index.is_match(text), "{path} looks into JSON by a name: {:?}", index.find(text));
    }
}
