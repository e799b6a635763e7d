//! The comparisons of several sessions by metric and pair of servers.

use anyhow::{Result, ensure};

use super::admission::{Candidate, used};
use crate::{
    judge::{
        metrics::contestants,
        primary::{PRIMARY, PrimaryMetric},
        replication::Replication,
        verdicts::PairComparison,
    },
    report::session::JudgedSession,
};

/// One metric of two servers in several sessions.
pub(super) struct SessionComparisons<'a> {
    /// The load; empty for the primary family.
    pub(super) cell: String,
    pub(super) metric: PrimaryMetric,
    /// The reference of the ratio or difference.
    pub(super) first: String,
    pub(super) second: String,
    /// Of every session that compares them.
    pub(super) lines: Vec<Line<'a>>,
    /// What those say that are combined; `None` if there are not two of one build.
    pub(super) replication: Option<Replication>,
}

/// The comparison of a session.
pub(super) struct Line<'a> {
    pub(super) label: &'a str,
    pub(super) session: &'a JudgedSession,
    pub(super) pair: PairComparison,
    /// Whether it is combined with others: both servers are the same code there.
    pub(super) is_combined: bool,
}

/// Every metric and pair of servers that two or more sessions compare, in the order of the sessions.
///
/// # Errors
/// If a session has no pair of servers in common with another one.
pub(super) fn comparisons<'a>(candidates: &'a [Candidate<'a>]) -> Result<Vec<SessionComparisons<'a>>> {
    ensure_common_pairs(candidates)?;
    let mut found: Vec<SessionComparisons<'a>> = Vec::new();
    let mut cells: Vec<&String> = Vec::new();
    for (cell, pairs) in used(candidates).flat_map(|candidate| &candidate.families) {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
        for one in pairs {
            let is_same =
                |it: &SessionComparisons<'_>| it.cell == *cell && is_of(one, it.metric.name, [&it.first, &it.second]);
            if !found.iter().any(is_same) {
                found.extend(of_pair(cell, one, candidates));
            }
        }
    }
    // The metrics in the order of the family, the pairs in that of the sessions.
    let metric = |it: &SessionComparisons<'_>| PRIMARY.iter().position(|metric| metric.name == it.metric.name);
    found.sort_by_key(|it| (cells.iter().position(|cell| **cell == it.cell), metric(it)));
    Ok(found)
}

/// Whether a comparison is about this metric and these two, in either order.
fn is_of(pair: &PairComparison, metric: &str, [first, second]: [&str; 2]) -> bool {
    let arms = [pair.first.as_str(), pair.second.as_str()];
    pair.metric.name == metric && (arms == [first, second] || arms == [second, first])
}

/// `None` if fewer than two sessions compare these.
fn of_pair<'a>(cell: &str, one: &PairComparison, candidates: &'a [Candidate<'a>]) -> Option<SessionComparisons<'a>> {
    let line = |candidate: &'a Candidate<'a>| {
        let (_, pairs) = candidate.families.iter().find(|(name, _)| name == cell)?;
        let pair = pairs.iter().find(|it| is_of(it, one.metric.name, [&one.first, &one.second]))?;
        pair.comparison()?;
        let pair = if pair.first == one.first { pair.clone() } else { pair.reversed() };
        Some(Line { label: &candidate.label, session: candidate.session, pair, is_combined: false })
    };
    let mut lines: Vec<Line<'a>> = used(candidates).filter_map(line).collect();
    // The primary loads were compared before.
    let plan = lines.first()?.session.plan_of(cell).filter(|_| !cell.is_empty());
    lines
        .retain(|line| plan.zip(line.session.plan_of(cell)).is_none_or(|(one, other)| one.difference(other).is_none()));
    if lines.len() < 2 {
        return None;
    }
    for index in combined(&lines) {
        lines[index].is_combined = true;
    }
    let pairs: Vec<&PairComparison> = lines.iter().filter(|line| line.is_combined).map(|line| &line.pair).collect();
    let replication = Replication::of(&pairs);
    let cell = cell.to_owned();
    Some(SessionComparisons {
        cell,
        metric: one.metric,
        first: one.first.clone(),
        second: one.second.clone(),
        lines,
        replication,
    })
}

/// The largest group of sessions in which both servers are the same code, by their places; of equal ones that with the
/// latest session. Empty if there are not two.
fn combined(lines: &[Line<'_>]) -> Vec<usize> {
    let alike = |one: usize| -> Vec<usize> {
        (0..lines.len()).filter(|other| is_same_code(&lines[one], &lines[*other])).collect()
    };
    let latest = |group: &Vec<usize>| group.iter().map(|at| lines[*at].session.metadata.started_at_unix_ms).max();
    let groups = (0..lines.len()).map(alike).filter(|group| group.len() >= 2);
    groups.max_by_key(|group| (group.len(), latest(group))).unwrap_or_default()
}

/// Servers of this project are part of the executable; that of a guest is not recorded.
fn is_same_code(one: &Line<'_>, other: &Line<'_>) -> bool {
    let has_guest = |line: &Line<'_>| {
        let is_of_pair = |arm: &str| arm == line.pair.first || arm == line.pair.second;
        line.session.rows.iter().any(|row| is_of_pair(&row.arm) && row.server.is_none())
    };
    let build = |line: &Line<'_>| line.session.metadata.build.clone();
    build(one).is_same_code(&build(other)) && !has_guest(one) && !has_guest(other)
}

/// Every session must have two servers in common with another one.
fn ensure_common_pairs(candidates: &[Candidate<'_>]) -> Result<()> {
    let arms = |candidate: &Candidate<'_>| contestants(&candidate.session.arms);
    for one in used(candidates) {
        let own = arms(one);
        let shares = |other: &Candidate<'_>| {
            other.label != one.label && arms(other).iter().filter(|arm| own.contains(arm)).count() >= 2
        };
        ensure!(
            used(candidates).any(shares),
            "{} has no two servers in common with another session: it has {}",
            one.label,
            own.join(", ")
        );
    }
    Ok(())
}
