use super::*;
use crate::record::{Latency, Outcome, Validity};

/// A trial whose p90 is `p90` and all else the same.
fn row(block: u64, attempt: u64, arm: &str, p90: f64) -> Row {
    let noise = 1.0 + 0.01 * ((block * 7 + arm.len() as u64 * 3) % 5) as f64;
    let ns = |ns: f64| Some((ns * noise) as u64);
    let latency =
        Latency { p50: ns(10_000.0), p90: ns(p90), p95: ns(60_000.0), p99: ns(90_000.0), ..Latency::default() };
    Row {
        block,
        attempt,
        arm: arm.to_owned(),
        response_ns: latency.clone(),
        service_ns: latency,
        server_cpu_ns_load: Some((1e9 * noise) as u64),
        echoed_count: Some(100_000),
        server_cpu_ns_idle: Some((1e6 * noise) as u64),
        ticks_idle_count: Some(3),
        drain_rate_per_sec: Some(250e3 * noise),
        ..Row::default()
    }
}

fn arms(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn session(slow: f64) -> Vec<Row> {
    let block =
        |block| [("mio", 20e3), ("tokio", 20e3 * slow), ("mio#2", 20e3)].map(|(arm, p90)| row(block, 1, arm, p90));
    (1..=40).flat_map(block).collect()
}

fn blocks(judgement: &Judgement) -> (usize, usize) {
    (judgement.blocks[0].used, judgement.blocks[0].left_out)
}

fn p90(judgement: &Judgement) -> Option<Comparison> {
    judgement.pairs[0].comparison().copied()
}

#[test]
fn a_difference_is_found_between_contestants_and_none_in_the_control() {
    let judgement = judge(&session(1.2), &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!((judgement.pairs.len(), judgement.control.len(), blocks(&judgement)), (6, 6, (40, 0)));
    let pair = &judgement.pairs[0];
    assert_eq!((pair.first.as_str(), pair.second.as_str()), ("tokio", "mio"));
    assert!(matches!(p90(&judgement).unwrap().verdict, Verdict::Lower));
    assert_eq!(judgement.control_result(), ControlResult::Passed);
}

#[test]
fn a_control_that_differs_makes_the_session_untrusted() {
    let mut rows = session(1.2);
    for row in rows.iter_mut().filter(|row| row.arm == "mio#2") {
        row.response_ns.p90 = row.response_ns.p90.map(|ns| ns * 11 / 10);
        row.service_ns.p90 = row.response_ns.p90;
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
    for (arm, p90) in [("mio", 20e3), ("tokio", 24e3), ("mio#2", 20e3)] {
        rows.push(Row { validity: Validity::Flagged, ..row(1, 2, arm, p90) });
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
    assert_eq!((verdicts[0], verdicts[3]), (Verdict::Lower, Verdict::Lower));
    let explored = explore(&rows, &names[..2], "shared");
    assert_eq!((explored.len(), explored[0].comparison().unwrap().verdict), (4, Verdict::Higher));
    assert!(explore(&rows, &names[..2], "floor").iter().all(|pair| pair.result == PairResult::NotCompared));
}

#[test]
fn a_claim_on_latency_must_hold_for_the_service_time_too() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    // The generator's lag alone makes the difference.
    for row in &mut rows {
        row.service_ns.p90 = Some(18_000 + row.block % 5);
    }
    let judgement = judge(&rows, &names, &Primary::default());
    assert!(matches!(judgement.pairs[0].result, PairResult::BoundsDisagree(_)));
    assert!(matches!(judgement.pairs[1].result, PairResult::NotTested(_)), "the ladder ends there");
    assert!(matches!(judgement.pairs[3].result, PairResult::Compared(_)));
}

#[test]
fn a_retry_does_not_erase_a_failure() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    rows.push(Row { validity: Validity::Invalid, outcome: Outcome::Failed, ..row(7, 0, "tokio", 24e3) });
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!((blocks(&judgement), p90(&judgement)), ((40, 0), None), "the block was run again, and still");
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
    assert_eq!(p90(&judgement), None);
    assert!(judgement.control[0].comparison().is_some());
}

#[test]
fn every_pair_of_contestants_is_compared_once_and_the_control_with_its_own_arm() {
    let rows: Vec<Row> =
        (1..=40).flat_map(|block| ["mio", "tokio", "threads", "tokio#2"].map(|arm| row(block, 1, arm, 20e3))).collect();
    let judgement = judge(&rows, &arms(&["mio", "tokio", "threads", "tokio#2"]), &Primary::default());
    let names = |pair: &PairComparison| format!("{}/{}", pair.second, pair.first);
    let pairs: Vec<String> = judgement.pairs.iter().map(names).collect();
    assert_eq!(pairs, ["mio/tokio", "mio/threads", "tokio/threads"].repeat(6));
    let control: Vec<String> = judgement.control.iter().map(names).collect();
    assert_eq!(control, ["tokio#2/tokio"; 6]);
}

#[test]
fn a_control_that_lacks_what_others_are_compared_by_is_missing() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let mut rows = session(1.2);
    // As in a session of before there was such a measurement: nobody has it, so nothing is claimed about it.
    rows.iter_mut().for_each(|row| row.drain_rate_per_sec = None);
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!(judgement.control_result(), ControlResult::Passed);
    assert_eq!((judgement.pairs.len(), &judgement.pairs[5].result), (6, &PairResult::NotCompared));
    let level = p90(&judgement).unwrap().level;
    assert!(level >= 1.0 - ALPHA / 6.0, "the missing metric is still a member: {level}");
    rows.iter_mut().filter(|row| row.arm == "mio#2").for_each(|row| row.server_cpu_ns_load = None);
    let judgement = judge(&rows, &names, &Primary::default());
    assert_eq!(judgement.control_result(), ControlResult::Missing);
    assert_eq!(judgement.withheld_reason(true), Some(WithheldReason::NoControl));
    assert_eq!(judge(&rows[..6], &names, &Primary::default()).control_result(), ControlResult::Missing, "two blocks");
}

fn pair(result: PairResult) -> PairComparison {
    PairComparison { metric: PRIMARY[0], first: "tokio".to_owned(), second: "mio".to_owned(), result, lag: None }
}

#[test]
fn only_what_is_compared_and_decided_is_a_claim() {
    let judgement = judge(&session(1.2), &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    let lower = p90(&judgement).unwrap();
    let inconclusive = Verdict::Inconclusive { smallest_effect: 1.2, blocks_needed: 99 };
    assert_eq!(pair(PairResult::Compared(lower)).claim(), Some(Verdict::Lower));
    let inconclusive = Comparison { verdict: inconclusive, ..lower };
    assert_eq!(pair(PairResult::Compared(inconclusive)).claim(), None);
    for result in [PairResult::NotTested(lower), PairResult::BoundsDisagree(lower), PairResult::NotCompared] {
        assert_eq!(pair(result).claim(), None, "{result:?}");
    }
    assert_eq!(pair(PairResult::NotTested(lower)).comparison(), Some(&lower), "its interval may be shown");
}

#[test]
fn a_bound_that_is_missing_allows_no_claim() {
    let mut rows = session(1.2);
    rows[0].service_ns.p90 = None;
    let judgement = judge(&rows, &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    assert_eq!(judgement.pairs[0].result, PairResult::NotCompared, "the service time of one trial is unknown");
    assert!(matches!(judgement.pairs[1].result, PairResult::NotTested(_)));
    assert!(matches!(judgement.pairs[3].result, PairResult::Compared(_)));
}

#[test]
fn a_pair_differs_if_its_adjusted_p_value_is_at_most_5_percent() {
    let judgement = judge(&session(1.2), &arms(&["mio", "tokio", "mio#2"]), &Primary::default());
    let compared = p90(&judgement).unwrap();
    let differs = |p_adjusted| pair(PairResult::Compared(Comparison { p_adjusted, ..compared })).differs();
    assert!(differs(0.05) && !differs(0.0501));
    assert!(!pair(PairResult::NotCompared).differs());
}

#[test]
fn a_quantile_is_compared_only_if_thirty_messages_of_the_trials_of_each_arm_lie_beyond_it() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let with = |echoed: u64| {
        let mut rows = session(1.2);
        // Ten blocks, which is enough for a verdict.
        rows.truncate(30);
        rows.iter_mut().filter(|row| row.arm == "tokio").for_each(|row| row.echoed_count = Some(echoed));
        judge(&rows, &names, &Primary::default())
    };
    let compared = |judgement: &Judgement| [0, 1, 2].map(|rung: usize| judgement.pairs[rung].comparison().is_some());
    assert_eq!(compared(&with(300)), [true, true, true]);
    assert_eq!(compared(&with(299)), [true, true, false], "two of each of ten trials");
    assert_eq!(compared(&with(59)), [true, false, false]);
    assert_eq!(compared(&with(29)), [false, false, false]);
    let judgement = with(29);
    assert!(judgement.pairs[3].comparison().is_some() && judgement.control[0].comparison().is_some());
}

#[test]
fn the_latency_claims_of_arms_that_were_not_sent_to_alike_are_flagged() {
    let names = arms(&["mio", "tokio", "mio#2"]);
    let flagged = |lags: [u64; 3]| {
        let mut rows = session(1.2);
        for (index, row) in rows.iter_mut().enumerate() {
            row.send_lag_ns.mean = Some(lags[index % 3]);
        }
        judge(&rows, &names, &Primary::default())
    };
    // A third of 3 % of the median of 10.2 us.
    let judgement = flagged([1_000, 1_200, 1_000]);
    let lag = judgement.pairs[0].lag.unwrap();
    assert_eq!((lag.ns, lag.limit_ns.round()), (-200.0, 102.0), "the second arm's less the first arm's");
    assert!(judgement.pairs[..3].iter().all(|pair| pair.lag == Some(lag)));
    assert!(judgement.pairs[3..].iter().all(|pair| pair.lag.is_none()), "only a latency contains the lag");
    assert!(judgement.control.iter().all(|pair| pair.lag.is_none()));
    assert!(judgement.pairs[0].claim().is_some(), "a flag is a reservation");
    let within = flagged([1_000, 1_101, 1_000]);
    assert!(within.pairs.iter().all(|pair| pair.lag.is_none()));
    let alike = flagged([90_000; 3]);
    assert!(alike.pairs.iter().all(|pair| pair.lag.is_none()), "however long it is");
}

#[test]
fn beside_heavy_messages_the_p99_of_the_light_ones_is_compared() {
    let row = |block: u64, arm: &str, us: u64| Row {
        cell: Some("heavy-tail".to_owned()),
        block,
        arm: arm.to_owned(),
        response_ns: Latency { p50: Some(30_000), p90: Some(40_000), p99: Some(30_000_000), ..Latency::default() },
        response_light_ns: Latency { p50: Some(30_000), p99: Some(us * 1_000 + block), ..Latency::default() },
        echoed_count: Some(3_400),
        server_cpu_ns_load: Some(3_400 * 52_000 + block),
        ..Row::default()
    };
    let rows: Vec<Row> = (1..=12).flat_map(|n| [row(n, "mio", 20_000), row(n, "threads", 4_000)]).collect();
    let pairs = explore(&rows, &["mio", "threads"].map(str::to_owned), "heavy-tail");
    assert_eq!(pairs.iter().map(|pair| pair.metric.name).collect::<Vec<_>>(), ["light p99", "CPU per message"]);
    let light = pairs[0].comparison().unwrap();
    assert!((light.estimate - 5.0).abs() < 0.01, "{light:?}");
    assert_eq!(pairs[0].claim(), Some(Verdict::Higher), "mio against threads");
    let few: Vec<Row> = rows.into_iter().map(|row| Row { echoed_count: Some(200), ..row }).collect();
    let pairs = explore(&few, &["mio", "threads"].map(str::to_owned), "heavy-tail");
    assert!(pairs[0].comparison().is_none(), "24 messages lie beyond");
}
