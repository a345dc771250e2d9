"""Only the owner of a partition works on it, as far as its group has confirmed that it is the owner."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError
from services.matcher.domain.window import Window
from services.matcher.partitions import Partition, Partitions
from shared.bus import Outgoing, Position, Received

from services.matcher.handlers import Handlers
from shared.broker import Batch, Kafka, Subscription
from shared.errors import Transient
from shared.topics import ACTIVITIES, Topic

from .worlds import NOW, TENANT, World, activity

ANN = "ann@fabrikam.com"
KEY = (TENANT, "ann", "item-1")
SESSION = timedelta(milliseconds=200)


class Group:
    """A Kafka that keeps what is sent, and a group that takes commits until another replica is the owner."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(kafka_session_timeout=SESSION)
        self.producer = self
        self.consumer = self
        self.assigned = frozenset({TopicPartition(ACTIVITIES.name, 0)})
        self.sent: list[Outgoing] = []
        self.is_ours = True

    def name(self, topic: Topic) -> str:
        return topic.name

    async def send(self, *messages: Outgoing) -> None:
        self.sent += messages

    async def commit(self, _offsets: Mapping[TopicPartition, int]) -> None:
        if not self.is_ours:
            raise IllegalGenerationError


def owner_of(group: Group) -> Partitions:
    """A replica that has restored partition 0, where one activity waits for publication."""
    world = World()
    world.put("contact", "ann", emails=ANN)
    partitions = Partitions(cast("Kafka", group))
    partitions.subscription = cast("Subscription", group)
    partitions.own[0] = Partition(Window(world.matcher), epoch=1, next=0, heard=0, taken=True)
    observe(partitions, version=1)
    return partitions


def observe(partitions: Partitions, version: int) -> None:
    partitions.own[0].window.take(KEY, activity(("from", ANN), subject=f"{version}"), version, NOW)


async def test_nothing_is_published_into_a_partition_of_another_replica() -> None:
    group = Group()
    partitions = owner_of(group)
    group.assigned = frozenset()

    with pytest.raises(Transient):
        await partitions.say(0)

    assert group.sent == []


async def test_ownership_is_confirmed_again_after_half_a_session() -> None:
    group = Group()
    partitions = owner_of(group)
    await partitions.say(0)
    assert len(group.sent) == 1

    await asyncio.sleep(SESSION.total_seconds())
    group.is_ours = False
    observe(partitions, version=2)
    with pytest.raises(Transient):
        await partitions.say(0)

    assert len(group.sent) == 1


async def test_activities_of_a_partition_that_is_not_restored_are_tried_again() -> None:
    partitions = owner_of(Group())
    handlers = Handlers(partitions, lambda: NOW, timedelta(), timedelta())
    message: Received[Any] = Received(
        ACTIVITIES,
        Position(ACTIVITIES.name, 1, 0),
        KEY,
        activity(("from", ANN)),
        1,
        0,
        0,
        None,
        cast("Any", None),
    )

    with pytest.raises(Transient):
        await handlers.on_activities(Batch([message]))


async def test_an_activity_under_another_key_is_refused_and_its_neighbour_published() -> None:
    group = Group()
    handlers = Handlers(owner_of(group), lambda: NOW, timedelta(), timedelta())
    another = (*KEY[:2], "item-2")
    messages: list[Received[Any]] = [
        Received(
            ACTIVITIES, Position(ACTIVITIES.name, 0, offset), key, value, 9, 0, 0, None, cast("Any", None)
        )
        for offset, (key, value) in enumerate(
            [
                (another, activity(("from", ANN), item="item-3")),
                (KEY, activity(("from", ANN), subject="newer")),
            ]
        )
    ]
    batch = Batch(messages)

    await handlers.on_activities(batch)

    assert [message.key for message, _ in batch.rejections] == [another]
    assert [message.key for message in group.sent if message.value] == [KEY]
