"""Every trial of the primary load as a dot, with the median of each server."""

import math
import textwrap

from . import LeftOut, say
from .card import RESPONSE, Grid, card, control_notes
from .strips import CROSS, DOT, MEDIAN, draw_key, draw_strips, name_columns, strip_axis, strips_of
from .style import INK
from .values import column, cpu_us_per_message, idle_cpu_ms_per_sec

TITLE = "Every trial, and the median of each server"
LEAD = "One dot a trial, one place in the strip a block: lower is better, but for the peak throughput"

PEAK = "peak throughput"
CPU = "CPU per message"
PANELS = [
    ("response p50", "µs", column("response_ns_p50", 1000)),
    ("response p99", "µs", column("response_ns_p99", 1000)),
    (CPU, "µs", cpu_us_per_message),
    (PEAK, "thousand messages/s", column("peak_rate_per_sec", 1000)),
    ("idle CPU", "ms of CPU per second", idle_cpu_ms_per_sec),
]


def draw(session):
    primary = session.trials_in(session.latency_cell)
    # Where a cell of its own has a client that sleeps, the claims on CPU per message are made there.
    places = {CPU: session.trials_in(session.cpu_cell)}
    panels = []
    for heading, unit, value_of in PANELS:
        trials = places.get(heading, primary)
        strips = strips_of(session, trials, value_of)
        if any(strips.values()):
            panels.append((heading, unit, strips, trials))
        else:
            say(f"trials: no panel for {heading}: no trial has it")
    if not panels:
        raise LeftOut("nothing to draw")
    everything = unique([trial for *_, trials in panels for trial in trials])
    arms = session.arms_in(everything)
    is_crowded = len(arms) > 5
    columns = 2 if len(panels) in (1, 3) or is_crowded else 3
    rows = math.ceil((len(panels) + 1) / columns)
    below = 0.7 if is_crowded or any("-" in arm.label for arm in arms) else 0.35
    notes = [RESPONSE, "the vertical axes do not start at 0"]
    if session.cpu_cell != session.latency_cell:
        others = f"all else of {session.latency_cell}"
        notes.append(f"{CPU} is of cell {session.cpu_cell}, with a client that sleeps; {others}")
    grid = Grid(rows, columns, 2.3, above=0.7, below=below, right=0.1, gap=0.75)
    figure, cells = card(TITLE, LEAD, session, everything, notes, grid)
    for cell, (heading, unit, strips, trials) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        is_log = strip_axis(axes, strips)
        draw_strips(axes, strips, at_least(trials) if heading == PEAK else lambda arm: "")
        name_columns(axes, strips)
        axes.set_title(heading, loc="left", pad=24)
        axes.set_ylabel(f"{unit} (log scale)" if is_log else unit)
    draw_key(figure.add_subplot(cells[len(panels)]), key(arms, everything, any(map(is_bounded, primary))))
    return figure


def unique(trials):
    return list({id(trial): trial for trial in trials}.values())


def at_least(trials):
    """A sign before a median that the generator's own limit made: the server's is no lower."""

    def prefix(arm):
        own = [trial for trial in trials if trial.text("arm") == arm.label and trial.counts]
        return "≥" if 2 * sum(map(is_bounded, own)) > len(own) else ""

    return prefix


def is_bounded(trial):
    return trial.text("bound_by") in ("generator", "both")


def key(arms, trials, some_bounded):
    entries = [
        ({**DOT, "marker": "o", "color": INK}, "one trial"),
        (MEDIAN, "median of the trials;\nits value stands above"),
    ]
    if not all(trial.counts for trial in trials):
        meaning = "a trial that does not count,\nnot in the median; on the\nedge if off the scale"
        entries.append(({**CROSS, "markeredgecolor": INK}, meaning))
    if some_bounded:
        entries.append((None, "≥ the generator was at\nits limit, not the server"))
    return [*entries, *((None, textwrap.fill(note, 26)) for note in control_notes(arms))]
