"""The common style of all pictures: colours, line styles, markers and fonts."""

INK, FAINT_INK, GRID = "#222222", "#555555", "#E3E3E3"
FONT_POINTS = 9

# Colour, dashes and marker by server: each alone tells the servers apart, in print and for the colour-blind.
IDENTITIES = {
    "mio": ("#0072B2", "-", "o"),
    "threads": ("#D55E00", "--", "s"),
    "tokio": ("#009E73", "-.", "^"),
    "tokio-current-thread": ("#CC79A7", ":", "D"),
}
FURTHER_IDENTITIES = [
    ("#E69F00", (0, (6, 2, 1, 2, 1, 2)), "v"),
    ("#56B4E9", (0, (8, 3)), "P"),
    ("#000000", (0, (3, 1)), "h"),
]
CONTROL_COLOUR = "#5B7A94"


def colour_of(arm):
    return CONTROL_COLOUR if arm.is_control else identity(arm)[0]


def dashes_of(arm):
    return identity(arm)[1]


def marker_of(arm):
    return identity(arm)[2]


def identity(arm):
    return IDENTITIES.get(arm.server) or FURTHER_IDENTITIES[arm.further % len(FURTHER_IDENTITIES)]


def set_style():
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            # Identifiers in an SVG are hashes; a fixed salt makes them reproducible.
            "svg.hashsalt": "iomodels",
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
            "font.size": FONT_POINTS,
            "text.color": INK,
            "axes.titlesize": FONT_POINTS + 1,
            "axes.titleweight": "bold",
            "axes.labelsize": FONT_POINTS,
            "axes.labelcolor": FAINT_INK,
            "axes.edgecolor": FAINT_INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "xtick.labelsize": FONT_POINTS,
            "ytick.labelsize": FONT_POINTS,
            "xtick.color": FAINT_INK,
            "ytick.color": FAINT_INK,
            "legend.fontsize": FONT_POINTS,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.dpi": 200,
        }
    )
