//! Tells the executable what built it, for its records.

use std::{env, process::Command};

fn main() {
    let version = env::var("RUSTC").ok().and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let rustflags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    println!("cargo:rustc-env=LOADGEN_RUSTC={}", version.unwrap_or_default());
    println!("cargo:rustc-env=LOADGEN_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo:rustc-env=LOADGEN_OPT_LEVEL={}", env::var("OPT_LEVEL").unwrap_or_default());
    println!("cargo:rustc-env=LOADGEN_RUSTFLAGS={rustflags}");
    println!("cargo:rerun-if-changed=build.rs");
}
