//! The folder that a session has for itself: found before anything is measured, locked while something is, and not left
//! behind if nothing was recorded.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use servers::clock;

use super::format::{LOG, METADATA, QUANTILES, TRIALS, WINDOWS};
use crate::observe;

/// The file that is locked, since it is never replaced by another file of its name. A lock ends with the process that holds
/// it.
const LOCKED: &str = LOG;

/// The files of a session; without a reason none of them is left.
const FILES: [&str; 7] = [METADATA, ".session.json.part", TRIALS, ".trials.csv.part", QUANTILES, WINDOWS, LOG];

/// A folder that is locked.
#[derive(Debug)]
pub struct Place {
    pub(super) folder: PathBuf,
    /// The session's name.
    pub(super) id: String,
    /// As it is called in the record.
    pub(super) host: String,
    /// Since 1970.
    pub(super) started: Duration,
    /// In nanoseconds of CLOCK_MONOTONIC.
    pub(super) started_ns: u64,
    _lock: File,
    /// It was not there before.
    is_new: bool,
    /// Something is recorded in it.
    pub(super) is_used: bool,
}

impl Place {
    /// Makes the folder and locks it: `folder`, which must not exist or be empty, or one named for time and host in the
    /// workspace's results/ (without a workspace, in ./results). `host` is another name than the host's own.
    ///
    /// # Errors
    /// If the folder holds something or cannot be written.
    pub fn claim(folder: Option<&Path>, host: Option<&str>) -> Result<Self> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let host = host.map_or_else(|| host_name(&observe::host()), str::to_owned);
        let name = format!("{}-{host}", stamp(started));
        let (id, folder, is_new) = match folder {
            Some(folder) => {
                let is_new = make(folder)?;
                (name, folder.to_owned(), is_new)
            }
            None => free(&results(), &name)?,
        };
        let file = folder.join(LOCKED);
        let lock = OpenOptions::new().append(true).create_new(true).open(&file);
        let lock = match lock {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists(&folder)),
            lock => lock.with_context(|| format!("cannot write {}", file.display())),
        };
        let lock = lock.inspect_err(|_| drop(is_new.then(|| fs::remove_dir(&folder))))?;
        hold(&lock, &folder)?;
        Ok(Self { folder, id, host, started, started_ns: clock::now_ns(), _lock: lock, is_new, is_used: false })
    }

    /// Locks the folder of a session that was interrupted; `id` and `host` are filled in by who reads the record.
    ///
    /// # Errors
    /// If it is none, or if the session is still running.
    pub fn reclaim(folder: &Path) -> Result<Self> {
        let file = folder.join(LOCKED);
        let lock = OpenOptions::new().append(true).open(&file);
        let lock = lock.with_context(|| format!("cannot write {}", file.display()))?;
        hold(&lock, folder)?;
        let (id, host, started) = (String::new(), String::new(), Duration::ZERO);
        Ok(Self {
            folder: folder.to_owned(),
            id,
            host,
            started,
            started_ns: 0,
            _lock: lock,
            is_new: false,
            is_used: true,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_used {
            for name in FILES {
                drop(fs::remove_file(self.folder.join(name)));
            }
            if self.is_new {
                drop(fs::remove_dir(&self.folder));
            }
        }
    }
}

/// Whether the session of a folder is being recorded now.
pub fn is_running(folder: &Path) -> bool {
    let lock = File::open(folder.join(LOCKED)).map(|file| file.try_lock_shared());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

fn hold(lock: &File, folder: &Path) -> Result<()> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => bail!("{} is still running", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
    }
}

/// Makes a folder; says whether it was not there before.
fn make(folder: &Path) -> Result<bool> {
    let cannot = || format!("cannot make the folder {}", folder.display());
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(cannot)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_empty(folder).unwrap_or(false) => Ok(false),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(folder)),
        Err(error) => Err(error).with_context(cannot),
    }
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

fn exists(folder: &Path) -> anyhow::Error {
    let folder = folder.display();
    anyhow::anyhow!("{folder} exists already: a recorded session is never changed, so name another folder")
}

/// A folder of this name, or with a number behind it if another session has begun in the same second.
fn free(parent: &Path, name: &str) -> Result<(String, PathBuf, bool)> {
    let cannot = || format!("cannot make a folder in {}", parent.display());
    fs::create_dir_all(parent).with_context(cannot)?;
    for number in 1..=100 {
        let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        let folder = parent.join(&name);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok((name, folder, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(cannot),
        }
    }
    bail!("{}: there are a hundred sessions of this second", parent.join(name).display())
}

/// A host's name as a part of a folder's: letters, digits and -_. only, and no point at its beginning.
pub fn host_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().take(64).map(plain).collect();
    match name.trim_start_matches('.') {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

/// `2026-11-22T201500Z`.
fn stamp(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string().replace(':', "")
}

/// The workspace's results folder, or one in the current folder if this executable is installed elsewhere.
fn results() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(|folder| folder.canonicalize().ok());
    let executable = std::env::current_exe().unwrap_or_default();
    // By its folder: the file itself may have been replaced by a later build.
    let built = executable.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    match workspace {
        Some(workspace) if built.starts_with(&workspace) => workspace.join("results"),
        _ => PathBuf::from("results"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_called_by_what_may_stand_in_the_name_of_a_folder() {
        for (name, shown) in [
            ("vm", "vm"),
            ("../../etc/cron.d/x", "-..-etc-cron.d-x"),
            ("a b\u{1b}[2J", "a-b--2J"),
            ("...", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(host_name(name), shown);
        }
        assert_eq!(host_name(&"x".repeat(1000)).len(), 64);
    }

    #[test]
    fn two_sessions_of_one_second_have_a_folder_each() {
        let parent = tempfile::tempdir().unwrap();
        let names = [(); 3].map(|()| free(parent.path(), "now-vm").unwrap().0);
        assert_eq!(names, ["now-vm", "now-vm-2", "now-vm-3"]);
    }

    #[test]
    fn a_folder_is_locked_while_it_is_used_and_gone_if_it_was_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("session");
        let mut place = Place::claim(Some(&folder), Some("vm")).unwrap();
        assert!(is_running(&folder));
        assert!(Place::reclaim(&folder).unwrap_err().to_string().ends_with("is still running"));
        assert!(Place::claim(Some(&folder), None).unwrap_err().to_string().contains("exists already"));
        place.is_used = true;
        drop(place);
        assert!(!is_running(&folder) && Place::reclaim(&folder).is_ok());

        let unused = parent.path().join("unused");
        drop(Place::claim(Some(&unused), None).unwrap());
        assert!(!unused.exists());
        fs::create_dir(&unused).unwrap();
        drop(Place::claim(Some(&unused), None).unwrap());
        assert!(is_empty(&unused).unwrap(), "a folder that was there stays");
    }
}
