//! Two sessions side by side: what both say, and whether they agree. Never a claim about the difference between them: they
//! were not interleaved, and a host is not the same an hour later. Of two hosts not even the figures stand side by side:
//! what each says of its servers does, for a verdict that holds on both is worth more than one that holds on one.

use super::{
    comparison::{FIGURES, cell},
    recorded::Recorded,
    table,
    verdicts::sentence,
};
use crate::{judge::verdicts::Finding, stats::verdict::Verdict};
use anyhow::{Result, bail, ensure};

/// Width of the names and of each session.
const WIDTHS: (usize, usize) = (24, 26);

/// Both sessions' medians with their quartiles, and their verdicts.
///
/// # Errors
/// If they may not be compared: one line that says why.
pub(super) fn side_by_side(first: &Recorded, second: &Recorded) -> Result<String> {
    ensure_comparable(first, second)?;
    let arms: Vec<&String> = first.arms.iter().filter(|arm| second.arms.contains(arm)).collect();
    ensure!(!arms.is_empty(), "the sessions have no server in common");
    let named = |recorded: &Recorded| {
        let revision = recorded.metadata.build.git_revision.as_deref().unwrap_or("?");
        format!("{} ({revision})", recorded.metadata.session_id)
    };
    let mut text = format!("A  {}\nB  {}\n", named(first), named(second));
    match another_host(first, second) {
        Some(why) => text.push_str(&format!("no figures side by side: {why}\n")),
        None => text.push_str(&figures(first, second, &arms)),
    }
    for (recorded, name) in [(first, "A"), (second, "B")] {
        if let Some(reason) = recorded.silence() {
            return Ok(format!("{text}\nverdicts are not compared. {name}: {reason}\n"));
        }
    }
    text.push_str("\nverdicts of the two\n");
    for one in &first.judgement.findings {
        let same = |other: &&Finding| {
            (other.metric.name, &other.first, &other.second) == (one.metric.name, &one.first, &one.second)
        };
        if let Some(other) = second.judgement.findings.iter().find(same) {
            text.push_str(&format!("{}: {}\n", one.metric.name, agreement(one, other)));
            text.push_str(&format!("  A  {}\n  B  {}\n", sentence(one), sentence(other)));
        }
    }
    Ok(text)
}

/// The medians of both.
fn figures(first: &Recorded, second: &Recorded, arms: &[&String]) -> String {
    let mut text = "median (quartiles) over blocks; they were not measured in turns, so a difference\n\
                    between A and B may be the host's\n\n"
        .to_owned();
    let used = [first, second].map(Recorded::used);
    for arm in arms {
        let mut lines = vec![vec![(*arm).clone(), "A".to_owned(), "B".to_owned()]];
        for (name, value, show) in FIGURES {
            lines.push(vec![
                format!("  {name}"),
                cell(used[0].of(name), arm, value, show),
                cell(used[1].of(name), arm, value, show),
            ]);
        }
        text.push_str(&table(&lines, WIDTHS.0, WIDTHS.1));
    }
    text
}

/// Whether two sessions say the same.
fn agreement(one: &Finding, other: &Finding) -> &'static str {
    let verdict = |finding: &Finding| {
        let verdict = finding.comparison.filter(|_| !finding.ends_differ)?.verdict;
        Some(verdict).filter(|verdict| !matches!(verdict, Verdict::Inconclusive { .. }))
    };
    let (Some(one), Some(other)) = (verdict(one), verdict(other)) else {
        return if verdict(one).or(verdict(other)).is_some() {
            "decided by one of them only"
        } else {
            "not decided by either"
        };
    };
    let side = |verdict| match verdict {
        Verdict::Lower | Verdict::LowerSizeUnclear => -1,
        Verdict::Higher | Verdict::HigherSizeUnclear => 1,
        Verdict::Equivalent | Verdict::Inconclusive { .. } => 0,
    };
    let sized = |verdict| matches!(verdict, Verdict::Lower | Verdict::Higher);
    match (side(one), side(other)) {
        (one, other) if one == other => "they agree",
        // A small difference is within the margin.
        (0, _) | (_, 0) if !sized(one) && !sized(other) => "they do not contradict each other",
        _ => "they DISAGREE",
    }
}

