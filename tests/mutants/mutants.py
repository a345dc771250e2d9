"""Mutants: faults of one line each at the places that hold a promise of the design, and how one is run.

The table is in `table/`, a file for each area. A run puts one mutant into a copy of the tree, and runs the tests that must fail
there. The mutant is killed where a test fails by its own assertion. A collection error, an error in a
fixture, an undefined name and a timeout are faults of the table, not kills.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("table")

RUN_TIMEOUT = 400
"""Seconds for all the tests of one mutant; pytest-timeout ends a single test after 120."""
BASELINE_TIMEOUT = 1700
"""Seconds for the tests of all mutants together; `make test-full` ends a test after 1,800."""
NOT_AN_ASSERTION = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "UnboundLocalError")
"""Errors of a mutant that is no valid code. A test that fails by one of them has noticed nothing."""
TIMED_OUT = "from pytest-timeout"
"""A part of the message with which pytest-timeout fails a test."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One row of the table.

    Attributes:
        name: unique; kebab-case.
        promise: section of the design, and the promise that this fault breaks.
        why: what goes wrong in production; precise enough to find the place again when its line is renamed.
        file: path from the repository's root.
        old: the exact text that is replaced; it occurs once in the file.
        new: what takes its place.
        tests: pytest node ids; at least one of them must fail.
        hangs: the fault shows as a test that times out.
    """

    name: str
    promise: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    hangs: bool = False

    def applied_to(self, text: str) -> str:
        """The mutated text of the file; ValueError where the old text does not occur exactly once."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"the old text occurs {count} times in {self.file}")
        if self.old == self.new:
            raise ValueError("the new text is the old one")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of tests on a mutant showed.

    Attributes:
        detail: which test failed and how, or why the mutant counts as a survivor.
    """

    killed: bool
    detail: str
    seconds: float


def load_mutants(table: Path = TABLE) -> tuple[Mutant, ...]:
    """All rows of the table; TypeError where one lacks a field or has an unknown one."""
    files = sorted(table.glob("*.toml"))
    rows = [row for file in files for row in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]]
    return tuple(Mutant(**row | {"tests": tuple(row["tests"])}) for row in rows)


def copy_tree(folder: Path) -> None:
    """Copies the files that git does not ignore, with today's content; links the virtual environment."""
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
    """Puts the mutant into a copy of the tree for the duration of the block."""
    file = folder / mutant.file
    before = file.read_text(encoding="utf-8")
    _write(file, mutant.applied_to(before))
    try:
        yield
    finally:
        _write(file, before)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    # Python compares size and whole seconds; a mutant of the same length within a second would not be read.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


class Copy:
    """A copy of the tree, and the process that runs pytest in it.

    Args:
        folder: for the copy.
        environment: of the runs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        copy_tree(folder)
        self.folder = folder
        self._report, self._log = folder.with_suffix(".xml"), folder.with_suffix(".log")
        self._child: int | None = None
        self._warm = subprocess.Popen(
            [sys.executable, str(folder / "tests" / "mutants" / "warm.py")],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, tests: Sequence[str], timeout: float) -> tuple[int | None, Path, float]:
        """pytest's exit code (None: it took too long), its JUnit report, and the seconds that it took."""
        self._report.unlink(missing_ok=True)
        plugins = ["-p", "tests.mutants.attached", "-p", "no:cacheprovider"]
        arguments = ["-x", "-q", *plugins, f"--junitxml={self._report}", *tests]
        began, late = time.monotonic(), threading.Event()
        self._send({"arguments": arguments, "log": str(self._log)})
        self._child = int(self._receive())
        timer = threading.Timer(timeout, self._give_up, [late])
        timer.start()
        try:
            code = int(self._receive())
        finally:
            timer.cancel()
            self.kill_run()  # services that a failed test has left behind
            self._child = None
        return None if late.is_set() else code, self._report, time.monotonic() - began

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self.kill_run()

    def kill_run(self) -> None:
        """Ends the run that is under way, if there is one, with all that it has started."""
        if (child := self._child) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def stop(self) -> None:
        """Ends the run and the process."""
        self.kill_run()
        self._warm.kill()
        self._warm.communicate()

    def _send(self, wanted: Mapping[str, object]) -> None:
        assert self._warm.stdin
        self._warm.stdin.write(json.dumps(wanted) + "\n")
        self._warm.stdin.flush()

    def _receive(self) -> str:
        assert self._warm.stdout
        return self._warm.stdout.readline()


class MutantRuns:
    """Runs mutants, several at once, each in a copy of the tree that no other one uses meanwhile.

    Args:
        folder: for the copies.
        environment: settings by which the runs find Kafka and MongoDB.
        workers: runs at once.
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
        """Runs these tests without any mutant; `killed` where one of them fails."""
        return self._pool.submit(self._run_baseline, tests)

    def stop(self) -> None:
        """Ends what runs, and starts no more."""
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
    """Whether this run has killed the mutant."""
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
    """Each failed test (`failure`), or one whose fixtures failed (`error`), with its message's first line."""
    if not report.exists():
        return []
    found = []
    for case in ET.parse(report).getroot().iter("testcase"):  # pytest has written it
        for outcome in ("failure", "error"):
            for element in case.iter(outcome):
                first = (element.get("message") or "").split("\n")[0]
                found.append(f"{outcome} {case.get('name')}: {first}")
    return found
