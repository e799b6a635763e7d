"""User memory, kernel memory and threads against the number of connections."""

from . import LeftOut
from .card import BAND, IDLE_CONDITIONS, MEDIAN_LINE, Grid, card
from .lines import connections_axis, draw_bands, label_curve_ends, label_room, log_axis, zero_log_axis
from .style import FAINT_INK
from .values import MIB, column, connections, curves_of, extent, kernel_mib, swept

TITLE = "Memory and threads against connections"
LEAD = "Cost of open connections without messages: lower is better"
PANELS = (
    ("memory of the server", "MiB (log scale)", column("server_pss_bytes_idle", MIB)),
    ("memory of the kernel", "MiB (log scale above 1)", kernel_mib),
    ("threads of the server", "threads (log scale)", column("server_threads_max")),
)
EXPLANATION = """\
memory of the server: proportional set
size at the end of the idle window

memory of the kernel: thread stacks, page
tables and slab objects of the whole host,
with the connections minus before; it
includes the generator's sockets, and below
1 MiB it is mostly noise of the host

threads: the maximum seen in a trial"""


def draw(session):
    trials = session.trials_in(r"connections-\d+")
    panels = [(*panel, curves_of(session, trials, connections, panel[-1])) for panel in PANELS]
    panels = [panel for panel in panels if panel[-1]]
    if not panels:
        raise LeftOut("no cells connections-*")
    swept(panels[0][-1], "numbers of connections")
    room = label_room(session.arms_in(trials))
    grid = Grid(2, 2, 2.5, above=0.45, below=0.5, right=room, gap=room + 0.7)
    # All figures but the maximum of threads are read before the load.
    figure, cells = card(TITLE, LEAD, session, trials, [MEDIAN_LINE, BAND], grid, conditions=IDLE_CONDITIONS)
    for cell, (heading, unit, value_of, curves) in zip(cells, panels):
        axes = figure.add_subplot(cell)
        if value_of is kernel_mib:
            zero_log_axis(axes, *extent(curves), linear_to=1)
        else:
            log_axis(axes, *extent(curves))
        connections_axis(axes, curves)
        axes.set_title(heading, loc="left", pad=10)
        axes.set_ylabel(unit)
        draw_bands(axes, curves)
        label_curve_ends(axes, curves)
    axes = figure.add_subplot(cells[-1])
    axes.set_axis_off()
    axes.text(0, 0.5, EXPLANATION, va="center", linespacing=1.35, color=FAINT_INK)
    return figure
