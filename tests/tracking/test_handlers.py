"""Handlers of topics on the real MongoDB, with both drivers; the batches are made by hand."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.tracking.domain.track_request import (
    MAX_ENTRIES,
    TrackRequest,
    TrackRequestState,
    open_request,
)
from services.tracking.domain.tracked_activity import TrackedActivity, activity_id, add_regarding
from services.tracking.handlers import Handlers
from services.tracking.store import Document, Store, record_document
from shared.broker import Batch, TopicPartition
from shared.errors import RetryableError
from shared.events import Content, ContentAnswered, ContentUpdated, SourceChange
from shared.keys import MailboxKey, RecordKey, TrackedActivityKey
from shared.records import CustomRecord
from shared.topics import CONTENT, MATCHES, RECORDS

from .conftest import SettableClock, read_positions, valid_message
from .worlds import ACCOUNT, ANN, BEN, NOW, RENEWAL, content, email, matched, meeting, regarding

PARTITIONS = {topic: TopicPartition(topic.name, 0) for topic in (MATCHES, CONTENT)}


@pytest.fixture
async def handlers(store: Store) -> Handlers:
    """The handlers of a replica that reads partition 0 of `matches` and `content`."""
    clock, outbox = SettableClock(), cast("Any", SimpleNamespace(wake=lambda: None))
    positions = read_positions(store)
    await positions.start_offsets(list(PARTITIONS.values()))
    return Handlers(
        store,
        outbox,
        outbox,
        outbox,
        clock,
        matches=positions,
        records=positions,
        mailboxes=positions,
        content=positions,
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
    positions = await store.read_positions.find_by_partition(["matches/0"])
    assert positions["matches/0"].next_offset == 0
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


async def answer(
    store: Store, handlers: Handlers, answered: Content, version: int, record: RecordKey = RENEWAL
) -> None:
    """An owner tracks an item on a record, and mail-ingest answers with this content."""
    activity = answered.activity
    owner = BEN if activity.mailbox == BEN.oid else ANN
    [entry] = regarding((owner, record))
    request_id = f"{activity.item} on {record.id} at {version}"
    request = open_request(request_id, activity, entry, timedelta(minutes=10))
    assert await store.track_requests.insert(request, activity)
    value = ContentAnswered(request=request_id, item=activity.item, content=answered)
    await handlers.on_content(Batch([valid_message(CONTENT, owner.mailbox_key, value, version=version)]))


async def update(
    handlers: Handlers, item: str, change: SourceChange, changed: Content | None, version: int
) -> list[str]:
    """mail-ingest sends an update of an item of Ann's; returns the fields of what is refused."""
    value = ContentUpdated(item=item, change=change, content=changed)
    batch: Batch[Any, Any] = Batch([valid_message(CONTENT, ANN.mailbox_key, value, version=version)])
    await handlers.on_content(batch)
    return [error.field for _, error in batch.refusals]


async def all_tracked(store: Store) -> list[TrackedActivity]:
    keys = [
        TrackedActivityKey(*document["_id"].split("/"))
        async for document in store.collection("tracked_activities").find({}, sort=[("_id", 1)])
    ]
    found = [await store.tracked_activities.find_by_key(key) for key in keys]
    return [tracked for tracked in found if tracked]


async def test_updates_of_a_tracked_meeting_are_recorded_in_their_order(
    store: Store, handlers: Handlers
) -> None:
    await answer(store, handlers, content(meeting()), 5)
    [first] = await all_tracked(store)
    changed = content(meeting(subject="Moved"), "new")
    await update(handlers, "meeting-1", SourceChange.CHANGED, changed, 7)
    [second] = await all_tracked(store)
    for version, change, late in (
        (6, SourceChange.CHANGED, content(meeting())),
        (7, SourceChange.GONE, None),
    ):
        await update(handlers, "meeting-1", change, late, version)
    assert await all_tracked(store) == [second]
    assert (second.id, second.content) == (first.id, changed)
    assert second.revision > first.revision
    assert await store.tracked_activities.count_publish_pending() == 1
    await update(handlers, "meeting-1", SourceChange.GONE, None, 8)
    [third] = await all_tracked(store)
    assert (third.source_gone, third.content) == (True, changed)


async def test_update_that_shows_nothing_is_not_published(store: Store, handlers: Handlers) -> None:
    await answer(store, handlers, content(meeting()), 5)
    [before] = await all_tracked(store)
    await store.tracked_activities.acknowledge([before], NOW)
    await update(handlers, "meeting-1", SourceChange.CHANGED, content(meeting(web_link="x")), 7)
    [after] = await all_tracked(store)
    assert (after.revision, after.content, after.copies[0].version) == (before.revision, before.content, 7)
    assert await store.tracked_activities.count_publish_pending() == 0


async def test_update_of_an_item_that_is_not_tracked_is_dropped(store: Store, handlers: Handlers) -> None:
    assert await update(handlers, "mail-1", SourceChange.CHANGED, content(email()), 7) == []
    assert await all_tracked(store) == []


async def test_update_without_its_content_or_with_that_of_another_item_is_refused(
    store: Store, handlers: Handlers
) -> None:
    await answer(store, handlers, content(email()), 5)
    [before] = await all_tracked(store)
    assert await update(handlers, "mail-1", SourceChange.CHANGED, None, 7) == ["content"]
    other = content(email(item="mail-2"), "new")
    assert await update(handlers, "mail-1", SourceChange.CHANGED, other, 7) == ["content.activity"]
    assert await all_tracked(store) == [before]


