#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["hdrhistogram==0.10.8"]
# ///
"""The histograms of a session with generators on other hosts are the sum of its hosts', bucket by bucket, and so are the
counts: `python3 scripts/tests/test_hosts.py DIR`.

It reads them with the Python package of HdrHistogram, which this project did not write. Without the package,
environment.py installs it and restarts the script.
"""

import csv
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from environment import import_or_restart  # noqa: E402
from pictures import tell  # noqa: E402

SIGNIFICANT, HIGHEST_NS = 3, 60_000_000_000
COUNTS = ("scheduled_count", "sent_count", "echoed_count", "status_count")


def main(folder):
    log, histogram = import_or_restart(__file__, "hdrh.log", "hdrh.histogram")
    empty = histogram.HdrHistogram(1, HIGHEST_NS, SIGNIFICANT)
    logs = sorted((folder / "hosts").glob("*/latency.hlog"))
    merged, sums = buckets(log, empty, folder / "latency.hlog"), defaultdict(Counter)
    for own in logs:
        for tag, counts in buckets(log, empty, own).items():
            sums[tag].update(counts)
    failures = [f"{tag} is not the sum of its hosts'" for tag, counts in sums.items() if counts != merged.get(tag)]
    failures += wrong_counts(folder, len(logs))
    tell(f"{len(sums)} histograms of {len(logs)} hosts, {len(failures)} differences")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures or not sums else 0


def buckets(log, empty, path):
    """The counts of every bucket, by the histogram's tag."""
    reader, found = log.HistogramLogReader(str(path), empty), {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        steps = histogram.get_recorded_iterator()
        found[histogram.get_tag()] = Counter(
            {step.value_iterated_to: step.count_at_value_iterated_to for step in steps}
        )
    return found


def wrong_counts(folder, hosts):
    own = defaultdict(list)
    for row in rows(folder / "hosts.csv"):
        own[row["trial_id"]].append(row)
    for trial in rows(folder / "trials.csv"):
        parts = own[trial["trial_id"]]
        if len(parts) != hosts:
            yield f"trial {trial['trial_id']} has {len(parts)} of {hosts} hosts"
        for column in COUNTS:
            if sum(int(part[column]) for part in parts) != int(trial[column] or 0):
                yield f"{column} of trial {trial['trial_id']} is not the sum of its hosts'"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR")
    sys.exit(main(Path(sys.argv[1])))
