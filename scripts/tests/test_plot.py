"""Runs scripts/plot.py on two small sessions, of many loads and of one: `python3 scripts/tests/test_plot.py`."""

import csv
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent
PLOT = SCRIPTS / "plot.py"
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
OF_ONE_LOAD = ("percentiles", "heatmap", "trials")
SVG = "{http://www.w3.org/2000/svg}"


def plot(*arguments, script=PLOT, **environment):
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def files(names):
    return [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]


def svg(path):
    return ElementTree.parse(path).getroot()


def texts(path):
    return [text for element in svg(path).iter(f"{SVG}text") for text in element.itertext()]


class WithSession(unittest.TestCase):
    fixture = "fixture"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.temporary = Path(folder.name)
        self.session = self.temporary / "session"
        shutil.copytree(HERE / self.fixture, self.session)

    def rewrite(self, name, change):
        path = self.session / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    def rewrite_rows(self, name, change):
        """`change` alters each row of a table in place."""
        path = self.session / name
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            change(row)
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    def drawn(self, *arguments):
        done = plot(self.session, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def names_drawn(self, done):
        return [Path(path).stem for path in done.stdout.split() if path.endswith(".svg")]

    def assert_no_nan(self, path):
        for element in svg(path).iter():
            for attribute, value in element.attrib.items():
                self.assertIsNone(re.search(r"\b(nan|inf)\b", value, re.IGNORECASE), f"{path} {attribute}: {value}")
        for text in texts(path):
            self.assertIsNone(re.search(r"\b(nan|inf|None)\b", text), f"{path}: {text}")


class ManyLoads(WithSession):
    fixture = "fixture_full"

    def test_every_picture_states_its_data_and_is_reproducible_byte_for_byte(self):
        done = self.drawn()
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.split(), [str(self.session / file) for file in files(NAMES)])
        for name in NAMES:
            path = self.session / f"{name}.svg"
            self.assertGreater(path.with_suffix(".png").stat().st_size, 1000, name)
            self.assertTrue(svg(path).findtext(f"{SVG}title"), name)
            self.assert_no_nan(path)
            everything = "\n".join(texts(path))
            for words in ("mio", "threads", "tokio", "current-", "n = ", "placement split", "host vm", "commit "):
                self.assertIn(words, everything, name)
        again = self.temporary / "again"
        self.drawn("-o", again)
        for file in files(NAMES):
            self.assertEqual((self.session / file).read_bytes(), (again / file).read_bytes(), file)

    def test_a_repeated_attempt_is_not_counted(self):
        def repeat(row):
            if row["cell"] == "rate-50" and row["block"] == "1":
                row["attempt"] = "2" if row["arm"] == "mio" else "1"

        self.rewrite_rows("trials.csv", repeat)
        self.drawn("--only", "percentiles")
        self.assertIn("not counted: 4 repeated", "\n".join(texts(self.session / "percentiles.svg")))

    def test_a_saturated_server_is_marked_in_rates_and_left_out_elsewhere(self):
        def saturate(row):
            if row["cell"] == "rate-85" and row["arm"] == "threads" and row["block"] == "1":
                row["outcome"] = "saturated"

        self.drawn("--only", "rates")
        self.assertIn("no trial was saturated", "\n".join(texts(self.session / "rates.svg")))
        self.rewrite_rows("trials.csv", saturate)
        self.drawn("--only", "rates")
        self.assertRegex("\n".join(texts(self.session / "rates.svg")), r"ring: saturated, threads 1 of \d+ at ")
        self.drawn("--only", "cpu")
        self.assertIn("not counted: 1 saturated", "\n".join(texts(self.session / "cpu.svg")))

    def test_rates_have_a_row_per_kind_of_load(self):
        def sort(row):
            row["response_ns_p90"], row["work"] = row["response_ns_p99"], ""
            if row["cell"] in ("rate-70", "rate-85"):
                row["cell"], row["connections"] = row["cell"].replace("rate", "knee"), "1000"
            elif row["cell"] in ("rate-50", "ticks"):
                row["cell"], row["work"] = f"work-20us-rate-{len(row['cell'])}", "20us"

        self.rewrite_rows("trials.csv", sort)
        self.drawn("--only", "rates")
        headings = ("64 connections", "1,000 connections", "64 connections, 20 µs of work")
        headings = {f"{quantile}, {heading}" for quantile in ("p50", "p90") for heading in headings}
        self.assertLessEqual(headings, set(texts(self.session / "rates.svg")))

    def test_a_session_that_claims_nothing_shows_the_reason(self):
        self.drawn("--only", "verdicts")
        self.assertIn("mio 10 % lower", texts(self.session / "verdicts.svg"))
        self.assertIn("mio 17 % lower !", texts(self.session / "verdicts.svg"))
        self.drawn("--only", "trials")
        self.assertIn("! in verdicts", "\n".join(texts(self.session / "trials.svg")))
        self.drawn("--only", "shift")
        self.assertIn("mio / threads !", texts(self.session / "shift.svg"))
        reason = "UNTRUSTED: a server differs from itself"
        self.rewrite_rows("verdicts.csv", lambda row: row.update(verdict="withheld", claim=reason))
        self.drawn("--only", "verdicts")
        claims = texts(self.session / "verdicts.svg")
        self.assertIn(f"Nothing is claimed: {reason}", claims)
        self.assertFalse(any(text.endswith(" % lower") for text in claims))

    def test_the_break_even_has_a_panel_per_pair_and_the_work_below_it(self):
        self.drawn("--only", "break_even")
        shown = texts(self.session / "break_even.svg")
        for words in ("mio / threads", "mio / tokio", "mio / tokio-current-thread"):
            self.assertIn(words, shown)
        self.assertEqual(shown.count("50"), 3)
        self.assertEqual(shown.count("µs of work per message"), 3)
        self.assertIn("Break-even within 50 µs of work per message: 3 of 3 pairs", shown)
        self.rewrite_rows("break_even.csv", lambda row: row.update(finding="lower"))
        self.drawn("--only", "break_even")
        self.assertIn("No break-even shown up to 50 µs of work per message", texts(self.session / "break_even.svg"))
        self.rewrite_rows("break_even.csv", lambda row: row.update(estimate=""))
        self.assertIn("break_even left out: no pair has a ratio", self.drawn("--only", "break_even").stderr)

    def test_memory_of_the_kernel_is_left_out_where_it_is_below_the_noise(self):
        self.drawn("--only", "memory")
        self.assertIn("threads: 182 + 321", texts(self.session / "memory.svg"))
        self.rewrite_rows("trials.csv", lambda row: row.update(slab_bytes_delta="-999999999"))
        self.assertIn("no panel for server and kernel", self.drawn("--only", "memory").stderr)

    def test_a_picture_without_data_is_left_out_with_the_reason(self):
        for name in ("quantiles.csv", "verdicts.csv", "shift.csv", "break_even.csv"):
            (self.session / name).unlink()
        self.rewrite_rows("trials.csv", lambda row: row.update(cell=row["cell"].replace("idle-", "other-")))
        done = self.drawn()
        missing = {"percentiles", "heatmap", "interference", "verdicts", "idle", "shift", "break_even"}
        self.assertEqual(self.names_drawn(done), [name for name in NAMES if name not in missing])
        for name in missing:
            self.assertRegex(done.stderr, rf"(?m)^plot.py: {name} left out: .+")

    def test_without_session_json_the_usual_cells_are_the_primary_ones(self):
        (self.session / "session.json").unlink()
        self.session = self.session.rename(self.temporary / "2026-01-01T000000Z-elsewhere")
        done = self.drawn("--only", "trials")
        self.assertIn("session.json not used", done.stderr)
        everything = "\n".join(texts(self.session / "trials.svg"))
        self.assertIn("CPU per message is from cell cpu", everything)
        self.assertIn("session 2026-01-01T000000Z-elsewhere · host elsewhere", everything)

    def test_a_session_that_is_still_running_is_drawn(self):
        lines = (self.session / "trials.csv").read_text(encoding="utf-8").splitlines()
        (self.session / "trials.csv").write_text("\n".join(lines[:40]) + "\n", encoding="utf-8")
        done = self.drawn()
        self.assertNotIn("Traceback", done.stderr)
        self.assertIn("percentiles", self.names_drawn(done))
        for name in self.names_drawn(done):
            self.assert_no_nan(self.session / f"{name}.svg")


