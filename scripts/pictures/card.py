"""The text around every picture: title, a sentence on how to read it, facts about its trials, and footnotes."""

import re
import textwrap
from collections import Counter
from dataclasses import dataclass

from matplotlib.figure import Figure

from .session import distinct, number
from .style import FAINT_INK, INK
from .values import grouped

WIDTH, MARGIN, LINE = 9.0, 0.3, 0.175  # inches; 9 inches are about 900 px in a README
TITLE_HEIGHT, LEAD_HEIGHT = 0.32, 0.26
LINE_LETTERS = 122  # letters per line

RESPONSE = "response is measured from the intended send time"
BAND = "band: middle half of the trials"
BARS = "bars: middle half of the trials"
MEDIAN_LINE = "line: median of the trials"
MEDIAN_DOT = "marker: median of the trials"


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
    left: float = 0.85
    between: float = None  # between two rows; by default, room for headings and axes
    widths: tuple = None  # relative, if the columns differ


def card(title, lead, session, trials, notes, grid, counts=lambda trial: trial.counts, conditions=None):
    """A figure with its texts, and the empty cells of the grid."""
    subtitle = [*wrap(trial_facts(session, trials, counts, conditions)), *wrap(session_facts(session))]
    footnote = wrap(notes)
    texts = MARGIN + TITLE_HEIGHT + LEAD_HEIGHT
    top = texts + LINE * len(subtitle) + grid.above
    bottom = 0.3 + LINE * len(footnote) + grid.below
    between = grid.above + grid.below - 0.15 if grid.between is None else grid.between
    left, right = grid.left, WIDTH - MARGIN / 2 - grid.right
    height = top + grid.rows * grid.row_height + (grid.rows - 1) * between + bottom
    figure = Figure(figsize=(WIDTH, height), label=title)  # plot.py titles the file with it
    figure.text(MARGIN / WIDTH, 1 - MARGIN / height, title, fontsize=14, fontweight="bold", va="top")
    figure.text(MARGIN / WIDTH, 1 - (MARGIN + TITLE_HEIGHT) / height, lead, fontsize=10.5, color=INK, va="top")
    for i, line in enumerate(subtitle):
        figure.text(MARGIN / WIDTH, 1 - (texts + i * LINE) / height, line, color=FAINT_INK, va="top")
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
        width_ratios=grid.widths,
    )
    return figure, list(cells)


def wrap(facts):
    """Lines of facts, broken between facts and never within one."""
    text = " · ".join(fact.replace(" ", "\u00a0") for fact in facts)
    lines = textwrap.wrap(text, LINE_LETTERS, break_long_words=False, break_on_hyphens=False)
    return [line.removeprefix("· ").removesuffix(" ·").replace("\u00a0", " ") for line in lines]


def trial_facts(session, trials, counts, conditions):
    facts = [sample_sizes(session, trials, counts)]
    left_out = Counter(trial.why_not for trial in trials if not counts(trial))
    if left_out:
        facts.append("not counted: " + ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())))
    loaded = [trial for trial in trials if trial.number("load_ms") != 0]
    for name, divisor, form in conditions or (CONDITIONS if loaded else IDLE_CONDITIONS):
        values = [value for value in distinct(loaded or trials, name) if value != "0" or name == "connections"]
        if values:
            facts.append(form.format(several([with_unit(value, divisor) for value in values])))
    if "true" in distinct(trials, "debug_build"):
        facts.append("DEBUG BUILD")
    return facts


def sample_sizes(session, trials, counts):
    sizes = {(arm.label, cell): 0 for cell, arm in arms_by_cell(session, trials)}
    for trial in trials:
        if counts(trial):
            sizes[trial.text("arm"), trial.text("cell")] += 1
    each = "arm and load" if len({cell for _, cell in sizes}) > 1 else "arm"
    least, most = (min(sizes.values()), max(sizes.values())) if sizes else (0, 0)
    return f"trials per {each}: n = {least}" + (f" to {most}" if most > least else "")


def arms_by_cell(session, trials):
    for cell in distinct(trials, "cell") or [""]:
        yield from ((cell, arm) for arm in session.arms_in([t for t in trials if t.text("cell") == cell]))


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
IDLE_CONDITIONS = [("idle_ms", 1000, "{} s without messages each"), CONDITIONS[3], CONDITIONS[5], CONDITIONS[7]]


def several(values):
    """Names one or two values; of more, the first and the last."""
    return " / ".join(values) if len(values) < 3 else f"{values[0]} to {values[-1]}"


def with_unit(value, divisor):
    return value if number(value) is None else grouped(number(value) / divisor)


def session_facts(session):
    revision = re.sub(r"\b([0-9a-f]{10})[0-9a-f]{30}\b", r"\1", session.revision)
    named = [("session", session.name), ("host", session.host), ("commit", revision)]
    return [f"{what} {name}" for what, name in named if name]


def control_notes(arms):
    return [
        f"{arm.label} is {arm.server} measured a second time: the difference between the two is noise"
        for arm in arms
        if arm.is_control
    ]
