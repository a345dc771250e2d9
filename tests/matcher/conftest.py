"""A bus of its own for each test that needs the real Kafka."""

from collections.abc import AsyncIterator

import pytest

from .bus import QUICK, Bus, a_bus


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment | QUICK) as made:
        yield made
