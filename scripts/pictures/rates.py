"""Response against offered rate, up to saturation."""

from collections import Counter

from .card import BAND, MEDIAN_LINE, RESPONSE, Grid, card
from .lines import draw_bands, label_curve_ends, label_room, log_axis
from .style import FAINT_INK, colour_of
from .values import column, curves_of, extent, grouped, swept, thousand_messages_per_sec

TITLE = "Response against offered rate"
LEAD = "Response time of each server as the offered rate increases: lower is better"
PANELS = (("p50", "response_ns_p50"), ("p99", "response_ns_p99"))


def draw(session):
    trials = session.trials_in(r"rate-\d+")
    # Saturated trials are included: without them, a server would look better the more often it is saturated.
    panels = [
        (f"response {name}", swept(points(session, trials, latency), "offered rates")) for name, latency in PANELS
    ]
    saturated = saturated_counts(session, trials)
    arms = list(panels[0][1])
    room = label_room(arms)
    grid = Grid(1, 2, 3.7, above=0.45, below=0.5, right=room, gap=room + 0.7)
    notes = [RESPONSE, MEDIAN_LINE, BAND, "each panel has its own scale"]
    if session.slowest_rate_per_sec is not None:
        notes.append("dotted: the 100 % rate, of which the others are fractions")
    notes += saturation_notes(saturated)
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid, counts)
    for cell, (heading, curves) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        log_axis(axes, *extent(curves))
        axes.set_title(heading, loc="left", pad=10)
        axes.set_xlabel("offered, thousand messages/s")
        axes.set_ylabel("latency (µs, log scale)")
        axes.set_xlim(0, 1.02 * max(curve[-1].x for curve in curves.values()))
        mark_limit(axes, session.slowest_rate_per_sec)
        draw_bands(axes, curves)
        mark_saturation(axes, curves, saturated)
        label_curve_ends(axes, curves)
    return figure


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


def saturation_notes(saturated):
    if not saturated:
        return ["no trial was saturated"]
    named = [f"{label} {count} of {of} at {grouped(1000 * rate)}/s" for (label, rate), (count, of) in saturated.items()]
    return ["ring: saturated, " + named[0], *named[1:]]
