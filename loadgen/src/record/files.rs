//! Files that only grow, by whole trials: the remains of one that did not fit on the disk are cut off again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Reads a whole regular file. Others, such as devices, might never end.
///
/// # Errors
/// If it cannot be read or is not a regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    fs::read(path)
}

/// One file.
#[derive(Debug)]
struct Growing {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Several growing files, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Files(Vec<Growing>);

impl Files {
    /// Opens files of a folder, created if necessary.
    ///
    /// # Errors
    /// If one of the files cannot be written; the error names it.
    pub(super) fn open(folder: &Path, names: &[impl AsRef<Path>]) -> Result<Self> {
        let open = |path: PathBuf| {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            let bytes = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
            Ok(Growing { path, file, bytes })
        };
        names.iter().map(|name| open(folder.join(name))).collect::<Result<_>>().map(Self)
    }

    /// Appends a text to each file, or to none if one of them fails.
    ///
    /// # Errors
    /// If one of the files cannot be written; the error names it.
    pub(super) fn append(&mut self, texts: &[Vec<u8>]) -> Result<()> {
        let written = self.0.iter().zip(texts).try_for_each(|(growing, text)| {
            let written = (&growing.file).write_all(text);
            written.with_context(|| format!("cannot write {}", growing.path.display()))
        });
        for (growing, text) in self.0.iter_mut().zip(texts) {
            match written {
                Ok(()) => growing.bytes += text.len() as u64,
                // Remains that cannot be cut off now will be when the session is resumed.
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
        // This device is always full.
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
