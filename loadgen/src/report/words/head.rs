//! Configuration, validity and control, line by line.

use std::time::Duration;

use super::{reasons, work::with_service};
use crate::{
    judge::{
        power::{Power, Resolution, resolves},
        primary::MARGIN,
        shift::{Crossing, Shift},
        verdicts::ControlResult,
    },
    plan::{
        Pacing,
        units::{show_count, show_duration},
    },
    record::{EndedBy, PilotEntry, PlanRecord, State},
    report::model::{Control, Head, Origin, ReasonCount, Silent, SilentArm},
    text::{Text, Tone},
};

/// How many kinds of flags are listed.
const FLAGS_MAX: usize = 3;

/// Configuration and validity, without ends of lines.
pub(in crate::report) fn lines(head: &Head) -> Vec<Text> {
    let mut lines = configuration(head.plan.as_ref());
    lines.extend(generators(&head.hosts));
    lines.extend(pilot(&head.pilot));
    lines.extend(validity(head));
    lines.extend(head.invalid_reasons.iter().map(|count| reason("invalid", count)));
    lines.extend(head.flags.iter().take(FLAGS_MAX).map(|count| reason("flag", count)));
    lines
}

fn configuration(plan: Option<&PlanRecord>) -> Vec<Text> {
    let Some(plan) = plan else { return vec!["configuration unknown".into()] };
    let load = match (&plan.rate_per_sec, plan.arrivals, plan.depth) {
        (Some(rate), Some(arrivals), _) => format!("{rate} messages/s, {}", arrivals.name()),
        (.., depth) => format!("closed loop of depth {}", depth.unwrap_or_default()),
    };
    let interval = plan.status_interval_ms.unwrap_or_default();
    let status = match Duration::try_from_secs_f64(interval / 1e3) {
        Ok(interval) if !interval.is_zero() => format!("every {}", show_duration(interval)),
        _ => "none".to_owned(),
    };
    let client = if plan.pacing == Pacing::Spin { "spins" } else { "sleeps" };
    vec![
        with_service(
            format!("{} connections, {} messages, {load}; status {status}", plan.connections, plan.payloads),
            plan,
        )
        .into(),
        format!(
            "{} placement: server on CPUs {:?}, as many workers; the client {client}",
            plan.placement.name(),
            plan.server_cpus,
        )
        .into(),
    ]
}

/// The hosts that carried the load, if it was not this one.
fn generators(hosts: &[String]) -> Option<Text> {
    /// So many names fit a line.
    const NAMED: usize = 3;
    let named = hosts.iter().take(NAMED).map(|host| host.chars().take(15).collect::<String>());
    let named = named.collect::<Vec<_>>().join(", ");
    let others = if hosts.len() > NAMED { format!(" and {} more", hosts.len() - NAMED) } else { String::new() };
    (!hosts.is_empty()).then(|| format!("generators on other hosts: {named}{others}").into())
}

/// The rates that the servers sustained, which the loads are fractions of.
fn pilot(pilot: &[PilotEntry]) -> Vec<Text> {
    let found = |entry: &PilotEntry| {
        let by_server = matches!(entry.ended_by, EndedBy::Saturated | EndedBy::Failed);
        format!("{} {}{}", entry.arm, if by_server { "" } else { ">= " }, show_count(entry.rate_per_sec))
    };
    let works: Vec<&Option<String>> =
        pilot.chunk_by(|one, other| one.work == other.work).map(|it| &it[0].work).collect();
    let lines = |work: &Option<String>| {
        let with = work.as_ref().map_or_else(String::new, |work| format!(" with {work} of work"));
        let found: Vec<String> = pilot.iter().filter(|entry| entry.work == *work).map(found).collect();
        [
            format!("sustained in the pilot{with}, messages/s (>=: limited by the generator):").into(),
            format!("  {}", found.join(", ")).into(),
        ]
    };
    works.into_iter().flat_map(lines).collect()
}

fn validity(head: &Head) -> Vec<Text> {
    let state = match head.state {
        State::Complete => None,
        State::Running => Some(partial().with(": still running")),
        State::Partial => Some(partial().with(": interrupted")),
    };
    let Head { trials, blocks, valid, flagged, invalid, failed, saturated, unclear, .. } = head;
    let lines = [
        format!("validity: {trials} trials in {blocks} blocks: {valid} valid, {flagged} flagged, {invalid} invalid"),
        "(flagged trials count; blocks with an invalid one are repeated if time allows)".to_owned(),
        format!("outcomes: {failed} failed, {saturated} saturated, {unclear} unclear (excluded)"),
    ];
    state.into_iter().chain(lines.map(Text::from)).collect()
}

