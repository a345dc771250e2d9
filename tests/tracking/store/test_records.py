"""Which message about a record counts, and how records are found; on both drivers."""

from typing import Any

import pytest

from services.tracking.domain.visibility import KnownRecord, RecordAbsence
from services.tracking.store import Store, record_document
from shared.keys import RecordKey
from shared.messages import ReceivedMessage
from shared.records import CustomRecord
from shared.topics import RECORDS
from tests.tracking.conftest import invalid_message, valid_message
from tests.tracking.worlds import CONTOSO

KEY = RecordKey(CONTOSO, "project", "apollo")
Message = ReceivedMessage[RecordKey, Any]


def named(
    name: str, *, topic_name: str = "records", partition: int = 0, offset: int = 0, **fields: Any
) -> Message:
    """A message that gives the record a name."""
    value = CustomRecord(tenant=CONTOSO, type="project", id="apollo", name=name, **fields)
    return valid_message(RECORDS, KEY, value, topic_name=topic_name, partition=partition, offset=offset)


def deleted(*, partition: int = 0, offset: int = 9) -> Message:
    return valid_message(RECORDS, KEY, None, partition=partition, offset=offset)


def refused(*, partition: int = 0, offset: int = 9) -> Message:
    return invalid_message(RECORDS, KEY, partition=partition, offset=offset)


async def stored_after(store: Store, *messages: Message, generation: int = 1) -> KnownRecord:
    for message in messages:
        await store.records.upsert_later([record_document(KEY, message, generation)])
    record = await store.records.find_by_key(KEY)
    assert record
    return record


A, B = named("A", offset=5), named("B", offset=6)
HIGH = named("high", partition=3)
OTHER = named("other", topic_name="records-contoso")


@pytest.mark.parametrize(
    "messages,name",
    [
        ([A, B], "B"),
        ([B, A], "B"),
        ([A, HIGH], "A"),
        ([HIGH, A], "A"),
        ([HIGH, OTHER], "high"),
        ([OTHER, HIGH], "high"),
        ([A, deleted(partition=3)], "A"),
        ([HIGH, deleted()], "high"),
        ([A, deleted(), HIGH], "high"),
        ([HIGH, refused()], None),
        ([A, refused(), HIGH], None),
    ],
)
async def test_last_message_of_the_lowest_partition_that_has_the_record_counts(
    store: Store, messages: list[Message], name: str | None
) -> None:
    assert (await stored_after(store, *messages)).name == name


async def test_offsets_count_anew_in_a_topic_that_was_created_again(store: Store) -> None:
    await stored_after(store, named("before", offset=1000), generation=1)
    assert (await stored_after(store, named("after", offset=0), generation=2)).name == "after"


@pytest.mark.parametrize(
    "message,absence", [(deleted(), RecordAbsence.DELETED), (refused(), RecordAbsence.REFUSED)]
)
async def test_absent_record_keeps_its_last_readers(
    store: Store, message: Message, absence: RecordAbsence
) -> None:
    record = await stored_after(store, named("A", readers=("user:oid-ann",)), message)
    assert (record.name, record.readers, record.absence) == (None, ("user:oid-ann",), absence)


@pytest.mark.parametrize("first", [deleted(offset=1), refused(offset=1)], ids=["deleted", "refused"])
async def test_record_that_was_never_known_otherwise_is_closed_until_it_comes(
    store: Store, first: Message
) -> None:
    assert (await stored_after(store, first)).readers == ()
    assert (await stored_after(store, refused(offset=2), deleted(offset=3))).readers == ()
    assert (await stored_after(store, named("A", offset=4))).readers is None
    assert (await stored_after(store, deleted())).readers is None, "the tenant's setting, as before"


async def changes_after(store: Store, *messages: Message) -> list[Any]:
    """The unpublished change of the record after these messages, if there is one."""
    await stored_after(store, *messages)
    return list((await store.records.find_unpublished_changes(["/".join(KEY)])).values())


OPEN, ANN_ALONE = named("A", offset=5, readers=("*",)), named("A", offset=6, readers=("user:oid-ann",))


@pytest.mark.parametrize(
    "message,changed",
    [
        (named("B", offset=6), True),
        (named("A", offset=6, readers=("*",)), True),
        (deleted(), True),
        (refused(), True),
        (named("A", offset=6, emails=("a@b.c",), modified_on="2026-11-20T09:12:00Z"), False),
        (named("B", offset=4), False),
    ],
)
async def test_change_of_name_readers_or_absence_is_unpublished(
    store: Store, message: Message, changed: bool
) -> None:
    assert await changes_after(store, A) == [], "a new record has no tracked activities"
    assert bool(await changes_after(store, message)) is changed


@pytest.mark.parametrize(
    "messages,closes",
    [
        ((OPEN, named("B", offset=6, readers=("*",))), False),
        ((OPEN, ANN_ALONE), True),
        ((ANN_ALONE, named("A", offset=7, readers=("user:oid-ben", "user:oid-ann"))), False),
        ((OPEN, named("A", offset=6)), True),
        ((A, ANN_ALONE), True),
        ((A, B), False),
        ((OPEN, ANN_ALONE, named("B", offset=7, readers=("user:oid-ann",))), True),
        ((OPEN, deleted()), False),
        ((deleted(offset=1), A), False),
    ],
    ids=[
        "renamed",
        "narrowed",
        "widened",
        "to default",
        "from default",
        "default",
        "then renamed",
        "deleted",
        "known for the first time",
    ],
)
async def test_change_closes_when_it_may_take_readers_away(
    store: Store, messages: tuple[Message, ...], closes: bool
) -> None:
    [change] = await changes_after(store, *messages)
    assert change["closes"] is closes


async def test_only_the_cleared_change_is_cleared(store: Store) -> None:
    await stored_after(store, A, B)
    first = await store.records.find_unpublished_changes(["/".join(KEY)])
    await stored_after(store, named("C", offset=7))
    await store.records.clear_unpublished_changes(first)
    second = await store.records.find_unpublished_changes(["/".join(KEY)])
    assert [change["order"] for change in second.values()] == [[1, 7]]
    await store.records.clear_unpublished_changes(second)
    assert await store.records.find_unpublished_changes(["/".join(KEY)]) == {}
