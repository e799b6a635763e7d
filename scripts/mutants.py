#!/usr/bin/env python3
"""Mutation testing: changes the code in one place at a time and runs the unit tests, which should notice.

  scripts/mutants.py [GROUP ...] [-- OPTIONS OF CARGO-MUTANTS]

All groups together take hours, a small one minutes: `scripts/mutants.py tally -- --baseline skip`.

A group is tested with the unit tests of its own module only. A mutant is caught if a test fails or does not end. The
survivors are listed with the share caught of those that compile; the logs are in target/mutants/GROUP.

It installs cargo-mutants into target/mutants. Memory is limited, since a mutant may allocate in an endless loop.

Exit status: 0 at least 90 % caught in every group, 1 less, 2 wrong use or a failed baseline.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

VERSION = "27.1.0"
CAUGHT_MIN = 0.9
TEST_SECONDS_MAX = 60
BUILD_SECONDS_MAX = 900
MEMORY_BYTES_MAX = 8 << 30

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "mutants"
# Dependencies are built once, and what is built is small.
ENVIRONMENT = {
    "CARGO_TARGET_DIR": str(FOLDER / "build"),
    "CARGO_PROFILE_DEV_DEBUG": "0",
    "CARGO_PROFILE_TEST_DEBUG": "0",
}


class Group(NamedTuple):
    """Files that are mutated, and the filter of the unit tests that run."""

    package: str
    files: str
    tests: str


GROUPS = {
    "protocol": Group("protocol", "servers/protocol/src/**", ""),
    "stats": Group("loadgen", "loadgen/src/stats/**", "stats::"),
    "tally": Group("loadgen", "loadgen/src/engine/tally.rs", "engine::tally::"),
    "schedule": Group("loadgen", "loadgen/src/engine/schedule.rs", "engine::schedule::"),
    "echo_verifier": Group("loadgen", "loadgen/src/engine/echo_verifier.rs", "engine::echo_verifier::"),
    "judge": Group("loadgen", "loadgen/src/judge/**", "judge::"),
}


def main():
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("groups", nargs="*", type=known, metavar="GROUP", help=", ".join(GROUPS))
    names = parser.parse_args(words[:end]).groups or GROUPS
    install()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    shares = [test(name, words[end + 1 :]) for name in names]
    return 0 if min(shares) >= CAUGHT_MIN else 1


def known(name):
    if name not in GROUPS:
        raise argparse.ArgumentTypeError(f"no group {name!r}; there are {', '.join(GROUPS)}")
    return name


def install():
    command = ["cargo", "install", "cargo-mutants", "--version", VERSION, "--locked", "--root", FOLDER]
    subprocess.run([*command, "--quiet"], check=True, cwd=ROOT)


def test(name, options):
    """Tests the mutants of a group and returns the share caught."""
    group, output = GROUPS[name], FOLDER / name
    output.mkdir(parents=True, exist_ok=True)
    command = [
        *(FOLDER / "bin" / "cargo-mutants", "mutants", "--package", group.package, "--file", group.files),
        *("--test-tool", "cargo", "--cargo-arg=--lib", "--output", output),
        *("--timeout", str(TEST_SECONDS_MAX), "--build-timeout", str(BUILD_SECONDS_MAX)),
        *(*options, "--", "--", group.tests),
    ]
    status = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode
    # 2: some were missed, 3: some timed out.
    if status not in (0, 2, 3):
        sys.exit(2)
    outcomes = json.loads((output / "mutants.out" / "outcomes.json").read_text())
    caught, viable = outcomes["caught"] + outcomes["timeout"], outcomes["total_mutants"] - outcomes["unviable"]
    share = caught / viable if viable else 1.0
    print(f"{name}: {caught} of {viable} mutants caught, {share:.0%}", flush=True)
    for outcome in outcomes["outcomes"]:
        if outcome["summary"] == "MissedMutant":
            print("  survived:", outcome["scenario"]["Mutant"]["name"])
    return share


if __name__ == "__main__":
    sys.exit(main())
