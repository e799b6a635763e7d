#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["hdrhistogram==0.10.8"]
# ///
"""Read latency.hlog of a session with another library: `python3 scripts/tests/test_hlog.py DIR`.

The Python package of HdrHistogram must find every histogram, with the counts of trials.csv and windows.csv and the values
of quantiles.csv. A quantile q of n samples is the sample of rank ceil(q n), so the two are compared at equal ranks: the
package takes the rank by rounding, the Rust crate by rounding up.

Without the package, environment.py installs it and restarts the script.
"""

import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from environment import import_or_restart  # noqa: E402
from pictures import tell  # noqa: E402


# latency.hlog keeps these with three significant digits, the others with two: half a unit of the last digit.
FINE = {"response", "send_lag"}
TOLERANCE = {True: 0.0, False: 0.01}

SIGNIFICANT, HIGHEST_NS = 3, 60_000_000_000


def main(folder):
    hdrh_log, hdrh_histogram = import_or_restart(__file__, "hdrh.log", "hdrh.histogram")
    empty = hdrh_histogram.HdrHistogram(1, HIGHEST_NS, SIGNIFICANT)
    reader = hdrh_log.HistogramLogReader(str(folder / "latency.hlog"), empty)
    histograms = {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        trial, _, metric = histogram.get_tag().partition(".")
        histograms[trial, metric] = histogram
    failures = [*wrong_counts(folder, histograms), *wrong_quantiles(folder, histograms)]
    tell(f"{len(histograms)} histograms, {len(failures)} differences")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures or not histograms else 0


def wrong_counts(folder, histograms):
    for row in rows(folder / "trials.csv"):
        if row["mode"] == "open" and row["echoed_count"] not in ("", "0"):
            found = histograms.get((row["trial_id"], "response"))
            count = found.get_total_count() if found else None
            if str(count) != row["echoed_count"]:
                yield f"trial {row['trial_id']}: {count} responses, {row['echoed_count']} echoes"
    seconds = defaultdict(int)
    for row in rows(folder / "windows.csv"):
        seconds[row["trial_id"], row["metric"]] += int(row["count"])
    for key, count in seconds.items():
        # Statuses and services of the drain belong to no second of the window.
        exact = key[1] in ("response", "send_lag")
        total = histograms[key].get_total_count() if key in histograms else 0
        if count > total or (exact and count != total):
            yield f"{key}: {count} in windows.csv, {total} in latency.hlog"


def wrong_quantiles(folder, histograms):
    for row in rows(folder / "quantiles.csv"):
        key = row["trial_id"], row["metric"]
        if key not in histograms:
            yield f"{key} is not in latency.hlog"
            continue
        histogram, expected = histograms[key], int(row["value_ns"])
        total = histogram.get_total_count()
        rank = max(1, math.ceil(float(row["quantile"]) * total))
        found = histogram.get_value_at_percentile(100 * rank / total)
        if float(row["quantile"]) == 0:
            # The crate names the lowest value of the first bucket, and of all others the highest.
            found = histogram.get_lowest_equivalent_value(found)
        if abs(found - expected) > TOLERANCE[key[1] in FINE] * expected:
            yield f"{key} at {row['quantile']}: {found}, not {expected}"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR")
    sys.exit(main(Path(sys.argv[1])))
