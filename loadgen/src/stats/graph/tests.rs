use proptest::prelude::*;

use super::*;

/// The procedure for arbitrary graphs (Bretz et al., 2009, algorithm 1): shares of alpha, and the part of its share that a
/// rejected hypothesis hands to each other one.
struct Graph {
    shares: Vec<f64>,
    edges: Vec<Vec<f64>>,
}

impl Graph {
    fn of_chains(chains: &[Vec<usize>]) -> Self {
        let size = chains.iter().map(Vec::len).sum();
        let mut graph = Self { shares: vec![0.0; size], edges: vec![vec![0.0; size]; size] };
        for (index, chain) in chains.iter().enumerate() {
            graph.shares[chain[0]] = 1.0 / chains.len() as f64;
            for step in chain.windows(2) {
                graph.edges[step[0]][step[1]] = 1.0;
            }
            for (_, other) in chains.iter().enumerate().filter(|(other, _)| *other != index) {
                graph.edges[*chain.last().unwrap()][other[0]] = 1.0 / (chains.len() - 1) as f64;
            }
        }
        graph
    }

    fn rejected(mut self, p_values: &[f64], alpha: f64) -> Vec<bool> {
        let mut rejected = vec![false; p_values.len()];
        let can_be = |graph: &Self, rejected: &[bool]| {
            // Products of shares are not exact.
            let alpha = alpha * (1.0 + 1e-9);
            (0..p_values.len())
                .find(|it| !rejected[*it] && graph.shares[*it] > 0.0 && p_values[*it] <= alpha * graph.shares[*it])
        };
        while let Some(next) = can_be(&self, &rejected) {
            rejected[next] = true;
            let before = self.edges.clone();
            for from in (0..p_values.len()).filter(|it| !rejected[*it]) {
                self.shares[from] += self.shares[next] * before[next][from];
                for to in (0..p_values.len()).filter(|it| !rejected[*it] && *it != from) {
                    let back = before[from][next] * before[next][from];
                    let direct = before[from][to] + before[from][next] * before[next][to];
                    self.edges[from][to] = if back < 1.0 - 1e-12 { direct / (1.0 - back) } else { 0.0 };
                }
            }
            self.shares[next] = 0.0;
        }
        rejected
    }
}

/// Chains of these lengths.
fn chains(lengths: &[usize]) -> Vec<Vec<usize>> {
    let starts = lengths.iter().scan(0, |next, length| Some(std::mem::replace(next, *next + length)));
    starts.zip(lengths).map(|(start, length)| (start..start + length).collect()).collect()
}

/// P-values near the levels of a family, some of them alike.
fn p_value() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..0.08_f64, (0..=20_u32).prop_map(|step| f64::from(step) / 400.0), Just(1.0)]
}

/// Chains with a p-value for each hypothesis.
fn family() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<f64>)> {
    prop::collection::vec(1..5_usize, 1..7).prop_flat_map(|lengths| {
        let p_values = prop::collection::vec(p_value(), lengths.iter().sum::<usize>());
        (Just(chains(&lengths)), p_values)
    })
}

#[test]
fn chains_of_length_1_are_holms_procedure() {
    // The result of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    let found = adjusted(&holm(4), &[0.01, 0.04, 0.03, 0.005]);
    for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!((found - expected).abs() < 1e-12, "{found}");
    }
    assert_eq!(adjusted(&holm(0), &[]), [0.0; 0]);
    assert_eq!(adjusted(&holm(2), &[0.2, 1.0]), [0.4, 1.0]);
}

