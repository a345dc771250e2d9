"""What every test may ask for, and what a whole run must have done.

`make test` runs everything but what is marked `full`; `make test-full` runs that, and what is marked
`sized` once more at its full size.
"""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import settings
from pymongo import MongoClient

from deploy.local.stack import LocalStack, local_dir
from tests.support.stack import running_stack

CI = os.environ.get("CI", "") not in {"", "0", "false"}
FULL_TIMEOUT = 1800
"""Seconds for one test of full size."""

settings.register_profile(
    "small", max_examples=100, deadline=None
)  # a busy machine is slow, and no reason to fail
settings.register_profile("full", parent=settings.get_profile("small"), max_examples=3000)


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The real Kafka and MongoDB; a test of faults may kill and restart their processes."""
    with running_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def kafka(stack: LocalStack) -> str:
    """The bootstrap servers of the real Kafka."""
    return stack.kafka_bootstrap


@pytest.fixture(scope="session")
def mongodb_uri(stack: LocalStack) -> str:
    """The address of the real MongoDB, a replica set."""
    return stack.mongodb_uri


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """Whether a test marked `sized` is to be as large as it gets."""
    return pytestconfig.getoption("--full") is not None


@pytest.fixture
def own_prefix() -> str:
    """What the names of this test's topics, groups and databases begin with."""
    return f"test-{uuid4().hex[:12]}-"


@pytest.fixture
async def topic_prefix(kafka: str, own_prefix: str) -> AsyncIterator[str]:
    """A prefix for the topics and groups of this test alone; its topics are deleted at the end."""
    yield own_prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics(
            [topic for topic in await admin.list_topics() if topic.startswith(own_prefix)]
        )
    finally:
        await admin.close()


@pytest.fixture
def mongodb_database(mongodb_uri: str, own_prefix: str) -> Iterator[str]:
    """The name of a database for this test alone; all with its prefix are dropped at the end."""
    yield f"{own_prefix}store"
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        for database in client.list_database_names():
            if database.startswith(own_prefix):
                client.drop_database(database)


@pytest.fixture
def environment(stack: LocalStack, topic_prefix: str, mongodb_database: str) -> dict[str, str]:
    """The settings, as environment variables, of a system that this test has for itself."""
    return {
        **stack.environment,
        "KAFKA_PARTITIONS": "4",
        "TOPIC_PREFIX": topic_prefix,
        "MONGODB_DATABASE": mongodb_database,
    }


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", metavar="SECTION", help="run the tests of full size of this section, or of all"
    )


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it, and so would all that they start
    settings.load_profile("small" if config.getoption("--full") is None else "full")
    config.pluginmanager.register(Run(config))


class Run:
    """What this run does: which tests it takes, and what it must have done to be a success."""

    def __init__(self, config: pytest.Config) -> None:
        self._section: str | None = config.getoption("--full")
        self._passed_before = local_dir() / "test-full.passed"
        self._collected: dict[str, pytest.Item] = {}
        self._outcomes: dict[str, str] = {}
        self._faults: list[str] = []

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        done = (
            set(self._passed_before.read_text().splitlines())
            if self._section and self._passed_before.exists()
            else set()
        )
        chosen = [item for item in items if self._takes(item) and item.nodeid not in done]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
        for item in chosen if self._section else ():
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT), append=False)
        self._collected = {item.nodeid: item for item in chosen}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (report.skipped and not hasattr(report, "wasxfail")):
            self._outcomes[report.nodeid] = report.outcome
        elif report.when == "call" and report.passed:
            self._outcomes[report.nodeid] = "passed"
            if self._section:
                with self._passed_before.open("a") as passed:
                    passed.write(f"{report.nodeid}\n")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if CI and (skipped := [test for test, outcome in self._outcomes.items() if outcome == "skipped"]):
            self._faults.append(f"CI skips nothing, and {len(skipped)} were skipped: {', '.join(skipped)}")
        if self._section is None and _whole(session.config) and exitstatus == pytest.ExitCode.OK:
            self._faults += [
                f"no test used the real {name}"
                for name, fixture in CONNECTED.items()
                if not self._used(fixture)
            ]
        if (
            self._section
            and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
            and self._passed_before.exists()
        ):
            session.exitstatus = pytest.ExitCode.OK
        if self._section and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            self._passed_before.unlink(missing_ok=True)  # the next run begins anew
        if self._faults:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for fault in self._faults:
            terminalreporter.write_line(f"FAILED: {fault}", red=True)

    def _takes(self, item: pytest.Item) -> bool:
        full = item.get_closest_marker("full")
        if self._section is None:
            return full is None
        section = full or item.get_closest_marker("sized")
        return section is not None and self._section in {"all", section.args[0]}

    def _used(self, fixture: str) -> bool:
        return any(
            outcome == "passed" and fixture in getattr(self._collected[test], "fixturenames", ())
            for test, outcome in self._outcomes.items()
            if test in self._collected
        )


CONNECTED = {"Kafka": "kafka", "MongoDB": "mongodb_uri"}
"""The parts that a whole run must have used, and the fixtures that give them."""


def _whole(config: pytest.Config) -> bool:
    """Whether nothing narrowed this run."""
    option = config.option
    return config.args_source is not pytest.Config.ArgsSource.ARGS and not (
        option.keyword or option.markexpr or option.lf or option.deselect or option.maxfail
    )
