//! Sessions side by side: their claims, and whether they agree. Never a claim about the difference between sessions: they
//! were not interleaved, and host drift between them is unknown. Medians of different hosts are not even shown side by
//! side; their claims are, since a claim that holds on two hosts is replicated.

use anyhow::{Result, bail, ensure};

use super::{
    layout::Widths,
    model::FIGURES,
    session::JudgedSession,
    text::shown,
    words::claims::{sentence, withheld},
};
use crate::{
    judge::verdicts::{Direction, PairComparison},
    stats::verdict::Verdict,
    text::{Text, Tone},
};

/// Names, and the medians of each session.
const WIDTHS: Widths = Widths { names: 24, others: 27 };

/// What the claims of several sessions about one metric of two arms have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    Agree,
    /// Small differences within the margin of others.
    Compatible,
    Disagree,
    /// Some are inconclusive.
    SomeInconclusive,
    AllInconclusive,
}

/// A claim of each session.
struct ClaimGroup<'a> {
    agreement: Agreement,
    pairs: Vec<&'a PairComparison>,
}

/// A fact in which the hosts of sessions differ, with its value in each session.
struct HostDifference {
    what: &'static str,
    values: Vec<String>,
}

/// The medians of all sessions with their quartiles, and their claims.
///
/// # Errors
/// If the sessions may not be compared: one line with the reason.
pub(super) fn compare(sessions: &[JudgedSession]) -> Result<Text> {
    let Some((first, others)) = sessions.split_first() else { bail!("there is no session") };
    others.iter().try_for_each(|other| ensure_comparable(first, other))?;
    let is_common = |arm: &&String| others.iter().all(|other| other.arms.contains(arm));
    let arms: Vec<&String> = first.arms.iter().filter(is_common).collect();
    ensure!(!arms.is_empty(), "the sessions have no server in common");
    let mut text: Text = sessions.iter().enumerate().map(|(index, session)| title(index, session)).collect();
    match host_difference(sessions) {
        Some(difference) => text.push(differing_hosts(&difference)),
        None => text.push(figures(sessions, &arms)),
    }
    let withheld_by = |(index, session): (usize, &JudgedSession)| Some((label(index), session.withheld_reason()?));
    if let Some((label, reason)) = sessions.iter().enumerate().find_map(withheld_by) {
        return Ok(text.with(format!("\nverdicts are not compared. {label}: ")).with(withheld(reason)).with("\n"));
    }
    Ok(text.with("\nverdicts\n").with(claim_groups(sessions).iter().map(claims).collect::<Text>()))
}

/// A, B, C ...
fn label(index: usize) -> char {
    char::from_u32('A' as u32 + index as u32).unwrap_or('?')
}

fn title(index: usize, session: &JudgedSession) -> Text {
    let revision = session.metadata.build.git_revision.as_deref().unwrap_or("?");
    format!("{}  {} ({revision})\n", label(index), session.metadata.session_id).into()
}

fn differing_hosts(difference: &HostDifference) -> Text {
    let values = difference.values.iter().enumerate();
    let values: String = values.map(|(index, value)| format!("  {}  {value}\n", label(index))).collect();
    format!("no figures side by side: {}\n{values}", difference.what).into()
}

/// The medians of every session.
fn figures(sessions: &[JudgedSession], arms: &[&String]) -> Text {
    let mut text = Text::from(
        "median (quartiles) over blocks; the sessions were not interleaved, so a\n\
         difference between them may be host drift\n\n",
    );
    let rows: Vec<_> = sessions.iter().map(JudgedSession::primary_rows).collect();
    for arm in arms {
        text.push(WIDTHS.line(arm, (0..sessions.len()).map(|index| label(index).to_string().into())));
        for quantity in &FIGURES {
            let cells = rows.iter().map(|rows| shown(&quantity.cell(rows, arm)));
            text.push(WIDTHS.line(&format!("  {}", quantity.label()), cells));
        }
    }
    text
}

/// The claims that every session makes.
fn claim_groups(sessions: &[JudgedSession]) -> Vec<ClaimGroup<'_>> {
    let key = |pair: &PairComparison| (pair.metric.name, pair.first.clone(), pair.second.clone());
    let group = |one: &PairComparison| {
        let same = |session: &'_ JudgedSession| session.judgement.pairs.iter().position(|it| key(it) == key(one));
        let places: Option<Vec<usize>> = sessions.iter().map(same).collect();
        let pairs = sessions.iter().zip(places?).map(|(session, place)| &session.judgement.pairs[place]);
        let pairs: Vec<_> = pairs.collect();
        Some(ClaimGroup { agreement: agreement(&pairs), pairs })
    };
    sessions.first().map(|first| first.judgement.pairs.iter().filter_map(group).collect()).unwrap_or_default()
}

fn claims(group: &ClaimGroup<'_>) -> Text {
    let agreement = match group.agreement {
        Agreement::Agree => "the sessions agree".into(),
        Agreement::Compatible => "the sessions do not contradict each other".into(),
        Agreement::Disagree => Text::from("the sessions ").with(Text::toned("DISAGREE", Tone::Bad)),
        Agreement::SomeInconclusive => "inconclusive in some sessions".into(),
        Agreement::AllInconclusive => "inconclusive in every session".into(),
    };
    let lines = group.pairs.iter().enumerate();
    let lines: String = lines.map(|(index, pair)| format!("  {}  {}\n", label(index), sentence(pair))).collect();
    Text::from(format!("{}: ", group.pairs[0].metric.name)).with(agreement).with("\n").with(lines)
}