#[test]
fn a_chain_hands_on_all_of_its_share_and_stops_at_the_first_that_is_not_rejected() {
    let ladder_and_one = [vec![0, 1, 2], vec![3]];
    // The ladder has half of alpha; the second costs nothing, and the third is never reached by itself.
    assert_eq!(adjusted(&ladder_and_one, &[0.01, 0.02, 0.5, 0.5]), [0.02, 0.04, 1.0, 1.0]);
    assert_eq!(adjusted(&ladder_and_one, &[0.03, 0.0, 0.0, 0.5]), [0.06, 0.06, 0.06, 0.5], "the first holds all up");
    // The other one passes its half to where the ladder stands.
    assert_eq!(adjusted(&ladder_and_one, &[0.01, 0.03, 0.5, 0.02]), [0.02, 0.04, 0.5, 0.04]);
    assert_eq!(adjusted(&[vec![], vec![0]], &[0.02]), [0.02], "an empty chain has no share");
}

#[test]
fn the_intervals_of_a_dozen_are_taken_at_99_58_percent() {
    assert!((simultaneous_level(0.05, 12) - 0.995_833_333).abs() < 1e-9);
    assert_eq!(simultaneous_level(0.05, 1), 0.95);
}

proptest! {
    #[test]
    fn is_the_procedure_of_its_graph_at_any_alpha((chains, p_values) in family(), alpha in 0.001..0.3_f64) {
        let adjusted = adjusted(&chains, &p_values);
        // At the edge, rounding decides.
        prop_assume!(adjusted.iter().all(|adjusted| (adjusted - alpha).abs() > 1e-6));
        let rejected: Vec<bool> = adjusted.iter().map(|adjusted| *adjusted <= alpha).collect();
        prop_assert_eq!(rejected, Graph::of_chains(&chains).rejected(&p_values, alpha));
    }

    #[test]
    fn without_chains_it_is_holms_step_down(p_values in prop::collection::vec(p_value(), 0..15)) {
        let mut order: Vec<usize> = (0..p_values.len()).collect();
        order.sort_by(|one, other| p_values[*one].total_cmp(&p_values[*other]));
        let (mut by_definition, mut so_far) = (vec![0.0; p_values.len()], 0.0_f64);
        for (rank, index) in order.into_iter().enumerate() {
            so_far = so_far.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
            by_definition[index] = so_far;
        }
        prop_assert_eq!(adjusted(&holm(p_values.len()), &p_values), by_definition);
    }

    #[test]
    fn one_chain_is_a_fixed_sequence(p_values in prop::collection::vec(p_value(), 1..10)) {
        let largest_so_far = p_values.iter().scan(0.0_f64, |largest, p_value| {
            *largest = largest.max(*p_value);
            Some(*largest)
        });
        let found = adjusted(&chains(&[p_values.len()]), &p_values);
        prop_assert_eq!(found, largest_so_far.collect::<Vec<f64>>());
    }

    #[test]
    fn more_evidence_rejects_no_less((chains, p_values) in family(), at in 0..1000_usize, factor in 0.0..1.0_f64) {
        let mut stronger = p_values.clone();
        stronger[at % p_values.len()] *= factor;
        let [weaker, stronger] = [p_values, stronger].map(|p_values| adjusted(&chains, &p_values));
        prop_assert!(weaker.iter().zip(&stronger).all(|(weaker, stronger)| stronger <= weaker));
    }

    #[test]
    fn within_a_chain_the_adjusted_p_values_rise_and_none_is_below_its_own((chains, p_values) in family()) {
        let adjusted = adjusted(&chains, &p_values);
        prop_assert!(adjusted.iter().zip(&p_values).all(|(adjusted, own)| adjusted >= own && *adjusted <= 1.0));
        for chain in chains {
            prop_assert!(chain.windows(2).all(|step| adjusted[step[0]] <= adjusted[step[1]]));
        }
    }

    #[test]
    fn a_first_hypothesis_is_rejected_whenever_bonferroni_would((chains, p_values) in family(), alpha in 0.001..0.3_f64) {
        let adjusted = adjusted(&chains, &p_values);
        for chain in &chains {
            prop_assert!(adjusted[chain[0]] <= alpha || p_values[chain[0]] > alpha / chains.len() as f64);
        }
    }
}