class OneLoad(WithSession):
    def test_pictures_are_drawn_into_the_session_and_their_paths_printed(self):
        done = self.drawn()
        self.assertEqual(done.stdout.split(), [str(self.session / file) for file in files(OF_ONE_LOAD)])
        for name in NAMES:
            if name not in OF_ONE_LOAD:
                self.assertRegex(done.stderr, rf"(?m)^plot.py: {name} left out: .+")
        for name in OF_ONE_LOAD:
            path = self.session / f"{name}.svg"
            self.assertLessEqual({"mio", "mio#2", "threads", "tokio"}, set(texts(path)), name)
            self.assertTrue(
                any("response is measured from the intended send time" in text for text in texts(path)), name
            )
            self.assert_no_nan(path)

    def test_pictures_go_into_a_new_folder_given_with_o(self):
        out = self.temporary / "new" / "folder"
        self.drawn("-o", out)
        self.assertEqual(sorted(path.name for path in out.iterdir()), sorted(files(OF_ONE_LOAD)))
        self.assertFalse((self.session / "trials.svg").exists())

    def test_a_table_may_be_compressed(self):
        table = self.session / "quantiles.csv"
        (self.session / "quantiles.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
        table.unlink()
        self.assertEqual(self.names_drawn(self.drawn("--only", "percentiles")), ["percentiles"])
        (self.session / "quantiles.csv.gz").write_bytes(b"no gzip")
        self.assertIn("cannot read quantiles.csv.gz", self.drawn("--only", "percentiles").stderr)

    def test_only_draws_one_picture(self):
        printed = self.drawn("--only", "trials").stdout.split()
        self.assertEqual([Path(path).name for path in printed], ["trials.svg", "trials.png"])

    def test_an_invalid_trial_is_not_counted(self):
        self.drawn("--only", "trials")
        text = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("trials per arm: n = 1 · not counted: 3 in a block with an invalid trial, 1 invalid", text)

    def test_the_column_decides_which_trials_count(self):
        self.rewrite_rows("trials.csv", lambda row: row.update(counted=str(row["arm"] == "tokio").lower()))
        self.drawn("--only", "trials")
        text = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("not counted: 5 in a block with an invalid trial, 1 invalid", text)

    def test_an_arm_whose_name_looks_like_a_number_is_drawn_like_any_other(self):
        names = {"threads": "007", "tokio": "nan", "mio": "true"}
        self.rewrite_rows("trials.csv", lambda row: row.update(arm=names.get(row["arm"], row["arm"])))
        self.drawn("--only", "trials")
        self.assertLessEqual({*names.values(), "mio#2"}, set(texts(self.session / "trials.svg")))

    def test_an_incomplete_last_line_is_left_out_with_a_note_and_the_others_are_drawn(self):
        self.rewrite("trials.csv", lambda text: text + "2026-01-01T000000Z-fixture,99,3,1,mio,mio,0,false,open")
        self.rewrite("quantiles.csv", lambda text: text[:-7])
        done = self.drawn("--only", "percentiles")
        for table in ("trials.csv", "quantiles.csv"):
            self.assertIn(f"plot.py: {table}: the last row is incomplete and left out", done.stderr)
        packed = gzip.compress((self.session / "quantiles.csv").read_bytes())
        (self.session / "quantiles.csv").unlink()
        (self.session / "quantiles.csv.gz").write_bytes(packed[:-40])
        done = self.drawn("--only", "percentiles")
        self.assertIn("quantiles.csv.gz: the last row is incomplete and left out", done.stderr)
        self.assertEqual(self.names_drawn(done), ["percentiles"])

    def test_control_characters_of_a_record_are_escaped_in_terminal_and_pictures(self):
        strange = "$x^{\x1b[2J\x07\u202e<script>"
        self.rewrite_rows("trials.csv", lambda row: row.update(server=strange) if row["arm"] == "tokio" else None)
        self.rewrite_rows("trials.csv", lambda row: row.update(arm=strange) if row["arm"] == "tokio" else None)
        done = self.drawn()
        self.assertNotRegex(done.stderr + done.stdout, "[\x00-\x08\x0b-\x1f\u202e]")
        self.assertTrue(any(r"$x^{\x1b[2J\x07\u202e<script>" in text for text in texts(self.session / "trials.svg")))

    def test_a_closed_pipe_is_no_error(self):
        command = [sys.executable, str(PLOT), str(self.session)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            running.stdout.close()
            stderr = running.stderr.read()
        self.assertEqual(running.returncode, 0, stderr)
        self.assertNotIn("Pipe", stderr)
        for file in files(OF_ONE_LOAD):
            self.assertTrue((self.session / file).exists(), file)

    def test_names_that_cannot_be_printed_are_one_line_and_exit_1(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            command = [sys.executable, str(PLOT), str(self.session), "--only", "trials"]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot print the names", done.stderr)

    def test_long_trials_are_drawn_by_second(self):
        self.rewrite_rows("trials.csv", lambda row: row.update(load_ms="12000"))
        seconds = [(trial, second) for trial in range(1, 9) for second in range(12)]
        rows = [f"{trial},{second},response,9,{20 + second}000,90000,99000" for trial, second in seconds]
        header = "trial_id,second,metric,count,p50_ns,p99_ns,max_ns"
        (self.session / "windows.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        self.drawn("--only", "heatmap")
        self.assertIn("second of the load", texts(self.session / "heatmap.svg"))

    def test_a_panel_without_data_is_left_out_with_the_reason(self):
        self.rewrite("quantiles.csv", lambda text: text.replace("status_delivery", "service"))
        self.rewrite("trials.csv", lambda text: text.replace("drain_rate_per_sec", "unknown"))
        stderr = self.drawn().stderr
        self.assertIn("no panel for status broadcasts", stderr)
        self.assertIn("no panel for drain rate", stderr)
        text = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("idle CPU", text)
        self.assertNotIn("drain rate:", text)

    def test_a_session_without_trials_draws_nothing_and_gives_the_reason(self):
        self.rewrite("trials.csv", lambda text: text.splitlines()[0] + "\n")
        done = self.drawn()
        self.assertEqual(done.stdout, "")
        for name in NAMES:
            self.assertIn(f"{name} left out", done.stderr)

    def test_without_session_json_the_folder_names_the_session_and_the_host(self):
        (self.session / "session.json").unlink()
        self.session = self.session.rename(self.temporary / "2026-01-01T000000Z-elsewhere")
        self.drawn("--only", "trials")
        text = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("session 2026-01-01T000000Z-elsewhere · host elsewhere · commit 0000000000", text)


class Refusals(WithSession):
    def test_a_folder_without_trials_csv_is_one_line_and_exit_2(self):
        (self.session / "trials.csv").unlink()
        self.assert_one_line(plot(self.session), 2, "trials.csv")

    def test_trials_that_are_not_text_are_one_line_and_exit_2(self):
        (self.session / "trials.csv").write_bytes(b"\xff\xfe\x00\x01")
        self.assert_one_line(plot(self.session), 2, "cannot read")

    def test_another_table_is_one_line_and_exit_2(self):
        shutil.copy(self.session / "quantiles.csv", self.session / "trials.csv")
        self.assert_one_line(plot(self.session), 2, "trials.csv has no column arm")

    def test_an_unknown_picture_is_exit_2_and_lists_the_right_names(self):
        done = plot(self.session, "--only", "pie")
        self.assertEqual(done.returncode, 2)
        for name in NAMES:
            self.assertIn(name, done.stderr)

    def test_an_environment_that_cannot_be_created_is_exit_1_with_a_clear_last_line(self):
        script = self.temporary / "scripts" / "plot.py"
        shutil.copytree(SCRIPTS / "pictures", script.parent / "pictures")
        shutil.copy(SCRIPTS / "environment.py", script.parent)
        shutil.copy(PLOT, script)
        without_uv = str(self.temporary)
        broken = self.broken_matplotlib()
        done = plot(self.session, script=script, PATH=without_uv, PYTHONPATH=broken, PIP_NO_INDEX="1")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], "^plot.py: cannot install matplotlib==")
        self.assertNotIn("Traceback", done.stderr)

    def test_a_restarted_script_without_matplotlib_does_not_restart_again(self):
        done = plot(self.session, PYTHONPATH=self.broken_matplotlib(), IOMODELS_RESTARTED="1")
        self.assert_one_line(done, 1, "still cannot import")

    def test_uv_runs_the_script_if_matplotlib_is_missing(self):
        uv = self.temporary / "uv"
        uv.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
        uv.chmod(0o755)
        done = plot(self.session, PATH=str(self.temporary), PYTHONPATH=self.broken_matplotlib())
        self.assertEqual(done.stdout, f"run --quiet --script {PLOT} {self.session}\n", done.stderr)

    def broken_matplotlib(self):
        package = self.temporary / "broken" / "matplotlib"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('broken on purpose')\n", encoding="utf-8")
        return str(package.parent)

    def assert_one_line(self, done, status, word):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(word, done.stderr)


class Size(unittest.TestCase):
    def test_no_file_is_longer_than_450_lines(self):
        for path in SCRIPTS.rglob("*.py"):
            self.assertLessEqual(len(path.read_text(encoding="utf-8").splitlines()), 450, path)


if __name__ == "__main__":
    unittest.main()
