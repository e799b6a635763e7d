"""Runs scripts/plot.py on a small session with made-up numbers: `python3 scripts/tests/test_plot.py`."""

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
PLOT = HERE.parent / "plot.py"
NAMES = ("percentiles", "trials")
FILES = [f"{name}.{suffix}" for name in NAMES for suffix in ("svg", "png")]
SVG = "{http://www.w3.org/2000/svg}"


def plot(*arguments, script=PLOT, **environment):
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


class WithSession(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.temporary = Path(folder.name)
        self.session = self.temporary / "session"
        shutil.copytree(HERE / "fixture", self.session)

    def rewrite(self, name, change):
        path = self.session / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


class Pictures(WithSession):
    def drawn(self, *arguments):
        done = plot(self.session, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_pictures_exist_beside_the_data_and_their_names_are_printed(self):
        printed = self.drawn().stdout.split()
        self.assertEqual(printed, [str(self.session / file) for file in FILES])
        for file in FILES:
            self.assertGreater((self.session / file).stat().st_size, 1000, file)

    def test_pictures_go_into_a_new_folder_given_with_o(self):
        out = self.temporary / "new" / "folder"
        self.drawn("-o", out)
        self.assertEqual(sorted(path.name for path in out.iterdir()), sorted(FILES))
        self.assertFalse((self.session / "trials.svg").exists())

    def test_only_draws_one_picture(self):
        printed = self.drawn("--only", "trials").stdout.split()
        self.assertEqual([Path(path).name for path in printed], ["trials.svg", "trials.png"])

    def test_svgs_are_xml_with_a_title_and_name_every_server(self):
        self.drawn()
        for name in NAMES:
            root = ElementTree.parse(self.session / f"{name}.svg").getroot()
            self.assertTrue(root.findtext(f"{SVG}title"), name)
            texts = {text for element in root.iter(f"{SVG}text") for text in element.itertext()}
            self.assertLessEqual({"mio", "mio#2", "threads", "tokio"}, texts, name)
            self.assertTrue(any("response counts from the intended send time" in text for text in texts), name)

    def test_no_coordinate_in_an_svg_is_nan_or_infinite(self):
        self.drawn()
        for name in NAMES:
            for element in ElementTree.parse(self.session / f"{name}.svg").iter():
                for attribute, value in element.attrib.items():
                    self.assertIsNone(re.search(r"\b(nan|inf)\b", value, re.IGNORECASE), f"{name} {attribute}: {value}")

    def test_the_same_input_gives_the_same_bytes(self):
        first, second = self.temporary / "first", self.temporary / "second"
        self.drawn("-o", first)
        self.drawn("-o", second)
        for file in FILES:
            self.assertEqual((first / file).read_bytes(), (second / file).read_bytes(), file)

    def test_an_invalid_trial_is_not_counted(self):
        self.drawn("--only", "trials")
        svg = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("trials per arm: n = 1 to 2 · 1 invalid or failed, not counted", svg)

    def test_missing_quantiles_leave_out_that_picture_with_a_word_why(self):
        (self.session / "quantiles.csv").unlink()
        done = self.drawn()
        self.assertEqual([Path(path).name for path in done.stdout.split()], ["trials.svg", "trials.png"])
        self.assertRegex(done.stderr, "percentiles left out: .*quantiles.csv")

    def test_a_metric_that_no_trial_has_leaves_out_its_panel_with_a_word_why(self):
        self.rewrite("quantiles.csv", lambda text: text.replace("status_delivery", "service"))
        self.rewrite("trials.csv", lambda text: text.replace("peak_rate_per_sec", "unknown"))
        stderr = self.drawn().stderr
        self.assertIn("no panel for status broadcasts", stderr)
        self.assertIn("no panel for peak throughput", stderr)
        svg = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("idle CPU", svg)
        self.assertNotIn("peak throughput", svg)

    def test_a_session_without_trials_draws_nothing_with_a_word_why(self):
        self.rewrite("trials.csv", lambda text: text.splitlines()[0] + "\n")
        done = self.drawn()
        self.assertEqual(done.stdout, "")
        self.assertIn("percentiles left out", done.stderr)
        self.assertIn("trials left out", done.stderr)

    def test_without_session_json_the_folder_names_the_session_and_the_host(self):
        (self.session / "session.json").unlink()
        self.session = self.session.rename(self.temporary / "2026-01-01T000000Z-elsewhere")
        self.drawn("--only", "trials")
        svg = (self.session / "trials.svg").read_text(encoding="utf-8")
        self.assertIn("session 2026-01-01T000000Z-elsewhere · host elsewhere · commit 0000000000", svg)


class Refusals(WithSession):
    def test_a_folder_without_trials_csv_is_one_line_and_exit_2(self):
        (self.session / "trials.csv").unlink()
        self.assert_one_line(plot(self.session), 2, "trials.csv")

    def test_trials_that_are_not_text_are_one_line_and_exit_2(self):
        (self.session / "trials.csv").write_bytes(b"\xff\xfe\x00\x01")
        self.assert_one_line(plot(self.session), 2, "cannot read")

    def test_an_unknown_picture_is_exit_2_and_lists_the_right_names(self):
        done = plot(self.session, "--only", "pie")
        self.assertEqual(done.returncode, 2)
        for name in NAMES:
            self.assertIn(name, done.stderr)

    def test_an_environment_that_cannot_be_made_is_exit_1_with_a_clear_last_line(self):
        script = self.temporary / "scripts" / "plot.py"
        script.parent.mkdir()
        shutil.copy(PLOT, script)
        done = plot(self.session, script=script, PYTHONPATH=self.broken_matplotlib(), PIP_NO_INDEX="1")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], "^plot.py: cannot install matplotlib==")
        self.assertNotIn("Traceback", done.stderr)

    def test_a_restarted_script_without_matplotlib_does_not_restart_again(self):
        done = plot(self.session, PYTHONPATH=self.broken_matplotlib(), IOMODELS_PLOT_RESTARTED="1")
        self.assert_one_line(done, 1, "still cannot be imported")

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


if __name__ == "__main__":
    unittest.main()
