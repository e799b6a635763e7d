#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy==1.17.0"]
# ///
"""Recompute a session's verdicts with another library: `python3 scripts/tests/test_statistics.py DIR`.

From trials.csv and session.json alone, scipy and a few lines must reproduce verdicts.csv: the Hodges-Lehmann estimate, the
exact signed-rank interval with its level, the exact p value (the larger one of response and service), and the verdict.
The adjusted p values must be those of the closed test over all intersections of the family's hypotheses, each tested by
weighted Bonferroni with the weights that the graph gives it (Bretz et al., Statistics in Medicine 28, 2009); if there are
too many of them, those of the graph's sequential procedure.
Comparisons with ties or zeros are left out: scipy has no exact distribution for them.

Without scipy, environment.py installs it and restarts the script.
"""

import csv
import json
import math
import statistics
import sys
from collections import defaultdict
from itertools import combinations_with_replacement
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from environment import import_or_restart  # noqa: E402
from pictures import tell  # noqa: E402

ALPHA = 0.05
MARGIN = math.log(1.03)
LADDER = ["response p90", "response p95", "response p99"]
# Of each metric one column, or two to divide; of a quantile the bounds, and how many in a thousand lie beyond it.
METRICS = {
    "response p90": (["response_ns_p90"], ["service_ns_p90"], 100),
    "response p95": (["response_ns_p95"], ["service_ns_p95"], 50),
    "response p99": (["response_ns_p99"], ["service_ns_p99"], 10),
    "CPU per message": (["server_cpu_ns_load", "echoed_count"], None, None),
    "idle CPU per tick": (["server_cpu_ns_idle", "ticks_idle_count"], None, None),
    "drain rate": (["drain_rate_per_sec"], None, None),
}
# The closed test has a hypothesis for every subset of the family; it takes seconds for three servers.
FAMILY_MAX = 18


def main(folder):
    wilcoxon = import_or_restart(__file__, "scipy.stats")[0].wilcoxon
    verdicts = list(rows(folder / "verdicts.csv"))
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))["configuration"]
    checked, failures = 0, []
    for family in dict.fromkeys(verdict["family"] for verdict in verdicts):
        members = [verdict for verdict in verdicts if verdict["family"] == family]
        for member in members:
            bounds = [differences(folder, about, member, bound) for bound in (0, 1)]
            bounds = [bound for bound in bounds if bound is not None]
            if not member["estimate"] or any(has_ties(bound) for bound in bounds):
                continue
            checked += 1
            for name, expected in expectations(wilcoxon, bounds, len(members)).items():
                found = float(member[name])
                if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12):
                    failures.append(f"{title(member)}: {name} {found}, not {expected}")
            member["words"] = [word(wilcoxon, bound, member, len(members)) for bound in bounds]
        failures += wrong_adjustments(members)
        failures += wrong_verdicts(members)
    tell(f"{checked} comparisons computed again, {len(failures)} differences")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures or checked < 6 else 0


def title(member):
    return f"{member['family']}, {member['metric']}, {member['second']}/{member['first']}"


def has_ties(logs):
    return len({abs(value) for value in logs}) < len(logs) or 0.0 in logs


