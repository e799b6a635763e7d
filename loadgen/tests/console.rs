//! Documents and help match the program: every command in a console block can be typed, and an output shown below a
//! command is its output.

use std::{fs, path::Path};

use clap::{CommandFactory, Parser};
use loadgen::cli::Cli;

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "benches/README.md",
    "loadgen/README.md",
    "loadgen/METHODOLOGY.md",
    "results/README.md",
    "scripts/README.md",
    "servers/README.md",
    "servers/guests/README.md",
];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// Every `$ loadgen ...` in a document, and every example in a help text, without its comment.
fn commands(text: &str) -> Vec<String> {
    let typed = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let rest = line.strip_prefix("loadgen ")?;
        // A comment begins after a `#` or, in a help text, after a gap.
        let command = rest.split(" #").next()?.split("   ").next()?.split(" | ").next()?.split(" > ").next()?;
        Some(format!("loadgen {}", command.trim()))
    };
    text.lines().filter_map(typed).collect()
}

fn assert_can_be_typed(command: &str, place: &str) {
    let words = shell_words::split(command).unwrap_or_else(|error| panic!("{place}: {command}: {error}"));
    if let Err(error) = Cli::try_parse_from(words) {
        assert!(!error.use_stderr(), "{place}: {command}\n{error}");
    }
}

#[test]
fn every_command_in_a_document_can_be_typed() {
    let mut count = 0;
    for document in DOCUMENTS {
        let text = read(document);
        let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
        for command in blocks.flat_map(commands) {
            assert_can_be_typed(&command, document);
            count += 1;
        }
    }
    assert!(count >= 15, "{count} commands are no documentation");
}

#[test]
fn every_file_in_a_console_block_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in DOCUMENTS {
        let text = read(document);
        let blocks = text.split("```").skip(1).step_by(2);
        let typed = blocks.filter(|block| block.starts_with("console\n") || block.starts_with("sh\n"));
        for word in typed.flat_map(str::split_whitespace).map(|word| word.trim_matches(['\'', '"'])) {
            let is_ours = ["results/20", "scripts/", "servers/", "benches/"].iter().any(|ours| word.starts_with(ours));
            assert!(!is_ours || root.join(word).exists(), "{document} names {word}, which is not there");
        }
    }
}

#[test]
fn every_example_in_a_help_text_can_be_typed() {
    let mut count = 0;
    for command in Cli::command().get_subcommands() {
        let name = command.get_name().to_owned();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in commands(&help) {
            assert_can_be_typed(&example, &name);
            count += 1;
        }
    }
    assert!(count >= 20, "{count} examples are not enough");
}

#[test]
fn every_command_has_an_example_or_needs_none() {
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let plain = command.get_arguments().next().is_none();
        assert!(plain || help.contains("Example"), "loadgen {} --help has no example", command.get_name());
    }
}

#[test]
fn every_help_text_fits_80_columns() {
    let mut commands = Cli::command();
    commands.build();
    for command in commands.get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "loadgen {} --help: {line}", command.get_name());
        }
    }
}

#[test]
fn the_output_below_a_command_is_its_output() {
    trycmd::TestCases::new().case("tests/console/*.trycmd").run();
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let loadgen = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    loadgen(&["man", folder.path().to_str().unwrap()]);
    let (bash, man) = (loadgen(&["completions", "bash"]), loadgen(&["man"]));
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(bash.contains(name) && man.contains(name), "{name}");
        assert!(folder.path().join(format!("loadgen-{name}.1")).exists(), "{name}");
    }
}
