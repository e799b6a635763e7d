//! What built the executable that measures.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The build, as records name it.
#[derive(Clone, Debug)]
pub struct Build {
    /// Revision of the checkout that the executable was built from, `-dirty` if it was changed since; `None` if it is gone.
    pub git_revision: Option<String>,
    /// Built without optimisation: every figure is flagged.
    pub debug: bool,
}

/// Looks at the build once.
pub fn build() -> Build {
    Build { git_revision: git_revision(), debug: cfg!(debug_assertions) }
}

/// The same for session.json, with compiler and checksum.
pub(super) fn facts(build: &Build) -> Value {
    json!({
        "loadgen_version": env!("CARGO_PKG_VERSION"),
        "git_revision": build.git_revision,
        "debug_build": build.debug,
        "rustc": env!("LOADGEN_RUSTC"),
        "target": env!("LOADGEN_TARGET"),
        "opt_level": env!("LOADGEN_OPT_LEVEL"),
        "rustflags": env!("LOADGEN_RUSTFLAGS"),
        "binary_sha256": checksum(),
    })
}

fn git_revision() -> Option<String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(checkout).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { revision } else { format!("{revision}-dirty") })
}

fn checksum() -> Option<String> {
    let executable = std::fs::read(std::env::current_exe().ok()?).ok()?;
    Some(Sha256::digest(executable).iter().map(|byte| format!("{byte:02x}")).collect())
}
