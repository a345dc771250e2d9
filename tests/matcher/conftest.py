"""The fixture of the tests that need the real Kafka."""

from collections.abc import AsyncIterator

import pytest

from .peers import SHORT_INTERVALS, Peers, running_peers


@pytest.fixture
async def peers(environment: dict[str, str]) -> AsyncIterator[Peers]:
    """The matcher's peers, with topics of their own for each test."""
    async with running_peers(environment | SHORT_INTERVALS) as peers:
        yield peers
