//! Which sessions enter: those that make claims and were measured in the same way.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use crate::{
    judge::{
        metrics::contestants,
        primary::blocks_needed,
        verdicts::{ControlResult, PairComparison, WithheldReason},
    },
    report::{model::secondary, session::JudgedSession, words::claims::withheld},
    text::Text,
};

/// A session that was named.
pub(super) struct Candidate<'a> {
    /// A, B, C ...
    pub(super) label: String,
    pub(super) session: &'a JudgedSession,
    /// The comparisons of its primary family, under no name, and of every other load.
    pub(super) families: Vec<(String, Vec<PairComparison>)>,
    /// Why it makes no claim and is not used, if so.
    pub(super) withheld: Option<Text>,
}

/// The sessions with their labels, at least two of which are used.
///
/// # Errors
/// If a session is there twice, too few of them make claims, or they were not measured in the same way.
pub(super) fn admitted(sessions: &[JudgedSession]) -> Result<Vec<Candidate<'_>>> {
    ensure_different(sessions)?;
    let candidates: Vec<Candidate<'_>> = sessions.iter().enumerate().map(candidate).collect();
    let used: Vec<&Candidate<'_>> = used(&candidates).collect();
    if used.len() < 2 {
        let reason = |it: &Candidate<'_>| Some(format!("{}: {}", it.label, it.withheld.as_ref()?.without_tones()));
        let reasons: Vec<String> = candidates.iter().filter_map(reason).collect();
        let reasons = if reasons.is_empty() { "name another one".to_owned() } else { reasons.join("; ") };
        bail!("two or more sessions that make claims are needed, and there are {}: {reasons}", used.len());
    }
    used[1..].iter().try_for_each(|other| ensure_comparable(used[0], other))?;
    Ok(candidates)
}

fn candidate((index, session): (usize, &JudgedSession)) -> Candidate<'_> {
    let primary = (String::new(), session.judgement.pairs.clone());
    let others = secondary(session).into_iter().map(|family| (family.cell, family.pairs));
    let families = [primary].into_iter().chain(others).collect();
    Candidate { label: label(index), session, families, withheld: withheld_reason(session) }
}

/// Those that are used.
pub(super) fn used<'c, 'a>(candidates: &'c [Candidate<'a>]) -> impl Iterator<Item = &'c Candidate<'a>> {
    candidates.iter().filter(|candidate| candidate.withheld.is_none())
}

/// The number of a session's build, counted from 1 in the order of the sessions.
pub(super) fn build_number(candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> usize {
    let build = |candidate: &Candidate<'_>| candidate.session.metadata.build.clone();
    let is_new = |index: &usize| !all[..*index].iter().any(|before| build(before).is_same_code(&build(&all[*index])));
    let firsts: Vec<usize> = (0..all.len()).filter(is_new).collect();
    let own = firsts.iter().position(|first| build(&all[*first]).is_same_code(&build(candidate)));
    // A build of which nothing is known is not even the same as itself.
    let by_label = || firsts.iter().position(|first| all[*first].label == candidate.label);
    own.or_else(by_label).unwrap_or_default() + 1
}

/// CPU and kernel of a session's host.
pub(super) fn host(session: &JudgedSession) -> (&str, &str) {
    let environment = &session.metadata.environment;
    (environment.cpu_model.as_deref().unwrap_or("CPU unknown"), &environment.kernel)
}

/// A to Z, then A1 to Z1 and so on.
fn label(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}

fn withheld_reason(session: &JudgedSession) -> Option<Text> {
    let reason = session.withheld_reason()?;
    let needed = blocks_needed(contestants(&session.arms).len());
    let blocks = session.judgement.blocks.iter().map(|count| count.used).min().unwrap_or(0);
    let has_control = contestants(&session.arms).len() < session.arms.len();
    let too_few = session.judgement.control_result() == ControlResult::Missing && (blocks as u64) < needed;
    if reason == WithheldReason::NoControl && has_control && too_few {
        return Some(format!("{blocks} valid blocks are too few for any verdict, {needed} or more are needed").into());
    }
    Some(withheld(reason))
}

/// A session counts once, in whatever folders it is.
fn ensure_different(sessions: &[JudgedSession]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (index, session) in sessions.iter().enumerate() {
        let metadata = &session.metadata;
        // Of a session whose session.json was cut, nothing is known.
        let is_known = metadata.started_at_unix_ms > 0;
        if let Some(first) =
            seen.insert((&metadata.session_id, metadata.started_at_unix_ms), index).filter(|_| is_known)
        {
            let (first, second) = (label(first), label(index));
            bail!("{first} and {second} are the same session, {}: name each session once", metadata.session_id);
        }
    }
    Ok(())
}

/// The sessions must have been measured in the same way, so that only the servers differ.
fn ensure_comparable(first: &Candidate<'_>, second: &Candidate<'_>) -> Result<()> {
    let refused = format!("{} and {} may not be compared", first.label, second.label);
    let (first, second) = (first.session, second.session);
    if first.metadata.build.debug_build != second.metadata.build.debug_build {
        bail!("{refused}: a debug build against a release build");
    }
    let profile =
        |session: &JudgedSession| session.metadata.configuration.profile.clone().unwrap_or_else(|| "none".to_owned());
    let (one, other) = (profile(first), profile(second));
    ensure!(one == other, "{refused}: another profile ({one} and {other})");
    let hosts = |session: &JudgedSession| session.metadata.configuration.hosts.len();
    let (one, other) = (hosts(first), hosts(second));
    ensure!(one == other, "{refused}: another number of generators' hosts ({one} and {other})");
    let cells = [(&first.primary.latency, &second.primary.latency), (&first.primary.cpu, &second.primary.cpu)];
    for (of_first, of_second) in cells {
        let plans = first.plan_of(of_first).zip(second.plan_of(of_second));
        if let Some((key, one, other)) = plans.and_then(|(one, other)| one.difference(other)) {
            bail!("{refused}: another load, {key} is {one} in one and {other} in the other");
        }
    }
    Ok(())
}
