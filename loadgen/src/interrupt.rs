//! Ctrl-C: the first one stops and keeps completed results, the second one aborts.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    low_level::{self, pipe},
};

/// Exit code of an interrupted command; completed trials stay recorded.
pub(crate) const EXIT_CODE: u8 = 130;

struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Becomes readable with the first signal and stays so, since it is never read.
    wake: UnixStream,
}

static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// The process groups that were started and have not ended; 0 marks a free slot. There are more slots than groups at any
/// time.
static GROUPS: [AtomicI32; 16] = [const { AtomicI32::new(0) }; 16];

/// Installs handlers of SIGINT and SIGTERM for the rest of the process.
///
/// # Errors
/// If the kernel refuses a socket pair or a handler.
pub fn install() -> io::Result<()> {
    let requested = Arc::new(AtomicBool::new(false));
    let (wake, write) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        let abort = Arc::clone(&requested);
        let end_groups = move || {
            if abort.load(Ordering::Relaxed) {
                kill_groups();
            }
        };
        // SAFETY: the action reads atomics and makes system calls, which is all that a signal handler may do.
        unsafe { low_level::register(signal, end_groups)? };
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&requested))?;
        flag::register(signal, Arc::clone(&requested))?;
        pipe::register(signal, write.try_clone()?)?;
    }
    // If installed twice, the first handler keeps working and the second one is never called.
    drop(INTERRUPT.set(Interrupt { requested, wake }));
    Ok(())
}

/// Whether a signal has arrived.
pub fn requested() -> bool {
    INTERRUPT.get().is_some_and(|interrupt| interrupt.requested.load(Ordering::Relaxed))
}

/// Makes a second signal kill this group as well: otherwise only the direct child dies with this process, and not the
/// child's own children.
pub(crate) fn take_along(group: Pid) {
    let group = group.as_raw_nonzero().get();
    let taken = |slot: &&AtomicI32| slot.compare_exchange(0, group, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    // Without a free slot, the direct child still ends with this process.
    let _ = GROUPS.iter().find(taken);
}

/// Forgets a group that has ended, since its ID may be reused.
pub(crate) fn has_ended(group: Pid) {
    for slot in &GROUPS {
        let _ = slot.compare_exchange(group.as_raw_nonzero().get(), 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn kill_groups() {
    for group in GROUPS.iter().filter_map(|slot| Pid::from_raw(slot.load(Ordering::Relaxed))) {
        // The group may just have ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A descriptor that becomes readable when a signal arrives, for a poll; `None` if no handler is installed.
pub(crate) fn wake_fd() -> Option<RawFd> {
    INTERRUPT.get().map(|interrupt| interrupt.wake.as_raw_fd())
}

/// The same descriptor, borrowed.
pub(crate) fn wake() -> Option<BorrowedFd<'static>> {
    INTERRUPT.get().map(|interrupt| interrupt.wake.as_fd())
}
