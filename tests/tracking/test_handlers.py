"""Handlers of topics on the real MongoDB, with both drivers; the batches are made by hand."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.tracking.domain.track_request import TrackRequestState, open_request
from services.tracking.handlers import Handlers
from services.tracking.read_positions import ReadPositions
from services.tracking.store import Document, Store
from shared.broker import Batch, TopicPartition
from shared.errors import RetryableError
from shared.events import ContentAnswered
from shared.keys import MailboxKey, RecordKey
from shared.topics import CONTENT, MATCHES

from .conftest import SettableClock, valid_message
from .worlds import ACCOUNT, ANN, BEN, RENEWAL, content, email, matched, regarding

PARTITIONS = {topic: TopicPartition(topic.name, 0) for topic in (MATCHES, CONTENT)}


class FakeKafka:
    """A Kafka whose partitions end at a high offset."""

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1000)


@pytest.fixture
async def handlers(store: Store) -> Handlers:
    """The handlers of a replica that reads partition 0 of `matches` and `content`."""
    clock, relay = SettableClock(), cast("Any", SimpleNamespace(wake=lambda: None))
    positions = ReadPositions(store, cast("Any", FakeKafka()), clock)
    await positions.start_offsets(list(PARTITIONS.values()))
    return Handlers(
        store, relay, clock, matches=positions, records=positions, mailboxes=positions, content=positions
    )


# -- matches --------------------------------------------------------------------------------------


def matches_batch(*versions: tuple[RecordKey, int, int]) -> Batch[Any, Any]:
    """Messages about one item, each with a record, an epoch and a sequence."""
    return Batch(
        [
            valid_message(
                MATCHES, email().key, matched(email(), record), epoch=epoch, sequence=sequence, offset=offset
            )
            for offset, (record, epoch, sequence) in enumerate(versions)
        ]
    )


async def test_position_moves_only_after_the_suggestions_are_stored(
    store: Store, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(_documents: Sequence[Document]) -> int:
        raise RetryableError("MongoDB does not answer")

    batch = matches_batch((RENEWAL, 1, 1))
    with monkeypatch.context() as outage:
        outage.setattr(store.suggestions, "upsert_newer", unavailable)
        with pytest.raises(RetryableError):
            await handlers.on_matches(batch)
    assert await store.read_positions.find_by_partition(["matches/0"]) == {}
    await handlers.on_matches(batch)
    positions = await store.read_positions.find_by_partition(["matches/0"])
    assert positions["matches/0"].next_offset == 1


@pytest.mark.parametrize("later,wins", [((1, 6), False), ((1, 8), True), ((2, 1), True)])
async def test_greater_epoch_and_sequence_of_one_batch_wins(
    store: Store, handlers: Handlers, later: tuple[int, int], wins: bool
) -> None:
    await handlers.on_matches(matches_batch((RENEWAL, 1, 7), (ACCOUNT, *later)))
    _, suggestion = await store.suggestions.find_on_record(email().key, ACCOUNT)
    assert (suggestion is not None) is wins


async def test_epoch_below_the_greatest_of_earlier_batches_is_ignored(
    store: Store, handlers: Handlers
) -> None:
    await handlers.on_matches(matches_batch((RENEWAL, 2, 1)))
    other = email(item="mail-2")
    late = valid_message(MATCHES, other.key, matched(other, RENEWAL), epoch=1, sequence=9, offset=1)
    await handlers.on_matches(Batch([late]))
    assert await store.suggestions.count_live() == 1


# -- content --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mailbox,answer,field",
    [
        (BEN.mailbox_key, ContentAnswered(request="r", item="mail-1", unavailable="gone"), "request"),
        (ANN.mailbox_key, ContentAnswered(request="r", item="mail-2", unavailable="gone"), "request"),
        (
            ANN.mailbox_key,
            ContentAnswered(request="r", item="mail-1", content=content(email(item="mail-2"))),
            "content.activity",
        ),
    ],
    ids=["under the key of another mailbox", "of another item", "with the content of another item"],
)
async def test_answer_for_another_item_is_refused(
    store: Store, handlers: Handlers, mailbox: MailboxKey, answer: ContentAnswered, field: str
) -> None:
    [entry] = regarding((ANN, RENEWAL))
    request = open_request("r", email(), entry, timedelta(minutes=10))
    assert await store.track_requests.insert(request, email())
    batch: Batch[Any, Any] = Batch([valid_message(CONTENT, mailbox, answer)])

    await handlers.on_content(batch)

    assert [error.field for _, error in batch.refusals] == [field]
    async with store.transaction() as session:
        left = await store.track_requests.find_by_id("r", session)
    assert left
    assert left.state is TrackRequestState.OPEN
    assert await store.tracked_activities.count_publish_pending() == 0
