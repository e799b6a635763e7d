//! One trial: a server is started, loaded and watched, and the trial itself is assessed.

pub mod calibration;
mod engine_thread;
pub(crate) mod ladder;
pub mod launch;
pub mod recording;
pub(crate) mod retry;
pub mod syscalls;
pub mod target;
pub mod trial;
pub mod validity;
