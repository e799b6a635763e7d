"""Response against offered rate, up to saturation."""

from collections import Counter, defaultdict

from . import LeftOut
from .card import BAND, MEDIAN_LINE, RESPONSE, Grid, card, several, with_unit
from .lines import draw_bands, label_curve_ends, label_room, log_axis
from .session import distinct
from .style import FAINT_INK, colour_of
from .values import column, curves_of, extent, grouped, thousand_messages_per_sec

TITLE = "Response against offered rate"
LEAD = "Response time of each server as the offered rate increases: lower is better"
LOADS = (r"rate-\d+", r"knee-\d+", r"work-\w+-rate-\d+")
QUANTILES = (("p50", "response_ns_p50"), ("p90", "response_ns_p90"))  # p99 is noise in so few short trials


def draw(session):
    # Saturated trials are included: without them, a server would look better the more often it is saturated.
    loads = [load for load in (load_of(session, cells) for cells in LOADS) if load]
    if not loads:
        raise LeftOut("fewer than two offered rates")
    trials = [trial for own, *_ in loads for trial in own]
    room = label_room(session.arms_in(trials, with_control=False))
    columns = max(len(panels) for _, panels, _ in loads)
    grid = Grid(len(loads), columns, 2.5, above=0.45, below=0.5, right=room, gap=room + 0.7)
    notes = [RESPONSE, MEDIAN_LINE, BAND, "each panel has its own scale"]
    if session.slowest_rate_per_sec is not None:
        notes.append("dotted: 100 %, the rate that the slowest server sustained in the pilot")
    notes += saturation_notes([saturated for *_, saturated in loads])
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid, counts)
    for row, (own, panels, saturated) in enumerate(loads):
        for cell, (quantile, curves) in zip(cells[row * columns :], panels):
            axes = figure.add_subplot(cell)
            log_axis(axes, *extent(curves))
            axes.set_title(f"{quantile}, {name_of(own)}", loc="left", pad=10)
            axes.set_xlabel("offered, thousand messages/s")
            axes.set_ylabel("latency (µs, log scale)")
            axes.set_xlim(0, 1.02 * max(curve[-1].x for curve in curves.values()))
            if not distinct(own, "work"):
                mark_limit(axes, session.slowest_rate_per_sec)
            draw_bands(axes, curves)
            mark_saturation(axes, curves, saturated)
            label_curve_ends(axes, curves)
    return figure


def load_of(session, cells):
    """The trials of a load at several rates, the curves of each quantile, and which trials were saturated."""
    trials = session.trials_in(cells)
    panels = [(quantile, points(session, trials, latency)) for quantile, latency in QUANTILES]
    panels = [(quantile, curves) for quantile, curves in panels if curves]
    rates = {point.x for _, curves in panels for curve in curves.values() for point in curve}
    return (trials, panels, saturated_counts(session, trials)) if len(rates) > 1 else None


def name_of(trials):
    connections, work = (several(distinct(trials, column)) for column in ("connections", "work"))
    name = f"{with_unit(connections, 1)} connections"
    return f"{name}, {work.replace('us', ' µs')} of work" if work else name


def counts(trial):
    return trial.counts_or_is_saturated


def points(session, trials, latency):
    return curves_of(session, trials, thousand_messages_per_sec, column(latency, 1000), counts)


def mark_limit(axes, rate_per_sec):
    if rate_per_sec is not None:
        limit = rate_per_sec / 1000
        axes.set_xlim(0, max(axes.get_xlim()[1], 1.02 * limit))
        axes.axvline(limit, color=FAINT_INK, linewidth=1.0, linestyle=(0, (1, 2)))
        place = {
            "xy": (limit, 1),
            "xycoords": ("data", "axes fraction"),
            "xytext": (-4, 0),
            "textcoords": "offset points",
        }
        axes.annotate("100 %", **place, rotation=90, ha="right", va="top", color=FAINT_INK, fontsize=8)


def saturated_counts(session, trials):
    """(arm, rate) -> (number of saturated trials, number of valid trials)."""
    counted = Counter()
    saturated = Counter()
    for trial in trials:
        key = trial.text("arm"), thousand_messages_per_sec(trial)
        counted[key] += trial.counts_or_is_saturated
        saturated[key] += trial.why_not == "saturated"
    labels = [arm.label for arm in session.arms_in(trials, with_control=False)]
    return {key: (count, counted[key]) for key, count in sorted(saturated.items()) if count and key[0] in labels}


def mark_saturation(axes, curves, saturated):
    for arm, curve in curves.items():
        rings = [(point.x, point.median) for point in curve if (arm.label, point.x) in saturated]
        if rings:
            axes.plot(*zip(*rings), **RING, markeredgecolor=colour_of(arm))


RING = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgewidth": 1.3,
    "clip_on": False,
}


def saturation_notes(loads):
    by_rate = defaultdict(list)
    for saturated in loads:
        for (label, rate), (count, of) in saturated.items():
            by_rate[rate].append(f"{label} {count} of {of}")
    if not by_rate:
        return ["no trial was saturated"]
    named = [f"{', '.join(servers)} at {grouped(1000 * rate)}/s" for rate, servers in sorted(by_rate.items())]
    return ["ring: saturated, " + named[0], *named[1:]]
