"""Break-even: the ratio of two servers' CPU time per message against the work on each message, from break_even.csv."""

import re
from itertools import groupby

from matplotlib.ticker import FixedLocator, NullLocator

from . import LeftOut
from .card import Grid, card
from .session import number
from .shift import common_axis, ends, names
from .style import FAINT_INK, INK
from .verdicts import MARGIN_COLOUR, RATIO_MARGIN

LEAD = "CPU time per message, work included: below the line the first server needs less, above it the second"
COLUMNS = 3
HEIGHT = 2.2  # inches


def draw(session):
    points = [point for point in session.rows_of("break_even.csv") if number(point.get("estimate"))]
    pairs = [(pair, list(group)) for pair, group in groupby(points, names)]
    if not pairs:
        raise LeftOut("no pair has a ratio")
    trials = session.trials_in(rf"{re.escape(session.cpu_cell or 'cpu')}|work-\d+us")
    columns = min(COLUMNS, len(pairs))
    grid = Grid(-(-len(pairs) // columns), columns, HEIGHT, above=0.45, below=0.5, right=0.3, gap=0.3, left=0.8)
    notes = ["ratio of the CPU time per message of a block's trials, Hodges-Lehmann estimate over blocks"]
    notes += ["bars: 95 % confidence, for all pairs at once", "grey band: ratios within 3 %"]
    notes += [
        "filled: equivalent within 3 %",
        "every load at half of what the slowest server can be expected to sustain",
    ]
    figure, cells = card(title(pairs), LEAD, session, trials, notes, grid)
    values = ends(points)
    for index, (cell, (pair, group)) in enumerate(zip(cells, pairs)):
        axes = figure.add_subplot(cell)
        draw_pair(axes, group)
        common_axis(axes, values, is_first=index % columns == 0)
        axes.set_title(pair, loc="left", pad=8)
    return figure


def title(pairs):
    """How many pairs are equivalent at the most work, and so from some amount of work on."""
    most = max(number(point.get("work_us")) or 0 for _, group in pairs for point in group)
    even = sum(group[-1].get("finding") == "equivalent" for _, group in pairs)
    if even:
        return f"Break-even within {most:g} µs of work per message: {even} of {len(pairs)} pairs"
    return f"No break-even shown up to {most:g} µs of work per message"


def draw_pair(axes, points):
    places = range(len(points))
    low, middle, high = ([number(point[column]) for point in points] for column in ("low", "estimate", "high"))
    axes.axhspan(1 / (1 + RATIO_MARGIN), 1 + RATIO_MARGIN, color=MARGIN_COLOUR, linewidth=0, zorder=0)
    axes.axhline(1, color=FAINT_INK, linewidth=0.8, zorder=1)
    axes.vlines(places, low, high, color=INK, linewidth=1.6, zorder=2)
    axes.plot(places, middle, color=INK, linewidth=0.9, zorder=2)
    for place, ratio, point in zip(places, middle, points):
        fill = INK if point.get("finding") == "equivalent" else "white"
        axes.plot([place], [ratio], color=INK, marker="o", markersize=5, markerfacecolor=fill, zorder=3)
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{number(point.get('work_us')) or 0:g}" for point in points])
    axes.set_xlabel("µs of work per message")