/// What else than the time sets the hosts of two sessions apart.
fn another_host(first: &Recorded, second: &Recorded) -> Option<String> {
    let (one, other) = (&first.metadata.environment, &second.metadata.environment);
    let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let facts = [
        (unknown(&one.cpu_model), unknown(&other.cpu_model), "another CPU"),
        (one.kernel.clone(), other.kernel.clone(), "another kernel, which may account CPU time otherwise"),
    ];
    let mut differing = facts.into_iter().filter(|(one, other, _)| one != other);
    differing.next().map(|(one, other, why)| format!("{why}\n  A  {one}\n  B  {other}"))
}

/// What differs must be the servers, not how they were measured.
fn ensure_comparable(first: &Recorded, second: &Recorded) -> Result<()> {
    let refused = "these sessions may not be compared";
    if first.metadata.build.debug_build != second.metadata.build.debug_build {
        bail!("{refused}: a debug build against a release build");
    }
    let profile = |recorded: &Recorded| recorded.configuration().profile.clone().unwrap_or_else(|| "none".to_owned());
    let (one, other) = (profile(first), profile(second));
    ensure!(one == other, "{refused}: another profile ({one} and {other})");
    for (of_first, of_second) in
        [(&first.places.latency, &second.places.latency), (&first.places.cpu, &second.places.cpu)]
    {
        let plans = first.plan_of(of_first).zip(second.plan_of(of_second));
        if let Some((key, one, other)) = plans.and_then(|(one, other)| one.difference(other)) {
            bail!("{refused}: {key} is {one} in one and {other} in the other");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observe::Facts,
        record::{Configuration, Metadata, PlanRecord},
        report::fixture,
    };

    fn recorded(kernel: &str, connections: u32) -> Recorded {
        let plan = PlanRecord { connections, ..fixture::plan_record() };
        let metadata = Metadata {
            environment: Facts { kernel: kernel.to_owned(), ..Facts::default() },
            configuration: Configuration { plan: Some(plan), ..Configuration::default() },
            ..Metadata::unknown()
        };
        fixture::recorded(metadata, &["mio", "tokio"])
    }

    #[test]
    fn sessions_that_were_measured_otherwise_are_refused() {
        let refused = |other: Recorded| side_by_side(&recorded("6.1", 64), &other).unwrap_err().to_string();
        assert!(refused(recorded("6.1", 65)).contains("connections is 64 in one and 65 in the other"));
        assert!(side_by_side(&recorded("6.1", 64), &recorded("6.1", 64)).unwrap().contains("median (quartiles)"));
    }

    #[test]
    fn of_another_host_only_what_it_says_is_compared() {
        let text = side_by_side(&recorded("6.1", 64), &recorded("6.2", 64)).unwrap();
        assert!(text.contains("no figures side by side: another kernel") && !text.contains("median"), "{text}");
    }

    #[test]
    fn whether_two_sessions_agree_is_said() {
        let finding = |verdict| {
            let mut finding = recorded("6.1", 64).judgement.findings[0].clone();
            finding.comparison = Some(crate::stats::comparison::Comparison {
                estimate: 1.0,
                interval: (1.0, 1.0),
                level: 0.95,
                blocks: 40,
                p_value: 0.0,
                p_adjusted: 0.0,
                verdict,
            });
            finding
        };
        let undecided = Verdict::Inconclusive { smallest_effect: 1.1, blocks_needed: 50 };
        let agree = |one, other| agreement(&finding(one), &finding(other));
        assert_eq!(agree(Verdict::Lower, Verdict::LowerSizeUnclear), "they agree");
        assert_eq!(agree(Verdict::Lower, Verdict::Higher), "they DISAGREE");
        assert_eq!(agree(Verdict::Lower, undecided), "decided by one of them only");
        assert_eq!(agree(undecided, undecided), "not decided by either");
        assert_eq!(agree(Verdict::Equivalent, Verdict::LowerSizeUnclear), "they do not contradict each other");
        assert_eq!(agree(Verdict::Equivalent, Verdict::Lower), "they DISAGREE");
    }
}
