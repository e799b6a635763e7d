//! placeholder
use crate::failure::Exit;
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Known {
    /// a
    Stall,
}
/// y
/// # Errors
pub fn selftest(_k: &[Known]) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
