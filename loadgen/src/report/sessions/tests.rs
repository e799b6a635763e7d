use super::*;
use crate::{
    judge::{
        primary::PRIMARY,
        verdicts::{Judgement, PairComparison, PairResult},
    },
    record::{Build, Configuration, Metadata, Row, State},
    report::fixture,
    stats::verdict::Verdict,
};

/// A complete session, number so much, of this build, that compared these.
fn session(number: u64, build: &str, pairs: Vec<PairComparison>) -> JudgedSession {
    let arms = ["mio", "tokio", "mio#2"].map(str::to_owned).to_vec();
    let metadata = Metadata {
        configuration: Configuration { arms, ..Configuration::default() },
        session_id: format!("session-{number}"),
        started_at_unix_ms: number,
        state: State::Complete,
        build: Build { binary_sha256: Some(build.to_owned()), ..Build::default() },
        ..Metadata::unknown()
    };
    let mut session = JudgedSession::of(metadata, Vec::new());
    // The control found no difference.
    let passed = |pair: &PairComparison| {
        let comparison = crate::stats::comparison::Comparison { p_adjusted: 1.0, ..*pair.comparison()? };
        Some(PairComparison { result: PairResult::Compared(comparison), ..pair.clone() })
    };
    session.judgement = Judgement { control: pairs.iter().filter_map(passed).collect(), pairs, blocks: Vec::new() };
    session
}

/// The place of a metric in the family.
fn metric(name: &str) -> usize {
    PRIMARY.iter().position(|metric| metric.name == name).unwrap()
}

/// mio to tokio.
fn cpu(ratio: f64, verdict: Verdict) -> PairComparison {
    fixture::pair(metric("CPU per message"), ratio, (ratio / 1.03, ratio * 1.03), verdict)
}

fn drain(ratio: f64, verdict: Verdict) -> PairComparison {
    fixture::pair(metric("drain rate"), ratio, (ratio / 1.03, ratio * 1.03), verdict)
}

fn told(sessions: &[JudgedSession]) -> String {
    compare(sessions).unwrap().without_tones()
}

#[test]
fn a_pair_that_a_session_names_the_other_way_round_is_turned() {
    let one = session(1, "f0", vec![cpu(0.9, Verdict::Lower)]);
    let other = session(2, "f0", vec![cpu(0.91, Verdict::Lower).reversed()]);
    assert_eq!(
        (other.judgement.pairs[0].first.as_str(), other.judgement.pairs[0].claim()),
        ("mio", Some(Verdict::Higher))
    );
    let text = told(&[one, other]);
    assert!(text.contains("CPU per message, mio to tokio: replicates, mio lower"), "{text}");
    assert!(text.contains("B    0.910 (0.883 to 0.937)") && text.contains("range 0.900 to 0.910"), "{text}");
}

#[test]
fn opposite_claims_are_said_to_contradict() {
    let text =
        told(&[session(1, "f0", vec![cpu(0.9, Verdict::Lower)]), session(2, "f0", vec![cpu(1.1, Verdict::Higher)])]);
    assert!(text.contains("mio to tokio: CONTRADICTS\n") && text.contains("I2 9"), "{text}");
    assert!(text.ends_with("largest replicated loss of each server\n  mio: none\n  tokio: none\n"), "{text}");
}

#[test]
fn the_largest_loss_is_the_one_that_every_session_finds_and_a_lower_rate_is_one() {
    let pairs = |cpu_ratio, drain_ratio| vec![cpu(cpu_ratio, Verdict::Lower), drain(drain_ratio, Verdict::Higher)];
    // The drain rate of mio is the higher one, which is better: tokio loses twice.
    let text = told(&[session(1, "f0", pairs(0.9, 1.22)), session(2, "f0", pairs(0.9, 1.2))]);
    assert!(text.contains("  mio: none\n"), "{text}");
    assert!(text.contains("tokio: drain rate 17 to 18 % lower than mio (replicates, 2 sessions)"), "{text}");
    // One session of two finds hardly any.
    let text = told(&[session(1, "f0", pairs(0.9, 1.5)), session(2, "f0", pairs(0.9, 1.05))]);
    assert!(text.contains("tokio: CPU per message 11 to 11 % higher than mio (replicates, 2 sessions)"), "{text}");
}

#[test]
fn the_larger_group_of_one_build_is_combined_and_of_equal_ones_the_later() {
    let of = |number, build| session(number, build, vec![cpu(0.9, Verdict::Lower)]);
    let marks = |sessions: &[JudgedSession]| -> Vec<String> {
        let text = told(sessions);
        let lines = text.lines().filter(|line| line.contains("0.900 (0.874 to 0.927)"));
        lines.filter_map(|line| line.split_whitespace().next()).filter(|it| *it != "mean").map(str::to_owned).collect()
    };
    assert_eq!(marks(&[of(1, "f0"), of(2, "f1"), of(3, "f0")]), ["A", "B*", "C"]);
    assert_eq!(marks(&[of(1, "f0"), of(2, "f0"), of(3, "f1"), of(4, "f1")]), ["A*", "B*", "C", "D"]);
    assert_eq!(marks(&[of(1, "f0"), of(2, "f1")]), ["A*", "B*"]);
}

#[test]
fn a_guest_is_shown_and_not_combined() {
    let of = |number| {
        let mut session = session(number, "f0", vec![cpu(0.9, Verdict::Lower)]);
        session.rows = vec![
            Row { arm: "mio".to_owned(), server: Some("mio".to_owned()), ..Row::default() },
            Row { arm: "tokio".to_owned(), server: None, ..Row::default() },
        ];
        session
    };
    let text = told(&[of(1), of(2)]);
    assert!(text.contains("not combined, no two of one build") && text.contains("\n  A*  "), "{text}");
}

#[test]
fn a_metric_that_a_session_lacks_has_no_line_there() {
    let text = told(&[
        session(1, "f0", vec![cpu(0.9, Verdict::Lower)]),
        session(2, "f0", vec![cpu(0.9, Verdict::Lower), drain(1.2, Verdict::Higher)]),
        session(3, "f0", vec![cpu(0.9, Verdict::Lower), drain(1.2, Verdict::Higher)]),
    ]);
    let (_, drain) = text.split_once("drain rate, mio to tokio: replicates, mio higher\n").unwrap();
    assert!(drain.starts_with("  B  ") && !drain.contains("\n  A  ") && drain.contains("\n  range 1.200"), "{text}");
    assert!(text.contains("\n  mean 0.900 "), "three have the other one: {text}");
}

#[test]
fn every_line_fits_a_terminal_and_bars_share_their_scale() {
    let text = told(&[
        session(1, "f0", vec![cpu(0.9, Verdict::Lower)]),
        session(2, "f0", vec![cpu(0.6, Verdict::Lower)]),
        session(3, "f0", vec![cpu(1.0, Verdict::Equivalent)]),
    ]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let place = |label: &str, mark: char| {
        let line = text.lines().find(|line| line.starts_with(&format!("  {label} ")) && line.contains(" to ")).unwrap();
        // The estimate is the last o of the line; there is one in "to" as well.
        line.rfind(mark)
    };
    assert_eq!(place("A", '|'), place("B", '|'), "{text}");
    assert!(place("B", 'o') < place("A", 'o') && place("A", 'o') < place("C", 'o'), "{text}");
}
