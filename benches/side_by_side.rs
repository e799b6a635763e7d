//! The quick comparison of the three servers. It interprets the arguments of `cargo bench` as criterion does, and records
//! the session in results/.

mod arguments;
mod selection;

use std::{
    env,
    ffi::OsStr,
    process::{Command, ExitCode},
};

use selection::{Request, requested};

const NAME: &str = "side_by_side";

fn main() -> ExitCode {
    let mut criterion = arguments::criterion(10);
    let arguments: Vec<String> = env::args().skip(1).collect();
    match requested(&arguments, NAME) {
        Request::Nothing => {
            if arguments.iter().any(|argument| argument == "--list") {
                // Lists the comparison if the filter matches.
                criterion.bench_function(NAME, |_| ());
            }
            ExitCode::SUCCESS
        }
        Request::Test => test(),
        Request::Measure => compare(["--profile", "quick"]),
    }
}

/// Runs the comparison. An invalid measurement on a noisy host is reported but is not an error, once the session is recorded.
fn compare(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> ExitCode {
    const INVALID: i32 = 5;
    let status = Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("compare").args(arguments).status();
    match status.map(|status| status.code()) {
        Ok(Some(0 | INVALID)) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot start loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One small block, recorded in a temporary folder.
fn test() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = folder.path().join("session");
    let small = ["--profile", "smoke", "--blocks", "1", "--out"].map(OsStr::new);
    let exit = compare(small.into_iter().chain([session.as_os_str()]));
    println!("Testing {NAME}\n{}", if exit == ExitCode::SUCCESS { "Success" } else { "Failed" });
    exit
}
