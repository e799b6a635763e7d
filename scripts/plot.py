#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.11.2"]
# ///
"""Draw the pictures of one session folder, each as SVG and PNG.

  percentiles   latency against percentile, echo and status separately
  rates         response p50 and p90 against the offered rate
  idle          idle CPU and wake-ups against the number of connections
  cpu           CPU per message, with a client that spins and one that sleeps
  memory        memory and threads by connections, and kernel memory
  heatmap       latency over the time of the session
  spread        from a status line's first arrival to its last, by connections
  interference  echoes during and outside a status broadcast
  lateness      lateness of ticks, idle and under load
  verdicts      ratios with their confidence intervals and margins
  shift         ratios of all quantiles of the response, pair by pair
  break_even    ratios of CPU per message against the work on each message
  trials        every trial as a dot, with the median of each server

They read trials.csv, quantiles.csv, windows.csv, verdicts.csv,
shift.csv, break_even.csv and session.json, and compute no more than medians and quartiles over trials.

The files go into the session folder, or into the folder given with -o; their
paths are printed on stdout, one per line. A picture or panel without data in
the session is left out with a note on stderr; `loadgen compare --profile full`
has data for all.

Without matplotlib, the script restarts itself with `uv run` or, if there is no
uv, in .venv at the root of the repository, where it installs matplotlib.

Exit status: 0 drawn, 1 no matplotlib or output not writable, 2 usage error or
unreadable session folder.
"""

import argparse
import atexit
import importlib
import os
import sys
from pathlib import Path

from environment import import_or_restart
from pictures import NAMES, LeftOut, say, tell, unless_gone
from pictures.session import read_session


def main():
    if sys.stdout is not None:
        atexit.register(unless_gone, sys.stdout, sys.stdout.flush)
    args = parse_arguments()
    try:
        session = read_session(args.folder)
    except (OSError, ValueError) as error:
        return fail(2, f"cannot read {args.folder}: {error}")
    os.environ["MPLBACKEND"] = "Agg"
    import_or_restart(__file__, "matplotlib.figure", "matplotlib.backends.backend_agg")
    importlib.import_module("pictures.style").set_style()
    out = args.out or args.folder
    for name in [args.only] if args.only else NAMES:
        try:
            out.mkdir(parents=True, exist_ok=True)
            paths = draw(name, session, out)
        except OSError as error:
            return fail(1, f"cannot write to {out}, name another folder with -o: {error}")
        try:
            for path in paths:
                tell(str(path))
        except OSError as error:
            return fail(1, f"cannot print the names of the files: {error}")
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path, help="session folder, for example results/<session>")
    parser.add_argument("--only", metavar="NAME", choices=NAMES, help="draw only this picture")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="folder for the pictures (default: the session folder)"
    )
    return parser.parse_args()


def draw(name, session, out):
    picture = importlib.import_module(f"pictures.{name}")
    try:
        figure = picture.draw(session)
    except LeftOut as why:
        say(" ".join(f"{name} left out: {why}".split()))
        return []
    # Metadata that would differ between runs, such as the date, is omitted.
    title = f"{figure.get_label()} ({session.name})"
    paths = []
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        paths.append(out / f"{name}.{suffix}")
        figure.savefig(paths[-1], metadata={"Title": title, **metadata})
    return paths


def fail(status, text):
    say(" ".join(text.split()))
    return status


if __name__ == "__main__":
    sys.exit(main())