def differences(folder, about, verdict, bound):
    """Of the logarithms, second less first, of every block that may be used; None without such a bound."""
    columns = METRICS[verdict["metric"]][bound]
    if columns is None or not verdict["estimate"]:
        return None
    primary = about.get("primary") or {"latency": "", "cpu": ""}
    cell = primary["cpu" if verdict["metric"] == "CPU per message" else "latency"]
    blocks = defaultdict(list)
    for row in rows(folder / "trials.csv"):
        if row.get("cell", "") == cell and row["counted"] == "true":
            blocks[int(row["block"])].append(row)
    # Every arm of the primary claims must be sound for a block to count, whichever two are compared.
    arms = next(
        (other["arms"] for other in about.get("cells", []) if other["cell"] == primary["latency"]), about["arms"]
    )
    logs, told = [], [0, 0]
    for block in blocks.values():
        of_arm = {row["arm"]: row for row in block}
        if all(arm in of_arm for arm in arms):
            pair = [of_arm[verdict["first"]], of_arm[verdict["second"]]]
            first, second = (value(row, columns) for row in pair)
            logs.append(math.log(second) - math.log(first))
            beyond = METRICS[verdict["metric"]][2] or 1000
            told = [count + int(row["echoed_count"]) * beyond // 1000 for count, row in zip(told, pair)]
    if min(told) < 30:
        raise SystemExit(f"{title(verdict)}: {min(told)} messages lie beyond, which is too few")
    return logs


def value(row, columns):
    values = [float(row[column]) for column in columns]
    return values[0] / values[1] if len(values) > 1 else values[0]


def expectations(wilcoxon, bounds, family):
    walsh, rank = interval(wilcoxon, bounds[0], family)
    medians = [statistics.median(interval(wilcoxon, bound, family)[0]) for bound in bounds]
    agree = len({median > 0 for median in medians}) == 1
    return {
        "estimate": math.exp(medians[0]),
        "low": math.exp(walsh[rank - 1]),
        "high": math.exp(walsh[-rank]),
        "level": level(wilcoxon, len(bounds[0]), rank),
        "blocks": len(bounds[0]),
        "p_value": max(wilcoxon(bound, method="exact").pvalue for bound in bounds) if agree else 1,
    }


def interval(wilcoxon, logs, family):
    """The Walsh averages in order, and the rank of the one that is the lower end of the interval."""
    walsh = sorted((one + other) / 2 for one, other in combinations_with_replacement(logs, 2))
    wanted = 1 - ALPHA / family
    # The level falls as the rank rises.
    low, high = 1, len(walsh) // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if level(wilcoxon, len(logs), middle) >= wanted else (low, middle)
    return walsh, low


def level(wilcoxon, count, rank):
    """How often the interval from the rank-th Walsh average to the rank-th last holds the truth."""
    return 1 - wilcoxon(with_rank_sum(count, rank - 1), method="exact").pvalue


def with_rank_sum(count, wanted):
    """Numbers whose positive ones have this sum of ranks."""
    signed = []
    for value in range(count, 0, -1):
        positive = value <= wanted
        wanted -= value if positive else 0
        signed.append(value if positive else -value)
    return signed


def word(wilcoxon, logs, member, family):
    """The verdict of one bound."""
    walsh, rank = interval(wilcoxon, logs, family)
    low, high = walsh[rank - 1], walsh[-rank]
    differs = float(member["p_adjusted"]) <= ALPHA
    below = statistics.median(walsh) < 0
    if high < -MARGIN:
        return "lower"
    if low > MARGIN:
        return "higher"
    if -MARGIN <= low and high <= MARGIN:
        return "equivalent"
    if high < 0 or (differs and below):
        return "lower_size_unclear"
    if low > 0 or differs:
        return "higher_size_unclear"
    return "inconclusive"


def wrong_verdicts(members):
    """The verdicts that do not follow from those of the bounds, and in a ladder from those before."""
    for member in members:
        if "words" not in member or member["verdict"] == "withheld":
            continue
        differs = float(member["p_adjusted"]) <= ALPHA
        expected = at_all_bounds(member["words"], differs)
        lower = LADDER[: LADDER.index(member["metric"])] if member["metric"] in LADDER else []
        before = [
            other
            for other in members
            if other["metric"] in lower and (other["first"], other["second"]) == (member["first"], member["second"])
        ]
        undecided = ("inconclusive", "bounds_disagree", "not_compared", "not_tested")
        all_differ = all(other["p_adjusted"] and float(other["p_adjusted"]) <= ALPHA for other in before)
        if any(other["verdict"] in undecided for other in before) or not (all_differ or expected == "equivalent"):
            expected = "not_tested"
        if member["verdict"] != expected:
            yield f"{title(member)}: {member['verdict']}, not {expected}"


def at_all_bounds(words, differs):
    """The weaker verdict of two of the same direction."""
    first, sides = words[0], {word.removesuffix("_size_unclear") for word in words}
    if first == "inconclusive" or len(set(words)) == 1:
        return first
    sides -= {"equivalent"} if differs else set()
    return f"{sides.pop()}_size_unclear" if len(sides) == 1 else "bounds_disagree"


def wrong_adjustments(members):
    # One that cannot be compared still counts.
    p_values = [float(member["p_value"] or 1) for member in members]
    adjusted = closed_test if len(members) <= FAMILY_MAX else sequentially
    for member, expected in zip(members, adjusted(chains(members), p_values)):
        if member["p_adjusted"] and not math.isclose(float(member["p_adjusted"]), expected, rel_tol=1e-9):
            yield f"{title(member)}: adjusted {member['p_adjusted']}, not {expected}"


def chains(members):
    """The places of the quantiles of each pair, and by itself that of every other member."""
    chains = defaultdict(list)
    for place, member in enumerate(members):
        ladder = "ladder" if member["metric"] in LADDER else member["metric"]
        chains[member["first"], member["second"], ladder].append(place)
    for chain in chains.values():
        chain.sort(key=lambda place: METRICS_ORDER.index(members[place]["metric"]))
    return list(chains.values())


METRICS_ORDER = list(METRICS)


def closed_test(chains, p_values):
    """Adjusted p values: of each hypothesis, the largest p value of all the intersections that it belongs to."""
    count, (weights, edges) = len(p_values), graph(chains)
    adjusted = [0.0] * count

    def visit(place, members, weights, edges):
        """Every intersection of these members that has all of those before this place."""
        p_value = min((p_values[m] / weights[m] for m in members if weights[m] > 0), default=1.0)
        for member in members:
            adjusted[member] = max(adjusted[member], min(p_value, 1.0))
        for index in range(place, len(members)):
            rest = members[:index] + members[index + 1 :]
            if rest:
                visit(index, rest, *without(members[index], rest, weights, edges))

    visit(0, list(range(count)), weights, edges)
    return adjusted


def sequentially(chains, p_values):
    """The same by the graph's own procedure (Bretz et al., algorithm 2), for families with too many intersections."""
    weights, edges = graph(chains)
    adjusted, rest, so_far = [1.0] * len(p_values), list(range(len(p_values))), 0.0
    while candidates := [member for member in rest if weights[member] > 0]:
        gone = min(candidates, key=lambda member: p_values[member] / weights[member])
        so_far = adjusted[gone] = min(1.0, max(so_far, p_values[gone] / weights[gone]))
        rest.remove(gone)
        weights, edges = without(gone, rest, weights, edges)
    return adjusted


def graph(chains):
    """The weights of the hypotheses, and what each hands to each other one."""
    count = sum(map(len, chains))
    weights, edges = [0.0] * count, [[0.0] * count for _ in range(count)]
    for chain in chains:
        weights[chain[0]] = 1 / len(chains)
        for one, other in zip(chain, chain[1:]):
            edges[one][other] = 1.0
        for other in chains:
            if other is not chain:
                edges[chain[-1]][other[0]] = 1 / (len(chains) - 1)
    return weights, edges


def without(gone, rest, weights, edges):
    """The graph without a hypothesis, which hands on its weight, and whose edges are drawn past it."""
    new_weights, new_edges = list(weights), list(edges)
    for one in rest:
        new_weights[one] += weights[gone] * edges[gone][one]
        if not edges[one][gone]:
            continue
        new_edges[one] = list(edges[one])
        back = edges[one][gone] * edges[gone][one]
        for other in rest:
            if other != one:
                past = edges[one][other] + edges[one][gone] * edges[gone][other]
                new_edges[one][other] = past / (1 - back) if back < 1 - 1e-12 else 0.0
    return new_weights, new_edges


def rows(file):
    with file.open(newline="", encoding="utf-8") as text:
        yield from csv.DictReader(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR, the folder of a session")
    sys.exit(main(Path(sys.argv[1])))
