"""CPU time and wake-ups without messages, with one status per second and without statuses."""

from . import LeftOut
from .card import BARS, MEDIAN_DOT, Grid, card
from .lines import draw_ranges, label_room, linear_axis, zero_log_axis
from .values import connections, curves_of, extent, grouped, idle_cpu_us_per_sec, idle_wakeups_per_sec

TITLE = "Idle cost against connections"
LEAD = "CPU time and wake-ups without messages: lower is better, and a silent server should use nothing"
COLUMNS = (("one status per second", r"idle-\d+"), ("silent: no statuses", r"idle-\d+-silent"))


def draw(session):
    groups = [(heading, session.trials_in(cells)) for heading, cells in COLUMNS]
    groups = [group for group in groups if curves_of(session, group[1], connections, idle_cpu_us_per_sec)]
    if not groups:
        raise LeftOut("no cells idle-*")
    trials = [trial for _, group in groups for trial in group]
    room = label_room(session.arms_in(trials))
    notes = [MEDIAN_DOT, BARS, "servers stand side by side at each number of connections"]
    notes += ["the horizontal axis is not to scale", "CPU: linear below 100 µs/s"]
    grid = Grid(2, len(groups), 2.3, above=0.45, below=0.5, right=room, gap=room + 0.7)
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid)
    for row, (what, unit, value_of) in enumerate(ROWS):
        curves = [curves_of(session, group, connections, value_of) for _, group in groups]
        for column, (heading, _) in enumerate(groups):
            if not curves[column]:
                continue
            axes = figure.add_subplot(cells[row * len(groups) + column])
            if row == 0:
                zero_log_axis(axes, extent(*curves)[1], linear_to=100)
            else:
                linear_axis(axes, *extent(*curves))
                axes.set_ylim(bottom=-0.1 * axes.get_ylim()[1])
            axes.set_title(f"{what}, {heading}", loc="left", pad=10)
            axes.set_ylabel(unit)
            axes.set_xlabel("connections")
            draw_ranges(axes, curves[column], grouped)
    return figure


ROWS = (
    ("CPU", "µs of CPU per second", idle_cpu_us_per_sec),
    ("wake-ups", "wake-ups per second", idle_wakeups_per_sec),
)
