"""CPU time per message: against the rate, and with a client that spins or sleeps."""

from . import LeftOut
from .card import BAND, MEDIAN_LINE, Grid, card
from .lines import draw_bands, draw_ranges, label_curve_ends, label_room, linear_axis
from .session import distinct
from .values import cpu_us_per_message, curves_of, extent, swept, thousand_messages_per_sec

TITLE = "CPU per message"
LEAD = "CPU time of each server per message, status lines included: lower is better"
CLIENTS = ("spin", "timer")  # how a client waits: spinning, or asleep so that the server has to wake it
WAITS = {"spin": "spins", "timer": "sleeps"}


def draw(session):
    if not session.cpu_cell:
        raise LeftOut("no cell cpu; the picture trials shows the only load")
    sweep, asleep = session.trials_in(r"rate-\d+"), session.trials_in(session.cpu_cell)
    both = [*session.trials_in(session.latency_cell), *asleep]
    by_rate = swept(curves_of(session, sweep, thousand_messages_per_sec, cpu_us_per_message), "offered rates")
    by_client = curves_of(session, both, client_of, cpu_us_per_message)
    room = label_room(by_rate)
    notes = [f"left: {MEDIAN_LINE}", BAND, "right: medians, with bars over the middle half of the trials"]
    notes += [f"cells {session.latency_cell} and {session.cpu_cell}", "the vertical axes do not start at 0"]
    grid = Grid(1, 2, 3.7, above=0.45, below=0.55, right=room, gap=room + 0.7)
    figure, cells = card(TITLE, LEAD, session, [*sweep, *asleep], notes, grid)
    left, right = figure.add_subplot(cells[0]), figure.add_subplot(cells[1])
    for axes in (left, right):
        linear_axis(axes, *extent(by_rate, by_client))
        axes.set_ylabel("µs of CPU per message")
    waits = " and ".join(WAITS.get(pacing, pacing) for pacing in distinct(sweep, "pacing"))
    left.set_title(f"client {waits}, at several rates", loc="left", pad=10)
    left.set_xlabel("offered, thousand messages/s")
    left.set_xlim(0, 1.02 * max(curve[-1].x for curve in by_rate.values()))
    draw_bands(left, by_rate)
    label_curve_ends(left, by_rate)
    rate = next((rate for rate in map(thousand_messages_per_sec, asleep) if rate is not None), None)
    right.set_title("spinning and sleeping client" + (f", {rate:.3g} thousand/s" if rate else ""), loc="left", pad=10)
    draw_ranges(right, by_client, lambda client: f"client\n{WAITS[CLIENTS[client]]}")
    return figure


def client_of(trial):
    pacing = trial.text("pacing")
    return CLIENTS.index(pacing) if pacing in CLIENTS else None
