"""Time from a status broadcast's first arrival to its last, against the number of connections."""

from .card import BAND, MEDIAN_LINE, Grid, card
from .lines import connections_axis, draw_bands, label_curve_ends, label_room, linear_axis, log_axis
from .values import connections, curves_of, extent, ratio, swept

TITLE = "Fan-out spread against connections"
LEAD = "Delay of a status line from the first connection to the last: lower is better"


def draw(session):
    # With one connection, the first arrival is also the last.
    trials = [trial for trial in session.trials_in(r"connections-\d+") if connections(trial) != 1]
    spread = swept(curves_of(session, trials, connections, spread_ms), "numbers of connections with a spread")
    each = curves_of(session, trials, connections, spread_us_per_connection)
    room = label_room(spread)
    notes = [MEDIAN_LINE, BAND, "per trial: median over the ticks that reached every connection"]
    grid = Grid(1, 2, 3.7, above=0.45, below=0.5, right=room, gap=room + 0.7)
    figure, cells = card(TITLE, LEAD, session, trials, [*notes, "the right axis does not start at 0"], grid)
    left, right = figure.add_subplot(cells[0]), figure.add_subplot(cells[1])
    log_axis(left, *extent(spread))
    linear_axis(right, *extent(each))
    left.set_title("whole fan-out", loc="left", pad=10)
    right.set_title("per connection", loc="left", pad=10)
    left.set_ylabel("last - first arrival (ms, log scale)")
    right.set_ylabel("last - first arrival, µs per connection")
    for axes, curves in ((left, spread), (right, each)):
        connections_axis(axes, curves)
        draw_bands(axes, curves)
        label_curve_ends(axes, curves)
    return figure


def spread_ms(trial):
    return ratio(trial, "status_spread_ns_p50", 1e6) or None


def spread_us_per_connection(trial):
    milliseconds, count = spread_ms(trial), connections(trial)
    return milliseconds * 1000 / count if milliseconds and count else None
