"""Values of a trial, and their medians and quartiles over trials: everything that the pictures compute."""

import statistics
from collections import defaultdict
from dataclasses import dataclass

from . import LeftOut

MIB = 2**20


@dataclass(frozen=True)
class Point:
    x: float
    median: float
    low: float  # the quartiles
    high: float


def point_of(x, values):
    if len(values) < 2:
        return Point(x, values[0], values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Point(x, statistics.median(values), low, high)


def curves_of(session, trials, x_of, value_of, counts=lambda trial: trial.counts, with_control=False):
    """Per arm, one point for all its trials with the same x, from left to right; arms without points are left out."""
    curves = {}
    for arm in session.arms_in(trials, with_control):
        values = defaultdict(list)
        for trial in trials:
            if trial.text("arm") == arm.label and counts(trial):
                x, value = x_of(trial), value_of(trial)
                if x is not None and value is not None:
                    values[x].append(value)
        if values:
            curves[arm] = [point_of(x, values[x]) for x in sorted(values)]
    return curves


def swept(curves, what):
    """Returns the curves; raises LeftOut if they have fewer than two points."""
    if len({point.x for curve in curves.values() for point in curve}) < 2:
        raise LeftOut(f"fewer than two {what}")
    return curves


def extent(*groups):
    """Lowest and highest value of all curves with their bands."""
    points = [point for curves in groups for curve in curves.values() for point in curve]
    return min(min(point.low, point.median) for point in points), max(max(point.high, point.median) for point in points)


def column(name, unit=1):
    """A function that returns a column of a trial, divided by `unit`."""
    return lambda trial: ratio(trial, name, unit)


def ratio(trial, name, divisor):
    value = trial.number(name)
    return value / divisor if value is not None and divisor else None


def connections(trial):
    return trial.number("connections")


def thousand_messages_per_sec(trial):
    return ratio(trial, "rate_offered_per_sec", 1000)


def cpu_us_per_message(trial):
    nanoseconds = ratio(trial, "server_cpu_ns_load", trial.number("echoed_count"))
    return None if nanoseconds is None else nanoseconds / 1000


def idle_cpu_us_per_sec(trial):
    # ns of CPU per ms of idling is us per s
    span = idle_span_ms(trial)
    return ratio(trial, "server_cpu_ns_idle", span)


def idle_cpu_ms_per_sec(trial):
    microseconds = idle_cpu_us_per_sec(trial)
    return None if microseconds is None else microseconds / 1000


def idle_wakeups_per_sec(trial):
    span = idle_span_ms(trial)
    return ratio(trial, "server_wakeups_idle", span and span / 1000)


def idle_span_ms(trial):
    span = trial.number("idle_span_ns")
    # Older sessions lack that column: the planned length of the window.
    return trial.number("idle_ms") if span is None else span / 1e6


def kernel_mib(trial):
    parts = [trial.number(name) for name in KERNEL_PARTS]
    return None if None in parts else sum(parts) / MIB


KERNEL_PARTS = ("kernel_stack_bytes_delta", "slab_bytes_delta", "page_tables_bytes_delta")


def readable(value):
    """About three digits."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def grouped(value, _position=None):
    return f"{value:,.10g}".replace("-", "\u2212")
