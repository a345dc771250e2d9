"""A simulator of Graph for all tests, a mail-ingest for each module, a tenant for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from simulator.server import Running, running

from .world import RECONCILE_OFTEN, RECONCILE_ON_DEMAND, Service, World, opened_world, running_service


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulator for all tests; each has a tenant of its own in it."""
    with running(tmp_path_factory.mktemp("simulator"), tenant="") as simulator:
        yield simulator


@pytest.fixture(scope="module")
async def service(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """mail-ingest that reads no window: notifications have named whatever arrives."""
    async with running_service(stack, graph, tmp_path_factory.mktemp("ingest")) as started:
        yield started


@pytest.fixture(scope="module")
async def reconciling_service(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """mail-ingest that reads each window every second or two."""
    folder = tmp_path_factory.mktemp("ingest")
    async with running_service(stack, graph, folder, **RECONCILE_OFTEN) as started:
        yield started


@pytest.fixture(scope="module")
async def on_demand_service(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """mail-ingest that reads a window only when something requests it."""
    folder = tmp_path_factory.mktemp("ingest")
    async with running_service(stack, graph, folder, **RECONCILE_ON_DEMAND) as started:
        yield started


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    """A tenant; no window is read."""
    async with opened_world(service) as opened:
        yield opened


@pytest.fixture
async def reconciling(reconciling_service: Service) -> AsyncIterator[World]:
    """A tenant; each window is read every second or two."""
    async with opened_world(reconciling_service) as opened:
        yield opened


@pytest.fixture
async def on_demand(on_demand_service: Service) -> AsyncIterator[World]:
    """A tenant; a window is read only when something requests it."""
    async with opened_world(on_demand_service) as opened:
        yield opened


@pytest.fixture
async def own_world(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path: Path
) -> AsyncIterator[World]:
    """A tenant with a mail-ingest of its own, which the test may stop or kill; no window is read."""
    async with running_service(stack, graph, tmp_path) as started, opened_world(started) as opened:
        yield opened
