"""Reads a session folder: its trials, its arms and the metadata in session.json. Draws nothing."""

import csv
import gzip
import io
import json
import math
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import LeftOut, plain, say

SERVERS = ("mio", "threads", "tokio", "tokio-current-thread")  # in display order, before all others


@dataclass(frozen=True)
class Arm:
    label: str
    server: str
    further: int  # index among the servers that are not in SERVERS, for the choice of a colour; else 0

    @property
    def is_control(self):
        """The second arm of a server that runs twice, to show the noise."""
        return "#" in self.label


@dataclass(frozen=True, eq=False)
class Trial:
    row: dict
    is_repeated: bool  # a later attempt of its block replaces it
    is_counted: bool  # the column `counted`; see results/README.md

    def text(self, column):
        return self.row.get(column) or ""

    def number(self, column):
        return number(self.row.get(column))

    @cached_property
    def why_not(self):
        """The reason, in a word or two, why the trial is excluded from medians; None if it is included."""
        if not self.is_counted:
            if self.is_repeated:
                return "repeated"
            return "invalid" if self.text("validity") == "invalid" else "in a block with an invalid trial"
        return None if self.text("outcome") in ("ok", "") else self.text("outcome")

    @property
    def counts(self):
        return self.why_not is None

    @property
    def counts_or_is_saturated(self):
        return self.why_not in (None, "saturated")


@dataclass(frozen=True, eq=False)
class Session:
    folder: Path
    name: str
    host: str
    revision: str
    trials: list
    arms: list
    latency_cell: str  # the cell of the verdicts on latency; empty if the session has only one load
    cpu_cell: str  # the cell of the verdicts on CPU per message
    slowest_rate_per_sec: object  # the rate that the slowest server sustained in the pilot, or None

    def trials_in(self, cells):
        """The trials of the cells whose names match a regular expression."""
        return [trial for trial in self.trials if re.fullmatch(cells, trial.text("cell"))]

    def arms_in(self, trials, with_control=True):
        labels = {trial.text("arm") for trial in trials}
        return [arm for arm in self.arms if arm.label in labels and (with_control or not arm.is_control)]

    def rows_of(self, name):
        """The rows of another table of the session, which may be compressed as NAME.gz."""
        path, packed = self.folder / name, self.folder / f"{name}.gz"
        path = packed if packed.exists() and not path.exists() else path
        try:
            return read_table(path)
        except FileNotFoundError as error:
            raise LeftOut(f"there is no {name}") from error
        except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
            raise LeftOut(f"cannot read {path.name}: {error}") from error


def generators(configuration):
    """The hosts that carried the load, if others did."""
    hosts = configuration.get("hosts")
    names = [str(host.get("name")) for host in hosts if isinstance(host, dict)] if isinstance(hosts, list) else []
    return f" with generators on {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else ""


def read_session(folder):
    """Raises OSError or ValueError if the folder holds no readable trials.csv; everything else may be missing."""
    trials = trials_of([row for row in read_rows(folder / "trials.csv") if is_complete(row)])
    warn_of_mixed_conditions(trials)
    facts = read_facts(folder / "session.json")
    configuration = branch(facts, "configuration")
    primary = branch(configuration, "primary")
    cells = {trial.text("cell") for trial in trials}
    folder_name = folder.resolve().name
    return Session(
        folder=folder,
        name=str(facts.get("session_id") or folder_name),
        host=str(branch(facts, "environment").get("host") or folder_name.partition("Z-")[2])
        + generators(configuration),
        revision=str(branch(facts, "build").get("git_revision") or " + ".join(distinct(trials, "git_revision"))),
        trials=trials,
        arms=arms_of(trials),
        latency_cell=place(primary.get("latency"), "rate-50", cells),
        cpu_cell=place(primary.get("cpu"), "cpu", cells),
        slowest_rate_per_sec=number(configuration.get("slowest_rate_per_sec")),
    )


