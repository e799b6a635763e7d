#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# ///
"""Look at report.html of a session in a real browser: `python3 scripts/tests/test_page.py DIR [-o SCREENSHOTS]`.

The page must stand alone (no script, nothing from elsewhere), stay below 2 MB, and fit a window of 390 and of 1200 pixels
without being scrolled sideways, in light and in dark. The browser is headless Chromium. As root on a Debian system the
script installs it when it is missing; where that cannot be, it says SKIPPED and checks the file alone.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pictures import tell  # noqa: E402

BYTES_MAX = 2_000_000
WIDTHS = (390, 1200)
HEIGHT = 9000  # of a screenshot
NAMES = ("chromium", "chromium-browser", "google-chrome")
VOID = {"meta", "br", "img", "hr", "link", "input"}
QUIET = [
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-quic",
    "--hide-scrollbars",
]


class Page(HTMLParser):
    """Checks that tags are balanced and that nothing is fetched or run."""

    def __init__(self):
        super().__init__()
        self.open, self.failures, self.titles = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "iframe", "object", "link"):
            self.failures.append(f"<{tag}> in a page that needs nothing else")
        for name, value in attributes:
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.failures.append(f"<{tag} {name}={value!r}> is elsewhere")
            if name.startswith("on"):
                self.failures.append(f"<{tag} {name}> is a script")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.failures.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a session in which report.html was made")
    parser.add_argument("-o", type=Path, metavar="SCREENSHOTS", help="where to leave what the browser showed")
    arguments = parser.parse_args()
    file = arguments.folder / "report.html"
    text = file.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    failures = page.failures + [f"<{tag}> is never closed" for tag in page.open]
    if len(text.encode()) > BYTES_MAX:
        failures.append(f"{len(text.encode())} bytes")
    if page.titles[:2] != ["Validity", "Verdicts"]:
        failures.append(f"it begins with {page.titles[:2]}")
    browser = find_browser()
    if browser is None:
        tell("SKIPPED: there is no Chromium, and it cannot be installed here: the page was not looked at")
    else:
        failures += [failure for width in WIDTHS for failure in overflow(browser, text, width)]
        if arguments.o:
            arguments.o.mkdir(parents=True, exist_ok=True)
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    shoot(browser, text, width, scheme, arguments.o / f"page-{width}-{scheme}.png")
    tell(f"{file}: {len(text.encode())} bytes, {len(failures)} failures")
    for failure in failures[:20]:
        tell(f"  {failure}")
    return 1 if failures else 0


def overflow(browser, text, width):
    """Whether the page is wider than a window of that width, which a frame stands for: a real one is never so narrow."""
    probe = "<script>parent.postMessage(document.documentElement.scrollWidth + ' ' + innerWidth, '*')</script></body>"
    with tempfile.TemporaryDirectory() as folder:
        copy, outer = Path(folder) / "page.html", Path(folder) / "outer.html"
        copy.write_text(text.replace("</body>", probe), encoding="utf-8")
        listen = "<script>onmessage = event => document.title = event.data</script>"
        outer.write_text(listen + framed(copy, width, 900), encoding="utf-8")
        shown = run(browser, folder, "--virtual-time-budget=5000", "--dump-dom", outer.as_uri())
    found = re.search(r"<title>(\d+) (\d+)</title>", shown)
    if not found:
        yield f"at {width} pixels: the browser showed nothing"
    elif int(found[2]) != width or int(found[1]) > width:
        yield f"at {width} pixels: the page is {found[1]} wide in a window of {found[2]}"


def framed(page, width, height):
    style = f"width:{width}px;height:{height}px;border:0;display:block"
    return f'<body style="margin:0"><iframe src="{page.name}" style="{style}"></iframe></body>'


def shoot(browser, text, width, scheme, picture):
    with tempfile.TemporaryDirectory() as folder:
        copy, outer = Path(folder) / "page.html", Path(folder) / "outer.html"
        copy.write_text(text.replace("color-scheme: light dark", f"color-scheme: {scheme}"), encoding="utf-8")
        outer.write_text(framed(copy, width, HEIGHT), encoding="utf-8")
        size = f"--window-size={max(width, 600)},{HEIGHT}"
        run(browser, folder, size, f"--screenshot={picture.resolve()}", outer.as_uri())


def run(browser, folder, *arguments):
    # As root Chromium refuses its sandbox; the page is ours and runs no script.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser, *QUIET, *sandbox, f"--user-data-dir={folder}/profile", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


def find_browser():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        for command in (["apt-get", "update"], install):
            subprocess.run(command, capture_output=True, timeout=600, check=False)
        found = next(filter(None, map(shutil.which, NAMES)), None)
    return found


if __name__ == "__main__":
    sys.exit(main())
