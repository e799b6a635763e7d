//! Ctrl-C: the first one stops and keeps completed results, the second one aborts.
//!
//! A process of others that stands still at our wish is continued before this one ends by any signal that can be handled.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use procfs::process::Process;
use rustix::{
    process::{Pid, Signal, kill_process, kill_process_group},
    thread::sched_yield,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag,
    low_level::{self, pipe},
};

/// Exit code of an interrupted command; completed trials stay recorded.
pub(crate) const EXIT_CODE: u8 = 130;

struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Becomes readable with the first signal and stays so, since it is never read.
    wake: UnixStream,
    /// Its other end.
    waker: UnixStream,
}

/// The interrupt was another host's.
static RELAYED: AtomicBool = AtomicBool::new(false);

static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// The process groups that were started and have not ended; 0 marks a free slot. There are more slots than groups at any
/// time.
static GROUPS: [AtomicI32; 16] = [const { AtomicI32::new(0) }; 16];

/// The processes that were stopped here and are to be continued; 0 marks a free slot.
static STOPPED: [AtomicI32; STOPPED_MAX] = [const { AtomicI32::new(0) }; STOPPED_MAX];

/// A process is being stopped at this moment.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// This process is about to end or to be stopped itself, and stops no other any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The most processes that may stand still at a time.
pub(crate) const STOPPED_MAX: usize = 256;

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
                continue_stopped();
                kill_groups();
            }
        };
        // SAFETY: the action reads atomics and makes system calls, which is all that a signal handler may do.
        unsafe { low_level::register(signal, end_groups)? };
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&requested))?;
        flag::register(signal, Arc::clone(&requested))?;
        pipe::register(signal, write.try_clone()?)?;
    }
    register_other_ends()?;
    // If installed twice, the first handler keeps working and the second one is never called.
    drop(INTERRUPT.set(Interrupt { requested, wake, waker: write }));
    Ok(())
}

/// Does here what a signal on another host did there: what is going on ends, and nothing further is sent.
pub(crate) fn relay() {
    let Some(interrupt) = INTERRUPT.get() else { return };
    if !interrupt.requested.swap(true, Ordering::SeqCst) {
        RELAYED.store(true, Ordering::SeqCst);
        // A full pipe is readable as well.
        let _ = (&interrupt.waker).write(&[0]);
    }
}

/// Whether a signal to this process has arrived, and not one to another host that was relayed.
pub fn signalled() -> bool {
    requested() && !RELAYED.load(Ordering::SeqCst)
}

/// The other signals from a terminal end or stop this process as ever, but not before what stands still goes on.
fn register_other_ends() -> io::Result<()> {
    // Under nohup the signal stays ignored.
    let ignored = Process::myself().and_then(|own| own.status()).map_or(0, |status| status.sigign);
    for signal in [SIGHUP, SIGQUIT, SIGTSTP] {
        if ignored >> (signal - 1) & 1 == 1 {
            continue;
        }
        let end = move || {
            continue_stopped();
            // The table of signal-hook knows these.
            let _ = low_level::emulate_default_handler(signal);
            // It was only stopped, and goes on.
            ENDING.store(false, Ordering::SeqCst);
        };
        // SAFETY: the action reads atomics and makes system calls, which is all that a signal handler may do.
        unsafe { low_level::register(signal, end)? };
    }
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

/// Stops a process by `stop`, so that it is continued if this process ends before [`continues`] is called. Does nothing if
/// there is no slot left, or if this process is ending.
pub(crate) fn stops<T>(process: Pid, stop: impl FnOnce() -> T) -> Option<T> {
    let process = process.as_raw_nonzero().get();
    let taken = |slot: &AtomicI32| slot.compare_exchange(0, process, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if !STOPPED.iter().any(taken) {
        return None;
    }
    // Either the handler sees that it has to wait, or this sees that it may not stop anything any more.
    STOPPING.store(true, Ordering::SeqCst);
    let stopped = (!ENDING.load(Ordering::SeqCst)).then(stop);
    STOPPING.store(false, Ordering::SeqCst);
    stopped
}

/// Forgets a process that has been continued.
pub(crate) fn continues(process: Pid) {
    for slot in &STOPPED {
        let _ = slot.compare_exchange(process.as_raw_nonzero().get(), 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Called by handlers only.
fn continue_stopped() {
    /// A bound for a handler that has interrupted the very thread it waits for, which then does not go on.
    const PATIENCE: usize = 1_000;
    ENDING.store(true, Ordering::SeqCst);
    for _ in 0..PATIENCE {
        if !STOPPING.load(Ordering::SeqCst) {
            break;
        }
        sched_yield();
    }
    for process in STOPPED.iter().filter_map(|slot| Pid::from_raw(slot.load(Ordering::SeqCst))) {
        // It may have been killed meanwhile.
        let _ = kill_process(process, Signal::CONT);
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
