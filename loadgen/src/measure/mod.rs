//! One trial: a server is started, loaded and watched, and the trial itself is assessed.

pub mod calibration;
mod engine_thread;
pub mod launch;
pub mod recording;
pub mod syscalls;
pub mod target;
pub mod trial;
pub mod validity;
