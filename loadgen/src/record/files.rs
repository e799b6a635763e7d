//! Files that only grow, and by whole trials: what a full disk leaves of one is cut off again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The whole of a file. What is none, such as a device, might never end.
///
/// # Errors
/// If there is no such file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    fs::read(path)
}

/// A file that is appended to.
#[derive(Debug)]
struct Growing {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Several of them, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Files(Vec<Growing>);

impl Files {
    /// Opens files of a folder, which are made if they are not there.
    ///
    /// # Errors
    /// If one of them cannot be written; it is named.
    pub(super) fn open(folder: &Path, names: &[&str]) -> Result<Self> {
        let open = |name: &&str| {
            let path = folder.join(name);
            let file = OpenOptions::new().append(true).create(true).open(&path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            let bytes = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
            Ok(Growing { path, file, bytes })
        };
        names.iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// Adds a text to each of them, to all or to none.
    ///
    /// # Errors
    /// If one of them cannot be written; it is named.
    pub(super) fn append(&mut self, texts: &[Vec<u8>]) -> Result<()> {
        let written = self.0.iter().zip(texts).try_for_each(|(growing, text)| {
            let written = (&growing.file).write_all(text);
            written.with_context(|| format!("cannot write {}", growing.path.display()))
        });
        for (growing, text) in self.0.iter_mut().zip(texts) {
            match written {
                Ok(()) => growing.bytes += text.len() as u64,
                // What cannot be cut off now is once the session is gone on with.
                Err(_) => drop(growing.file.set_len(growing.bytes)),
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_leaves_whole_trials_only_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        // A disk that is always full.
        std::os::unix::fs::symlink("/dev/full", folder.path().join("b")).unwrap();
        let mut files = Files::open(folder.path(), &["a", "c"]).unwrap();
        files.append(&[b"1\n".to_vec(), b"1\n".to_vec()]).unwrap();
        let mut files = Files::open(folder.path(), &["a", "b", "c"]).unwrap();
        let error = files.append(&[b"2\n".to_vec(), b"2\n".to_vec(), b"2\n".to_vec()]).unwrap_err();
        assert!(format!("{error:#}").contains("/b: No space left"), "{error:#}");
        for name in ["a", "c"] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "1\n");
        }
    }
}
