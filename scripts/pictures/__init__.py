"""The pictures of a session: one module each, with a TITLE and a function `draw(session)` that returns a figure.

A module picks columns of the session's tables, takes medians and quartiles over trials, and draws them; it judges
nothing. A picture without data raises `LeftOut`. Only session.py and values.py may be imported without matplotlib.
"""

import sys

NAMES = (
    "percentiles",
    "rates",
    "idle",
    "cpu",
    "memory",
    "heatmap",
    "spread",
    "interference",
    "lateness",
    "verdicts",
    "trials",
)


class LeftOut(Exception):
    """A picture cannot be drawn from this session; the text says why."""


def say(text):
    print(f"plot.py: {text}", file=sys.stderr)
