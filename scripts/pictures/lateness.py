"""Lateness of each server's timer, idle and under load."""

from . import LeftOut
from .card import BARS, MEDIAN_DOT, Grid, card
from .lines import draw_ranges, label_room, log_axis
from .values import extent, point_of

TITLE = "Lateness of ticks"
LEAD = "Delay from a tick's due time to the start of its broadcast: lower is better"
PANELS = (("idle", "status_emit_lag_idle_ns_"), ("under load", "status_emit_lag_ns_"))
QUANTILES = ("p50", "p99", "max")


def draw(session):
    trials = session.trials_in("ticks")
    panels = [(heading, curves_of(session, trials, prefix)) for heading, prefix in PANELS]
    panels = [(heading, curves) for heading, curves in panels if curves]
    if not panels:
        raise LeftOut("no cell ticks")
    room = label_room(session.arms_in(trials))
    grid = Grid(1, len(panels), 3.7, above=0.45, below=0.5, right=room, gap=room + 0.7)
    ticks = [count for count in (trial.number("tick_count_load") for trial in trials) if count]
    notes = [MEDIAN_DOT, BARS] + ([f"about {min(ticks):.0f} ticks per window"] if ticks else [])
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    for cell, (heading, curves) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        log_axis(axes, *extent(*(curves for _, curves in panels)))
        axes.set_title(heading, loc="left", pad=10)
        axes.set_xlabel("over the ticks of a trial")
        axes.set_ylabel("lateness (µs, log scale)")
        draw_ranges(axes, curves, ("median", "p99", "latest").__getitem__)
    return figure


def curves_of(session, trials, prefix):
    curves = {}
    for arm in session.arms_in(trials):
        own = [trial for trial in trials if trial.text("arm") == arm.label and trial.counts]
        points = []
        for x, quantile in enumerate(QUANTILES):
            values = [value / 1000 for value in (trial.number(prefix + quantile) for trial in own) if value]
            if values:
                points.append(point_of(x, values))
        if len(points) == len(QUANTILES):
            curves[arm] = points
    return curves