def read_rows(path):
    try:
        rows = read_table(path, needed=("trial_id", "arm", "validity"))
    except csv.Error as error:
        raise ValueError(f"trials.csv: {error}") from error
    incomplete = sum(not is_complete(row) for row in rows)
    if incomplete:
        say(f"{incomplete} incomplete rows of trials.csv left out")
    return rows


def is_complete(row):
    return bool(row["trial_id"] and row["arm"] and row["validity"])


def read_table(path, needed=()):
    """The rows of a CSV file, every cell as text. An incomplete last line is dropped."""
    packed = path.suffix == ".gz"
    text = (unpacked(path) if packed else path.read_bytes()).decode("utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(whole, newline=""))
    missing = set(needed) - set(reader.fieldnames or [])
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(sorted(missing))}")
    rows = list(reader)
    is_torn = bool(rows) and None in rows[-1].values()  # a missing cell, as opposed to an empty one
    if is_torn:
        rows.pop()
    if is_torn or whole != text:
        say(f"{path.name}: the last row is incomplete and left out")
    return [{column: plain(cell or "") for column, cell in row.items() if column} for row in rows]


def unpacked(path):
    """The content of a compressed file, up to where it is truncated."""
    content = b""
    with gzip.open(path, "rb") as file:
        try:
            while piece := file.read1(1 << 20):
                content += piece
        except EOFError:
            pass
    return content


def read_facts(path):
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        say(f"session.json not used: {error}")
        return {}
    return shown(facts) if isinstance(facts, dict) else {}


def shown(value):
    """A value of a record, with its texts escaped for display."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [shown(item) for item in value]
    return {key: shown(item) for key, item in value.items()} if isinstance(value, dict) else value


def branch(facts, key):
    found = facts.get(key)
    return found if isinstance(found, dict) else {}


def place(named, usual, cells):
    """The cell that session.json names, else the usual one; empty for a session without cells."""
    return next((str(cell) for cell in (named, usual) if cell in cells), "")


def trials_of(rows):
    last_attempts = {}
    for row in rows:
        last_attempts[block(row)] = max(attempt(row), last_attempts.get(block(row), 1))
    repeated = [attempt(row) < last_attempts[block(row)] for row in rows]
    pairs = list(zip(rows, repeated))
    if any(row.get("counted") for row in rows):
        return [Trial(row, again, is_counted=row.get("counted") == "true") for row, again in pairs]
    # A session that has not ended, or that is older than the column: the rule of loadgen.
    invalid_blocks = {block(row) for row, again in pairs if not again and row["validity"] == "invalid"}
    return [Trial(row, again, is_counted=not again and block(row) not in invalid_blocks) for row, again in pairs]


def block(row):
    return row.get("cell"), row.get("block")


def attempt(row):
    return number(row.get("attempt")) or 1


def arms_of(trials):
    server_by_label = {
        trial.text("arm"): trial.text("server") or trial.text("arm").partition("#")[0] for trial in trials
    }
    further = sorted(set(server_by_label.values()) - set(SERVERS))
    order = [*SERVERS, *further]
    arms = sorted(server_by_label.items(), key=lambda item: (order.index(item[1]), item[0]))
    return [Arm(label, server, further.index(server) if server in further else 0) for label, server in arms]


def warn_of_mixed_conditions(trials):
    by_cell = {}
    for trial in trials:
        by_cell.setdefault(trial.text("cell"), []).append(trial)
    for cell, together in sorted(by_cell.items()):
        where = f" in cell {cell}" if cell else ""
        for column in MUST_BE_THE_SAME:
            values = distinct(together, column)
            if len(values) > 1:
                say(f"trials with different {column} ({', '.join(values)}){where} are drawn together")


MUST_BE_THE_SAME = (
    "mode",
    "arrivals",
    "pacing",
    "placement",
    "connections",
    "payload_bytes",
    "rate_offered_per_sec",
    "status_interval_ms",
)


def distinct(trials, column):
    values = {trial.text(column) for trial in trials} - {""}
    return sorted(values, key=lambda value: (number(value) is None, number(value) or 0, value))


def number(text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
