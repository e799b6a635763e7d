//! Multiple comparisons: a graph that hands on the significance level for the tests, Bonferroni's level for the intervals.
//!
//! With a dozen comparisons of equal arms, nearly every second session has one with p below 5 %. The hypotheses are
//! therefore tested by the graphical sequentially rejective procedure (Bretz, Maurer, Brannath and Posch, A graphical
//! approach to sequentially rejective multiple test procedures, Statistics in Medicine 28, 2009). Each hypothesis has a
//! share of alpha; one that is rejected hands its share on along the edges of the graph. The procedure is a closed test of
//! weighted Bonferroni tests, which keeps the probability of any false rejection below alpha for any dependence between
//! the comparisons (pairs of three servers are dependent, and so are quantiles of one distribution) and whichever of the
//! hypotheses are true.
//!
//! The graph consists of **chains**. The first hypothesis of each has an equal share of alpha. Within a chain, everything
//! is handed to the next: a fixed sequence, whose later hypotheses cost no alpha and are tested only if all before them
//! are rejected. The last one hands its share equally to the first of all other chains. If all chains have length 1, this
//! is Holm's procedure (A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6,
//! 1979); one chain alone is a fixed sequence.
//!
//! **Intervals do not step down**, neither along a chain nor between chains. It is tempting to take each interval at the
//! level of its test, but wrong: the simultaneous level falls short. With Holm's levels alpha / (m - rank + 1), the
//! probability that some interval misses can reach alpha (1 + 1/2 + ... + 1/m), three times alpha for a dozen; along a
//! fixed sequence of k with every interval at alpha, it can reach k times alpha. Step-down relies on hypotheses that are
//! settled once rejected: the first that is true ends the sequence, except with probability alpha. "They differ" is such a
//! hypothesis, but after it follows "by more than the margin?", so that each step asserts something that may be wrong,
//! whatever the steps before have found, and the union bound over all steps is needed. What matches the stepwise
//! procedures is an interval that contains no more than the direction of a rejected hypothesis (Strassburger and Bretz,
//! Statistics in Medicine 27, 2008; Guilbaud, Biometrical Journal 50, 2008); for a fixed sequence, a one-sided bound that
//! is proper only at the step that stops (Hsu and Berger, Journal of the American Statistical Association 94, 1999). The
//! graph therefore decides whether two arms differ, and intervals at 1 - alpha / m, over all m members of the family,
//! which hold simultaneously with probability 1 - alpha, tell by how much.

/// Hypotheses with their shares of the significance level, and what becomes of the share of one that is rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The share of alpha of each hypothesis.
    weights: Vec<f64>,
    /// From each hypothesis to each other one: the part of its share that is handed on. A row adds up to 1 at most.
    edges: Vec<Vec<f64>>,
}

impl Graph {
    /// The graph of these chains of hypotheses, which contain each of the numbers below their total length once.
    ///
    /// # Panics
    /// If they do not.
    pub fn of_chains(chains: &[Vec<usize>]) -> Self {
        let chains: Vec<&Vec<usize>> = chains.iter().filter(|chain| !chain.is_empty()).collect();
        let mut sorted: Vec<usize> = chains.iter().flat_map(|chain| chain.iter().copied()).collect();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..sorted.len()), "each hypothesis belongs to one chain: {chains:?}");
        let size = sorted.len();
        let mut graph = Self { weights: vec![0.0; size], edges: vec![vec![0.0; size]; size] };
        for (index, chain) in chains.iter().enumerate() {
            graph.weights[chain[0]] = 1.0 / chains.len() as f64;
            for step in chain.windows(2) {
                graph.edges[step[0]][step[1]] = 1.0;
            }
            let last = chain[chain.len() - 1];
            for (_, other) in chains.iter().enumerate().filter(|(other, _)| *other != index) {
                graph.edges[last][other[0]] = 1.0 / (chains.len() - 1) as f64;
            }
        }
        graph
    }

    /// The graph of Holm's procedure for so many hypotheses.
    pub fn holm(hypotheses: usize) -> Self {
        let chains: Vec<Vec<usize>> = (0..hypotheses).map(|hypothesis| vec![hypothesis]).collect();
        Self::of_chains(&chains)
    }

    /// The adjusted p-values, in the order of the hypotheses: the smallest family-wise alpha at which each is rejected
    /// (Bretz et al., algorithm 2). A hypothesis that is never given a share has 1.
    pub fn adjusted(&self, p_values: &[f64]) -> Vec<f64> {
        let mut graph = self.clone();
        let mut remaining: Vec<usize> = (0..p_values.len()).collect();
        let mut adjusted = vec![1.0; p_values.len()];
        let mut so_far = 0.0_f64;
        loop {
            // Which of those that would be rejected comes first makes no difference to the result.
            let needed = |hypothesis: usize| p_values[hypothesis] / graph.weights[hypothesis];
            let with_share = remaining.iter().copied().filter(|hypothesis| graph.weights[*hypothesis] > 0.0);
            let Some(next) = with_share.min_by(|one, other| needed(*one).total_cmp(&needed(*other))) else {
                return adjusted;
            };
            // No hypothesis is rejected before those that hand their shares to it.
            so_far = so_far.max(needed(next)).min(1.0);
            adjusted[next] = so_far;
            remaining.retain(|hypothesis| *hypothesis != next);
            graph.remove(next, &remaining);
        }
    }

    /// Which hypotheses are rejected, with a probability of at most `alpha` of any false rejection.
    pub fn rejected(&self, p_values: &[f64], alpha: f64) -> Vec<bool> {
        self.adjusted(p_values).into_iter().map(|p_value| p_value <= alpha).collect()
    }

    /// Takes a rejected hypothesis out: it hands on its share, and edges that lead to it lead where its own lead.
    fn remove(&mut self, rejected: usize, remaining: &[usize]) {
        let before = self.clone();
        for from in remaining {
            self.weights[*from] += before.weights[rejected] * before.edges[rejected][*from];
            let back_and_forth = before.edges[*from][rejected] * before.edges[rejected][*from];
            for to in remaining.iter().filter(|to| *to != from) {
                let around = before.edges[*from][rejected] * before.edges[rejected][*to];
                // If everything comes back to it, it has nowhere to hand its share to.
                self.edges[*from][*to] =
                    if back_and_forth < 1.0 { (before.edges[*from][*to] + around) / (1.0 - back_and_forth) } else { 0.0 };
            }
        }
    }
}

/// The level of each of `comparisons` intervals for a simultaneous level of 1 - `alpha` (Bonferroni).
pub fn simultaneous_level(alpha: f64, comparisons: usize) -> f64 {
    1.0 - alpha / comparisons.max(1) as f64
}

#[cfg(test)]
mod tests;
