"""The fixtures that every test may use. What a run selects and must have done: support/run.py."""

import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from deploy.local.cluster import Cluster, missing_requirement
from deploy.local.stack import LocalStack
from tests.support.databases import drop_databases
from tests.support.stack import running_stack
from tests.support.topics import delete_topics

pytest_plugins = ["tests.support.run"]

# No deadline: a busy machine is slow, and that is no reason to fail.
settings.register_profile("small", max_examples=100, deadline=None)
settings.register_profile("full", parent=settings.get_profile("small"), max_examples=3000)


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The real Kafka and MongoDB of this worker; a test of faults may kill and restart their processes."""
    with running_stack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def no_dead_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Starts what a failed test of faults has left dead, so that it fails alone."""
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").start()


@pytest.fixture(scope="session")
def kafka(stack: LocalStack) -> str:
    """The bootstrap servers of the real Kafka."""
    return stack.kafka_bootstrap


@pytest.fixture(scope="session")
def mongodb_uri(stack: LocalStack) -> str:
    """The address of the real MongoDB, a replica set."""
    return stack.mongodb_uri


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of all tests of this worker."""
    if missing := missing_requirement():
        pytest.skip(missing)
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster of three brokers and three mongods, for tests marked `full`; mended after each test."""
    yield running_cluster
    running_cluster.mend()


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """Whether a test marked `sized` has its full size."""
    return pytestconfig.getoption("--full") is not None


@pytest.fixture
def usual_ports() -> Iterator[None]:
    """The usual ports of our programs, for one test at a time on this machine.

    A program takes its usual port if it is free when it is chosen; another one may take it before it listens.
    """
    with (Path(tempfile.gettempdir()) / "auto-capture-usual-ports.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def own_prefix() -> str:
    """The prefix of the names of this test's topics, groups and databases."""
    return f"test-{uuid4().hex[:12]}-"


@pytest.fixture
async def topic_prefix(kafka: str, own_prefix: str) -> AsyncIterator[str]:
    """A prefix for the topics and groups of this test alone; its topics are deleted at the end."""
    yield own_prefix
    await delete_topics(kafka, own_prefix)


@pytest.fixture
def mongodb_database(mongodb_uri: str, own_prefix: str) -> Iterator[str]:
    """The name of a database for this test alone; all with its prefix are dropped at the end."""
    yield f"{own_prefix}store"
    drop_databases(mongodb_uri, own_prefix)


@pytest.fixture
def environment(stack: LocalStack, topic_prefix: str, mongodb_database: str) -> dict[str, str]:
    """The settings, as environment variables, of a system that only this test uses."""
    return {
        **stack.environment,
        "KAFKA_PARTITIONS": "2",
        "TOPIC_PREFIX": topic_prefix,
        "MAIL_INGEST_MONGODB_DATABASE": mongodb_database,
        "TRACKING_MONGODB_DATABASE": mongodb_database,
    }


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("small" if config.getoption("--full") is None else "full")
