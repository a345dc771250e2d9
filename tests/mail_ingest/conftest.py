"""A simulator of Graph, and a mail-ingest on the real Kafka and MongoDB, for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from simulator.server import Running, running

from .world import OWN, World, opened


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulator for all tests; each has a tenant of its own in it."""
    with running(tmp_path_factory.mktemp("simulator"), tenant="") as simulator:
        yield simulator


@pytest.fixture
async def world(environment: dict[str, str], graph: Running, tmp_path: Path) -> AsyncIterator[World]:
    """mail-ingest with RECONCILE=off: whatever arrives came by a hint."""
    async with opened(environment | OWN, graph, tmp_path) as made:
        yield made


@pytest.fixture
async def reconciling(environment: dict[str, str], graph: Running, tmp_path: Path) -> AsyncIterator[World]:
    """mail-ingest that reads each window every second or two."""
    async with opened(
        environment | OWN | {"RECONCILE": "on", "RECONCILE_EVERY": "PT1.5S"}, graph, tmp_path
    ) as made:
        yield made


@pytest.fixture
async def seldom(environment: dict[str, str], graph: Running, tmp_path: Path) -> AsyncIterator[World]:
    """mail-ingest that reads a window only where something asks for it."""
    async with opened(
        environment | OWN | {"RECONCILE": "on", "RECONCILE_EVERY": "PT1H"}, graph, tmp_path
    ) as made:
        yield made
