"""The check of a whole run, and how a run is divided, interrupted and resumed: on a tiny suite of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.local.modules import ROOT
from tests.support import scheduling

CONFTEST = """
import pytest

pytest_plugins = ["tests.support.run"]

@pytest.fixture
def kafka():
    return "stands for the real one"

@pytest.fixture
def mongodb_uri():
    return "stands for the real one"
"""
WORKERS = pytest.mark.parametrize("workers", [0, 1])
"""One worker stands for several where only the division between workers and controller matters."""


class Suite:
    """A tiny suite in a folder of its own, run by this plugin in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local_dir = folder / ".local"  # a first run finds none
        (folder / "pytest.ini").write_text(
            "[pytest]\ntestpaths = tests\nmarkers =\n  full(section)\n  sized(section)\n"
        )
        (folder / "tests").mkdir()
        (folder / "tests" / "conftest.py").write_text(CONFTEST)

    def write(self, **modules: str) -> None:
        for name, text in modules.items():
            (self.folder / "tests" / f"test_{name}.py").write_text(f"import pytest\n{text}")

    def start(self, *arguments: str, workers: int = 0, ci: bool = False) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {
            "LOCAL_DIR": str(self.local_dir),
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        plugins = ["-p", "xdist", "-p", "pytest_timeout"]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *plugins, f"-n{workers}", *arguments],
            cwd=self.folder,
            env=kept | own | ({"CI": "1"} if ci else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, workers: int = 0, ci: bool = False) -> tuple[int, str]:
        """Return the exit code and the output of a run."""
        with self.start(*arguments, workers=workers, ci=ci) as process:
            output, _ = process.communicate(timeout=100)
        return process.returncode, output

    @property
    def passed(self) -> list[str]:
        """The tests of full size that the next run leaves out."""
        file = self.local_dir / "test-full.passed"
        return sorted(file.read_text().split()) if file.exists() else []


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


@WORKERS
def test_a_whole_run_that_used_no_real_part_fails(suite: Suite, workers: int) -> None:
    suite.write(
        one="def test_a(): pass\ndef test_b(kafka): pass\n",
        two="def test_c(mongodb_uri): pytest.skip('no')\n",
    )
    code, output = suite.run(workers=workers)
    assert "2 passed, 1 skipped" in output
    assert "FAILED: no test used the real MongoDB" in output
    assert "the real Kafka" not in output
    assert code == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("workers", [0, 2])
def test_a_whole_run_that_used_each_real_part_on_some_worker_succeeds(suite: Suite, workers: int) -> None:
    suite.write(one="def test_a(kafka): pass\n", two="def test_b(mongodb_uri): pass\n")
    code, output = suite.run(workers=workers)
    assert "FAILED" not in output
    assert code == pytest.ExitCode.OK


def test_a_narrowed_run_needs_no_real_part(suite: Suite) -> None:
    suite.write(one="def test_a(): pass\ndef test_b(): pass\n")
    assert suite.run("-k", "test_a", workers=1)[0] == pytest.ExitCode.OK
    assert suite.run("tests/test_one.py")[0] == pytest.ExitCode.OK


@pytest.mark.parametrize(
    "skipping, workers",
    [
        ("def test_b(): pytest.skip('no')", 0),
        ("def test_b(): pytest.skip('no')", 1),
        ("pytest.skip('no', allow_module_level=True)", 1),
    ],
)
def test_ci_fails_on_a_skip(suite: Suite, skipping: str, workers: int) -> None:
    suite.write(one="def test_a(kafka, mongodb_uri): pass\n", two=skipping)
    code, output = suite.run(workers=workers, ci=True)
    assert "FAILED: CI skips nothing, and 1 were skipped: tests/test_two.py" in output
    assert code == pytest.ExitCode.TESTS_FAILED


@WORKERS
def test_a_run_of_full_size_resumes_where_the_last_one_ended(suite: Suite, workers: int) -> None:
    full = "pytestmark = pytest.mark.full('law')\ndef test_a(): pass\ndef test_b(): assert {}\n"
    suite.write(small="def test_c(): pass\n", other="@pytest.mark.full('loss')\ndef test_d(): assert 0\n")

    suite.write(law=full.format("False"))
    code, output = suite.run("--full=law", workers=workers)
    assert (code, suite.passed) == (pytest.ExitCode.TESTS_FAILED, ["tests/test_law.py::test_a"])
    assert "1 failed, 1 passed" in output

    suite.write(law=full.format("True"))
    code, output = suite.run("--full=law", workers=workers)
    assert (code, suite.passed) == (pytest.ExitCode.OK, [])
    assert "1 passed" in output


@WORKERS
def test_a_run_of_full_size_with_nothing_left_succeeds(suite: Suite, workers: int) -> None:
    suite.write(law="@pytest.mark.full('law')\ndef test_a(): pass\n")
    suite.local_dir.mkdir()
    (suite.local_dir / "test-full.passed").write_text("tests/test_law.py::test_a\n")
    code, _ = suite.run("--full=all", workers=workers)
    assert (code, suite.passed) == (pytest.ExitCode.OK, [])


@pytest.mark.parametrize("workers, interrupted", [(0, "group"), (2, "controller"), (2, "group")])
def test_an_interrupt_stops_everything(suite: Suite, workers: int, interrupted: str) -> None:
    """A terminal's Ctrl-C interrupts the whole process group, `kill -INT` the controller alone."""
    suite.write(
        one="""
import sys, time
from pathlib import Path
from deploy.local.processes import Background

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    background = Background("server", tmp_path_factory.mktemp("server"))
    background.start([sys.executable, "-c", "import time; time.sleep(600)"], tied=True)
    yield
    background.stop(5)

@pytest.mark.parametrize("number", range(4))
def test_a(server, number):
    Path("started").touch()
    time.sleep(600)
"""
    )
    with suite.start(workers=workers) as run:
        while not (suite.folder / "started").exists():
            assert run.poll() is None
            time.sleep(0.05)
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        assert len(processes) >= (3 if workers else 2)
        (os.killpg if interrupted == "group" else os.kill)(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output


@pytest.mark.parametrize(
    "pattern", sorted({*scheduling.ONE_UNIT, *scheduling.UNIT_PER_TEST, *scheduling.LONGEST})
)
def test_every_pattern_of_the_schedule_matches_a_module(pattern: str) -> None:
    assert list(ROOT.glob(pattern))
