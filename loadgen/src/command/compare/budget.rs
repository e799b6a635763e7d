//! How many blocks there is time for, and how far they are.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{arms::Arm, cells::Profile};
use crate::{error::Interrupted, interrupt, measure::trial, plan::Plan, terminal};

/// Runs every arm once without recording it; how long that took. Finds out early what cannot work at all.
pub(super) fn rehearse(plan: &Plan, arms: &[Arm], wanted: bool) -> Result<Option<Duration>> {
    if !wanted {
        return Ok(None);
    }
    let begun = Instant::now();
    for arm in arms {
        trial::run(plan, &arm.target(plan)?)?;
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
    }
    Ok(Some(begun.elapsed()))
}

/// How many blocks fit into what is left of the budget.
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
    use crate::cli::ProfileName;

    #[test]
    fn a_slow_host_gets_fewer_blocks_but_never_fewer_than_twelve() {
        let profile = Profile::of(ProfileName::Quick).unwrap();
        let blocks = |seconds| affordable(&profile, Duration::ZERO, Some(Duration::from_secs(seconds)));
        assert_eq!((blocks(5), blocks(10), blocks(60)), (40, 21, 12));
    }
}
