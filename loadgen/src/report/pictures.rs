//! The pictures that `scripts/plot.py` left in a session's folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{record::read_file, text::plain};

/// One of them.
pub(super) struct Picture {
    /// The file's, without the suffix.
    pub(super) name: String,
    /// What it says of itself, for those who do not see it.
    pub(super) title: String,
    /// The whole file.
    pub(super) svg: String,
}

/// Every SVG of a folder, in reading order.
pub(super) fn pictures(folder: &Path) -> Vec<Picture> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut pictures: Vec<Picture> = files.filter_map(picture).collect();
    let rank = |name: &str| READING_ORDER.iter().position(|other| *other == name).unwrap_or(READING_ORDER.len());
    pictures.sort_by_cached_key(|picture| (rank(&picture.name), picture.name.clone()));
    pictures
}

fn picture(file: PathBuf) -> Option<Picture> {
    let name = file.file_name()?.to_str()?.strip_suffix(".svg")?.to_owned();
    let svg = String::from_utf8(read_file(&file).ok()?).ok()?;
    let title = svg.split_once("<title>").and_then(|(_, rest)| Some(rest.split_once("</title>")?.0));
    let title = plain(title.unwrap_or(&name)).into_owned();
    // A name that cannot be shown as it is cannot be linked to.
    (plain(&name) == name).then_some(Picture { title, name, svg })
}

/// What answers the question comes first, what explains the answer next, and the host's own doings last.
const READING_ORDER: [&str; 13] = [
    "verdicts",
    "shift",
    "trials",
    "percentiles",
    "rates",
    "cpu",
    "break_even",
    "idle",
    "memory",
    "spread",
    "interference",
    "lateness",
    "heatmap",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_first_and_strangers_last() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("heatmap.svg", "<svg><title>Echo latency (x)</title></svg>"),
            ("another.svg", "<svg/>"),
            ("verdicts.svg", "<svg/>"),
            ("verdicts.png", "no text"),
        ] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let found: Vec<(String, String)> =
            pictures(folder.path()).into_iter().map(|picture| (picture.name, picture.title)).collect();
        let expected = [("verdicts", "verdicts"), ("heatmap", "Echo latency (x)"), ("another", "another")];
        assert_eq!(found, expected.map(|(name, title)| (name.to_owned(), title.to_owned())));
        assert!(pictures(&folder.path().join("nowhere")).is_empty());
    }
}
