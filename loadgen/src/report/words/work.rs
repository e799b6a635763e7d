//! What servers do besides echoing, and from how much work on that is what counts.

use std::time::Duration;

use crate::{
    judge::{
        break_even::{BreakEven, WorkPoint},
        primary::MARGIN,
        verdicts::Direction,
    },
    plan::units::show_duration,
    record::PlanRecord,
    text::Text,
};

/// What is asked of a server besides echoing and broadcasting: `20us of work per message`; empty if nothing is.
pub(in crate::report) fn service(plan: &PlanRecord) -> String {
    let time = |ms: f64| show_duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
    let parts = [
        plan.work.as_ref().map(|work| format!("{work} of work per message")),
        plan.handshake_ms.map(|ms| format!("handshake within {}", time(ms))),
        plan.idle_timeout_ms.map(|ms| format!("idle timeout {}", time(ms))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The same behind what is said before.
pub(in crate::report) fn with_service(text: String, plan: &PlanRecord) -> String {
    match service(plan) {
        service if service.is_empty() => text,
        service => format!("{text}, {service}"),
    }
}

/// From how much work on two servers need the same CPU time, with the amount below.
pub(in crate::report) fn break_even(pair: &BreakEven) -> Text {
    let BreakEven { first, second, points } = pair;
    let name = format!("CPU/message with work, {second}/{first}");
    let percent = MARGIN * 100.0;
    let found = |point: &WorkPoint| {
        let by = (point.ratio.min(1.0 / point.ratio) - 1.0).abs() * 100.0;
        let (lower, work) = (if point.ratio < 1.0 { second } else { first }, shown(point.work));
        match point.direction {
            Direction::Equivalent => format!("equivalent at {work}"),
            Direction::Inconclusive => format!("open at {work}"),
            Direction::Lower | Direction::Higher => format!("{lower} {by:.0} % lower at {work}"),
        }
    };
    let (Some(last), from) = (points.last(), pair.equivalent_from()) else { return Text::default() };
    match from {
        None => format!("{name}: not shown to be equivalent; {}", found(last)).into(),
        Some(0) => {
            format!("{name}: equivalent within {percent:.0} % from {} on, the least", shown(points[0].work)).into()
        }
        Some(place) => {
            let (from, below) = (shown(points[place].work), found(&points[place - 1]));
            format!("{name}: equivalent within {percent:.0} % from {from} on; {below}").into()
        }
    }
}

fn shown(work: Duration) -> String {
    if work.is_zero() { "no work".to_owned() } else { show_duration(work) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::plan_record;

    #[test]
    fn a_load_says_what_is_asked_of_the_server() {
        assert_eq!(with_service("64 connections".to_owned(), &plan_record()), "64 connections");
        let plan = PlanRecord {
            work: Some("20us".to_owned()),
            handshake_ms: Some(1_500.0),
            idle_timeout_ms: Some(30_000.0),
            ..plan_record()
        };
        let said = with_service("64 connections".to_owned(), &plan);
        assert_eq!(said, "64 connections, 20us of work per message, handshake within 1s500ms, idle timeout 30s");
    }

    /// What is said of mio and tokio at 0, 20 and 50 us.
    fn said(points: [(f64, Direction); 3]) -> String {
        let points = points.into_iter().zip([0, 20, 50]).map(|((ratio, direction), us)| WorkPoint {
            work: Duration::from_micros(us),
            ratio,
            interval: (ratio * 0.98, ratio * 1.02),
            direction,
        });
        let pair = BreakEven { first: "tokio".to_owned(), second: "mio".to_owned(), points: points.collect() };
        break_even(&pair).without_tones()
    }

    #[test]
    fn the_break_even_is_said_with_what_is_below_it() {
        use Direction::{Equivalent, Higher, Inconclusive, Lower};
        let begin = "CPU/message with work, mio/tokio:";
        let all = [(0.9, Lower), (0.97, Inconclusive), (0.99, Equivalent)];
        assert_eq!(said(all), format!("{begin} equivalent within 3 % from 50us on; open at 20us"));
        let higher = [(1.1, Higher), (1.08, Higher), (1.01, Equivalent)];
        assert_eq!(said(higher), format!("{begin} equivalent within 3 % from 50us on; tokio 7 % lower at 20us"));
        let none = [(0.9, Lower), (0.99, Equivalent), (0.95, Lower)];
        assert_eq!(said(none), format!("{begin} not shown to be equivalent; mio 5 % lower at 50us"));
        let everywhere = [(1.0, Equivalent); 3];
        assert_eq!(said(everywhere), format!("{begin} equivalent within 3 % from no work on, the least"));
    }
}