pub(super) fn partial() -> Text {
    Text::toned("PARTIAL", Tone::Warning)
}

fn reason(word: &str, count: &ReasonCount) -> Text {
    format!("  {word} in {}: {}", count.trials, reasons::title(count.kind)).into()
}

/// The result of the control, with its widest interval.
pub(in crate::report) fn control(control: &Control) -> Text {
    let found = match control.result {
        ControlResult::Missing => return "no control".into(),
        ControlResult::Passed => "no difference found".into(),
        ControlResult::Differs => Text::toned("DIFFERENT", Tone::Bad),
    };
    let Some((pair, comparison)) = control.widest.as_ref().and_then(|pair| Some((pair, pair.comparison()?))) else {
        return "no control".into();
    };
    let (low, high) = comparison.interval;
    Text::from(format!("{} against itself: ", pair.first))
        .with(found)
        .with(format!(" (ratio of {}: {low:.2} to {high:.2})", pair.metric.name))
}

/// How small a difference could have been found, in two sentences.
pub(in crate::report) fn power(powers: &[Power]) -> Vec<Text> {
    if powers.is_empty() {
        return Vec::new();
    }
    let found = |power: &Power| format!("{} {:.0} %", short(power), power.of_bias * 100.0);
    let found: Vec<String> = powers.iter().map(found).collect();
    let resolution = match resolves(powers) {
        Some(Resolution { quantile, lower_by }) => {
            // A figure of 0 would claim too much.
            let percent = (lower_by * 100.0).max(1.0);
            format!("this host resolves {percent:.0} % up to {} (80 % power)", quantile_name(quantile))
        }
        None => "this host resolves no difference in latency below 10 % (80 % power)".to_owned(),
    };
    vec![
        format!("a bias of {:.0} % would have shown in it: {}", MARGIN * 100.0, found.join(", ")).into(),
        resolution.into(),
    ]
}

fn short(power: &Power) -> String {
    match power.quantile {
        Some(quantile) => quantile_name(quantile),
        None => power.name.to_owned(),
    }
}

fn quantile_name(quantile: f64) -> String {
    format!("p{:.0}", quantile * 100.0)
}

/// Where the distributions of a pair cross.
pub(in crate::report) fn crossing(shift: &Shift) -> Option<Text> {
    let Crossing { from, to, second_is_lower_before } = shift.crossing()?;
    let (before, after) =
        if second_is_lower_before { (&shift.second, &shift.first) } else { (&shift.first, &shift.second) };
    let (first, second) = (&shift.first, &shift.second);
    let place = format!("{second}/{first} cross between {from} and {to}");
    Some(format!("{place}: {before} is lower up to {from}, {after} from {to}").into())
}

/// What the servers do when nothing happens.
pub(in crate::report) fn silent(silent: &Silent) -> Text {
    let shown = |arm: &SilentArm| format!("{:.0} us/s, {:.0} wake-ups/s", arm.cpu_us_per_sec, arm.wakeups_per_sec);
    let all: Vec<String> = silent.arms.iter().map(shown).collect();
    let connections = silent.connections;
    let begin = format!("silent, {connections} connections:");
    match all.split_first() {
        Some((one, others)) if others.iter().all(|other| other == one) => {
            format!("{begin} {one} for every server").into()
        }
        _ => {
            let named: Vec<String> =
                silent.arms.iter().zip(all).map(|(arm, shown)| format!("{} {shown}", arm.arm)).collect();
            format!("{begin} {}", named.join("; ")).into()
        }
    }
}

/// Host and build.
pub(in crate::report) fn origin(origin: &Origin) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    format!(
        "{}, kernel {}; loadgen of {}, {}",
        or_unknown(&origin.cpu_model),
        origin.kernel,
        or_unknown(&origin.git_revision),
        or_unknown(&origin.rustc)
    )
}

/// What a value depends on besides the load.
pub(in crate::report) fn conditions(plan: Option<&PlanRecord>) -> String {
    let Some(plan) = plan else { return "configuration unknown".to_owned() };
    let workers = match plan.server_cpus.len() {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    with_service(format!("{} placement, {workers}, {} pacing", plan.placement.name(), plan.pacing.name()), plan)
}
