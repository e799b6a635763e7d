use super::*;
use crate::record::{Latency, Outcome, Validity};

/// A trial whose p50 is `p50` and all else the same.
fn row(block: u64, attempt: u64, arm: &str, p50: f64) -> Row {
    let noise = 1.0 + 0.01 * ((block * 7 + arm.len() as u64 * 3) % 5) as f64;
    let latency =
        Latency { p50: Some((p50 * noise) as u64), p99: Some((90_000.0 * noise) as u64), ..Latency::default() };
    Row {
        block,
        attempt,
        arm: arm.to_owned(),
        response_ns: latency.clone(),
        service_ns: latency,
        server_cpu_ns_load: Some((1e9 * noise) as u64),
        echoed_count: Some(100_000),
        server_wakeups_idle: Some(3),
        ticks_idle_count: Some(3),
        status_interval_ms: Some(100.0),
        ..Row::default()
    }
}

fn arms(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn session(slow: f64) -> Vec<Row> {
    let block =
        |block| [("mio", 20e3), ("tokio", 20e3 * slow), ("mio#2", 20e3)].map(|(arm, p50)| row(block, 1, arm, p50));
    (1..=40).flat_map(block).collect()
}

fn blocks(judgement: &Judgement) -> (usize, usize) {
    (judgement.blocks[0].used, judgement.blocks[0].left_out)
}

fn p50(judgement: &Judgement) -> Option<Comparison> {
    judgement.pairs[0].comparison().copied()
}

#[test]
fn a_difference_is_found_between_contestants_and_none_in_the_control() {
    let judgement = judge(&session(1.2), &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!((judgement.pairs.len(), judgement.control.len(), blocks(&judgement)), (4, 4, (40, 0)));
    let pair = &judgement.pairs[0];
    assert_eq!((pair.first.as_str(), pair.second.as_str()), ("tokio", "mio"));
    assert!(matches!(p50(&judgement).unwrap().verdict, Verdict::Lower));
    assert_eq!(judgement.control_result(), ControlResult::Passed);
}

#[test]
fn a_control_that_differs_makes_the_session_untrusted() {
    let mut rows = session(1.2);
    for row in rows.iter_mut().filter(|row| row.arm == "mio#2") {
        row.response_ns.p50 = row.response_ns.p50.map(|ns| ns * 11 / 10);
    }
    let judgement = judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!(judgement.control_result(), ControlResult::Differs);
    assert_eq!(judgement.withheld_reason(true), Some(WithheldReason::Untrusted));
}

#[test]
fn a_block_that_was_run_again_counts_once_and_by_its_last_attempt() {
    let mut rows = session(1.2);
    rows[0].validity = Validity::Invalid;
    let names = arms(&["mio", "tokio", "mio#2"]);
    assert_eq!(blocks(&judge(&rows, &names, &Primary::default())), (39, 1));
    for (arm, p50) in [("mio", 20e3), ("tokio", 24e3), ("mio#2", 20e3)] {
        rows.push(Row { validity: Validity::Flagged, ..row(1, 2, arm, p50) });
    }
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!(blocks(&judgement), (40, 0));
}

#[test]
fn cells_are_kept_apart_and_each_metric_comes_from_its_own() {
    let in_cell = |cell: &str, slow: f64| {
        let rows = session(slow).into_iter();
        rows.map(|row| Row { cell: Some(cell.to_owned()), ..row }).collect::<Vec<Row>>()
    };
    let mut rows = [in_cell("rate-50", 1.2), in_cell("cpu", 1.0), in_cell("shared", 0.5)].concat();
    for row in rows.iter_mut().filter(|row| row.cell_name() == "cpu" && row.arm == "tokio") {
        row.server_cpu_ns_load = Some(2_000_000_000);
    }
    let names = arms(&["mio", "tokio", "mio#2"]);
    let primary = Primary { latency: "rate-50".to_owned(), cpu: "cpu".to_owned() };
    let judgement = judge(&rows, &names, &primary);
    let verdicts: Vec<Verdict> = judgement.pairs.iter().map(|pair| pair.comparison().unwrap().verdict).collect();
    assert_eq!((judgement.blocks.len(), blocks(&judgement)), (2, (40, 0)));
    assert_eq!((verdicts[0], verdicts[2]), (Verdict::Lower, Verdict::Lower));
    let explored = explore(&rows, &names[..2], "shared");
    assert_eq!((explored.len(), explored[0].comparison().unwrap().verdict), (3, Verdict::Higher));
    assert!(explore(&rows, &names[..2], "floor").iter().all(|pair| pair.result == PairResult::NotCompared));
}

#[test]
fn a_claim_on_latency_must_hold_for_the_service_time_too() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    // The generator's lag alone makes the difference.
    for row in &mut rows {
        row.service_ns.p50 = Some(18_000 + row.block % 5);
    }
    let judgement = judge(&rows, &names, &Primary::default());
    assert!(matches!(judgement.pairs[0].result, PairResult::BoundsDisagree(_)));
    assert!(matches!(judgement.pairs[1].result, PairResult::Compared(_)));
}

#[test]
fn a_retry_does_not_erase_a_failure() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    rows.push(Row { validity: Validity::Invalid, outcome: Outcome::Failed, ..row(7, 0, "tokio", 24e3) });
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!((blocks(&judgement), p50(&judgement)), ((40, 0), None), "the block was run again, and still");
}

