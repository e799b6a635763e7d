#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas==3.1.1", "duckdb==2.0.1"]
# ///
"""Check that everything that takes medians uses the same trials: `python3 scripts/tests/test_counted.py LOADGEN`.

LOADGEN records a small session, which is then edited: one block is repeated, another ends with an invalid trial, and one
trial is saturated. After LOADGEN has completed that session, its report, scripts/pictures, and the queries for
DuckDB and pandas that scripts/README.md shows must give the same medians.

Without the packages, environment.py installs them and restarts the script.
"""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from environment import import_or_restart  # noqa: E402
from pictures import tell  # noqa: E402
from pictures.session import read_session  # noqa: E402
from pictures.values import column, curves_of  # noqa: E402

COMPARE = ["compare", "--profile", "smoke", "--servers", "mio,threads", "--blocks", "5", "--pacing", "timer"]


def main(loadgen):
    duckdb, pandas = import_or_restart(__file__, "duckdb", "pandas")
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder) / "session"
        run(loadgen, *COMPARE, "--placement", "shared", "--out", session)
        edit(session)
        run(loadgen, "compare", "--trust", "--resume", session)
        found = {
            "report": of_report(loadgen, session),
            "pictures": of_pictures(session),
            "DuckDB": of_duckdb(duckdb, session),
            "pandas": of_pandas(pandas, session),
        }
        counted = [row["counted"] for row in rows(session)]
    # The report has no medians of the server that runs twice.
    expected = found["DuckDB"]
    failures = [f"{name}: {medians}" for name, medians in found.items() if not medians.items() <= expected.items()]
    failures += [f"{name}: {medians}" for name, medians in found.items() if len(medians) != 3 - (name == "report")]
    # Of blocks 1 and 3 to 5 the last attempts: block 1 has another one, block 2 an invalid trial.
    if counted.count("true") != 12 or counted.count("false") != len(counted) - 12:
        failures.append(f"counted: {counted}")
    tell(f"medians of {len(found)} ways to take them: {expected}, {len(failures)} differences")
    for failure in failures:
        tell(f"  {failure}")
    return 1 if failures else 0


def run(loadgen, *arguments):
    done = subprocess.run([loadgen, *map(str, arguments)], capture_output=True, text=True, check=False)
    # 5: a trial is invalid because of the host, and does not count.
    if done.returncode not in (0, 5):
        sys.exit(f"loadgen {arguments[0]}: {done.stderr}")
    return done.stdout


def edit(session):
    """As if the session had been interrupted behind its last trial, and had had a bad host."""
    table = rows(session)
    last = {block: max(int(row["attempt"]) for row in table if row["block"] == block) for block in "12345"}
    table = [row for row in table if int(row["attempt"]) == last[row["block"]]]
    for number, row in enumerate(table):
        slow = str((1 + number) * 1_000_000)
        row.update(attempt="1", validity="valid", outcome="ok", counted="", response_ns_p99=slow)
        if row["block"] == "2":
            row.update(validity="invalid" if row["arm"] == "mio" else "flagged", response_ns_p99="900000000")
        if row["block"] == "3" and row["arm"] == "threads":
            row.update(outcome="saturated", response_ns_p99="800000000")
    again = [
        row | {"attempt": "2", "trial_id": str(100 + int(row["trial_id"]))} for row in table if row["block"] == "1"
    ]
    for row in table:
        if row["block"] == "1":
            row.update(validity="invalid", response_ns_p99="700000000")
    with open(session / "trials.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table + again)
    about = json.loads((session / "session.json").read_text(encoding="utf-8")) | {"state": "partial"}
    (session / "session.json").write_text(json.dumps(about), encoding="utf-8")


def of_report(loadgen, session):
    entries = json.loads(run(loadgen, "report", session, "--format", "gha"))
    own = [entry for entry in entries if entry["name"].endswith(": response p99")]
    medians = {entry["name"].partition(":")[0]: entry["value"] for entry in own}
    line = next(line for line in run(loadgen, "report", session).splitlines() if line.startswith("response p99, us"))
    shown = [float(number) for number in re.findall(r"([\d.]+) \(", line)]
    if shown != list(medians.values()):
        sys.exit(f"the table has {shown} and the other format {medians}")
    return medians


def of_pictures(session):
    read = read_session(session)
    curves = curves_of(read, read.trials, lambda _: 0, column("response_ns_p99", 1000), with_control=True)
    return {arm.label: points[0].median for arm, points in curves.items()}


def of_duckdb(duckdb, session):
    query = re.search(r'duckdb -c "(.+?)"\n', readme(), re.DOTALL)[1]
    with contextlib.chdir(session):
        return {arm: median / 1000 for _, arm, median in duckdb.sql(query).fetchall()}


def of_pandas(pandas, session):
    code = re.search(r"```python\n(import pandas.+?)```", readme(), re.DOTALL)[1]
    printed, shown = {}, []
    with contextlib.chdir(session), contextlib.redirect_stdout(io.StringIO()):
        exec(code.replace("print(", "show("), {"show": shown.append} | printed)
    return {arm: median / 1000 for (_, arm), median in shown[0].items()}


def readme():
    return (SCRIPTS / "README.md").read_text(encoding="utf-8")


def rows(session):
    with open(session / "trials.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} LOADGEN, the executable")
    sys.exit(main(Path(sys.argv[1]).resolve()))
