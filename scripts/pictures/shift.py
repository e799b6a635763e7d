"""Shift plot: the ratio of two servers' latencies at every quantile, with a band, from shift.csv."""

from itertools import groupby

from matplotlib.ticker import FixedLocator, NullLocator

from . import LeftOut
from .card import RESPONSE, Grid, card
from .lines import ratio_axis
from .session import number
from .style import FAINT_INK, INK
from .verdicts import LAG, MARGIN_COLOUR, RATIO_MARGIN, pairs_with_reservation

TITLE = "Where the distributions differ"
LEAD = "Below the line the first server is faster at that quantile, above it the second"
COLUMNS = 3
HEIGHT = 2.2  # inches
SHOWN_TICKS = ("p10", "p50", "p90", "p99")


def draw(session):
    points = [point for point in session.rows_of("shift.csv") if number(point.get("estimate"))]
    pairs = [(pair, list(group)) for pair, group in groupby(points, names)]
    if not pairs:
        raise LeftOut("no quantile has a ratio")
    doubtful = pairs_with_reservation(session)
    trials = session.trials_in(session.latency_cell)
    columns = min(COLUMNS, len(pairs))
    grid = Grid(-(-len(pairs) // columns), columns, HEIGHT, above=0.45, below=0.5, right=0.3, gap=0.3, left=0.8)
    notes = [RESPONSE, "ratio of the quantiles of a block's trials, Hodges-Lehmann estimate over blocks"]
    notes += ["dark band: 95 % confidence, for all quantiles of a pair at once"]
    notes += ["grey band: ratios within 3 %", "shown, not tested: verdicts are on p90, p95 and p99 alone"]
    notes += [f"!: {LAG}"] if doubtful else []
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    values = ends(points)
    for index, (cell, (pair, group)) in enumerate(zip(cells, pairs)):
        axes = figure.add_subplot(cell)
        draw_pair(axes, group)
        common_axis(axes, values, is_first=index % columns == 0)
        axes.set_title(f"{pair} !" if pair in doubtful else pair, loc="left", pad=8)
    return figure


def draw_pair(axes, points):
    places = range(len(points))
    low, middle, high = ([number(point[column]) for point in points] for column in ("low", "estimate", "high"))
    axes.axhspan(1 / (1 + RATIO_MARGIN), 1 + RATIO_MARGIN, color=MARGIN_COLOUR, linewidth=0, zorder=0)
    axes.axhline(1, color=FAINT_INK, linewidth=0.8, zorder=1)
    axes.fill_between(places, low, high, color=INK, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(places, middle, color=INK, linewidth=1.6, marker="o", markersize=3, zorder=3)
    quantiles = [name_of(number(point["quantile"])) for point in points]
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.xaxis.set_major_locator(FixedLocator([at for at, name in enumerate(quantiles) if name in SHOWN_TICKS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([name for name in quantiles if name in SHOWN_TICKS])
    axes.set_xlabel("quantile of the response")


def common_axis(axes, values, is_first):
    """The same axis for all pairs, labelled at the first of a row."""
    ratio_axis(axes, values, "y")
    if is_first:
        axes.set_ylabel("ratio (log scale)")
    else:
        axes.tick_params(axis="y", labelleft=False)


def ends(points):
    values = [number(point[column]) for point in points for column in ("low", "high")]
    return [value for value in values if value]


def names(point):
    return f"{point.get('second')} / {point.get('first')}"


def name_of(quantile):
    return f"p{100 * quantile:g}"
