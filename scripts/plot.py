#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.11.2"]
# ///
"""Draw the pictures of one session folder, each as SVG and PNG.

  percentiles   latency against percentile, echo and status apart
  rates         response p50 and p99 against the offered rate
  idle          idle CPU and wake-ups against connections
  cpu           CPU per message, with a client that spins and one that sleeps
  memory        memory of server and kernel, and threads, against connections
  heatmap       latency over the time of the session
  spread        from a status line's first arrival to its last, by connections
  interference  echoes inside and outside a status broadcast
  lateness      how late the ticks are, idle and under load
  verdicts      what may be claimed: ratios with their intervals
  trials        every trial as a dot, with the median of each server

They read trials.csv, quantiles.csv, windows.csv, verdicts.csv and
session.json, and compute no more than medians and quartiles over trials.

The files go beside the data, or into the folder given with -o; their paths
are printed on stdout, one a line. A picture or panel that the session has no
data for is left out with a word on stderr; `loadgen compare --profile full`
has the data for all.

Without matplotlib, the script installs it into .venv at the root of the
repository and runs itself there; `uv run scripts/plot.py DIR` works as well.

Exit status: 0 drawn, 1 no matplotlib or nowhere to write, 2 wrong use or an
unreadable folder.
"""

import argparse
import atexit
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

from pictures import NAMES, LeftOut, say, tell, unless_gone
from pictures.session import read_session

VENV = Path(__file__).resolve().parent.parent / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
RESTARTED = "IOMODELS_PLOT_RESTARTED"


def main():
    if sys.stdout is not None:
        atexit.register(unless_gone, sys.stdout, sys.stdout.flush)
    args = parse_arguments()
    try:
        session = read_session(args.folder)
    except (OSError, ValueError) as error:
        return fail(2, f"cannot read {args.folder}: {error}")
    load_matplotlib()
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
    parser.add_argument("--only", metavar="NAME", choices=NAMES, help="only the picture of this name")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="folder for the pictures (default: beside the data)"
    )
    return parser.parse_args()


def draw(name, session, out):
    picture = importlib.import_module(f"pictures.{name}")
    try:
        figure = picture.draw(session)
    except LeftOut as why:
        say(" ".join(f"{name} left out: {why}".split()))
        return []
    # Whatever would differ from one run to the next, like the date, is kept out of the files.
    title = f"{picture.TITLE} ({session.name})"
    paths = []
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        paths.append(out / f"{name}.{suffix}")
        figure.savefig(paths[-1], metadata={"Title": title, **metadata})
    return paths


def fail(status, text):
    say(" ".join(text.split()))
    return status


# ---- matplotlib, and an environment that has it ----


def load_matplotlib():
    os.environ["MPLBACKEND"] = "Agg"
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:  # a broken install raises any of these
        if RESTARTED in os.environ:
            sys.exit(fail(1, f"matplotlib still cannot be imported in {VENV}: {error}"))
        restart_in_venv()


def restart_in_venv():
    requirement = re.search(r'"(matplotlib==[\w.]+)"', Path(__file__).read_text(encoding="utf-8")).group(1)
    if not venv_has(requirement):
        say(f"no matplotlib here; installing {requirement} into {VENV}")
        build_venv(requirement)
    sys.stdout.flush()
    arguments = [str(VENV_PYTHON), os.path.abspath(__file__), *sys.argv[1:]]
    os.execve(VENV_PYTHON, arguments, os.environ | {RESTARTED: "1"})


def build_venv(requirement):
    """An existing environment is kept where it can be; one that an interruption left broken is made anew."""
    fresh = [sys.executable, "-m", "venv", "--clear", VENV]
    pip = [VENV_PYTHON, "-m", "pip"]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", requirement]
    if attempt([*pip, "--version"]):
        require(fresh, "make a virtual environment")
    require(install, f"install {requirement}")
    if not venv_has(requirement):
        say(f"{VENV} is incomplete; making it anew")
        require(fresh, "make a virtual environment")
        require(install, f"install {requirement}")


def venv_has(requirement):
    package, version = requirement.split("==")
    check = f"import {package}.figure, {package}.backends.backend_agg as _; assert {package}.__version__ == '{version}'"
    return not attempt([VENV_PYTHON, "-c", check])


def require(command, purpose):
    complaint = attempt(command)
    if complaint:
        sys.exit(fail(1, f"cannot {purpose} in {VENV}: {complaint}"))


def attempt(command):
    """Runs a command and returns None, or the last line of its complaint."""
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


if __name__ == "__main__":
    sys.exit(main())
