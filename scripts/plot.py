#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.11.2"]
# ///
"""Draw the pictures of one session folder, each as SVG and PNG.

  percentiles   latency against percentile, a line for each server
  trials        every trial as a dot, with the median of each server

It draws and does not compute: the numbers come from trials.csv and
quantiles.csv, and only medians and bands over trials are taken here.

The files go beside the data, or into the folder given with -o; their paths
are printed on stdout, one a line. A picture or panel without data is left
out with a word on stderr.

Without matplotlib, the script installs it into .venv at the root of the
repository and runs itself there; `uv run scripts/plot.py DIR` works as well.

Exit status: 0 drawn, 1 no matplotlib or nowhere to write, 2 wrong use or an
unreadable folder.
"""

import argparse
import csv
import json
import math
import os
import re
import statistics
import subprocess
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
RESTARTED = "IOMODELS_PLOT_RESTARTED"

INK, FAINT_INK, GRID = "#222222", "#555555", "#E3E3E3"
WIDTH, MARGIN, LINE = 9.0, 0.3, 0.175  # inches; 9 inches are about 900 px in a README
FONT_POINTS = 9

IDENTITIES = {
    "mio": ("#0072B2", "-", "o"),
    "threads": ("#D55E00", "--", "s"),
    "tokio": ("#009E73", "-.", "^"),
}
FURTHER_IDENTITIES = [
    ("#CC79A7", ":", "D"),
    ("#E69F00", (0, (6, 2, 1, 2, 1, 2)), "v"),
    ("#56B4E9", (0, (8, 3)), "P"),
    ("#000000", (0, (3, 1)), "h"),
]
CONTROL_COLOUR = "#5B7A94"

FOOTNOTE = "response counts from the intended send time"


def main():
    args = parse_arguments()
    try:
        session = read_session(args.folder)
    except (OSError, ValueError, csv.Error) as error:
        return fail(2, f"cannot read {args.folder}: {error}")
    load_matplotlib()
    set_style()
    out = args.out or args.folder
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in [args.only] if args.only else PICTURES:
            draw(name, session, out)
    except OSError as error:
        return fail(1, f"cannot write to {out}: {error}")
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path, help="session folder, for example results/<session>")
    parser.add_argument("--only", metavar="NAME", choices=list(PICTURES), help=f"only one of: {', '.join(PICTURES)}")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="folder for the pictures (default: beside the data)"
    )
    return parser.parse_args()


def draw(name, session, out):
    title, picture = PICTURES[name]
    figure = picture(title, session)
    if figure is None:
        return
    full_title = f"{title} ({session.name})"
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        path = out / f"{name}.{suffix}"
        figure.savefig(path, metadata={"Title": full_title, **metadata})
        print(path)


def say(text):
    print(f"plot.py: {text}", file=sys.stderr)


def fail(status, text):
    say(" ".join(text.split()))
    return status


# ---- matplotlib, and an environment that has it ----


def load_matplotlib():
    os.environ["MPLBACKEND"] = "Agg"
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:  # a broken install raises any of these
        if RESTARTED in os.environ:
            sys.exit(fail(1, f"matplotlib still cannot be imported in {VENV}: {error}"))
        restart_in_venv()


def restart_in_venv():
    requirement = re.search(r'"(matplotlib==[\w.]+)"', Path(__file__).read_text(encoding="utf-8")).group(1)
    if not venv_has(requirement):
        say(f"no matplotlib here; installing {requirement} into {VENV}")
        build_venv(requirement)
    sys.stdout.flush()
    arguments = [str(VENV_PYTHON), os.path.abspath(__file__), *sys.argv[1:]]
    os.execve(VENV_PYTHON, arguments, os.environ | {RESTARTED: "1"})


def build_venv(requirement):
    """An existing environment is kept where it can be; one that an interruption left broken is made anew."""
    fresh = [sys.executable, "-m", "venv", "--clear", VENV]
    pip = [VENV_PYTHON, "-m", "pip"]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", requirement]
    if attempt([*pip, "--version"]):
        require(fresh, "make a virtual environment")
    require(install, f"install {requirement}")
    if not venv_has(requirement):
        say(f"{VENV} is incomplete; making it anew")
        require(fresh, "make a virtual environment")
        require(install, f"install {requirement}")


