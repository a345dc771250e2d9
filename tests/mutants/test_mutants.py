"""The tests of each row kill its mutant; `make test-full ONLY=mutants` runs all of them.

`ARGS="-k matcher"` limits the run to the rows of one area, `ARGS="-k producer-is-not-idempotent"` to one row.
"""

import ast
import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.local.stack import LocalStack
from tests.mutants.mutants import ROOT, Mutant, MutantRuns, Outcome, judge, load_mutants

MUTANTS = load_mutants()
WORKERS = 1 if "PYTEST_XDIST_WORKER" in os.environ else max(2, min(4, os.cpu_count() or 2))
MIN_ROWS = 60

# -- the table -------------------------------------------------------------------------------------


def test_table_has_rows_for_each_part() -> None:
    assert len(MUTANTS) >= MIN_ROWS
    parts = {"/".join(mutant.file.split("/")[:2]).removesuffix(".py") for mutant in MUTANTS}
    assert {"services/mail_ingest", "services/matcher", "services/tracking", "shared/consumer"} <= parts


def test_names_and_faults_are_unique() -> None:
    for field in (lambda each: each.name, lambda each: (each.file, each.old, each.new)):
        counts = Counter(field(mutant) for mutant in MUTANTS)
        assert [key for key, count in counts.items() if count > 1] == []


def test_each_mutant_has_a_promise_and_a_reason() -> None:
    assert [
        mutant.name for mutant in MUTANTS if not re.match(r"([2-8]|10)(\.\d+)?[ ,]", mutant.promise)
    ] == []
    assert [mutant.name for mutant in MUTANTS if not mutant.why.endswith(".")] == []


def test_each_mutant_applies_and_is_valid_code() -> None:
    faults = []
    for mutant in MUTANTS:
        try:
            compile(mutant.applied_to((ROOT / mutant.file).read_text(encoding="utf-8")), mutant.file, "exec")
        except (OSError, ValueError, SyntaxError) as error:
            faults.append(f"{mutant.name}: {error}")
    assert faults == []


def test_each_test_of_a_mutant_exists() -> None:
    missing = [
        f"{mutant.name}: {test}"
        for mutant in MUTANTS
        for test in mutant.tests or ("none",)
        if not _exists(test)
    ]
    assert missing == []


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return (ROOT / file).is_file() and (not name or name.partition("[")[0] in _test_names(file))


@cache
def _test_names(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


# -- killed or not -------------------------------------------------------------------------

ROW = Mutant("name", "8.1 promise", "Reason.", "file.py", "old", "new", ("tests/test_file.py::test_one",))


def report(folder: Path, outcome: str, message: str) -> Path:
    """A JUnit report of one test with this outcome."""
    file = folder / "report.xml"
    body = f'<{outcome} message="{message}"/>' if outcome else ""
    file.write_text(
        f'<testsuites><testsuite><testcase name="test_one">{body}</testcase></testsuite></testsuites>'
    )
    return file


@pytest.mark.parametrize(
    "code, outcome, message, killed",
    [
        (1, "failure", "assert 1 == 2", True),
        (0, "", "", False),
        (1, "error", "failed on setup with RuntimeError", False),
        (1, "failure", "NameError: name 'x' is not defined", False),
        (1, "failure", "Failed: Timeout (&gt;120.0s) from pytest-timeout.", False),
        (2, "error", "collection failure", False),
        (4, "", "", False),
        (None, "", "", False),
    ],
)
def test_only_a_failed_assertion_kills(
    tmp_path: Path, code: int | None, outcome: str, message: str, killed: bool
) -> None:
    assert judge(ROW, code, report(tmp_path, outcome, message), 1.0).killed is killed


def test_mutant_that_hangs_is_killed_by_a_timeout(tmp_path: Path) -> None:
    row = Mutant(**{name: getattr(ROW, name) for name in ROW.__slots__} | {"hangs": True})
    assert judge(row, 1, report(tmp_path, "failure", "Failed: Timeout from pytest-timeout."), 1.0).killed
    assert judge(row, None, tmp_path / "none.xml", 400.0).killed


@pytest.mark.parametrize("text", ["", "old old"])
def test_mutant_applies_only_to_text_that_occurs_once(text: str) -> None:
    with pytest.raises(ValueError, match="occurs"):
        ROW.applied_to(text)


# -- the runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def runs(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutantRuns]:
    made = MutantRuns(tmp_path_factory.mktemp("mutants"), stack.environment, WORKERS)
    with kept_documents(stack.mongodb_uri):
        yield made
        made.stop()


@contextlib.contextmanager
def kept_documents(mongodb_uri: str) -> Iterator[None]:
    """Stops MongoDB from deleting expired documents, because the clocks of the tests differ from its own.

    Once a minute it would delete documents of a running test, which then fails without a fault of the mutant.
    """
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
        try:
            yield
        finally:
            client.admin.command({"setParameter": 1, "ttlMonitorEnabled": True})


BASELINE = "test_all_tests_pass_without_a_mutant"
Outcomes = Callable[[Mutant | None], "Future[Outcome]"]
"""Mutant -> the outcome of its run; None -> the outcome of all tests without a mutant."""


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, runs: MutantRuns) -> Outcomes:
    """Starts all runs that this session needs, in the order of the tests."""
    names = {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})

    def start(mutant: Mutant | None) -> "Future[Outcome]":
        return runs.submit(mutant) if mutant else runs.submit_baseline(tests)

    if "PYTEST_XDIST_WORKER" in os.environ:  # xdist gives this worker some of the tests, one after another
        return start
    wanted: list[Any] = [
        item.callspec.params["mutant"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "mutant" in getattr(item, "fixturenames", ())
    ]
    first: list[Mutant | None] = [None] if BASELINE in names else []
    started = {mutant: start(mutant) for mutant in first + wanted}
    return started.__getitem__


@pytest.fixture
def show(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Writes a line of progress to the terminal."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def write(line: str) -> None:
        if reporter:
            with capsys.disabled():
                reporter.write_line(line)

    return write


@pytest.mark.full("mutants")
@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.area}-{mutant.name}" for mutant in MUTANTS])
def test_mutant_is_killed(mutant: Mutant, outcomes: Outcomes, show: Callable[[str], None]) -> None:
    outcome = outcomes(mutant).result()
    verdict = "killed" if outcome.killed else "SURVIVED"
    show(f"{verdict:8} {outcome.seconds:5.1f} s  {mutant.name}: {outcome.detail[:120]}")
    assert outcome.killed, f"{mutant.promise}: {mutant.why} {outcome.detail}"


@pytest.mark.full("mutants")
def test_all_tests_pass_without_a_mutant(outcomes: Outcomes, show: Callable[[str], None]) -> None:
    outcome = outcomes(None).result()
    show(f"baseline {outcome.seconds:5.1f} s")
    assert not outcome.killed, outcome.detail
