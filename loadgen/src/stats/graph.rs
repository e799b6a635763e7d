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
//! are rejected. The last one hands its share equally to the first of all other chains, from where it reaches the first
//! that is not yet rejected. The rule by which edges are redrawn around a rejected hypothesis keeps this symmetry, so at
//! every step the chains that are not exhausted have equal shares (the tests compare the result with the procedure for
//! arbitrary graphs). If all chains have length 1, this is Holm's procedure (A simple sequentially rejective multiple test
//! procedure, Scandinavian Journal of Statistics 6, 1979); one chain alone is a fixed sequence.
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

/// The adjusted p-values, in the order given: the smallest family-wise alpha at which each hypothesis is rejected. The
/// chains name the hypotheses by their places; one that is in no chain is never rejected.
pub fn adjusted(chains: &[Vec<usize>], p_values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; p_values.len()];
    let mut chains: Vec<&[usize]> = chains.iter().map(Vec::as_slice).filter(|chain| !chain.is_empty()).collect();
    let mut so_far = 0.0_f64;
    while let Some(least) =
        (0..chains.len()).min_by(|one, other| p_values[chains[*one][0]].total_cmp(&p_values[chains[*other][0]]))
    {
        let next = chains[least][0];
        // No hypothesis is rejected before those that hand their shares to it.
        so_far = so_far.max(p_values[next] * chains.len() as f64).min(1.0);
        adjusted[next] = so_far;
        chains[least] = &chains[least][1..];
        chains.retain(|chain| !chain.is_empty());
    }
    adjusted
}

/// Chains of length 1, for so many hypotheses: Holm's procedure.
pub fn holm(hypotheses: usize) -> Vec<Vec<usize>> {
    (0..hypotheses).map(|hypothesis| vec![hypothesis]).collect()
}

/// The level of each of `comparisons` intervals for a simultaneous level of 1 - `alpha` (Bonferroni).
pub fn simultaneous_level(alpha: f64, comparisons: usize) -> f64 {
    1.0 - alpha / comparisons.max(1) as f64
}

#[cfg(test)]
mod tests;
