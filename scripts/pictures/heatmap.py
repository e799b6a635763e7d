"""Latency over time: by block of a session, or by second of long trials."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, NullLocator

from . import LeftOut
from .card import RESPONSE, WIDTH, Grid, card, control_notes
from .lines import log_ticks
from .percentiles import eligible_quantiles, nines, percent
from .session import number
from .style import FAINT_INK, colour_of
from .values import grouped, point_of

TITLE = "Echo latency over time"
LEAD = "Dark is slow: a column that is dark in every panel is a slow phase of the host; compare rows across panels"
LONG_SECONDS = 10  # minimum length of a trial that is shown by second
QUANTILES = (0.1, 0.5, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999)
BLANK = float("nan")
COLOURS = "cividis_r"


@dataclass(frozen=True)
class Field:
    rows: list  # names of the rows, from the bottom
    ticks: list  # (place, text) along the time axis
    time: str
    notes: list
    values: dict  # arm -> row -> column, in microseconds; blank without a trial that counts


def draw(session):
    trials = session.trials_in(session.latency_cell)
    arms = session.arms_in(trials)
    field = by_second(session, trials, arms) or by_block(session, trials, arms)
    arms = [arm for arm in arms if measured(field.values[arm])]
    if not arms:
        raise LeftOut("no trial that counts has eligible quantiles")
    values = [value for arm in arms for value in measured(field.values[arm])]
    norm = LogNorm(min(values) / 1.02, max(values) * 1.02)
    notes = [RESPONSE, "rows: percentiles of a trial", *field.notes, *control_notes(arms)]
    height = 0.17 * len(field.rows) + 0.05
    grid = Grid(len(arms), 1, height, above=0.4, below=0.65, right=1.0, gap=0.0, left=0.95, between=0.33)
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    for cell, arm in zip(cells, arms):
        axes = figure.add_subplot(cell)
        mesh = draw_panel(axes, field, field.values[arm], norm)
        axes.set_title(arm.label, loc="left", pad=5, color=colour_of(arm))
        axes.tick_params(labelbottom=arm is arms[-1])
    axes.set_xlabel(field.time)
    draw_scale(figure, mesh, min(values), max(values))
    return figure


def measured(rows):
    return [value for row in rows for value in row if not math.isnan(value)]


def by_block(session, trials, arms):
    samples = eligible_quantiles(session)["response"]
    counted = [trial for trial in trials if trial.counts and trial.text("trial_id") in samples]
    rows = rows_of([samples[trial.text("trial_id")] for trial in counted])
    blocks = sorted({trial.number("block") or 0 for trial in trials})
    found = {(trial.text("arm"), trial.number("block") or 0): samples[trial.text("trial_id")] for trial in counted}
    values = {
        arm: [[found.get((arm.label, block), {}).get(quantile, BLANK) for block in blocks] for quantile in rows]
        for arm in arms
    }
    notes = ["one column per block", "blank: no trial that counts"]
    names, time = [percent(quantile) for quantile in rows], "block, and minute of the session"
    return Field(names, block_ticks(trials, blocks), time, notes, values)


def rows_of(samples):
    """Of the quantiles that most trials have, those nearest to the wanted ones."""
    shared = [
        quantile
        for quantile in sorted(set().union(*samples))
        if 2 * sum(quantile in sample for sample in samples) > len(samples)
    ]
    return sorted({min(shared, key=lambda q: abs(nines(q) - nines(wanted))) for wanted in QUANTILES if shared})


def block_ticks(trials, blocks):
    """The numbers of some blocks, with the minute of the session in which each began."""
    started = defaultdict(list)
    for trial in trials:
        # Older sessions have only the wall clock, which may have been set during the session.
        moment = trial.number("started_after_ms")
        moment = trial.number("started_at_unix_ms") if moment is None else moment
        if moment is not None:
            started[trial.number("block") or 0].append(moment)
    first = min((min(moments) for moments in started.values()), default=0)
    step = max(1, round(len(blocks) / 8))
    ticks = []
    for i in sorted({*range(0, len(blocks), step)}):
        minute = f"\n{(min(started[blocks[i]]) - first) / 60_000:.0f} min" if blocks[i] in started else ""
        ticks.append((i + 0.5, f"{blocks[i]:.0f}{minute}"))
    return ticks


def by_second(session, trials, arms):
    """None unless there are long trials."""
    longest = max((trial.number("load_ms") or 0 for trial in trials), default=0)
    if longest < 1000 * LONG_SECONDS:
        return None
    arm_by_trial = {trial.text("trial_id"): trial.text("arm") for trial in trials if trial.counts}
    found = defaultdict(list)
    for row in session.rows_of("windows.csv"):
        arm, second = arm_by_trial.get(row.get("trial_id")), number(row.get("second"))
        if arm is None or second is None or row.get("metric") != "response":
            continue
        for column in WINDOW_COLUMNS:
            value = number(row.get(column))
            if value:
                found[arm, second, column].append(value / 1000)
    seconds = [float(second) for second in range(int(max((second for _, second, _ in found), default=-1)) + 1)]
    values = {
        arm: [[median(found.get((arm.label, second, column))) for second in seconds] for column in WINDOW_COLUMNS]
        for arm in arms
    }
    step = max(1, round(len(seconds) / 8))
    ticks = [(i + 0.5, f"{i}") for i in range(0, len(seconds), step)]
    notes = ["one column per second of the load, median of the trials"]
    return Field(["p50", "p99", "max"], ticks, "second of the load", notes, values)


WINDOW_COLUMNS = ("p50_ns", "p99_ns", "max_ns")


def median(values):
    return point_of(0, values).median if values else BLANK


def draw_panel(axes, field, rows, norm):
    # Coloured edges close the hairlines that renderers leave between neighbours.
    mesh = axes.pcolormesh(
        numpy.ma.masked_invalid(rows), norm=norm, cmap=COLOURS, edgecolors="face", linewidth=0.3, antialiased=False
    )
    axes.grid(False)
    axes.set_yticks([i + 0.5 for i in range(len(field.rows))], field.rows)
    axes.set_xticks([place for place, _ in field.ticks], [text for _, text in field.ticks])
    axes.tick_params(axis="y", length=0)
    return mesh


def draw_scale(figure, mesh, low, high):
    height = figure.get_figheight()
    panels = [axes.get_position() for axes in figure.axes]
    top, bottom = max(box.y1 for box in panels), min(box.y0 for box in panels)
    length = min(top - bottom, 2.6 / height)
    axes = figure.add_axes((1 - 0.95 / WIDTH, top - length, 0.15 / WIDTH, length))
    bar = figure.colorbar(mesh, cax=axes)
    bar.ax.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(grouped)
    bar.outline.set_visible(False)
    axes.set_title("µs", loc="left", pad=5, fontweight="normal", color=FAINT_INK)