#[test]
fn no_claim_is_made_of_a_partial_session_or_one_without_a_control() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let judgement = judge(&session(1.2), &names, &Primary::default());
    assert_eq!(judgement.withheld_reason(true), None);
    assert_eq!(judgement.withheld_reason(false), Some(WithheldReason::Partial));
    let without = judge(&session(1.2), &names[..2], &Primary::default());
    assert_eq!(without.withheld_reason(true), Some(WithheldReason::NoControl));
}

#[test]
fn an_arm_that_was_saturated_gets_no_claim() {
    let mut rows = session(1.2);
    rows[1].outcome = Outcome::Saturated;
    let judgement = judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!(p50(&judgement), None);
    assert!(judgement.control[0].comparison().is_some());
}

#[test]
fn every_pair_of_contestants_is_compared_once_and_the_control_with_its_own_arm() {
    let rows: Vec<Row> =
        (1..=40).flat_map(|block| ["mio", "tokio", "threads", "tokio#2"].map(|arm| row(block, 1, arm, 20e3))).collect();
    let judgement = judge(&rows, &arms(&["mio", "tokio", "threads", "tokio#2"]), &Primary::default());
    let names = |pair: &PairComparison| format!("{}/{}", pair.second, pair.first);
    let pairs: Vec<String> = judgement.pairs.iter().map(names).collect();
    assert_eq!(pairs, ["mio/tokio", "mio/threads", "tokio/threads"].repeat(4));
    let control: Vec<String> = judgement.control.iter().map(names).collect();
    assert_eq!(control, ["tokio#2/tokio"; 4]);
}

#[test]
fn a_control_without_one_of_its_ratios_is_missing() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    rows.iter_mut().for_each(|row| row.server_wakeups_idle = None);
    assert_eq!(judge(&rows, &names, &Primary::default()).control_result(), ControlResult::Passed, "no ratio");
    rows.iter_mut().for_each(|row| row.server_cpu_ns_load = None);
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!(judgement.control_result(), ControlResult::Missing);
    assert_eq!(judgement.withheld_reason(true), Some(WithheldReason::NoControl));
}

const INCONCLUSIVE: Verdict = Verdict::Inconclusive { smallest_effect: 1.2, blocks_needed: 99 };

fn comparison(verdict: Verdict, p_adjusted: f64) -> Comparison {
    Comparison {
        estimate: 1.0,
        interval: (0.9, 1.1),
        level: 0.95,
        blocks: 40,
        p_value: p_adjusted,
        p_adjusted,
        verdict,
    }
}

fn pair(result: PairResult) -> PairComparison {
    PairComparison { metric: PRIMARY[0], first: "tokio".to_owned(), second: "mio".to_owned(), result }
}

#[test]
fn a_claim_is_the_weaker_of_two_verdicts_of_the_same_direction() {
    use Verdict::{Equivalent, Higher, HigherSizeUnclear, Lower, LowerSizeUnclear};
    for (one, other, claim) in [
        (Lower, Lower, Lower),
        (Lower, LowerSizeUnclear, LowerSizeUnclear),
        (LowerSizeUnclear, Lower, LowerSizeUnclear),
        (Higher, Higher, Higher),
        (Higher, HigherSizeUnclear, HigherSizeUnclear),
        (HigherSizeUnclear, Higher, HigherSizeUnclear),
        (Equivalent, Equivalent, Equivalent),
    ] {
        let result = at_both_bounds(Some(comparison(one, 0.01)), Some(comparison(other, 0.01)));
        assert_eq!(result, PairResult::Compared(comparison(claim, 0.01)), "{one:?} and {other:?}");
        assert_eq!(pair(result).claim(), Some(claim));
    }
}

#[test]
fn bounds_of_different_directions_allow_no_claim() {
    let verdicts = [Verdict::Lower, Verdict::HigherSizeUnclear, Verdict::Equivalent, INCONCLUSIVE];
    for (one, other) in verdicts.iter().flat_map(|one| verdicts.iter().map(move |other| (*one, *other))) {
        if one == other {
            continue;
        }
        let result = at_both_bounds(Some(comparison(one, 0.01)), Some(comparison(other, 0.01)));
        assert_eq!(pair(result).claim(), None, "{one:?} and {other:?}");
        // A verdict that is inconclusive anyway is not contradicted.
        assert_eq!(matches!(result, PairResult::BoundsDisagree(_)), one != INCONCLUSIVE, "{one:?} and {other:?}");
    }
}

#[test]
fn a_bound_that_is_missing_allows_no_claim() {
    let lower = Some(comparison(Verdict::Lower, 0.01));
    for (one, other) in [(None, lower), (lower, None), (None, None)] {
        assert_eq!(at_both_bounds(one, other), PairResult::NotCompared);
    }
    let mut rows = session(1.2);
    rows[0].service_ns.p50 = None;
    let judgement = judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!(judgement.pairs[0].result, PairResult::NotCompared, "the service time of one trial is unknown");
    assert!(matches!(judgement.pairs[1].result, PairResult::Compared(_)));
}

#[test]
fn a_pair_differs_if_its_adjusted_p_value_is_at_most_5_percent() {
    let differs = |p_adjusted| pair(PairResult::Compared(comparison(INCONCLUSIVE, p_adjusted))).differs();
    assert!(differs(0.05) && !differs(0.0501));
    assert!(!pair(PairResult::NotCompared).differs());
}
