//! How long a plan leaves its connections silent, so that one whose server would close them for it is refused.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{Arrivals, Load, Plan, Rate, units::show_duration};

/// How long the first connection waits for each of the others to be opened.
const RAMP: Duration = Duration::from_micros(100);

/// How long a burst of the drain window takes, without work.
const BURST: Duration = Duration::from_millis(100);

/// How much longer than its mean a gap between two messages may be that are to come at constant intervals.
const LATENESS: f64 = 1.5;

/// The number of connections that the idle timeout may be expected to close in a trial by the bad luck of a Poisson process.
const CLOSED_MAX: f64 = 0.001;

/// Refuses a plan that would have its own connections closed by the idle timeout.
///
/// # Errors
/// One line that names the cause and the options that avoid it.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let Some(timeout) = plan.service.idle_timeout.filter(|_| plan.connections > 0) else { return Ok(()) };
    let idle = idle(plan);
    ensure!(
        idle < timeout,
        "connections are silent for up to {} before the load, and --idle-timeout {} closes them: ask for a longer \
         --idle-timeout or a shorter --idle",
        rounded(idle),
        show_duration(timeout)
    );
    if let Load::Open { rate, arrivals } = &plan.load
        && !plan.windows.load.is_zero()
    {
        let Some(gap) = longest_gap(plan, rate, *arrivals) else {
            bail!(
                "--rate {rate} is 0 for a while, and --idle-timeout closes silent connections: ask for a --rate above 0"
            )
        };
        ensure!(
            idle + gap < timeout,
            "with --rate {rate} and {} --connections one may be silent for {}, and --idle-timeout {} closes it: ask for a \
             longer --idle-timeout, a higher --rate or fewer --connections",
            plan.connections,
            rounded(idle + gap),
            show_duration(timeout)
        );
    }
    let drain = (BURST + plan.drain_work()).saturating_mul(plan.windows.drain_bursts);
    ensure!(
        drain < timeout,
        "connections are silent for about {} while others are drained, and --idle-timeout {} closes them: ask for a \
         longer --idle-timeout, or leave --drain out",
        rounded(drain),
        show_duration(timeout)
    );
    Ok(())
}

/// From the first connection to the end of the idle window, which waits for a tick to begin.
fn idle(plan: &Plan) -> Duration {
    let (idle, _) = plan.idle_ticks();
    let alignment = if idle.is_zero() { Duration::ZERO } else { plan.status_interval.unwrap_or_default() * 2 };
    RAMP * plan.connections + idle + alignment
}

/// The longest gap between two messages of one connection that is to be expected; `None` if it has no limit.
fn longest_gap(plan: &Plan, rate: &Rate, arrivals: Arrivals) -> Option<Duration> {
    let lowest_per_sec = rate.extremes_per_sec().0;
    if lowest_per_sec <= 0.0 {
        return None;
    }
    let mean = f64::from(plan.connections) / lowest_per_sec;
    let times = match arrivals {
        Arrivals::Constant => LATENESS,
        Arrivals::Poisson => {
            let seconds = (plan.windows.warmup + plan.windows.load).as_secs_f64();
            let gaps = rate.mean_per_sec() * seconds + f64::from(plan.connections);
            (gaps / CLOSED_MAX).ln()
        }
    };
    Duration::try_from_secs_f64(mean * times).ok()
}

/// For reading.
fn rounded(duration: Duration) -> String {
    show_duration(Duration::from_millis(duration.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use protocol::Service;

    use super::*;
    use crate::plan::{Cohorts, HostArgs, PacingChoice, Payloads, PlacementKind, Shape, Windows, prepare};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// 20 connections with 10 messages/s each, for 10 s.
    fn plan(arrivals: Arrivals, idle_timeout: Option<Duration>) -> Plan {
        let (idle, warmup, load, peak) = (seconds(0), seconds(0), seconds(10), seconds(0));
        let shape = Shape {
            connections: 20,
            load: Load::Open { rate: Rate::Steady(200.0), arrivals },
            payloads: Payloads::one(64),
            windows: Windows { idle, warmup, load, peak, drain_bursts: 0 },
            status_interval: Some(seconds(1)),
            cohorts: Cohorts::default(),
            service: Service::default(),
        };
        let plan = prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap();
        Plan { service: Service { idle_timeout, ..plan.service }, ..plan }
    }

    fn refusal(change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = plan(Arrivals::Constant, Some(seconds(5)));
        check(&plan).unwrap();
        change(&mut plan);
        let reason = check(&plan).unwrap_err().to_string();
        plan.service.idle_timeout = None;
        check(&plan).unwrap();
        reason
    }

    #[test]
    fn an_idle_window_that_the_server_would_not_let_pass_is_refused() {
        // The window of 3 s begins up to two intervals after the connections.
        let reason = refusal(|plan| plan.windows.idle = seconds(3));
        assert!(reason.contains("silent for up to 5s") && reason.contains("a shorter --idle"), "{reason}");
        let mut shorter = plan(Arrivals::Constant, Some(seconds(5)));
        shorter.windows.idle = seconds(2);
        check(&shorter).unwrap();
    }

    #[test]
    fn a_rate_that_leaves_a_connection_silent_for_too_long_is_refused() {
        let rate = |rate| move |plan: &mut Plan| plan.load = Load::Open { rate, arrivals: Arrivals::Constant };
        let reason = refusal(rate(Rate::Steady(5.0)));
        assert!(reason.contains("silent for 6s") && reason.contains("a higher --rate"), "{reason}");
        let reason = refusal(rate(Rate::Steps(vec![1_000.0, 5.0])));
        assert!(reason.contains("silent for 6s"), "the lowest step counts: {reason}");
        let reason = refusal(rate(Rate::Ramp { from: 0.0, to: 1e3 }));
        assert!(reason.contains("--rate above 0"), "{reason}");
        let mut watched = plan(Arrivals::Constant, Some(seconds(5)));
        rate(Rate::Steady(5.0))(&mut watched);
        watched.windows.load = Duration::ZERO;
        check(&watched).unwrap();
    }

    #[test]
    fn gaps_of_a_poisson_process_are_longer_than_those_of_a_metronome() {
        // 2,020 gaps of 0.1 s: one in a thousand trials has one of 1.45 s.
        let poisson = |ms| check(&plan(Arrivals::Poisson, Some(Duration::from_millis(ms))));
        assert!(poisson(1_400).is_err() && poisson(1_500).is_ok());
        let constant = |ms| check(&plan(Arrivals::Constant, Some(Duration::from_millis(ms))));
        assert!(constant(140).is_err() && constant(200).is_ok());
    }

    #[test]
    fn the_drain_leaves_the_measured_connections_silent() {
        let reason = refusal(|plan| plan.windows.drain_bursts = 50);
        assert!(reason.contains("silent for about 5s") && reason.contains("--drain"), "{reason}");
    }
}
