"""A stored position stops before a refused message: its dead letter is sent after the position is stored."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from services.tracking.positions import Positions
from shared.bus import Position, Received

from services.tracking.handlers import Handlers
from shared.broker import Batch, Subscription
from shared.errors import Rejected, Transient
from shared.topics import MATCHES

from .worlds import CONTOSO, NOW, RENEWAL, email, matched

PARTITIONS = [TopicPartition(MATCHES.name, number) for number in range(2)]


class Memory:
    """A store whose suggestions cannot be written, with positions in memory."""

    def __init__(self) -> None:
        self.positions = self.suggestions = self.dismissals = self
        self.next: dict[str, int] = {}

    async def of(self, _names: Iterable[str]) -> dict[str, Any]:
        return {}

    async def put(self, documents: Sequence[dict[str, Any]]) -> int:
        if documents and "next" not in documents[0]:
            raise Transient("MongoDB does not answer")
        self.next |= {document["_id"]: document["next"] for document in documents}
        return len(documents)


class Reading:
    """A subscription whose partitions end far ahead."""

    def __init__(self) -> None:
        self.consumer = self

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1000)


def message(offset: int, *, partition: int = 0, refused: bool = False) -> Received[Any]:
    activity = email(item=f"m-{offset}")
    value = None if refused else matched(activity, RENEWAL)
    why = Rejected("broken") if refused else None
    key = CONTOSO, activity.mailbox, activity.item
    return Received(
        MATCHES, Position(MATCHES.name, partition, offset), key, value, 1, 1, 1, why, cast("Any", None)
    )


async def positions(store: Memory) -> Positions:
    """The positions of a replica that has just been assigned both partitions."""
    made = Positions(cast("Any", store), lambda: NOW)
    await made.start_at(lambda: cast("Subscription", Reading()))(PARTITIONS)
    return made


async def test_the_position_stops_before_a_message_that_could_not_be_read() -> None:
    store = Memory()
    await (await positions(store)).done(Batch([message(0), message(1, refused=True), message(2), message(3)]))
    assert store.next == {"matches/0": 1}


async def test_the_position_stops_before_a_message_that_the_handler_refused() -> None:
    store, batch = Memory(), Batch([message(0), message(1), message(2)])
    batch.reject(batch.messages[1], Rejected("a reason without its rule"))
    await (await positions(store)).done(batch)
    assert store.next == {"matches/0": 1}


async def test_a_refused_message_holds_up_its_own_partition_alone() -> None:
    store = Memory()
    await (await positions(store)).done(
        Batch([message(0, refused=True), message(0, partition=1), message(5, partition=1)])
    )
    assert store.next == {"matches/0": 0, "matches/1": 6}


async def test_the_position_moves_after_the_suggestions_are_stored() -> None:
    store = Memory()
    handlers = Handlers(cast("Any", store), cast("Any", None), lambda: NOW)
    await handlers.matches.start_at(lambda: cast("Subscription", Reading()))(PARTITIONS)
    with pytest.raises(Transient):
        await handlers.on_matches(Batch([message(0)]))
    assert store.next == {}
