//! The second signal (F4). Each server handles the first one in the idiom of its library.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// The signals that ask a server to stop.
pub(crate) const SIGNALS: [i32; 2] = [SIGTERM, SIGINT];

/// Exit code after a second signal, as a shell reports a program ended by SIGINT.
const ABORTED: i32 = 130;

/// Makes a second signal end the process at once.
///
/// To be called after the server's own handler is installed: before that, the first signal ends the process by default,
/// so none is lost.
pub(crate) fn exit_on_second_signal() -> io::Result<()> {
    let signalled = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // In this order, the first signal finds the flag unset and then sets it.
        flag::register_conditional_shutdown(signal, ABORTED, Arc::clone(&signalled))?;
        flag::register(signal, Arc::clone(&signalled))?;
    }
    Ok(())
}
