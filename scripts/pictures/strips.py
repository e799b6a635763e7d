"""Strips: one row per arm along a common scale, with a dot per trial and a line at the median."""

import statistics

from .lines import broken, linear_axis, log_axis
from .style import INK, colour_of, marker_of
from .values import readable

DOT = {"linestyle": "none", "markersize": 3.4, "markeredgewidth": 0, "alpha": 0.5, "clip_on": False}
CROSS = {
    "linestyle": "none",
    "marker": "x",
    "markersize": 3.4,
    "markeredgewidth": 0.7,
    "alpha": 0.4,
    "clip_on": False,
    "zorder": 1.5,  # below the dots
}
MEDIAN = {"color": INK, "linewidth": 1.8, "zorder": 3}
# Positions within a strip of height 1, from its middle downwards: the dots are below the number.
FIGURE, MEDIAN_TOP, DOTS_TOP, DOTS_BOTTOM = -0.32, -0.16, -0.1, 0.36
FEW = 2  # minimum of ticks on a logarithmic axis, since a panel is narrow


def strips_of(arms, trials, value_of):
    """Per arm, (place within the strip, value, whether it counts) of each trial that has the value."""
    strips = {arm: [] for arm in arms}
    by_label = {arm.label: found for arm, found in strips.items()}
    for trial in trials:
        value = value_of(trial)
        if value is not None and trial.text("arm") in by_label:
            # Multiples of the golden ratio fill a strip evenly, with the same place for a block in each strip.
            place = (trial.number("block") or 0) * 0.6180339887 % 1
            by_label[trial.text("arm")].append((place, value, trial.counts))
    return strips


def strip_axis(axes, strips):
    """Scales the axis to the trials that count; returns whether it is logarithmic."""
    counted = [value for found in strips.values() for _, value, is_counted in found if is_counted]
    shown = counted or [value for found in strips.values() for _, value, _ in found]
    is_log = min(shown) > 0 and max(shown) / min(shown) > 8
    if is_log:
        log_axis(axes, min(shown), max(shown), "x", FEW)
    else:
        linear_axis(axes, min(shown), max(shown), "x", 3)
    return is_log


def draw_strips(axes, strips):
    """Draws the dots. The axis limits must be final: a trial that does not count may lie on the edge of the scale."""
    left, right = axes.get_xlim()
    for row, (arm, found) in enumerate(strips.items()):
        dots = []
        for place, value, is_counted in found:
            height = row + DOTS_TOP + place * (DOTS_BOTTOM - DOTS_TOP)
            if is_counted:
                dots.append((value, height))
            else:
                axes.plot(min(max(value, left), right), height, **CROSS, markeredgecolor=colour_of(arm))
        if dots:
            axes.plot(*zip(*dots), **DOT, marker=marker_of(arm), color=colour_of(arm))
            draw_median(axes, row, arm, statistics.median(value for value, _ in dots))
    axes.set_ylim(len(strips) - 0.5, -0.55)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def draw_median(axes, row, arm, median):
    axes.plot([median, median], [row + MEDIAN_TOP, row + DOTS_BOTTOM + 0.04], **MEDIAN)
    axes.annotate(
        readable(median),
        xy=(median, row + FIGURE),
        ha="center",
        va="center",
        color=colour_of(arm),
        fontweight="bold",
        annotation_clip=False,
    )


def name_rows(axes, arms, is_first):
    """Writes the names to the left of the first panel, in their colours."""
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(range(len(arms)), [broken(arm.label) if is_first else "" for arm in arms])
    for tick, arm in zip(axes.get_yticklabels(), arms):
        tick.set(color=colour_of(arm), linespacing=1.0, fontweight="normal" if arm.is_control else "bold")
