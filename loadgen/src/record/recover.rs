//! Remains of a crash in a session's files: incomplete lines, and lines of a trial that has no row in trials.csv.

use std::{collections::BTreeSet, fs::OpenOptions, io::Read, path::Path};

use anyhow::{Context, Result};
use memchr::memrchr;

/// Cuts a file after its last complete line that belongs to one of these trials, or to no trial at all; returns whether
/// anything was cut off.
///
/// # Errors
/// If the file cannot be read or written; the error names it.
pub(super) fn cut(file: &Path, trials: &BTreeSet<u64>) -> Result<bool> {
    let mut open = OpenOptions::new();
    let opened = open.read(true).write(true).open(file).with_context(|| format!("cannot write {}", file.display()));
    let (mut opened, mut bytes) = (opened?, Vec::new());
    opened.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    let whole = whole_bytes(&bytes, trials);
    if whole == bytes.len() {
        return Ok(false);
    }
    opened.set_len(whole as u64).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(true)
}

/// Trials are appended, so lines of a trial without a row can only be at the end.
fn whole_bytes(bytes: &[u8], trials: &BTreeSet<u64>) -> usize {
    let mut end = memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    while end > 0 {
        let start = memrchr(b'\n', &bytes[..end - 1]).map_or(0, |at| at + 1);
        match owner(&bytes[start..end]) {
            Some(trial) if !trials.contains(&trial) => end = start,
            _ => break,
        }
    }
    end
}

/// The trial to which a line of a table or of the log belongs.
fn owner(line: &[u8]) -> Option<u64> {
    let line = line.strip_prefix(b"Tag=").unwrap_or(line);
    let digits = line.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&line[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_is_cut_off_and_all_before_it_stays() {
        let trials = BTreeSet::from([1, 2]);
        let kept = |text: &str| text[..whole_bytes(text.as_bytes(), &trials)].to_owned();
        let table = "trial_id,second\n1,0\n2,0\n2,1\n";
        assert_eq!(kept(table), table);
        assert_eq!(kept(&format!("{table}3,0\n3,1\n3,")), table);
        assert_eq!(kept(&format!("{table}2,2")), table, "a piece of a line");
        assert_eq!(kept("trial_id,second\n3,0\n"), "trial_id,second\n");
        assert_eq!(kept("trial_i"), "");
        let log = "#[a]\n\"StartTimestamp\"\nTag=2.response,0.1,0.2,3,HIST\n";
        assert_eq!(kept(&format!("{log}Tag=3.response,0.1,0.2,3,HIST\nTag=3.serv")), log);
    }
}
