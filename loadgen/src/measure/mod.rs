//! One trial: a server is started, loaded and watched, and the trial itself is assessed.

pub(crate) mod calibration;
mod engine_thread;
pub(crate) mod ladder;
pub(crate) mod launch;
pub(crate) mod receive_lag;
pub(crate) mod recording;
pub(crate) mod retry;
mod separate;
pub(crate) mod syscalls;
pub mod target;
pub(crate) mod trial;
pub(crate) mod validity;
