"""Provides the packages that a script's header (PEP 723) names, by restarting the script where they are installed.

That is `uv run` if uv is on the path, and otherwise the virtual environment .venv at the root of the repository.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from pictures import tell

VENV = Path(__file__).resolve().parent.parent / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
RESTARTED = "IOMODELS_RESTARTED"
HEADER = re.compile(r"^# /// script\n(.*?)^# ///$", re.MULTILINE | re.DOTALL)


def import_or_restart(script, *modules):
    """Returns the modules; if one cannot be imported, restarts the script where its packages are installed."""
    script = Path(script).resolve()
    try:
        return [importlib.import_module(module) for module in modules]
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:  # a broken install raises any of these
        if RESTARTED in os.environ:
            fail(script, f"still cannot import {', '.join(modules)}: {error}")
    if uv := shutil.which("uv"):
        restart([uv, "run", "--quiet", "--script"], script)
    build_venv(script, modules)
    restart([str(VENV_PYTHON)], script)


def restart(interpreter, script):
    if sys.stdout is not None:
        sys.stdout.flush()
    os.execve(interpreter[0], [*interpreter, str(script), *sys.argv[1:]], os.environ | {RESTARTED: "1"})


def build_venv(script, modules):
    """Installs the packages into .venv, which is kept if it works and recreated if an interruption left it broken."""
    requirements = requirements_of(script)
    wanted = " ".join(requirements)
    if venv_has(requirements, modules):
        return
    tell(f"{script.name}: installing {wanted} into {VENV}", sys.stderr)
    create = [sys.executable, "-m", "venv", "--clear", VENV]
    pip = [VENV_PYTHON, "-m", "pip"]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", *requirements]
    if attempt([*pip, "--version"]):
        require(script, create, "create a virtual environment")
    require(script, install, f"install {wanted}")
    if not venv_has(requirements, modules):
        tell(f"{script.name}: {VENV} is incomplete; recreating it", sys.stderr)
        require(script, create, "create a virtual environment")
        require(script, install, f"install {wanted}")


def requirements_of(script):
    header = HEADER.search(script.read_text(encoding="utf-8"))[1]
    return tomllib.loads(re.sub(r"^# ?", "", header, flags=re.MULTILINE))["dependencies"]


def venv_has(requirements, modules):
    versions = dict(requirement.split("==") for requirement in requirements)
    check = f"import {', '.join(modules)}; from importlib.metadata import version; "
    check += f"assert all(version(name) == wanted for name, wanted in {versions}.items())"
    return attempt([VENV_PYTHON, "-c", check]) is None


def require(script, command, purpose):
    error = attempt(command)
    if error:
        fail(script, f"cannot {purpose} in {VENV}: {error}")


def attempt(command):
    """Runs a command and returns None, or the last line of its output if it fails."""
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def fail(script, text):
    tell(f"{script.name}: {' '.join(text.split())}", sys.stderr)
    sys.exit(1)
