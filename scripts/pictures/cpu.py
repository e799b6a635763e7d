"""CPU time per message: against the rate with a client that spins, and with one that sleeps and has to be woken."""

from . import LeftOut
from .card import BAND, MEDIAN_LINE, Grid, card, control_notes
from .lines import draw_bands, label_curve_ends, label_room, linear_axis
from .strips import draw_strips, name_columns, strips_of
from .values import cpu_us_per_message, curves_of, extent, swept, thousand_messages_per_sec

TITLE = "CPU per message"
LEAD = "CPU time that each server uses for a message, its share of the status lines included: lower is better"


def draw(session):
    if not session.cpu_cell:
        raise LeftOut("no cell cpu, and trials shows the only load")
    sweep, primary = session.trials_in(r"rate-\d+"), session.trials_in(session.cpu_cell)
    curves = swept(curves_of(session, sweep, thousand_messages_per_sec, cpu_us_per_message), "offered rates")
    strips = strips_of(session, primary, cpu_us_per_message)
    room = label_room(curves)
    notes = [MEDIAN_LINE, BAND, "dots: the trials of cell cpu, a cross is one that does not count"]
    notes += ["the vertical axis does not start at 0", *control_notes(session.arms_in(primary))]
    grid = Grid(1, 2, 3.7, above=0.65, below=0.75, right=0.1, gap=room + 0.6, widths=(0.9, 1))
    figure, cells = card(TITLE, LEAD, session, [*sweep, *primary], notes, grid)
    counted = [value for found in strips.values() for _, value, is_counted in found if is_counted]
    low, high = extent(curves)
    left, right = figure.add_subplot(cells[0]), figure.add_subplot(cells[1])
    for axes in (left, right):
        linear_axis(axes, min(low, *counted), max(high, *counted))
        axes.set_ylabel("µs of CPU per message")
    left.set_title("client spins, at several rates", loc="left", pad=24)
    left.set_xlabel("offered, thousand messages/s")
    left.set_xlim(0, 1.02 * max(curve[-1].x for curve in curves.values()))
    draw_bands(left, curves)
    label_curve_ends(left, curves)
    rate = next((rate for rate in map(thousand_messages_per_sec, primary) if rate is not None), None)
    right.set_title("client sleeps" + (f", at {rate:.3g} thousand/s" if rate else ""), loc="left", pad=24)
    draw_strips(right, strips)
    name_columns(right, strips)
    return figure
