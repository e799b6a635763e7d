"""The effect of a fan-out of status lines on echoes during it."""

from . import LeftOut
from .card import BARS, MEDIAN_DOT, RESPONSE, Grid, card
from .lines import draw_ranges, label_room, log_axis
from .percentiles import eligible_quantiles
from .values import extent, point_of

TITLE = "Echoes during a status broadcast"
LEAD = "An echo during a broadcast waits for it: the steeper the line, the longer; lower is better"
SIDES = ("response_outside_fanout", "response_in_fanout")
PANELS = ((0.5, "response p50"), (0.9, "response p90"))


def draw(session):
    samples = eligible_quantiles(session)
    cell, panels = best_cell(session, samples)
    trials = session.trials_in(cell)
    arms = list(panels[0][1])
    room = label_room(arms)
    grid = Grid(1, len(panels), 3.7, above=0.45, below=0.5, right=room, gap=room + 0.7)
    notes = [RESPONSE, MEDIAN_DOT, BARS]
    notes += ["during a broadcast: intended within a fixed span after a tick was due"]
    notes += [f"load {cell}"] if cell else []
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    for place, (heading, curves) in zip(cells, panels):
        axes = figure.add_subplot(place)
        log_axis(axes, *extent(*(curves for _, curves in panels)))
        axes.set_title(heading, loc="left", pad=10)
        axes.set_ylabel("latency (µs, log scale)")
        draw_ranges(axes, curves, ("outside\nbroadcasts", "during a\nbroadcast").__getitem__, dodge=0.06)
    return figure


def best_cell(session, samples):
    """The cell with ten times as many ticks, because few echoes meet a broadcast; else the cell of the verdicts."""
    for cell in ("ticks", session.latency_cell):
        trials = session.trials_in(cell)
        panels = [(heading, curves_at(session, trials, samples, quantile)) for quantile, heading in PANELS]
        panels = [(heading, curves) for heading, curves in panels if curves]
        if panels:
            return cell, panels
    raise LeftOut("too few echoes met a broadcast for a median")


def curves_at(session, trials, samples, quantile):
    curves = {}
    for arm in session.arms_in(trials):
        own = [trial.text("trial_id") for trial in trials if trial.text("arm") == arm.label and trial.counts]
        both = [trial for trial in own if all(quantile in samples[side].get(trial, ()) for side in SIDES)]
        if 2 * len(both) > len(own):
            curves[arm] = [
                point_of(x, [samples[side][trial][quantile] for trial in both]) for x, side in enumerate(SIDES)
            ]
    return curves
