//! What built the executable that measures.

use std::{path::Path, process::Command, sync::Once};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{measure::target::OWN_EXECUTABLE, terminal};

/// The build, as records name it.
#[derive(Clone, Debug)]
pub struct Build {
    /// Revision of the checkout that the executable was built from, `-dirty` if it was changed since; `None` if that is
    /// not known.
    pub git_revision: Option<String>,
    /// Why it is not.
    pub git_problem: Option<String>,
    /// Built without optimisation: every figure is flagged.
    pub debug: bool,
}

/// Looks at the build, and says so if there is a checkout whose revision cannot be told.
pub fn build() -> Build {
    static WARN: Once = Once::new();
    let revision = git_revision(Path::new(env!("CARGO_MANIFEST_DIR")));
    if let Err(problem) = &revision
        && !problem.is_expected
    {
        WARN.call_once(|| terminal::say(format_args!("warning: no git_revision is recorded: {}", problem.text)));
    }
    let git_problem = revision.as_ref().err().map(|problem| problem.text.clone());
    Build { git_revision: revision.ok(), git_problem, debug: cfg!(debug_assertions) }
}

/// The same for session.json, with compiler and checksum.
pub(super) fn facts(build: &Build) -> Value {
    json!({
        "loadgen_version": env!("CARGO_PKG_VERSION"),
        "git_revision": build.git_revision,
        "git_problem": build.git_problem,
        "debug_build": build.debug,
        "rustc": Some(env!("LOADGEN_RUSTC")).filter(|version| !version.is_empty()),
        "target": env!("LOADGEN_TARGET"),
        "opt_level": env!("LOADGEN_OPT_LEVEL"),
        "rustflags": env!("LOADGEN_RUSTFLAGS"),
        "binary_sha256": checksum(),
    })
}

/// Why there is no revision.
struct Problem {
    text: String,
    /// There is no checkout to begin with: the executable was installed, or built from an archive.
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

/// What git says about this checkout, and about no other one that the environment may name.
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

/// Of the executable as it runs, which may no longer be the one at its path.
fn checksum() -> Option<String> {
    let executable = std::fs::read(OWN_EXECUTABLE).ok()?;
    Some(Sha256::digest(executable).iter().map(|byte| format!("{byte:02x}")).collect())
}
