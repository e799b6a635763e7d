//! The number of blocks that a verdict needs and the time allows, and their progress.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    arms::Arm,
    cells::PROBES,
    order::{square_blocks, whole_squares},
    profile::Profile,
};
use crate::{error::Interrupted, interrupt, judge::primary::blocks_needed, measure::trial, plan::Plan, terminal};

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

/// The fewest blocks with which any primary claim can come out, in whole squares.
pub(super) fn least_blocks(arms: &[Arm]) -> u64 {
    let contestants = arms.iter().filter(|arm| !arm.is_control()).count();
    whole_squares(blocks_needed(contestants), arms.len())
}

/// The number of blocks to run if so many are asked for: the next whole squares, which is said.
///
/// # Errors
/// If no verdict could come out.
pub(super) fn requested(blocks: u64, arms: &[Arm]) -> Result<u64> {
    let (least, whole) = (least_blocks(arms), whole_squares(blocks, arms.len()));
    let asked = if blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") };
    ensure!(whole >= least, "{asked}: too few for any verdict, {least} or more are needed");
    if whole != blocks {
        terminal::say(format_args!(
            "{whole} blocks instead of {blocks}: in a multiple of {} each of the {} arms has every place equally often",
            square_blocks(arms.len()),
            arms.len()
        ));
    }
    Ok(whole)
}

/// The whole squares that fit into the rest of the budget if a block takes so long, but enough for a verdict.
pub(super) fn affordable(profile: &Profile, arms: &[Arm], elapsed: Duration, block: Duration) -> u64 {
    /// Blocks take a little longer than the first one now and then.
    const MARGIN: f64 = 1.03;
    let left = profile.budget.saturating_sub(elapsed);
    let fitting = left.div_duration_f64((block + PROBES).mul_f64(MARGIN)) as u64;
    let (least, most) = (least_blocks(arms), whole_squares(profile.blocks, arms.len()));
    (fitting - fitting % square_blocks(arms.len())).clamp(least, most.max(least))
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
    use crate::command::compare::{arms::arms, profile::QUICK};

    fn of(servers: &str) -> Vec<Arm> {
        arms(&servers.split(',').map(str::to_owned).collect::<Vec<_>>(), &[])
    }

    #[test]
    fn a_slow_host_gets_fewer_squares_but_never_too_few_for_a_verdict() {
        let blocks =
            |servers: &str, ms: u64| affordable(&QUICK, &of(servers), Duration::ZERO, Duration::from_millis(ms));
        assert_eq!(blocks("mio,threads,tokio", 5_000), 40);
        assert_eq!(blocks("mio,threads,tokio", 9_690), 20, "21 would fit, and are no whole squares");
        assert_eq!(blocks("mio,threads,tokio", 60_000), 12);
        assert_eq!(blocks("mio,threads,tokio,epoll", 60_000), 20, "more pairs need more blocks");
        assert_eq!(blocks("mio,tokio", 2_000), 48);
        assert_eq!(blocks("mio,threads,tokio,epoll", 2_000), 50, "48 is no multiple of ten");
    }

    #[test]
    fn the_fewest_blocks_are_those_that_a_verdict_needs_in_whole_squares() {
        let servers = ["mio,mio", "mio,tokio", "mio,threads,tokio", "mio,threads,tokio,epoll"];
        for arms in servers.map(of) {
            let contestants = arms.iter().filter(|arm| !arm.is_control()).count();
            let (least, square) = (least_blocks(&arms), square_blocks(arms.len()));
            assert!(least >= blocks_needed(contestants) && least % square == 0, "{least} of {square}");
            assert!(least - square < blocks_needed(contestants), "{least} of {square}");
        }
        assert_eq!(servers.map(|servers| least_blocks(&of(servers))), [8, 12, 12, 20]);
    }

    #[test]
    fn too_few_blocks_are_refused_with_the_number_that_is_needed_and_others_become_whole_squares() {
        let arms = of("mio,threads,tokio");
        let refused = |blocks| requested(blocks, &arms).unwrap_err().to_string();
        assert_eq!(refused(6), "6 blocks: too few for any verdict, 12 or more are needed");
        assert_eq!(refused(1), "1 block: too few for any verdict, 12 or more are needed");
        assert_eq!([11, 12, 13, 40].map(|blocks| requested(blocks, &arms).unwrap()), [12, 12, 16, 40]);
    }
}
