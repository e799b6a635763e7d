//! Identity of the user and host that recorded a session, and the details that are not recorded.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Metadata, format::METADATA};
use crate::observe;

/// A mark that only a process on this host can compute, until the next boot: a digest of the kernel's boot id and the
/// session's name, so that two sessions do not reveal that they come from one host.
pub(super) fn boot_mark(session_id: &str) -> Option<String> {
    let digest = Sha256::digest(format!("{} {session_id}", observe::boot_id()?));
    Some(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether this user began the session on this host since its last boot.
pub fn is_own(folder: &Path, metadata: &Metadata) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let owned = |path: &Path| fs::metadata(path).is_ok_and(|file| file.uid() == user);
    owned(folder) && owned(&folder.join(METADATA)) && is_this_boot(metadata)
}

/// Whether the session was begun on this host since its last boot.
pub(super) fn is_this_boot(metadata: &Metadata) -> bool {
    let mark = boot_mark(&metadata.session_id);
    mark.is_some() && mark == metadata.boot_mark
}

/// The words of the command line without the path of the executable and the option `--out`.
pub(super) fn command(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = vec!["loadgen".to_owned()];
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        if word == "--out" {
            words.next();
        } else if !word.starts_with("--out=") {
            kept.push(word);
        }
    }
    kept
}

/// Replaces the user's home folder in a text by `~`.
pub fn without_home(text: &str) -> String {
    home().map_or_else(|| text.to_owned(), |home| shortened(text, &home))
}

/// Replaces the user's home folder in every text of a value by `~`.
pub(super) fn without_home_in(value: Value) -> Value {
    match home() {
        Some(home) => without(value, &home),
        None => value,
    }
}

fn home() -> Option<String> {
    let home = std::env::var("HOME").ok().filter(|home| home.starts_with('/') && home.len() > 1)?;
    Some(home.trim_end_matches('/').to_owned())
}

fn without(value: Value, home: &str) -> Value {
    match value {
        Value::String(text) => shortened(&text, home).into(),
        Value::Array(items) => items.into_iter().map(|item| without(item, home)).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, without(value, home))).collect(),
        value => value,
    }
}

fn shortened(text: &str, home: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(home) {
        let (before, after) = (&rest[..at], &rest[at + home.len()..]);
        // Neither part of a longer name nor of a longer path.
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "-_./".contains(c));
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
        kept.push_str(before);
        kept.push_str(if begins && ends { "~" } else { home });
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_does_not_say_where_the_home_folder_is() {
        let told = json!({ "command": ["loadgen", "--command", "x='/home/ann/x --dir /home/ann'"], "n": 1 });
        let kept = json!({ "command": ["loadgen", "--command", "x='~/x --dir ~'"], "n": 1 });
        assert_eq!(without(told, "/home/ann"), kept);
        for other in ["/home/anna/x", "/srv/home/ann", "x/home/ann"] {
            assert_eq!(shortened(other, "/home/ann"), other);
        }
    }

    #[test]
    fn a_recorded_command_is_free_of_what_nobody_needs() {
        let words = ["/home/ann/loadgen", "compare", "--out", "/srv/x", "--seed", "4", "--out=y"];
        assert_eq!(command(words.map(str::to_owned).into_iter()), ["loadgen", "compare", "--seed", "4"]);
    }
}
