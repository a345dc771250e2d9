"""How recently a topic was read to its real end."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import pytest

from shared.errors import RetryableError
from shared.freshness import TopicFreshness
from shared.service import StopSignal
from shared.settings import KafkaSettings

from .kafka_world import KafkaObserver, Sink, eventually, member


@contextlib.asynccontextmanager
async def followed(freshness: TopicFreshness) -> AsyncIterator[None]:
    stop_signal = StopSignal()
    following = asyncio.create_task(freshness.follow(stop_signal))
    try:
        yield
    finally:
        stop_signal.set()
        await following


async def test_a_topic_is_fresh_when_all_that_was_there_is_read(
    settings: KafkaSettings, observer: KafkaObserver
) -> None:
    sink = Sink()
    release = asyncio.Event()

    async def held_back(batch: object) -> None:
        await release.wait()
        await sink(batch)  # type: ignore[arg-type]

    await observer.write_activities("one")
    async with member(settings, held_back) as consumer:
        freshness = TopicFreshness(consumer)
        async with followed(freshness):
            await eventually(consumer._batch_lock.locked)
            assert freshness.age_seconds() == math.inf
            release.set()
            await eventually(lambda: freshness.age_seconds() < 5)
            assert sink.items == ["one"]


async def test_an_age_grows_while_the_end_is_unknown(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object) -> None:
        raise RetryableError("most replicas of a partition do not name its leader")

    async with member(settings, Sink()) as consumer:
        freshness = TopicFreshness(consumer)
        async with followed(freshness):
            await eventually(lambda: freshness.age_seconds() < 5)
            monkeypatch.setattr(consumer.cluster, "end_offsets", unknown)
            before = freshness.age_seconds()
            await eventually(lambda: freshness.age_seconds() > before + 3)