/// Whether the claims about a pair are the same.
fn agreement(pairs: &[&PairComparison]) -> Agreement {
    let claims: Vec<Verdict> = pairs.iter().filter_map(|pair| pair.claim()).collect();
    if claims.is_empty() {
        return Agreement::AllInconclusive;
    }
    if claims.len() < pairs.len() {
        return Agreement::SomeInconclusive;
    }
    let directions: Vec<Direction> = claims.iter().map(|claim| Direction::from(*claim)).collect();
    let has = |direction| directions.contains(&direction);
    let is_sized = claims.iter().any(|claim| matches!(claim, Verdict::Lower | Verdict::Higher));
    match (has(Direction::Lower), has(Direction::Higher), has(Direction::Equivalent)) {
        (true, true, _) => Agreement::Disagree,
        // A difference of unclear size may be within the margin.
        (true, _, true) | (_, true, true) if is_sized => Agreement::Disagree,
        (true, _, true) | (_, true, true) => Agreement::Compatible,
        _ => Agreement::Agree,
    }
}

/// The first fact in which the hosts differ.
fn host_difference(sessions: &[JudgedSession]) -> Option<HostDifference> {
    let difference = |what, fact: fn(&JudgedSession) -> String| {
        let values: Vec<String> = sessions.iter().map(fact).collect();
        values.iter().any(|value| *value != values[0]).then_some(HostDifference { what, values })
    };
    let unknown = |session: &JudgedSession| {
        session.metadata.environment.cpu_model.clone().unwrap_or_else(|| "unknown".to_owned())
    };
    difference("another CPU", unknown).or_else(|| {
        difference("another kernel, which may account CPU time differently", |session| {
            session.metadata.environment.kernel.clone()
        })
    })
}

/// The sessions must have been measured in the same way, so that only the servers differ.
fn ensure_comparable(first: &JudgedSession, second: &JudgedSession) -> Result<()> {
    let refused = "these sessions may not be compared";
    if first.metadata.build.debug_build != second.metadata.build.debug_build {
        bail!("{refused}: a debug build against a release build");
    }
    let profile =
        |session: &JudgedSession| session.metadata.configuration.profile.clone().unwrap_or_else(|| "none".to_owned());
    let (one, other) = (profile(first), profile(second));
    ensure!(one == other, "{refused}: another profile ({one} and {other})");
    let cells = [(&first.primary.latency, &second.primary.latency), (&first.primary.cpu, &second.primary.cpu)];
    for (of_first, of_second) in cells {
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

    fn session(kernel: &str, connections: u32) -> JudgedSession {
        let plan = PlanRecord { connections, ..fixture::plan_record() };
        let metadata = Metadata {
            environment: Facts { kernel: kernel.to_owned(), ..Facts::default() },
            configuration: Configuration { plan: Some(plan), ..Configuration::default() },
            ..Metadata::unknown()
        };
        fixture::session(metadata, &["mio", "tokio"])
    }

    #[test]
    fn sessions_that_were_measured_otherwise_are_refused() {
        let refused = |other: JudgedSession| compare(&[session("6.1", 64), other]).unwrap_err().to_string();
        assert!(refused(session("6.1", 65)).contains("connections is 64 in one and 65 in the other"));
        assert!(
            compare(&[session("6.1", 64), session("6.1", 64)]).unwrap().without_tones().contains("median (quartiles)")
        );
    }

    #[test]
    fn of_another_host_only_what_it_says_is_compared() {
        let text = compare(&[session("6.1", 64), session("6.2", 64)]).unwrap().without_tones();
        assert!(text.contains("no figures side by side: another kernel") && !text.contains("median"), "{text}");
    }

    #[test]
    fn agreement_is_that_of_the_directions() {
        let inconclusive = Verdict::Inconclusive { smallest_effect: 1.1, blocks_needed: 50 };
        let agree = |verdicts: &[Verdict]| {
            let pairs: Vec<_> = verdicts.iter().map(|verdict| fixture::pair(0, 1.0, (1.0, 1.0), *verdict)).collect();
            agreement(&pairs.iter().collect::<Vec<_>>())
        };
        assert_eq!(agree(&[Verdict::Lower, Verdict::LowerSizeUnclear, Verdict::Lower]), Agreement::Agree);
        assert_eq!(agree(&[Verdict::Lower, Verdict::Higher]), Agreement::Disagree);
        assert_eq!(agree(&[Verdict::Lower, Verdict::Lower, Verdict::Higher]), Agreement::Disagree);
        assert_eq!(agree(&[Verdict::Lower, inconclusive]), Agreement::SomeInconclusive);
        assert_eq!(agree(&[inconclusive, inconclusive]), Agreement::AllInconclusive);
        assert_eq!(agree(&[Verdict::Equivalent, Verdict::LowerSizeUnclear]), Agreement::Compatible);
        assert_eq!(agree(&[Verdict::Equivalent, Verdict::Lower]), Agreement::Disagree);
        assert_eq!(agree(&[Verdict::Equivalent, Verdict::Equivalent]), Agreement::Agree);
    }
}
