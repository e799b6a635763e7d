//! The build of the running executable.

use std::{fs, path::Path, process::Command, sync::Once};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Row, without_home};
use crate::terminal;

/// The identity of a build, as it stands in records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Version of the crate.
    pub loadgen_version: String,
    /// Git revision of the checkout, `-dirty` with uncommitted changes; `None` if unknown.
    pub git_revision: Option<String>,
    /// Why the revision is unknown.
    pub git_problem: Option<String>,
    /// Built without optimisation: every figure is flagged.
    pub debug_build: bool,
    /// Version of the compiler.
    pub rustc: Option<String>,
    /// Target triple.
    pub target: String,
    /// Level of optimisation.
    pub opt_level: String,
    /// Further flags of the compiler.
    pub rustflags: String,
    /// SHA-256 of the executable.
    pub binary_sha256: Option<String>,
}

/// Determines the build; warns once if there is a checkout whose revision cannot be read.
pub fn build() -> Build {
    static WARN: Once = Once::new();
    let revision = git_revision(Path::new(env!("CARGO_MANIFEST_DIR")));
    if let Err(problem) = &revision
        && !problem.is_expected
    {
        WARN.call_once(|| terminal::say(format_args!("warning: no git_revision is recorded: {}", problem.text)));
    }
    let git_problem = revision.as_ref().err().map(|problem| without_home(&problem.text));
    Build {
        loadgen_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: revision.ok(),
        git_problem,
        debug_build: cfg!(debug_assertions),
        rustc: Some(env!("LOADGEN_RUSTC")).filter(|version| !version.is_empty()).map(str::to_owned),
        target: env!("LOADGEN_TARGET").to_owned(),
        opt_level: env!("LOADGEN_OPT_LEVEL").to_owned(),
        rustflags: without_home(env!("LOADGEN_RUSTFLAGS")),
        binary_sha256: None,
    }
}

impl Build {
    /// Adds the checksum, for which the whole executable is read.
    pub(super) fn with_checksum(self) -> Self {
        Self { binary_sha256: own_checksum(), ..self }
    }

    /// Whether both are the same code: the same executable, or the same revision without changes, built alike.
    pub(crate) fn is_same_code(&self, other: &Self) -> bool {
        let how = |build: &Self| {
            let Self { git_revision, rustc, target, opt_level, rustflags, debug_build, .. } = build.clone();
            (git_revision, rustc, target, opt_level, rustflags, debug_build)
        };
        let is_clean = self.git_revision.as_ref().is_some_and(|revision| !revision.ends_with("-dirty"));
        self.binary_sha256.is_some() && self.binary_sha256 == other.binary_sha256 || is_clean && how(self) == how(other)
    }

    /// Enters revision and kind of build in a row.
    pub fn stamp(&self, row: &mut Row) {
        row.git_revision.clone_from(&self.git_revision);
        row.debug_build = self.debug_build;
    }
}

/// The reason for a missing revision.
struct Problem {
    text: String,
    /// There is no checkout: the executable was installed, or built from an archive.
    is_expected: bool,
}

fn git_revision(checkout: &Path) -> Result<String, Problem> {
    if !checkout.exists() {
        return Err(Problem { text: format!("{} is gone", checkout.display()), is_expected: true });
    }
    let revision = git(checkout, &["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(checkout, &["status", "--porcelain", "--untracked-files=no"])?;
    Ok(if changed.is_empty() { revision } else { format!("{revision}-dirty") })
}

/// The output of git for this checkout, ignoring any that the environment names.
fn git(checkout: &Path, arguments: &[&str]) -> Result<String, Problem> {
    let mut command = Command::new("git");
    command.arg("-C").arg(checkout).args(arguments).env("LC_ALL", "C");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let problem = |text: String| Problem { is_expected: text.contains("not a git repository"), text };
    let output = command.output().map_err(|error| problem(format!("git cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("nothing").trim();
    Err(problem(format!("git says {line}")))
}

/// Checksum of the running executable, which a later build may have replaced at its path.
pub fn own_checksum() -> Option<String> {
    file_checksum(Path::new("/proc/self/exe"))
}

/// SHA-256 of a file in hexadecimal digits; `None` if it cannot be read, or is too large for a program.
pub fn file_checksum(file: &Path) -> Option<String> {
    const BYTES_MAX: u64 = 1 << 30;
    fs::metadata(file).ok().filter(|file| file.len() <= BYTES_MAX)?;
    Some(Sha256::digest(fs::read(file).ok()?).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_is_the_same_executable_or_a_clean_revision_that_was_built_alike() {
        let build = |revision: Option<&str>, sha256: Option<&str>| Build {
            git_revision: revision.map(str::to_owned),
            binary_sha256: sha256.map(str::to_owned),
            ..Build::default()
        };
        let (clean, dirty) = (build(Some("1a"), Some("f0")), build(Some("1a-dirty"), Some("f1")));
        assert!(clean.is_same_code(&build(Some("1a"), Some("e0"))), "the path of the checkout is in the executable");
        assert!(dirty.is_same_code(&build(None, Some("f1"))), "the same executable");
        assert!(!dirty.is_same_code(&build(Some("1a-dirty"), Some("f2"))), "changed in different ways");
        assert!(!clean.is_same_code(&build(Some("1b"), Some("e0"))));
        assert!(!clean.is_same_code(&Build { opt_level: "s".to_owned(), binary_sha256: None, ..clean.clone() }));
        assert!(!build(None, None).is_same_code(&build(None, None)), "nothing is known of either");
    }
}
