#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy==1.17.0"]
# ///
"""Compute a session's verdicts with somebody else's library: `python3 scripts/tests/test_statistics.py DIR`.

From trials.csv and session.json alone, scipy and a few lines must come to the numbers of verdicts.csv: the Hodges-Lehmann
estimate, the exact signed-rank interval with its level, the exact p value, and Holm's adjustment over the family.
Comparisons with ties or zeros are left out: scipy has no exact distribution for them.

Without scipy the script installs it into .venv at the root of the repository and runs itself there.
"""

import csv
import json
import math
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from itertools import combinations_with_replacement
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pictures import tell  # noqa: E402

VENV = Path(__file__).resolve().parent.parent.parent / ".venv"
RESTARTED = "IOMODELS_STATISTICS_RESTARTED"
ALPHA = 0.05

METRICS = {
    "response p50": lambda row: float(row["response_ns_p50"]),
    "response p99": lambda row: float(row["response_ns_p99"]),
    "CPU per message": lambda row: float(row["server_cpu_ns_load"]) / float(row["echoed_count"]),
}


def main(folder):
    wilcoxon = load_wilcoxon()
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


def load_wilcoxon():
    try:
        from scipy.stats import wilcoxon
    except ImportError:
        return restart_in_venv()
    return wilcoxon


def restart_in_venv():
    if os.environ.get(RESTARTED):
        sys.exit("scipy is missing in .venv as well: see the lines above")
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "scipy==1.17.0"], check=True)
    os.execve(python, [str(python), __file__, *sys.argv[1:]], os.environ | {RESTARTED: "1"})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR, the folder of a session")
    sys.exit(main(Path(sys.argv[1])))
