"""Every trial of the primary load as a dot, with the median of each server."""

from . import LeftOut, say
from .card import RESPONSE, Grid, card, control_notes
from .lines import label_room
from .strips import draw_strips, name_rows, strip_axis, strips_of
from .style import FONT_POINTS
from .values import column, cpu_us_per_message, idle_cpu_ms_per_sec
from .verdicts import reservation_notes

TITLE = "Every trial, and the median of each server"
LEAD = "A dot is a trial, the black line its server's median: lower is better, of the drain rate higher"

DRAIN = "drain rate"
CPU = "CPU per message"
PANELS = [
    ("response p50", "µs", column("response_ns_p50", 1000)),
    ("response p99", "µs", column("response_ns_p99", 1000)),
    (CPU, "µs", cpu_us_per_message),
    ("idle CPU", "ms per second", idle_cpu_ms_per_sec),
    (DRAIN, "thousand/s", column("drain_rate_per_sec", 1000)),
]
STRIP_HEIGHT = 0.46  # inches


def draw(session):
    primary = session.trials_in(session.latency_cell)
    # Verdicts on CPU per message come from a cell of their own, whose client sleeps, if there is one.
    places = {CPU: session.trials_in(session.cpu_cell)}
    arms = session.arms_in([trial for trials in (primary, *places.values()) for trial in trials])
    panels = []
    for heading, unit, value_of in PANELS:
        trials = places.get(heading, primary)
        strips = strips_of(arms, trials, value_of)
        if any(strips.values()):
            panels.append((heading, unit, strips, trials))
        else:
            say(f"trials: no panel for {heading}: no trial has the value")
    if not panels:
        raise LeftOut("nothing to draw")
    everything = unique([trial for *_, trials in panels for trial in trials])
    grid = Grid(
        rows=1,
        columns=len(panels),
        row_height=STRIP_HEIGHT * len(arms),
        above=0.5,
        below=0.55,
        left=label_room(arms) + 0.3,
        right=0.35,
        gap=0.42,
    )
    figure, cells = card(TITLE, LEAD, session, everything, notes(session, everything, arms, panels), grid)
    for index, (cell, (heading, unit, strips, trials)) in enumerate(zip(cells, panels)):
        axes = figure.add_subplot(cell)
        is_log = strip_axis(axes, strips)
        draw_strips(axes, strips)
        name_rows(axes, arms, is_first=index == 0)
        axes.set_title(heading, loc="left", pad=8, fontsize=FONT_POINTS)  # larger headings would touch
        axes.set_xlabel(f"{unit} (log scale)" if is_log else unit, loc="left")
    return figure


def notes(session, trials, arms, panels):
    facts = [
        RESPONSE,
        *reservation_notes(session),
        "a block is at the same height in every strip",
        "the axes do not start at 0",
    ]
    if not all(trial.counts for trial in trials):
        facts.append("faint cross: a trial that does not count, at the edge if off the scale")
    if any(heading == DRAIN for heading, *_ in panels):
        facts.append(f"{DRAIN}: messages that all wait when the server starts, answered per second")
    if session.cpu_cell != session.latency_cell:
        others = f"all others are from {session.latency_cell}"
        facts.append(f"{CPU} is from cell {session.cpu_cell}, with a client that sleeps; {others}")
    return facts + control_notes(arms)


def unique(trials):
    return list({id(trial): trial for trial in trials}.values())
