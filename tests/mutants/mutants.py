"""Mutants: faults of one line each, at the lines that keep a promise of the design, and their test runs.

The rows are in `table/`, one file for each area. A run applies one mutant to a copy of the tree, and runs
the tests that must fail there. The mutant is killed when one of them fails by an assertion of its own. A
collection error, an error in a fixture, an undefined name and a timeout are faults of the table, not kills.
"""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support import forks

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("table")

RUN_TIMEOUT = 400
"""Seconds for all the tests of one mutant; pytest-timeout ends a single test after 120."""
BASELINE_TIMEOUT = 1700
"""Seconds for the tests of all mutants together; `make test-full` ends a test after 1,800."""
NOT_AN_ASSERTION = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "UnboundLocalError")
"""Errors of a mutant that is no valid code. A test that fails by one of them has detected nothing."""
TIMED_OUT = "from pytest-timeout"
"""A part of pytest-timeout's message."""
TEST_LIBRARIES = ("hypothesis", "pytest", "pytest_asyncio")
"""What a run of pytest imports besides the libraries of the services."""
ALREADY_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""pytest warns that it cannot rewrite the assertions of plugins that are imported already."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One row of the table.

    Attributes:
        name: unique; kebab-case.
        promise: section of the design, and the promise that this fault breaks.
        why: what goes wrong in production; precise enough to find the line again after a renaming.
        file: path from the repository's root.
        old: the exact text that is replaced; it occurs once in the file.
        new: the replacement.
        tests: pytest node ids; at least one of them must fail.
        hangs: the fault makes a test time out.
        area: name of the table's file without its suffix.
    """

    name: str
    promise: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    hangs: bool = False
    area: str = ""

    def applied_to(self, text: str) -> str:
        """The mutated text of the file; raises ValueError unless the old text occurs exactly once."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"the old text occurs {count} times in {self.file}")
        if self.old == self.new:
            raise ValueError("the new text is the old one")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run of tests on a mutant.

    Attributes:
        killed: one of the mutant's tests failed by an assertion of its own.
        detail: which test failed and how, or why the mutant counts as a survivor.
    """

    killed: bool
    detail: str
    seconds: float


def load_mutants(table: Path = TABLE) -> tuple[Mutant, ...]:
    """All rows of the table; raises TypeError for a missing or an unknown field."""
    return tuple(
        Mutant(**row | {"tests": tuple(row["tests"])}, area=file.stem)
        for file in sorted(table.glob("*.toml"))
        for row in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]
    )


def copy_tree(folder: Path) -> None:
    """Copies the files that git does not ignore as they are now, and links the virtual environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file() and not source.is_symlink():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())


@contextlib.contextmanager
def mutated(folder: Path, mutant: Mutant) -> Iterator[None]:
    """Applies the mutant to a copy of the tree during the block."""
    file = folder / mutant.file
    before = file.read_text(encoding="utf-8")
    _write(file, mutant.applied_to(before))
    try:
        yield
    finally:
        _write(file, before)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    # Python compares size and whole seconds, so it would miss a mutant of the same length within a second.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


class Copy:
    """A copy of the tree, and a fork server for the runs of pytest in it.

    Args:
        folder: for the copy.
        environment: of the runs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        copy_tree(folder)
        self.folder = folder
        self._environment = dict(environment)
        self._report, self._log = folder.with_suffix(".xml"), folder.with_suffix(".log")
        self._pytest: forks.ForkedProcess | None = None
        self._server = forks.ForkServer(*forks.LIBRARIES, *TEST_LIBRARIES, cwd=folder, env=environment)

    def run(self, tests: Sequence[str], timeout: float) -> tuple[int | None, Path, float]:
        """pytest's exit code (None after the timeout), its JUnit report, and the duration in seconds."""
        self._report.unlink(missing_ok=True)
        plugins = ["-p", "tests.mutants.attached", "-p", "no:cacheprovider", "-W", ALREADY_IMPORTED]
        arguments = ["-x", "-q", *plugins, f"--junitxml={self._report}", *tests]
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._pytest = self._server.popen(
                "pytest", *arguments, env=self._environment, cwd=self.folder, stdout=log, stderr=log
            )
        try:
            code = self._pytest.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            self.kill_run()  # services that a failed test has left behind
        return code, self._report, time.monotonic() - began

    def kill_run(self) -> None:
        """Kills the current run, if there is one, with all processes that it has started."""
        if self._pytest is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pytest.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kills the run and the fork server."""
        self.kill_run()
        self._server.stop()


class MutantRuns:
    """Runs several mutants in parallel, each in a copy of the tree that no other run uses at that time.

    Args:
        folder: for the copies.
        environment: settings with which the runs connect to Kafka and MongoDB.
        workers: number of parallel runs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], workers: int) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in {"CI", "LOCAL_DIR"}}
        environment = {**inherited, **environment, "PYTEST_ADDOPTS": ""}
        self._pool = ThreadPoolExecutor(workers)
        self._copies = [Copy(folder / f"copy-{number}", environment) for number in range(workers)]
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in self._copies:
            self._free.put(copy)

    def submit(self, mutant: Mutant) -> "Future[Outcome]":
        """Runs a mutant's tests as soon as a copy is free."""
        return self._pool.submit(self._run_mutant, mutant)

    def submit_baseline(self, tests: Sequence[str]) -> "Future[Outcome]":
        """Runs these tests without a mutant; the outcome is `killed` when one of them fails."""
        return self._pool.submit(self._run_baseline, tests)

    def stop(self) -> None:
        """Kills the current runs and cancels the others."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for copy in self._copies:
            copy.stop()
        self._pool.shutdown()

    def _run_mutant(self, mutant: Mutant) -> Outcome:
        with self._copy() as copy:
            with mutated(copy.folder, mutant):
                code, report, seconds = copy.run(mutant.tests, RUN_TIMEOUT)
            return judge(mutant, code, report, seconds)

    def _run_baseline(self, tests: Sequence[str]) -> Outcome:
        with self._copy() as copy:
            code, report, seconds = copy.run(tests, BASELINE_TIMEOUT)
            return Outcome(code != 0, f"pytest ended with {code}: {_failures(report)}", seconds)

    @contextlib.contextmanager
    def _copy(self) -> Iterator[Copy]:
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def judge(mutant: Mutant, code: int | None, report: Path, seconds: float) -> Outcome:
    """Decides whether this run has killed the mutant."""
    if code is None:
        return Outcome(mutant.hangs, f"the tests took longer than {RUN_TIMEOUT} s", seconds)
    if code == 0:
        return Outcome(False, "survived: all its tests pass", seconds)
    failures = _failures(report)
    asserted = [failure for failure in failures if _counts(mutant, failure)]
    if code != 1 or not asserted:
        why = "; ".join(failures) or "no test ran"
        return Outcome(False, f"not killed by an assertion: pytest ended with {code}: {why}", seconds)
    return Outcome(True, asserted[0], seconds)


def _counts(mutant: Mutant, failure: str) -> bool:
    kind, _, message = failure.partition(" ")
    if kind != "failure" or any(error in message for error in NOT_AN_ASSERTION):
        return False
    return mutant.hangs or TIMED_OUT not in message


def _failures(report: Path) -> list[str]:
    """`failure` or, for a failed fixture, `error`; the test's name, and the first line of its message."""
    if not report.exists():
        return []
    found = []
    for case in ET.parse(report).getroot().iter("testcase"):  # pytest has written it
        for outcome in ("failure", "error"):
            for element in case.iter(outcome):
                first = (element.get("message") or "").split("\n")[0]
                found.append(f"{outcome} {case.get('name')}: {first}")
    return found
