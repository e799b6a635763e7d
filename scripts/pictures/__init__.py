"""The pictures of a session: one module each, with a function `draw(session)` that returns a figure.

A module reads columns of the session's tables, takes medians and quartiles over trials, and draws them; it judges
nothing. A picture without data raises `LeftOut`. Only session.py, values.py and style.py can be imported without
matplotlib.
"""

import os
import sys
import unicodedata

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
    "shift",
    "break_even",
    "trials",
)


class LeftOut(Exception):
    """A picture cannot be drawn from this session, with the reason as text."""


def say(text):
    tell(f"plot.py: {text}", sys.stderr)


def tell(text, stream=None):
    """Prints a line with control characters escaped; a closed pipe is no error."""
    stream = stream or sys.stdout
    if stream is not None:
        unless_gone(stream, lambda: print(plain(text), file=stream, flush=True))


def unless_gone(stream, write):
    try:
        write()
    except BrokenPipeError:
        # Python flushes the stream again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plain(text):
    """Text with invisible characters escaped: control characters, line ends and changes of direction."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in HIDDEN and c != "\t" else c for c in text)


HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
