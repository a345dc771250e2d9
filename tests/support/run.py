"""The pytest plugin of this suite: which tests a run takes, and what a run must have done to succeed.

`make test` runs every test that is not marked `full`. `make test-full` runs those, and the tests marked
`sized` once more at their full size; it resumes where the last run ended.

With `pytest -n`, workers run the tests and a controller collects their reports. The controller has no
test items, so each report carries the names of the real parts that its test used (`REAL_PARTS`), and the
controller decides about the run. Without `-n` one process does both.
"""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.processes import local_dir
from tests.support.ports import own_ports

if TYPE_CHECKING:
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

REAL_PARTS = {"Kafka": "kafka", "MongoDB": "mongodb_uri"}
"""The parts that a whole run must have used, and the fixtures that provide them."""

CI = os.environ.get("CI", "") not in {"", "0", "false"}
FULL_TIMEOUT = 1800
"""Seconds for one test of full size."""
NARROWING = ("keyword", "markexpr", "lf", "deselect", "maxfail", "ignore", "ignore_glob")
"""The options of pytest after which a run is not a whole one."""
PASSED_BEFORE = "full_tests_passed_before"
"""The key under which the controller sends the list of passed tests of full size to its workers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", metavar="SECTION", help="run the tests of full size of this section, or of all"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore SIGINT, and so would all processes that a run starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    section: str | None = config.getoption("--full")
    passed_file = local_dir() / "test-full.passed"
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        own_ports(workerinput["workerid"])
        config.pluginmanager.register(Selection(section, set(workerinput[PASSED_BEFORE])))
        return
    passed = _passed_before(passed_file) if section else set()
    config.pluginmanager.register(Selection(section, passed))
    config.pluginmanager.register(Verdict(section, passed_file, passed))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Scheduling | None":
    """Divide the tests among workers by our table, unless the command line names another way."""
    from tests.support.scheduling import Scheduler

    return Scheduler(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report which real parts the test used; the attribute travels to the controller."""
    report = yield
    fixtures = getattr(item, "fixturenames", ())
    report.real_parts = [  # type: ignore[attr-defined]
        name for name, fixture in REAL_PARTS.items() if fixture in fixtures
    ]
    return report


class Selection:
    """Selects the tests of this run; active in every process that collects tests."""

    def __init__(self, section: str | None, passed_before: set[str]) -> None:
        self._section = section
        self._passed_before = passed_before

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        selected = [item for item in items if self._selects(item) and item.nodeid not in self._passed_before]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(selected)])
        items[:] = selected
        for item in selected if self._section else ():
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT), append=False)

    def _selects(self, item: pytest.Item) -> bool:
        full = item.get_closest_marker("full")
        if self._section is None:
            return full is None
        section = full or item.get_closest_marker("sized")
        return section is not None and self._section in {"all", section.args[0]}


class Verdict:
    """Decides whether the whole run succeeded; active in the one process that receives all reports."""

    def __init__(self, section: str | None, passed_file: Path, passed_before: set[str]) -> None:
        self._section = section
        self._passed_file = passed_file
        self._passed_before = passed_before
        self._used: set[str] = set()
        self._called: set[str] = set()
        self._skipped: list[str] = []
        self._faults: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: "WorkerController") -> None:
        """Send one list to all workers: they must collect the same tests, whenever they start."""
        node.workerinput[PASSED_BEFORE] = sorted(self._passed_before)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self._used.update(getattr(report, "real_parts", ()))
            self._called.add(report.nodeid)
        elif self._section and report.when == "teardown" and report.passed and report.nodeid in self._called:
            self._passed_file.parent.mkdir(parents=True, exist_ok=True)
            with self._passed_file.open("a") as passed:
                passed.write(f"{report.nodeid}\n")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if CI and self._skipped:
            self._faults.append(
                f"CI skips nothing, and {len(self._skipped)} were skipped: {', '.join(self._skipped)}"
            )
        if self._section is None and _is_whole(session.config) and exitstatus == pytest.ExitCode.OK:
            self._faults += [f"no test used the real {name}" for name in REAL_PARTS if name not in self._used]
        if self._section:
            none_left = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            if none_left and self._passed_before:
                session.exitstatus = pytest.ExitCode.OK
            if none_left or exitstatus == pytest.ExitCode.OK:
                self._passed_file.unlink(missing_ok=True)  # the next run starts from the beginning
        if self._faults:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for fault in self._faults:
            terminalreporter.write_line(f"FAILED: {fault}", red=True)


def _passed_before(file: Path) -> set[str]:
    return set(file.read_text().splitlines()) if file.exists() else set()


def _is_whole(config: pytest.Config) -> bool:
    """Whether no argument narrowed this run."""
    return config.args_source is not pytest.Config.ArgsSource.ARGS and not any(
        getattr(config.option, option, None) for option in NARROWING
    )