async def test_changed_item_that_is_tracked_on_another_record_joins_its_activity(
    store: Store, handlers: Handlers
) -> None:
    await answer(store, handlers, content(meeting()), 5)
    changed = content(meeting(), "new")
    await update(handlers, "meeting-1", SourceChange.CHANGED, changed, 7)
    await answer(store, handlers, changed, 7, ACCOUNT)
    [tracked] = await all_tracked(store)
    assert [entry.record for entry in tracked.regarding] == [RENEWAL, ACCOUNT]


async def test_content_that_an_activity_no_longer_shows_is_one_of_its_own(
    store: Store, handlers: Handlers
) -> None:
    await answer(store, handlers, content(meeting()), 5)
    await update(handlers, "meeting-1", SourceChange.CHANGED, content(meeting(), "Ann's own notes"), 7)
    of_ben = content(meeting(BEN, "of-ben"))
    await answer(store, handlers, of_ben, 5, ACCOUNT)
    by_owner = {tracked.regarding[0].by: tracked for tracked in await all_tracked(store)}
    assert by_owner[BEN.oid].content == of_ben
    assert by_owner[BEN.oid].id != by_owner[ANN.oid].id == activity_id(of_ben)


async def test_item_of_two_activities_updates_both(store: Store, handlers: Handlers) -> None:
    for number, text in enumerate(("one", "two")):
        tracked = add_regarding(
            None, regarding((ANN, RENEWAL)), content(meeting(), text), NOW, version=number
        )
        assert await store.tracked_activities.replace_if_unchanged(tracked, None)
    changed = content(meeting(), "three")
    await update(handlers, "meeting-1", SourceChange.CHANGED, changed, 7)
    assert [tracked.content for tracked in await all_tracked(store)] == [changed, changed]


async def store_record(store: Store, key: RecordKey, *, deleted: bool = False, offset: int = 0) -> None:
    """Stores a record, or its deletion."""
    value = None if deleted else CustomRecord(tenant=key.tenant, type=key.type, id=key.id)
    message = valid_message(RECORDS, key, value, offset=offset)
    await store.records.upsert_later([record_document(key, message, 1)])


async def answer_for(store: Store, handlers: Handlers, *records: RecordKey) -> TrackRequest:
    """Ann has tracked an e-mail on these records, and mail-ingest answers; returns the request."""
    first, *others = regarding(*((ANN, record) for record in records))
    request = open_request("r", email(), first, timedelta(minutes=10))
    assert await store.track_requests.insert(request, email())
    for entry in others:
        assert await store.track_requests.join(request, entry)
    value = ContentAnswered(request="r", item="mail-1", content=content(email()))
    await handlers.on_content(Batch([valid_message(CONTENT, ANN.mailbox_key, value, version=5)]))
    [closed] = await store.track_requests.find_for_record(ANN.mailbox_key, records[0])
    return closed


async def test_record_that_is_deleted_while_pending_gets_no_text(store: Store, handlers: Handlers) -> None:
    await store_record(store, RENEWAL)
    await store_record(store, RENEWAL, deleted=True, offset=1)
    closed = await answer_for(store, handlers, RENEWAL)
    assert (closed.state, closed.reason) == (TrackRequestState.FAILED, "deleted")
    assert await all_tracked(store) == []
    assert await store.followed_mailboxes.count_publish_pending() == 0


async def test_other_records_of_the_request_get_the_text(store: Store, handlers: Handlers) -> None:
    await store_record(store, RENEWAL, deleted=True)
    await store_record(store, ACCOUNT)
    closed = await answer_for(store, handlers, RENEWAL, ACCOUNT)
    assert (closed.state, closed.reason) == (TrackRequestState.DONE, None)
    [tracked] = await all_tracked(store)
    assert [entry.record for entry in tracked.regarding] == [ACCOUNT]


@pytest.mark.parametrize("entries,tracked", [(MAX_ENTRIES - 1, True), (MAX_ENTRIES, False)])
async def test_one_entry_too_many_fails_the_request(
    store: Store, handlers: Handlers, entries: int, tracked: bool
) -> None:
    others = [(BEN, RecordKey(ANN.tenant, "project", str(number))) for number in range(entries)]
    before = add_regarding(None, regarding(*others), content(email()), NOW)
    assert await store.tracked_activities.replace_if_unchanged(before, None)
    closed = await answer_for(store, handlers, RENEWAL)
    assert (closed.reason is None) is tracked
    [after] = await all_tracked(store)
    assert len(after.regarding) == MAX_ENTRIES
    assert tracked or (closed.state, closed.reason) == (TrackRequestState.FAILED, "too_many_entries")


async def test_tracked_item_is_followed_from_then_on(store: Store, handlers: Handlers) -> None:
    await answer(store, handlers, content(email()), 5)
    [mailbox] = await store.followed_mailboxes.lease_pending("replica", 10)
    assert mailbox.key == ANN.mailbox_key
    followed = [copy async for copy in store.tracked_activities.find_followed(ANN.mailbox_key, NOW)]
    assert [(copy.item, copy.version) for copy in followed] == [(email().key, 5)]
