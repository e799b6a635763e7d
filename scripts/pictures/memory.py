"""User memory, kernel memory and threads against the number of connections."""

from . import LeftOut, say
from .card import BAND, IDLE_CONDITIONS, MEDIAN_LINE, Grid, card
from .lines import connections_axis, draw_bands, label_curve_ends, label_room, linear_axis, log_axis
from .style import FAINT_INK, INK, colour_of
from .values import MIB, column, connections, curves_of, extent, grouped, kernel_mib, readable, swept

TITLE = "Memory and threads against connections"
LEAD = "Cost of open connections without messages: lower is better"
PANELS = (
    ("memory of the server", "MiB (log scale)", column("server_pss_bytes_idle", MIB)),
    ("threads of the server", "threads (log scale)", column("server_threads_max")),
)
EXPLANATION = """\
memory of the server: proportional set
size at the end of the idle window

memory of the kernel: thread stacks, page
tables and slab objects of the whole host,
with the connections minus before; it
includes the generator's sockets; with fewer
connections, noise of the host hides it

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
    notes = [MEDIAN_LINE, BAND, "bars: medians, the thin line over the middle half of the trials"]
    # All figures but the maximum of threads are read before the load.
    figure, cells = card(TITLE, LEAD, session, trials, notes, grid, conditions=IDLE_CONDITIONS)
    for cell, (heading, unit, _, curves) in zip(cells[::2], panels):
        axes = figure.add_subplot(cell)
        log_axis(axes, *extent(curves))
        connections_axis(axes, curves)
        axes.set_title(heading, loc="left", pad=10)
        axes.set_ylabel(unit)
        draw_bands(axes, curves)
        label_curve_ends(axes, curves)
    draw_parts(figure, cells[1], parts(panels[0][-1], curves_of(session, trials, connections, kernel_mib)))
    axes = figure.add_subplot(cells[-1])
    axes.set_axis_off()
    axes.text(0, 0.5, EXPLANATION, va="center", linespacing=1.35, color=FAINT_INK)
    return figure


def parts(server, kernel):
    """Per arm, the memory of the server and of the kernel with the most connections."""
    most = max(curve[-1].x for curve in server.values())
    found = {arm: (server[arm][-1], kernel[arm][-1]) for arm in server if arm in kernel}
    return {arm: pair for arm, pair in found.items() if all(point.x == most and point.low > 0 for point in pair)}


def draw_parts(figure, cell, found):
    """Bars of both memories, one behind the other."""
    if not found:
        say("memory: no panel for server and kernel: below the noise of the host")
        return
    axes = figure.add_subplot(cell)
    linear_axis(axes, 0, max(server.median + kernel.high for server, kernel in found.values()), "x")
    for row, (arm, (server, kernel)) in enumerate(found.items()):
        axes.barh(row, server.median, 0.3, color=colour_of(arm))
        axes.barh(row, kernel.median, 0.3, left=server.median, color=colour_of(arm), alpha=0.35)
        axes.hlines(row, server.median + kernel.low, server.median + kernel.high, color=INK, linewidth=1.2)
        text = f"{arm.label}: {readable(server.median)} + {readable(kernel.median)}"
        axes.text(0, row - 0.22, text, va="bottom", color=colour_of(arm), fontweight="bold")
    axes.set_ylim(len(found) - 0.7, -0.7)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    most = grouped(next(iter(found.values()))[0].x)
    axes.set_title(f"server + kernel (pale), {most} connections", loc="left", pad=10)
    axes.set_xlabel("MiB")
