"""Only the owner of a partition publishes there, and only after its restore."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.matcher.domain.live_activities import LiveActivities
from services.matcher.handlers import Handlers
from services.matcher.publishing.partitions import OwnedPartitions, RestoredPartition
from services.matcher.publishing.publisher import MatchPublisher
from shared.broker import Batch, KafkaClient, TopicConsumer, TopicPartition
from shared.errors import InvalidMessageError, RetryableError
from shared.events import Activity
from shared.keys import ItemKey
from shared.messages import (
    RESENT,
    InvalidMessage,
    MessagePosition,
    OutgoingMessage,
    ReceivedMessage,
    TombstoneMessage,
    ValueMessage,
)
from shared.topics import ACTIVITIES, Topic

from .worlds import NOW, World, activity, item_key

ANN = "ann@fabrikam.com"
KEY, OTHER = item_key("item-1"), item_key("item-2")
SESSION_TIMEOUT = timedelta(milliseconds=200)
PARTITION = TopicPartition(ACTIVITIES.name, 0)
RECORD: Any = SimpleNamespace(headers=[])
"""Kafka's record of a message; of it the matcher reads the headers alone."""


class FakeKafka:
    """A Kafka that keeps what is sent, and a group that refuses commits once the partition has moved."""

    def __init__(self) -> None:
        self.cluster = self.producer = self
        self.assigned = frozenset({PARTITION})
        self.sent: list[OutgoingMessage] = []
        self.partition_moved = False
        self.rebalances_before_commit = False

    def partition(self, topic: Topic[Any, Any], number: int) -> TopicPartition:
        return TopicPartition(topic.name, number)

    async def send(self, *messages: OutgoingMessage) -> None:
        self.sent += messages

    async def commit_offsets(self, _offsets: Mapping[TopicPartition, int], _within: timedelta) -> None:
        if self.partition_moved:
            raise RetryableError("the group refuses the commit")
        if self.rebalances_before_commit:
            self.assigned = frozenset([PARTITION])


class Replica:
    """A matcher that has restored partition 0, where one activity is pending."""

    def __init__(self) -> None:
        self.kafka = FakeKafka()
        world = World()
        world.upsert("contact", "ann", emails=ANN)
        self.activities = LiveActivities(world.matcher)
        self.owned = OwnedPartitions(cast("TopicConsumer[ItemKey, Activity]", self.kafka), SESSION_TIMEOUT)
        self.owned.by_number[0] = RestoredPartition(
            self.activities,
            epoch=1,
            next_offset=0,
            observed_offset=0,
            assignment=self.kafka.assigned,
            complete=True,
        )
        self.publisher = MatchPublisher(
            cast("KafkaClient", self.kafka), self.owned, lambda: NOW, timedelta(), timedelta()
        )
        self.handlers = Handlers(self.owned, self.publisher, lambda: NOW)
        self.apply(version=1)

    def apply(self, version: int) -> None:
        self.activities.apply(KEY, activity(("from", ANN), subject=f"{version}"), version, NOW)


async def test_nothing_is_published_into_a_partition_of_another_replica() -> None:
    replica = Replica()
    replica.kafka.assigned = frozenset()

    with pytest.raises(RetryableError):
        await replica.publisher.publish_pending(0)

    assert replica.kafka.sent == []


async def test_ownership_is_proven_again_after_half_a_session() -> None:
    replica = Replica()
    await replica.publisher.publish_pending(0)
    assert len(replica.kafka.sent) == 1

    await asyncio.sleep(SESSION_TIMEOUT.total_seconds())
    replica.kafka.partition_moved = True
    replica.apply(version=2)
    with pytest.raises(RetryableError):
        await replica.publisher.publish_pending(0)

    assert len(replica.kafka.sent) == 1


async def test_partition_that_returns_is_restored_before_anything_is_published() -> None:
    replica = Replica()
    replica.kafka.rebalances_before_commit = True

    for _ in range(2):  # the commit that is accepted after the rebalance is no proof for what came before it
        with pytest.raises(RetryableError, match="not restored"):
            await replica.publisher.publish_pending(0)

    assert replica.kafka.sent == []


def activity_message(key: ItemKey, version: int, *, partition: int = 0) -> ValueMessage[ItemKey, Activity]:
    position = MessagePosition(ACTIVITIES.name, partition, version)
    value = activity(("from", ANN), item=key.item)
    return ValueMessage(ACTIVITIES, position, key, version, 0, 0, RECORD, value)


async def test_activities_of_a_partition_that_is_not_restored_are_retried() -> None:
    batch: Batch[ItemKey, Activity] = Batch([activity_message(KEY, version=1, partition=1)])

    with pytest.raises(RetryableError):
        await Replica().handlers.on_activities(batch)


async def test_invalid_activity_is_withdrawn_and_its_neighbour_published() -> None:
    replica = Replica()
    await replica.publisher.publish_pending(0)
    position = MessagePosition(ACTIVITIES.name, 0, 2)
    error = InvalidMessageError("key and body do not agree", "item")
    messages: list[ReceivedMessage[ItemKey, Activity]] = [
        InvalidMessage(ACTIVITIES, position, KEY, 2, 0, 0, RECORD, error),
        activity_message(OTHER, version=3),
    ]

    await replica.handlers.on_activities(Batch(messages))

    published = [(message.key, message.value is None) for message in replica.kafka.sent[1:]]
    assert published == [(KEY, True), (OTHER, False)]


async def test_resent_tombstone_is_published_though_nothing_is_known_of_its_item() -> None:
    """`matches` was lost with `activities`, and readers still have what was there."""
    replica = Replica()
    await replica.publisher.publish_pending(0)
    record: Any = SimpleNamespace(headers=[RESENT])
    position = MessagePosition(ACTIVITIES.name, 0, 1)
    resent: ReceivedMessage[ItemKey, Activity] = TombstoneMessage(
        ACTIVITIES, position, OTHER, 1, 0, 0, record
    )
    usual: ReceivedMessage[ItemKey, Activity] = TombstoneMessage(
        ACTIVITIES, position, item_key("item-3"), 1, 0, 0, RECORD
    )

    await replica.handlers.on_activities(Batch([resent, usual]))

    assert [(message.key, message.value) for message in replica.kafka.sent[1:]] == [(OTHER, None)]
