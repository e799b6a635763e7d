//! The number of blocks that the time allows, and their progress.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{arms::Arm, cells::Profile};
use crate::{error::Interrupted, interrupt, measure::trial, plan::Plan, terminal};

/// Runs every arm once without recording it, so that an arm that cannot work at all is found early; returns the time that
/// it took.
///
/// # Errors
/// Those of the trials, and [`Interrupted`].
pub(super) fn rehearse(plan: &Plan, arms: &[Arm]) -> Result<Duration> {
    let begun = Instant::now();
    for arm in arms {
        trial::run(plan, &arm.target(plan)?)?;
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
    }
    Ok(begun.elapsed())
}

/// The number of blocks that fit into the rest of the budget.
pub(super) fn affordable(profile: &Profile, elapsed: Duration, block: Option<Duration>) -> u64 {
    /// Blocks take a little longer than the first one now and then.
    const MARGIN: f64 = 1.03;
    let Some(block) = block else { return profile.blocks };
    let left = profile.budget.saturating_sub(elapsed).as_secs_f64();
    ((left / (block.as_secs_f64() * MARGIN)) as u64).clamp(profile.blocks_min, profile.blocks)
}

/// Drawn by this thread between trials, and on a terminal only: it costs no measured time.
pub(super) fn progress(blocks: u64) -> ProgressBar {
    let target =
        if terminal::is_watched() { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} block {pos}/{len} {msg:8} {eta} left");
    // The template is a constant; if it were wrong the default would do.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(blocks), target).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::compare::cells::QUICK;

    #[test]
    fn a_slow_host_gets_fewer_blocks_but_never_fewer_than_twelve() {
        let blocks = |seconds| affordable(&QUICK, Duration::ZERO, Some(Duration::from_secs(seconds)));
        assert_eq!((blocks(5), blocks(10), blocks(60)), (40, 21, 12));
    }
}
