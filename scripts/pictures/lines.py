"""Axes, and curves of medians with quartiles, each labelled at its end."""

import math
from itertools import pairwise

from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from .style import FONT_POINTS, colour_of, dashes_of, marker_of
from .values import grouped

LEADER = {"arrowstyle": "-", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 3}
# Of ratios, those to be labelled first.
RATIO_TICKS = (1, 0.5, 2, 0.1, 10, 0.01, 100, 0.2, 5, 0.3, 3, 0.7, 1.5, 0.8, 1.25, 0.9, 1.1)
LABEL_LETTERS = 14  # a longer name takes two lines


def log_ticks(bottom, top, at_least=4):
    decades = range(math.floor(math.log10(bottom)), math.ceil(math.log10(top)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if bottom <= tick <= top]
        if len(ticks) >= at_least:
            break
    return ticks


def log_axis(axes, low, high, which="y", ticks_at_least=4):
    bottom, top = low / 1.1, high * 1.1
    if top / bottom < 2:  # so that noise does not fill the panel
        widened = math.sqrt(2 * bottom / top)
        bottom, top = bottom / widened, top * widened
    axes.set(**{f"{which}scale": "log", f"{which}lim": (bottom, top)})
    fix_ticks(getattr(axes, f"{which}axis"), log_ticks(bottom, top, ticks_at_least))


def zero_log_axis(axes, high, linear_to):
    """Logarithmic, but linear from 0 to its first tick: for values that may be 0."""
    axes.set_yscale("symlog", linthresh=linear_to, linscale=1)
    decades = range(math.ceil(math.log10(max(high, linear_to) / linear_to)) + 1)
    ticks = [0, *(linear_to * 10**decade for decade in decades)]
    ticks = [tick for tick in ticks if tick <= max(high, linear_to)]
    axes.set_ylim(-0.1 * linear_to, max(high, linear_to) * 1.25)
    fix_ticks(axes.yaxis, ticks)


def linear_axis(axes, low, high, which="y", ticks_at_most=6):
    room = (high - low or abs(high) or 1) * 0.08
    axes.set(**{f"{which}lim": (max(low - room, 0) if low >= 0 else low - room, high + room)})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(MaxNLocator(ticks_at_most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(grouped)


def ratio_axis(axes, values, which):
    """Logarithmic around 1, with room beyond the values, and without ticks whose labels would touch."""
    low, high = min(0.9, *values), max(1.1, *values)
    room, apart = (high / low) ** 0.05, (high / low) ** 0.09
    low, high = low / room, high * room
    ticks = []
    for tick in RATIO_TICKS:
        if low <= tick <= high and all(max(tick / other, other / tick) > apart for other in ticks):
            ticks.append(tick)
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    fix_ticks(getattr(axes, f"{which}axis"), sorted(ticks))


def fix_ticks(axis, ticks):
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(grouped)
    axis.set_minor_formatter(NullFormatter())


def connections_axis(axes, curves):
    values = sorted({point.x for curve in curves.values() for point in curve})
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.3, values[-1])
    fix_ticks(axes.xaxis, values)
    axes.set_xlabel("connections (log scale)")


def draw_bands(axes, curves, marks_each=1):
    """Lines over bands between the quartiles, with staggered markers at one of every `marks_each` points."""
    for i, (arm, curve) in enumerate(curves.items()):
        xs = [point.x for point in curve]
        axes.plot(
            xs,
            [point.median for point in curve],
            color=colour_of(arm),
            linestyle=dashes_of(arm),
            linewidth=1.0 if arm.is_control else 1.8,
            marker=marker_of(arm),
            markersize=3.0 if arm.is_control else 4.5,
            markevery=(min(2 * i, len(curve) - 1), marks_each) if marks_each > 1 else 1,
            clip_on=False,
        )
        if not arm.is_control:
            low, high = [point.low for point in curve], [point.high for point in curve]
            axes.fill_between(xs, low, high, color=colour_of(arm), alpha=0.13, linewidth=0)


def draw_ranges(axes, curves, names, dodge=0.13):
    """Markers with bars between the quartiles, side by side over each named place and joined by thin lines."""
    places = sorted({point.x for curve in curves.values() for point in curve})
    moved = {}
    for i, (arm, curve) in enumerate(curves.items()):
        shift = (i - (len(curves) - 1) / 2) * dodge
        xs, ys = [places.index(point.x) + shift for point in curve], [point.median for point in curve]
        moved[arm] = list(zip(xs, ys))
        axes.plot(xs, ys, color=colour_of(arm), linestyle=dashes_of(arm), linewidth=0.9, alpha=0.6, clip_on=False)
        low, high = [point.low for point in curve], [point.high for point in curve]
        axes.vlines(xs, low, high, color=colour_of(arm), linewidth=2.2, clip_on=False)
        axes.plot(xs, ys, color=colour_of(arm), linestyle="none", marker=marker_of(arm), markersize=5.5, clip_on=False)
    half = dodge * (len(curves) - 1) / 2
    axes.set_xlim(-half - 0.25, len(places) - 1 + half + 0.05)
    axes.set_xticks(range(len(places)), [names(place) for place in places])
    axes.tick_params(axis="x", length=0, pad=6)
    label_ends(axes, {arm: ends[-1] for arm, ends in moved.items()})


def label_curve_ends(axes, curves):
    label_ends(axes, {arm: (curve[-1].x, curve[-1].median) for arm, curve in curves.items()})


def label_ends(axes, ends):
    """Writes the name of each arm to the right of its last point. The limits of the axes must be final."""
    order = sorted(ends, key=lambda arm: ends[arm][1])
    points_per_pixel = 72 / axes.figure.dpi
    places = [axes.transData.transform(ends[arm]) * points_per_pixel for arm in order]
    labels = [broken(arm.label) for arm in order]
    sizes = [(label.count("\n") + 1) * (FONT_POINTS + 2.2) + 0.8 for label in labels]
    floor, ceiling = float(axes.bbox.y0) * points_per_pixel, float(axes.bbox.y1) * points_per_pixel + 3
    right = max(float(axes.bbox.x1) * points_per_pixel + 6, *(float(place[0]) + 12 for place in places))
    heights = pushed_apart([float(place[1]) for place in places], sizes, floor, ceiling)
    for arm, label, place, height in zip(order, labels, places, heights):
        axes.annotate(
            label,
            xy=ends[arm],
            xytext=(right - place[0], height - place[1]),
            textcoords="offset points",
            va="center",
            linespacing=1.0,
            color=colour_of(arm),
            fontweight="normal" if arm.is_control else "bold",
            annotation_clip=False,
            arrowprops={"color": colour_of(arm), **LEADER},
        )


def pushed_apart(heights, sizes, floor, ceiling):
    """Moves labels at sorted heights apart, by least squares, so that none overlaps another."""
    offsets = [0.0]
    for below, above in pairwise(sizes):
        offsets.append(offsets[-1] + (below + above) / 2)
    crowds = []
    for height, offset in zip(heights, offsets):
        crowd = [height - offset]
        while crowds and mean(crowds[-1]) > mean(crowd):
            crowd = crowds.pop() + crowd
        crowds.append(crowd)
    bases = [mean(crowd) for crowd in crowds for _ in crowd]
    lowest, highest = floor + sizes[0] / 2, ceiling - sizes[-1] / 2 - offsets[-1]
    return [max(min(base, highest), lowest) + offset for base, offset in zip(bases, offsets)]


def mean(values):
    return sum(values) / len(values)


def broken(name):
    """A long name on two lines, broken at the hyphen nearest its middle."""
    hyphens = [i + 1 for i, letter in enumerate(name) if letter == "-"]
    if len(name) <= LABEL_LETTERS or not hyphens:
        return name
    middle = min(hyphens, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}\n{name[middle:]}"


def label_room(arms):
    """Inches that the labels need beside a panel."""
    longest = max(len(line) for arm in arms for line in broken(arm.label).split("\n"))
    return 0.22 + 0.079 * longest
