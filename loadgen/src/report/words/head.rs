//! Configuration, validity and control, line by line.

use std::time::Duration;

use super::reasons;
use crate::{
    judge::verdicts::ControlResult,
    plan::{
        Pacing,
        units::{show_count, show_duration},
    },
    record::{EndedBy, PilotEntry, PlanRecord, State},
    report::model::{Control, Head, Origin, ReasonCount},
    text::{Text, Tone},
};

/// How many kinds of flags are listed.
const FLAGS_MAX: usize = 3;

/// Configuration and validity, without ends of lines.
pub(in crate::report) fn lines(head: &Head) -> Vec<Text> {
    let mut lines = configuration(head.plan.as_ref());
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
        format!("{} connections, {} messages, {load}; status {status}", plan.connections, plan.payloads).into(),
        format!(
            "{} placement: server on CPUs {:?}, as many workers; the client {client}",
            plan.placement.name(),
            plan.server_cpus,
        )
        .into(),
    ]
}

/// The rates that the servers sustained, which the loads are fractions of.
fn pilot(pilot: &[PilotEntry]) -> Vec<Text> {
    let found = |entry: &PilotEntry| {
        let by_server = matches!(entry.ended_by, EndedBy::Saturated | EndedBy::Failed);
        format!("{} {}{}", entry.arm, if by_server { "" } else { ">= " }, show_count(entry.rate_per_sec))
    };
    let found: Vec<String> = pilot.iter().map(found).collect();
    if found.is_empty() {
        return Vec::new();
    }
    vec![
        "sustained in the pilot, messages/s (>=: limited by the generator):".into(),
        format!("  {}", found.join(", ")).into(),
    ]
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
        "(flagged trials count; a block with an invalid trial is repeated)".to_owned(),
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
    format!("{} placement, {workers}, {} pacing", plan.placement.name(), plan.pacing.name())
}
