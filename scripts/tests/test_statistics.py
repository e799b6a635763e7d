#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy==1.17.0"]
# ///
"""Recompute a session's verdicts with another library: `python3 scripts/tests/test_statistics.py DIR`.

From trials.csv and session.json alone, scipy and a few lines must reproduce the numbers of verdicts.csv: the Hodges-Lehmann
estimate, the exact signed-rank interval with its level, the exact p value, and Holm's adjustment over the family.
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

METRICS = {
    "response p50": lambda row: float(row["response_ns_p50"]),
    "response p99": lambda row: float(row["response_ns_p99"]),
    "CPU per message": lambda row: float(row["server_cpu_ns_load"]) / float(row["echoed_count"]),
}


def main(folder):
    wilcoxon = import_or_restart(__file__, "scipy.stats")[0].wilcoxon
    verdicts = list(rows(folder / "verdicts.csv"))
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))["configuration"]
    checked, failures = 0, []
    for verdict in verdicts:
        if verdict["metric"] not in METRICS or not verdict["estimate"]:
            continue
        logs = differences(folder, about, verdict)
        if len({abs(value) for value in logs}) < len(logs) or 0.0 in logs:
            continue
        family = sum(1 for other in verdicts if other["family"] == verdict["family"])
        checked += 1
        for name, expected in expectations(wilcoxon, logs, family).items():
            found = float(verdict[name])
            if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12):
                failures.append(
                    f"{verdict['metric']}, {verdict['second']}/{verdict['first']}: {name} {found}, not {expected}"
                )
    failures += wrong_adjustments(verdicts)
    tell(f"{checked} comparisons computed again, {len(failures)} differences")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures or checked < 6 else 0


def differences(folder, about, verdict):
    """Of the logarithms, second less first, of every block that may be used."""
    primary = about.get("primary") or {"latency": "", "cpu": ""}
    cell = primary["cpu" if verdict["metric"] == "CPU per message" else "latency"]
    blocks = defaultdict(list)
    for row in rows(folder / "trials.csv"):
        if row.get("cell", "") == cell and row["counted"] == "true":
            blocks[int(row["block"])].append(row)
    value = METRICS[verdict["metric"]]
    # Every arm of the primary claims must be sound for a block to count, whichever two are compared.
    arms = next(
        (other["arms"] for other in about.get("cells", []) if other["cell"] == primary["latency"]), about["arms"]
    )
    logs = []
    for block in blocks.values():
        of_arm = {row["arm"]: row for row in block}
        if all(arm in of_arm for arm in arms):
            first, second = of_arm[verdict["first"]], of_arm[verdict["second"]]
            logs.append(math.log(value(second)) - math.log(value(first)))
    return logs


def expectations(wilcoxon, logs, family):
    count = len(logs)
    walsh = sorted((one + other) / 2 for one, other in combinations_with_replacement(logs, 2))
    wanted = 1 - ALPHA / family
    rank = max(k for k in range(1, len(walsh) // 2) if level(wilcoxon, count, k) >= wanted)
    return {
        "estimate": math.exp(statistics.median(walsh)),
        "low": math.exp(walsh[rank - 1]),
        "high": math.exp(walsh[-rank]),
        "level": level(wilcoxon, count, rank),
        "blocks": count,
        "p_value": wilcoxon(logs, method="exact").pvalue,
    }


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


def wrong_adjustments(verdicts):
    for family in {verdict["family"] for verdict in verdicts}:
        members = [verdict for verdict in verdicts if verdict["family"] == family]
        # One that cannot be compared still counts.
        p_values = sorted((float(member["p_value"] or 1), index) for index, member in enumerate(members))
        highest = 0.0
        for step, (p_value, index) in enumerate(p_values):
            highest = max(highest, min(1.0, p_value * (len(members) - step)))
            found = members[index]["p_adjusted"]
            if found and not math.isclose(float(found), highest, rel_tol=1e-9):
                yield f"{family}, {members[index]['metric']}: adjusted {found}, not {highest}"


def rows(file):
    with file.open(newline="", encoding="utf-8") as text:
        yield from csv.DictReader(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR, the folder of a session")
    sys.exit(main(Path(sys.argv[1])))