def venv_has(requirement):
    package, version = requirement.split("==")
    check = f"import {package}.figure, {package}.backends.backend_agg as _; assert {package}.__version__ == '{version}'"
    return not attempt([VENV_PYTHON, "-c", check])


def require(command, purpose):
    complaint = attempt(command)
    if complaint:
        sys.exit(fail(1, f"cannot {purpose} in {VENV}: {complaint}"))


def attempt(command):
    """Runs a command and returns None, or the last line of its complaint."""
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


# ---- the session folder ----


@dataclass(frozen=True)
class Arm:
    label: str
    server: str
    colour: str
    dashes: object
    marker: str

    @property
    def is_control(self):
        return "#" in self.label


@dataclass(frozen=True)
class Session:
    folder: Path
    name: str
    host: str
    revision: str
    trials: list
    arms: list

    def trials_of(self, arm):
        return [trial for trial in self.trials if trial["arm"] == arm.label]


def read_session(folder):
    with open(folder / "trials.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"trial_id", "arm", "valid"} - set(reader.fieldnames or [])
        if missing:
            raise ValueError(f"trials.csv has no column {', '.join(sorted(missing))}")
        rows = list(reader)
    trials = [row for row in rows if row["trial_id"] and row["arm"] and row["valid"]]
    if len(trials) < len(rows):
        say(f"{len(rows) - len(trials)} incomplete rows of trials.csv left out")
    warn_of_mixed_conditions(trials)
    facts = read_facts(folder / "session.json")
    host = facts.get("environment", {}).get("host")
    revision = facts.get("build", {}).get("git_revision")
    folder_name = folder.resolve().name
    return Session(
        folder=folder,
        name=str(facts.get("session_id") or folder_name),
        host=host or folder_name.partition("Z-")[2],
        revision=revision or " + ".join(distinct(trials, "git_revision")),
        trials=trials,
        arms=arms_of(trials),
    )


def read_facts(path):
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        say(f"session.json not used: {error}")
        return {}
    return facts if isinstance(facts, dict) else {}


def arms_of(trials):
    server_by_label = {trial["arm"]: trial.get("server") or trial["arm"].partition("#")[0] for trial in trials}
    further = sorted(set(server_by_label.values()) - set(IDENTITIES))
    identities = IDENTITIES | {
        server: FURTHER_IDENTITIES[i % len(FURTHER_IDENTITIES)] for i, server in enumerate(further)
    }
    order = list(identities)
    arms = []
    for label, server in sorted(server_by_label.items(), key=lambda item: (order.index(item[1]), item[0])):
        colour, dashes, marker = identities[server]
        arms.append(Arm(label, server, CONTROL_COLOUR if "#" in label else colour, dashes, marker))
    return arms


def warn_of_mixed_conditions(trials):
    for column in ("mode", "arrivals", "pacing", "placement", "connections", "payload_bytes", "rate_offered_per_sec"):
        values = distinct(trials, column)
        if len(values) > 1:
            say(f"trials with different {column} ({', '.join(values)}) are drawn together")


def counts(trial):
    return trial["valid"] in ("valid", "flagged") and trial.get("outcome") in ("ok", "", None)


def distinct(trials, column):
    values = {trial.get(column) or "" for trial in trials} - {""}
    return sorted(values, key=lambda value: (number(value) is None, number(value) or 0, value))


def number(text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


# ---- picture: percentiles ----


@dataclass(frozen=True)
class Point:
    nines: float
    median: float
    low: float
    high: float


def percentiles_picture(title, session):
    try:
        samples = read_quantiles(session.folder / "quantiles.csv")
    except (OSError, ValueError, csv.Error) as error:
        say(f"percentiles left out: {error}")
        return None
    panels = []
    for metric, heading in (("response", "echo responses"), ("status_delivery", "status broadcasts")):
        curves = {arm: curve_of(session.trials_of(arm), samples[metric]) for arm in session.arms}
        curves = {arm: curve for arm, curve in curves.items() if curve}
        if curves:
            panels.append((heading, curves))
        else:
            say(f"percentiles: no panel for {heading}: no eligible {metric} in quantiles.csv")
    if not panels:
        say("percentiles left out: nothing to draw")
        return None
    notes = [FOOTNOTE, "status from the tick's due time", "line: median of the trials", "band: 10th to 90th percentile of the trials"]
    notes += ["percentiles with fewer than 100 samples beyond them are not drawn", *control_notes(session)]
    label_room = 0.3 + 0.085 * max(len(arm.label) for arm in session.arms)
    figure, cells = card(
        title, session, notes, Grid(1, len(panels), 3.7, above=0.45, below=0.5, right=label_room, gap=label_room + 0.7)
    )
    everything = [point for _, curves in panels for curve in curves.values() for point in curve]
    low = min(min(point.low, point.median) for point in everything)
    high = max(max(point.high, point.median) for point in everything)
    for cell, (heading, curves) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        log_axis(axes, low, high)
        draw_curves(axes, heading, curves)
    return figure


def read_quantiles(path):
    """Eligible latencies in microseconds: metric -> trial -> quantile."""
    samples = defaultdict(lambda: defaultdict(dict))
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            quantile, value = number(row.get("quantile")), number(row.get("value_ns"))
            if (row.get("eligible") or "").lower() != "true" or quantile is None or not 0 <= quantile < 1:
                continue
            if value is not None and value > 0:  # nothing else has a place on a log axis
                samples[row.get("metric")][row.get("trial_id")][quantile] = value / 1000
    return samples


def curve_of(trials, samples):
    measured = [samples[trial["trial_id"]] for trial in trials if counts(trial) and trial["trial_id"] in samples]
    points = []
    for quantile in sorted(set().union(*measured)):
        values = [sample[quantile] for sample in measured if quantile in sample]
        # The few longest trials alone would not be the same population as the rest of the line.
        if 2 * len(values) > len(measured):
            points.append(Point(-math.log10(1 - quantile), statistics.median(values), *band(values)))
    return points


def band(values):
    if len(values) < 2:
        return values[0], values[0]
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return deciles[0], deciles[-1]


def draw_curves(axes, heading, curves):
    for i, (arm, curve) in enumerate(curves.items()):
        nines = [point.nines for point in curve]
        axes.plot(
            nines,
            [point.median for point in curve],
            color=arm.colour,
            linestyle=arm.dashes,
            linewidth=1.0 if arm.is_control else 1.8,
            marker=arm.marker,
            markersize=3.0 if arm.is_control else 4.5,
            # Staggered, so that no marker hides another.
            markevery=(min(2 * i, len(curve) - 1), 2 * len(curves)),
            clip_on=False,
        )
        if not arm.is_control:
            low, high = [point.low for point in curve], [point.high for point in curve]
            axes.fill_between(nines, low, high, color=arm.colour, alpha=0.13, linewidth=0)
    last = max(1, *(curve[-1].nines for curve in curves.values()))
    axes.set_xlim(0, last)
    axes.set_xticks(range(math.floor(last + 1e-9) + 1))
    axes.xaxis.set_major_formatter(nines_label)
    axes.set_title(heading, loc="left", pad=10)
    axes.set_xlabel("percentile (each step ten times rarer)")
    axes.set_ylabel("latency (µs, log scale)")
    label_line_ends(axes, curves)


def nines_label(nines, _position=None):
    count = round(nines)
    return ("0 %", "90 %", "99 %")[count] if count < 3 else f"99.{'9' * (count - 2)} %"


def label_line_ends(axes, curves):
    ends = sorted(((curve[-1].nines, curve[-1].median, arm) for arm, curve in curves.items()), key=lambda end: end[1])
    points_per_pixel = 72 / axes.figure.dpi
    places = [axes.transData.transform((x, y)) * points_per_pixel for x, y, _ in ends]
    right = max(place[0] for place in places) + 12
    heights = spread([float(place[1]) for place in places], gap=FONT_POINTS + 3)
    for (x, y, arm), place, height in zip(ends, places, heights):
        axes.annotate(
            arm.label,
            xy=(x, y),
            xytext=(right - place[0], height - place[1]),
            textcoords="offset points",
            va="center",
            color=arm.colour,
            fontweight="normal" if arm.is_control else "bold",
            annotation_clip=False,
            arrowprops={"color": arm.colour, **LEADER},
        )


LEADER = {"arrowstyle": "-", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 3}


def spread(heights, gap):
    """Moves sorted heights apart to at least `gap`, each crowd staying centred where it was."""
    crowds = []
    for height in heights:
        crowd = [height]
        while crowds and centre(crowd) - centre(crowds[-1]) < gap * (len(crowd) + len(crowds[-1])) / 2:
            crowd = crowds.pop() + crowd
        crowds.append(crowd)
    return [centre(crowd) + gap * (i - (len(crowd) - 1) / 2) for crowd in crowds for i in range(len(crowd))]


def centre(crowd):
    return sum(crowd) / len(crowd)


# ---- picture: trials ----


def trials_picture(title, session):
    panels = []
    for heading, unit, value_of in TRIAL_PANELS:
        values = {arm: values_of(session.trials_of(arm), value_of) for arm in session.arms}
        if any(values.values()):
            panels.append((heading, unit, values))
        else:
            say(f"trials: no panel for {heading}: no trial has it")
    if not panels:
        say("trials left out: nothing to draw")
        return None
    is_crowded = len(session.arms) > 5
    columns = 2 if len(panels) in (1, 3) or is_crowded else 3
    rows = math.ceil((len(panels) + 1) / columns)
    below = 0.7 if is_crowded else 0.35
    notes = [FOOTNOTE, "the vertical axes do not start at 0"]
    figure, cells = card(title, session, notes, Grid(rows, columns, 2.3, above=0.7, below=below, right=0.1, gap=0.75))
    for cell, panel in zip(cells, panels):
        axes = figure.add_subplot(cell)
        draw_strips(axes, *panel)
        axes.tick_params(axis="x", length=0, pad=8, rotation=25 if is_crowded else 0)
    draw_key(figure.add_subplot(cells[len(panels)]), session)
    return figure


def response_p50(trial):
    return ratio(trial, "response_ns_p50", 1000)


def response_p99(trial):
    return ratio(trial, "response_ns_p99", 1000)


def cpu_per_message(trial):
    nanoseconds = ratio(trial, "server_cpu_ns_load", number(trial.get("echoed_count")))
    return None if nanoseconds is None else nanoseconds / 1000


def peak_throughput(trial):
    return ratio(trial, "peak_rate_per_sec", 1000)


def idle_cpu(trial):
    # ns of CPU for each ms of idling is µs for each second
    # (sessions of before that column: the planned length of the window)
    span = number(trial.get("idle_span_ns"))
    return ratio(trial, "server_cpu_ns_idle", number(trial.get("idle_ms")) if span is None else span / 1e6)


def ratio(trial, column, divisor):
    value = number(trial.get(column))
    return value / divisor if value is not None and divisor else None


TRIAL_PANELS = [
    ("response p50", "µs", response_p50),
    ("response p99", "µs", response_p99),
    ("CPU per message", "µs", cpu_per_message),
    ("peak throughput", "thousand messages/s", peak_throughput),
    ("idle CPU", "µs of CPU per second", idle_cpu),
]


def values_of(trials, value_of):
    """(place of the trial within its strip, value, whether it counts) for each trial that has the value."""
    found = []
    for trial in trials:
        value = value_of(trial)
        if value is not None:
            block = number(trial.get("block")) or 0
            # Multiples of the golden ratio fill a strip evenly, and a block has the same place in each.
            found.append(((block * 0.6180339887 % 1 - 0.5) * 0.6, value, counts(trial)))
    return found


def draw_strips(axes, heading, unit, values):
    counted = [value for found in values.values() for _, value, is_counted in found if is_counted]
    shown = counted or [value for found in values.values() for _, value, _ in found]
    is_log = min(shown) > 0 and max(shown) / min(shown) > 8
    if is_log:
        log_axis(axes, min(shown), max(shown))
    else:
        linear_axis(axes, min(shown), max(shown))
    for column, (arm, found) in enumerate(values.items()):
        draw_strip(axes, column, arm, found)
    axes.set_xlim(-0.55, len(values) - 0.45)
    axes.set_xticks(range(len(values)), [arm.label for arm in values])
    for tick, arm in zip(axes.get_xticklabels(), values):
        tick.set_color(arm.colour)
    axes.set_title(heading, loc="left", pad=24)
    axes.set_ylabel(f"{unit} (log scale)" if is_log else unit)


def draw_strip(axes, column, arm, found):
    bottom, top = axes.get_ylim()
    dots = [(column + place, value) for place, value, is_counted in found if is_counted]
    crosses = [(column + place, min(max(value, bottom), top)) for place, value, is_counted in found if not is_counted]
    for x, y in crosses:
        axes.plot(x, y, **CROSS, markeredgecolor=arm.colour)
    if not dots:
        return
    axes.plot(*zip(*dots), **DOT, marker=arm.marker, color=arm.colour)
    median = statistics.median(value for _, value in dots)
    axes.plot([column - 0.38, column + 0.38], [median, median], **MEDIAN)
    axes.annotate(
        readable(median),
        xy=(column, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        color=arm.colour,
        fontweight="bold",
    )


DOT = {"linestyle": "none", "markersize": 3.6, "markeredgewidth": 0, "alpha": 0.55, "clip_on": False}
CROSS = {"linestyle": "none", "marker": "X", "markersize": 7, "markerfacecolor": "none", "clip_on": False, "zorder": 4}
MEDIAN = {"color": INK, "linewidth": 1.8, "solid_capstyle": "butt", "zorder": 3}


def draw_key(axes, session):
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    entries = [
        (Line2D([], [], **DOT, marker="o", color=INK), "one trial"),
        (Line2D([], [], **MEDIAN), "median of the trials;\nits value stands above"),
    ]
    if not all(counts(trial) for trial in session.trials):
        meaning = "invalid or failed trial,\nnot in the median; on the\nedge if off the scale"
        entries.append((Line2D([], [], **CROSS, markeredgecolor=INK), meaning))
    for note in control_notes(session):
        entries.append((Line2D([], [], linestyle="none"), textwrap.fill(note, 24)))
    handles, labels = zip(*entries)
    axes.legend(handles, labels, loc="center left", frameon=False, labelspacing=0.9, borderaxespad=0)


def readable(value):
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


# ---- the card around every picture ----


def set_style():
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "iomodels",
            "text.parse_math": False,
            "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
            "font.size": FONT_POINTS,
            "text.color": INK,
            "axes.titlesize": FONT_POINTS + 1,
            "axes.titleweight": "bold",
            "axes.labelsize": FONT_POINTS,
            "axes.labelcolor": FAINT_INK,
            "axes.edgecolor": FAINT_INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "xtick.labelsize": FONT_POINTS,
            "ytick.labelsize": FONT_POINTS,
            "xtick.color": FAINT_INK,
            "ytick.color": FAINT_INK,
            "legend.fontsize": FONT_POINTS,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.dpi": 200,
        }
    )


@dataclass(frozen=True)
class Grid:
    """The panels of a picture; sizes in inches, `above` and `below` being the room for their headings and axes."""

    rows: int
    columns: int
    row_height: float
    above: float
    below: float
    right: float
    gap: float


def card(title, session, notes, grid):
    """A figure with title, subtitle and footnote, and the free cells of the grid between them."""
    from matplotlib.figure import Figure

    subtitle = [*wrap(trial_facts(session)), *wrap(session_facts(session))]
    footnote = wrap(notes)
    top = 0.62 + LINE * len(subtitle) + grid.above
    bottom = 0.3 + LINE * len(footnote) + grid.below
    between = grid.above + grid.below - 0.15
    left, right = 0.85, WIDTH - MARGIN / 2 - grid.right
    height = top + grid.rows * grid.row_height + (grid.rows - 1) * between + bottom
    figure = Figure(figsize=(WIDTH, height))
    figure.text(MARGIN / WIDTH, 1 - MARGIN / height, title, fontsize=14, fontweight="bold", va="top")
    for i, line in enumerate(subtitle):
        figure.text(MARGIN / WIDTH, 1 - (0.62 + i * LINE) / height, line, color=FAINT_INK, va="top")
    for i, line in enumerate(reversed(footnote)):
        figure.text(MARGIN / WIDTH, (0.18 + i * LINE) / height, line, color=FAINT_INK, va="bottom")
    cells = figure.add_gridspec(
        grid.rows,
        grid.columns,
        left=left / WIDTH,
        right=right / WIDTH,
        top=1 - top / height,
        bottom=bottom / height,
        hspace=between / grid.row_height,
        wspace=grid.gap * grid.columns / (right - left - grid.gap * (grid.columns - 1)),
    )
    return figure, list(cells)


def wrap(facts):
    """Lines of facts; a line ends between two facts, never within one."""
    text = " · ".join(fact.replace(" ", "\u00a0") for fact in facts)
    lines = textwrap.wrap(text, 122, break_long_words=False)
    return [line.removesuffix(" ·").replace("\u00a0", " ") for line in lines]


def trial_facts(session):
    sizes = [sum(counts(trial) for trial in session.trials_of(arm)) for arm in session.arms]
    facts = ["trials per arm: n = " + " to ".join(map(str, sorted({min(sizes), max(sizes)})))]
    invalid = sum(not counts(trial) for trial in session.trials)
    if invalid:
        facts.append(f"{invalid} invalid or failed, not counted")
    for column, divisor, form in CONDITIONS:
        values = distinct(session.trials, column)
        if values:
            facts.append(form.format(" / ".join(with_unit(value, divisor) for value in values)))
    if "true" in distinct(session.trials, "debug_build"):
        facts.append("DEBUG BUILD")
    return facts


CONDITIONS = [
    ("load_ms", 1000, "{} s of load each"),
    ("mode", 1, "{} loop"),
    ("rate_offered_per_sec", 1, "{} messages/s offered"),
    ("connections", 1, "{} connections"),
    ("payload_bytes", 1, "{} B payload"),
    ("placement", 1, "placement {}"),
    ("pacing", 1, "pacing {}"),
    ("status_interval_ms", 1, "status every {} ms"),
]


def with_unit(value, divisor):
    return value if number(value) is None else grouped(number(value) / divisor)


def session_facts(session):
    revision = re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", session.revision)
    named = [("session", session.name), ("host", session.host), ("commit", revision)]
    return [f"{what} {name}" for what, name in named if name]


def control_notes(session):
    return [
        f"{arm.label} is {arm.server} measured once more: its distance from {arm.server} is noise"
        for arm in session.arms
        if arm.is_control
    ]


def log_axis(axes, low, high):
    from matplotlib.ticker import FixedLocator, NullLocator

    bottom, top = low / 1.08, high * 1.08
    if top / bottom < 2:
        bottom, top = bottom / 1.4, top * 1.4
    decades = range(math.floor(math.log10(bottom)), math.ceil(math.log10(top)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if bottom <= tick <= top]
        if len(ticks) >= 4:
            break
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(grouped)


def linear_axis(axes, low, high):
    from matplotlib.ticker import MaxNLocator

    room = (high - low or abs(high) or 1) * 0.08
    axes.set_ylim(max(low - room, 0) if low >= 0 else low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(grouped)


def grouped(value, _position=None):
    return f"{value:,.10g}"


PICTURES = {
    "percentiles": ("Latency against percentile", percentiles_picture),
    "trials": ("Every trial, and the median of each server", trials_picture),
}

if __name__ == "__main__":
    sys.exit(main())
