"""The API answers only while the records are fresh."""

import math
from typing import Any, cast

import pytest

from services.tracking.record_freshness import RecordFreshness
from shared.freshness import TopicFreshness


class Age:
    """The age of the records."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def age_seconds(self) -> float:
        return self._seconds


async def in_use() -> None:
    return None


async def recovering() -> str:
    return "the store is restored"


def aged(seconds: float, store_refusal: Any = in_use) -> RecordFreshness:
    return RecordFreshness(cast("TopicFreshness", Age(seconds)), store_refusal)


@pytest.mark.parametrize(
    "seconds, answers, is_ready",
    [(0, True, True), (15, True, True), (15.1, False, True), (30.1, False, False), (math.inf, False, False)],
)
async def test_nothing_is_answered_from_stale_records(seconds: float, answers: bool, is_ready: bool) -> None:
    freshness = aged(seconds)
    assert (await freshness.refusal() is None, await freshness.check() is None) == (answers, is_ready)


async def test_the_reason_of_the_store_comes_first() -> None:
    assert await aged(math.inf, recovering).refusal() == "the store is restored"
