"""Latency against percentile, on an axis of nines; echo and status are never pooled."""

import functools
import math
from collections import defaultdict

from . import LeftOut, say
from .card import BAND, MEDIAN_LINE, RESPONSE, Grid, card, control_notes
from .lines import draw_bands, label_curve_ends, label_room, log_axis
from .session import number
from .values import extent, point_of
from .verdicts import reservation_notes

TITLE = "Latency against percentile"
LEAD = (
    "Time within which the given share of echoes or statuses arrived: lower is better; the right end is the slow tail"
)


def draw(session):
    trials = session.trials_in(session.latency_cell)
    samples = eligible_quantiles(session)
    panels = []
    for metric, heading in (("response", "echo responses"), ("status_delivery", "status broadcasts")):
        curves = {arm: curve_of(arm, trials, samples[metric]) for arm in session.arms_in(trials)}
        curves = {arm: curve for arm, curve in curves.items() if curve}
        if curves:
            panels.append((heading, curves))
        else:
            say(f"percentiles: no panel for {heading}: no eligible {metric} in quantiles.csv")
    if not panels:
        raise LeftOut("nothing to draw")
    arms = session.arms_in(trials)
    notes = [RESPONSE, *reservation_notes(session), "status from the tick's due time", MEDIAN_LINE, BAND]
    notes += ["a line ends where fewer than 100 samples of a trial lie beyond the percentile", *control_notes(arms)]
    room = label_room(arms)
    grid = Grid(1, len(panels), 3.7, above=0.45, below=0.5, right=room, gap=room + 0.7)
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    for cell, (heading, curves) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        log_axis(axes, *extent(*(curves for _, curves in panels)))
        axes.set_title(heading, loc="left", pad=10)
        axes.set_ylabel("latency (µs, log scale)")
        nines_axis(axes, max(curve[-1].x for curve in curves.values()))
        draw_bands(axes, curves, marks_each=2 * len(curves))
        label_curve_ends(axes, curves)
    return figure


@functools.cache  # three pictures read this table, the longest
def eligible_quantiles(session):
    """Eligible latencies in microseconds: metric -> trial -> quantile."""
    samples = defaultdict(lambda: defaultdict(dict))
    for row in session.rows_of("quantiles.csv"):
        quantile, value = number(row.get("quantile")), number(row.get("value_ns"))
        if (row.get("eligible") or "").lower() != "true" or quantile is None or not 0 <= quantile < 1:
            continue
        if value is not None and value > 0:  # other values have no place on a log axis
            samples[row.get("metric")][row.get("trial_id")][quantile] = value / 1000
    return samples


def curve_of(arm, trials, samples):
    own = (trial for trial in trials if trial.text("arm") == arm.label and trial.counts)
    measured = [samples[trial.text("trial_id")] for trial in own if trial.text("trial_id") in samples]
    points = []
    for quantile in sorted(set().union(*measured)):
        values = [sample[quantile] for sample in measured if quantile in sample]
        # A few long trials alone would be another population than the rest of the line.
        if 2 * len(values) > len(measured):
            points.append(point_of(nines(quantile), values))
    return points


def nines(quantile):
    return -math.log10(1 - quantile)


def nines_axis(axes, last):
    last = max(last, nines(0.5))
    whole = [1 - 10.0**-count for count in range(1, math.floor(last + 1e-9) + 1)]
    ticks = [0.5, *whole] if len(whole) > 1 else [q for q in (0, 0.5, 0.8, 0.9, 0.95) if nines(q) <= last + 1e-9]
    axes.set_xlim(0, last)
    axes.set_xticks([nines(quantile) for quantile in ticks], [percent(quantile) for quantile in ticks])
    axes.set_xlabel("percentile (log scale of the share beyond)")


def percent(quantile):
    return f"{100 * quantile:.10g} %"
