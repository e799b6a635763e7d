//! The folder of a session: chosen before anything is measured, locked during the session, and removed if nothing was
//! recorded.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use servers::clock;

use super::format::{HOSTS, HOSTS_FOLDER, LOG, METADATA, QUANTILES, TRIALS, WINDOWS};
use crate::observe;

/// The locked file: this one is never replaced by another file of the same name. The lock ends with the process.
const LOCKED: &str = LOG;

/// Every file that a session may create.
const FILES: [&str; 7] = [METADATA, ".session.json.part", TRIALS, ".trials.csv.part", QUANTILES, WINDOWS, LOG];

/// A locked folder.
#[derive(Debug)]
pub struct SessionFolder {
    pub(super) folder: PathBuf,
    /// Name of the session.
    pub(super) id: String,
    /// Name of the host in the record.
    pub(super) host: String,
    /// Wall clock at the start, since 1970.
    pub(super) started: Duration,
    /// The start in nanoseconds of CLOCK_MONOTONIC.
    pub(super) started_ns: u64,
    _lock: File,
    /// The folder did not exist before.
    is_new: bool,
    /// Something was recorded in the folder.
    pub(super) is_used: bool,
}

impl SessionFolder {
    /// Creates and locks `folder`, which must be new or empty; by default a folder named after time and host in the
    /// workspace's results/ (without a workspace, in ./results). `host` replaces the host's own name.
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

    /// Locks the folder of an interrupted session. The reader of the record fills in `id` and `host`.
    ///
    /// # Errors
    /// If the folder holds no session, or the session is still running.
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

impl Drop for SessionFolder {
    fn drop(&mut self) {
        if !self.is_used {
            for name in FILES {
                drop(fs::remove_file(self.folder.join(name)));
            }
            drop(fs::remove_file(self.folder.join(HOSTS)));
            drop(fs::remove_dir_all(self.folder.join(HOSTS_FOLDER)));
            if self.is_new {
                drop(fs::remove_dir(&self.folder));
            }
        }
    }
}

/// Whether a session is being recorded in the folder at this moment.
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

/// Creates a folder if necessary and returns whether it is new.
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

/// A new folder of this name, with a number appended if another session began in the same second.
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

/// The name of a host as part of a folder name: only letters, digits and `-_.`, and no leading dot.
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
    // Identified by the folder: the file itself may have been replaced by a later build.
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
        let mut place = SessionFolder::claim(Some(&folder), Some("vm")).unwrap();
        assert!(is_running(&folder));
        assert!(SessionFolder::reclaim(&folder).unwrap_err().to_string().ends_with("is still running"));
        assert!(SessionFolder::claim(Some(&folder), None).unwrap_err().to_string().contains("exists already"));
        place.is_used = true;
        drop(place);
        assert!(!is_running(&folder) && SessionFolder::reclaim(&folder).is_ok());

        let unused = parent.path().join("unused");
        drop(SessionFolder::claim(Some(&unused), None).unwrap());
        assert!(!unused.exists());
        fs::create_dir(&unused).unwrap();
        drop(SessionFolder::claim(Some(&unused), None).unwrap());
        assert!(is_empty(&unused).unwrap(), "a folder that was there stays");
    }
}
