"""Strips: every trial of an arm as a dot, over its median."""

import statistics

from matplotlib.lines import Line2D

from .lines import linear_axis, log_axis
from .style import INK
from .values import readable

DOT = {"linestyle": "none", "markersize": 3.6, "markeredgewidth": 0, "alpha": 0.55, "clip_on": False}
CROSS = {"linestyle": "none", "marker": "X", "markersize": 7, "markerfacecolor": "none", "clip_on": False, "zorder": 4}
MEDIAN = {"color": INK, "linewidth": 1.8, "solid_capstyle": "butt", "zorder": 3}

LETTER = 0.074  # inches, with something between the words


def strips_of(session, trials, value_of):
    """For every arm (place within its strip, value, whether it counts) of each trial that has the value."""
    strips = {}
    for arm in session.arms_in(trials):
        strips[arm] = []
        for trial in trials:
            value = value_of(trial) if trial.text("arm") == arm.label else None
            if value is not None:
                block = trial.number("block") or 0
                # Multiples of the golden ratio fill a strip evenly, and a block has the same place in each.
                strips[arm].append(((block * 0.6180339887 % 1 - 0.5) * 0.6, value, trial.counts))
    return strips


def strip_axis(axes, strips):
    """Scales the axis to the trials that count; true if it became logarithmic."""
    counted = [value for found in strips.values() for _, value, is_counted in found if is_counted]
    shown = counted or [value for found in strips.values() for _, value, _ in found]
    is_log = min(shown) > 0 and max(shown) / min(shown) > 8
    (log_axis if is_log else linear_axis)(axes, min(shown), max(shown))
    return is_log


def draw_strips(axes, strips, prefix_of=lambda arm: ""):
    """The limits of the axis must be final: what does not count and is off the scale stands on its edge."""
    bottom, top = axes.get_ylim()
    for column, (arm, found) in enumerate(strips.items()):
        for place, value, is_counted in found:
            if not is_counted:
                axes.plot(column + place, min(max(value, bottom), top), **CROSS, markeredgecolor=arm.colour)
        dots = [(column + place, value) for place, value, is_counted in found if is_counted]
        if dots:
            axes.plot(*zip(*dots), **DOT, marker=arm.marker, color=arm.colour)
            draw_median(axes, column, arm, statistics.median(value for _, value in dots), prefix_of(arm))
    axes.set_xlim(-0.55, len(strips) - 0.45)


def draw_median(axes, column, arm, median, prefix):
    axes.plot([column - 0.38, column + 0.38], [median, median], **MEDIAN)
    axes.annotate(
        prefix + readable(median),
        xy=(column, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        color=arm.colour,
        fontweight="bold",
    )


def name_columns(axes, arms):
    """The names below their strips; many are slanted, of a few the long ones are broken at their hyphens."""
    is_crowded = len(arms) > 5
    names = [arm.label if is_crowded else arm.label.replace("-", "-\n") for arm in arms]
    if not is_crowded:
        names = staggered(names, axes.get_position().width * axes.figure.get_figwidth() / len(names))
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0, pad=8, rotation=25 if is_crowded else 0)
    for tick, arm in zip(axes.get_xticklabels(), arms):
        tick.set_color(arm.colour)
        tick.set_linespacing(1.0)
        if is_crowded:
            tick.set_horizontalalignment("right")


def staggered(names, inches):
    """Names side by side at this distance; one that would touch the name before it begins a line lower."""
    placed = []
    for name in names:
        before = placed[-1].split("\n") if placed else []
        touches = any(
            one and other and LETTER * (len(one) + len(other)) / 2 > inches
            for one, other in zip(before, name.split("\n"))
        )
        placed.append("\n" + name if touches else name)
    return placed


def draw_key(axes, entries):
    """`entries` are (style of a line or None, text)."""
    axes.set_axis_off()
    handles = [Line2D([], [], **(style or {"linestyle": "none"})) for style, _ in entries]
    texts = [text for _, text in entries]
    axes.legend(handles, texts, loc="center left", frameon=False, labelspacing=0.9, borderaxespad=0)
