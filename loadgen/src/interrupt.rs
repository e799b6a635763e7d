//! Ctrl-C: the first one asks to stop and keep what there is, the second one aborts.

use std::{
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};

/// Exit code of an interrupted run (what there is stays recorded).
pub const EXIT_CODE: u8 = 130;

struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Becomes readable with the first signal and stays so, since nobody reads it.
    wake: UnixStream,
}

static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// Takes SIGINT and SIGTERM over for the rest of the process.
///
/// # Errors
/// If the kernel refuses a socket pair or a handler.
pub fn install() -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    let (wake, write) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
        pipe::register(signal, write.try_clone()?)?;
    }
    // Installed twice, the first one keeps working and the second one is never asked.
    drop(INTERRUPT.set(Interrupt { asked, wake }));
    Ok(())
}

/// Whether a signal has come.
pub fn asked() -> bool {
    INTERRUPT.get().is_some_and(|interrupt| interrupt.asked.load(Ordering::Relaxed))
}

/// A descriptor that becomes readable when a signal comes, for a poll; `None` if nothing was installed.
pub(crate) fn wake_fd() -> Option<RawFd> {
    INTERRUPT.get().map(|interrupt| interrupt.wake.as_raw_fd())
}
