#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy==1.17.0", "statsmodels==0.15.0"]
# ///
"""Recompute what several sessions say with other libraries: `python3 scripts/tests/test_sessions.py LOADGEN DIR ...`.

The sessions, which must be of one load, are copied with one build, since only sessions of the same code are combined,
and two more are made up from the first: the times and rates of every arm but mio are higher there, by 3 % and by 10 %
for the first arm and by as much again for each further one, so that the sessions differ about every pair. From the
estimates and intervals of `loadgen report ... --format csv`, statsmodels and scipy must reproduce Q, its p value, I2,
tau (Paule and Mandel), the mean with the interval of Hartung and Knapp, and the prediction interval.

Without these libraries, environment.py installs them and restarts the script.
"""

import csv
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from environment import import_or_restart  # noqa: E402
from pictures import tell  # noqa: E402

SHARES = 100
# The margins, whose hundredths are the least standard errors: 3 %, and 1 of what is counted.
RATIO_MARGIN = math.log(1.03)


def main(loadgen, folders):
    stats, meta, optimize = import_or_restart(
        __file__, "scipy.stats", "statsmodels.stats.meta_analysis", "scipy.optimize"
    )
    checked, means, failures = 0, 0, []
    with tempfile.TemporaryDirectory() as place:
        copies = [copied(folder, Path(place) / str(index), index) for index, folder in enumerate(folders)]
        for percent in (3, 10):
            made_up = Path(place) / f"made-up-{percent}"
            copies.append(copied(folders[0], made_up, len(copies), lambda rows, percent=percent: higher(rows, percent)))
        command = [loadgen, "report", *map(str, copies), "--format", "csv"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    groups = defaultdict(list)
    for row in csv.DictReader(output.splitlines()):
        groups[row["cell"], row["metric"], row["first"], row["second"]].append(row)
    for name, rows in groups.items():
        sessions = [row for row in rows if row["row"] == "session"]
        if any(row["combined"] != "true" for row in sessions):
            failures.append(f"{name}: not combined, although the build is the same")
            continue
        checked += 1
        means += len(sessions) > 2
        found = numbers_of(rows)
        for key, expected in expectations(stats, meta, optimize, sessions).items():
            if not math.isclose(found[key], expected, rel_tol=1e-5, abs_tol=1e-7):
                failures.append(f"{name}: {key} {found[key]}, not {expected}")
    tell(f"{checked} comparisons of sessions computed again, {means} with a mean, {len(failures)} differences")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures or checked < 20 or means < 6 else 0


def copied(folder, place, index, change=lambda rows: rows):
    """A copy of a session as one of the same build."""
    place.mkdir()
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    about["build"]["binary_sha256"] = "the same"
    about["session_id"], about["started_at_unix_ms"] = f"session-{index}", index + 1
    (place / "session.json").write_text(json.dumps(about), encoding="utf-8")
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    with (place / "trials.csv").open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(change(rows))
    return place


def higher(rows, percent):
    """The times and rates of every arm but the controlled one and its control are higher, each by its own amount."""
    measured = ("response_ns_p", "response_light_ns_p", "service_ns_p", "server_cpu_ns_", "drain_rate_")
    columns = [name for name in rows[0] if name.startswith(measured)]
    arms = sorted({row["arm"] for row in rows if not row["arm"].startswith("mio")})
    factors = {arm: 1 + percent * number / 100 for number, arm in enumerate(arms, 1)}
    for row in rows:
        for column in columns:
            if row[column]:
                row[column] = str(round(int(row[column]) * factors.get(row["arm"], 1)))
    return rows


def numbers_of(rows):
    found = {key: float(rows[0][column]) for key, column in [("Q", "q"), ("p", "q_p_value"), ("I2", "i_squared")]}
    found["tau"] = float(rows[0]["tau"])
    for row in rows:
        if row["row"] == "mean":
            found |= {"mean": math.log(float(row["estimate"]))}
        if row["row"] in ("mean", "prediction"):
            found |= {f"{row['row']} {end}": math.log(float(row[end])) for end in ("low", "high")}
    return found


def expectations(stats, meta, optimize, sessions):
    numpy = sys.modules["numpy"]
    values = numpy.array([math.log(float(row["estimate"])) for row in sessions])
    variances = numpy.array([standard_error(stats, row) ** 2 for row in sessions])
    freedom = len(values) - 1
    # Its own tolerance: with a tighter one, a last step that ends below 0 by rounding makes statsmodels return 0.
    result = meta.combine_effects(values, variances, method_re="pm", use_t=True)
    test = result.test_homogeneity()
    tau2 = tau2_at(optimize, values, variances, freedom)
    assert math.isclose(result.tau2, tau2, rel_tol=1e-4, abs_tol=1e-9), (result.tau2, tau2)
    # statsmodels lets I2 be below 0.
    expected = {"Q": test.statistic, "p": test.pvalue, "I2": max(0.0, result.i2), "tau": math.sqrt(tau2)}
    if freedom < 2:
        return expected
    mean, squares, variance = weighted(values, variances, tau2)
    half_width = stats.t.isf(0.025, freedom) * math.sqrt(variance * max(1.0, squares / freedom))
    if tau2 > 0:
        # Hartung and Knapp's factor is 1.
        low, high = result.conf_int(use_t=True)[3]
        assert math.isclose(high - low, 2 * half_width, rel_tol=1e-4), (low, high, half_width)
    low, high = prediction(stats, optimize, values, variances)
    return expected | {
        "mean": mean,
        "mean low": mean - half_width,
        "mean high": mean + half_width,
        "prediction low": min(low, mean - half_width),
        "prediction high": max(high, mean + half_width),
    }


def standard_error(stats, row):
    """Half the interval by the normal quantile of its own level."""
    half_width = (math.log(float(row["high"])) - math.log(float(row["low"]))) / 2
    return max(half_width / stats.norm.isf((1 - float(row["level"])) / 2), RATIO_MARGIN / 100)


def weighted(values, variances, tau2):
    """The mean, the weighted squares of the deviations from it, and its variance."""
    weights = 1 / (variances + tau2)
    mean = (weights * values).sum() / weights.sum()
    return mean, (weights * (values - mean) ** 2).sum(), 1 / weights.sum()


def tau2_at(optimize, values, variances, squares):
    """The variance between sessions at which the weighted squares are this much."""

    def excess(tau2):
        return weighted(values, variances, tau2)[1] - squares

    if excess(0.0) <= 0:
        return 0.0
    high = variances.max()
    while excess(high) > 0:
        high *= 2
    return optimize.brentq(excess, 0.0, high, xtol=1e-18, rtol=1e-13)


def prediction(stats, optimize, values, variances):
    """A normal distribution for every tau, weighted by the confidence distribution of tau."""
    shares = [(index + 0.5) / SHARES for index in range(SHARES)]
    parts = []
    for squares in stats.chi2.ppf(shares, len(values) - 1):
        tau2 = tau2_at(optimize, values, variances, squares)
        mean, _, variance = weighted(values, variances, tau2)
        parts.append((mean, math.sqrt(tau2 + variance)))

    def end(share):
        quantiles = [stats.norm.ppf(share, mean, deviation) for mean, deviation in parts]
        if max(quantiles) - min(quantiles) < 1e-12:
            return quantiles[0]
        means, deviations = zip(*parts)
        distribution = lambda x: stats.norm.cdf(x, means, deviations).mean() - share  # noqa: E731
        return optimize.brentq(distribution, min(quantiles), max(quantiles), xtol=1e-14)

    return end(0.025), end(0.975)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} LOADGEN DIR ..., the program and the folders of sessions")
    sys.exit(main(sys.argv[1], [Path(folder) for folder in sys.argv[2:]]))
