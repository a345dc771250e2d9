"""What a recovery does after each table is read; the real MongoDB on both drivers, and no Kafka."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from services.tracking.domain.recovery import Cause
from services.tracking.domain.track_request import NO_ANSWER, TrackRequestState, open_request
from services.tracking.domain.tracked_activity import TrackedActivity, closed, to_event
from services.tracking.domain.visibility import DefaultReaders, RecordAbsence
from services.tracking.recovery.tables import TableRecovery
from services.tracking.store import (
    NewerState,
    Recovery,
    Store,
    StoredRevisions,
    capture_status_document,
    record_document,
    suggestion_document,
)
from services.tracking.store.id_ranges import ANY
from shared.clock import to_micros
from shared.events import ActivityTracked, ActivityUntracked, MailboxChanged, MailboxStatus
from shared.keys import RecordKey, join_key
from shared.records import CustomRecord
from shared.topics import MAILBOXES, MATCHES, RECORDS, TRACKED_ACTIVITIES, Topic
from tests.tracking.conftest import SettableClock, valid_message
from tests.tracking.worlds import (
    ACCOUNT,
    ANN,
    BEN,
    CONTOSO,
    HOUR,
    NOW,
    RENEWAL,
    email,
    matched,
    regarding,
    tracked,
)

BEFORE, GENERATION = to_micros(NOW - HOUR), to_micros(NOW + HOUR)
"""Of what was read before the copy, and of what was read again."""
LONG = Recovery(GENERATION, Cause.RESTORED, NOW, is_long=True, new_topics=frozenset(), ends=[])
NOT_WHOLE = [replace(LONG, is_long=False), replace(LONG, new_topics=frozenset({"a topic"}))]
"""Recoveries that conclude nothing from what a topic lacks."""


async def after(store: Store, topic: Topic[Any, Any], recovery: Recovery = LONG) -> None:
    """The table is read, and a second replica does the same."""
    for _ in range(2):
        await TableRecovery(store, SettableClock(NOW + 2 * HOUR)).after(topic, ["a topic"], recovery)


# -- what the whole of a table lacks is gone ---------------------------------------------------------


@pytest.fixture
async def copied(store: Store) -> Store:
    """Of each kind one document that was read again, and one that its topic lacks."""
    for key, generation in ((RENEWAL, GENERATION), (ACCOUNT, BEFORE)):
        value = CustomRecord(tenant=CONTOSO, type=key.type, id=key.id, name=key.id, readers=("*",))
        document = record_document(key, valid_message(RECORDS, key, value), generation)
        await store.records.upsert_later([document])
    for user, generation in ((ANN, GENERATION), (BEN, BEFORE)):
        status = MailboxChanged(status=MailboxStatus.ENROLLED, since=NOW)
        message = valid_message(MAILBOXES, user.mailbox_key, status)
        await store.capture_statuses.upsert_newer([capture_status_document(message, generation)])
        mail = email(user, identity=user.oid)
        suggested = valid_message(MATCHES, mail.key, matched(mail, RENEWAL))
        await store.suggestions.upsert_newer([suggestion_document(suggested, NOW, generation)])
        activity = tracked(mail, (user, RENEWAL), (user, ACCOUNT))
        assert await store.tracked_activities.replace_if_unchanged(activity, None)
        await store.tracked_activities.acknowledge([activity], NOW)
        read = StoredRevisions(activity.revision, activity.revision, generation)
        await store.topic_states.record_read({activity.key: read})
    return store


async def left(store: Store) -> dict[str, list[Any]]:
    """Whose record, mailbox, suggestion and tracked activity are still there."""
    records = await store.records.find_by_keys([RENEWAL, ACCOUNT])
    return {
        "records": [key for key in (RENEWAL, ACCOUNT) if not records[key].absence],
        "mailboxes": [
            user for user in (ANN, BEN) if await store.capture_statuses.find_by_mailbox(user.mailbox_key)
        ],
        "suggestions": [
            user
            for user in (ANN, BEN)
            if (await store.suggestions.find_on_record(email(user).key, RENEWAL))[0]
        ],
        "tracked": [
            user
            for user in (ANN, BEN)
            for activity in await store.tracked_activities.find_by_identity(CONTOSO, user.oid)
            if activity.is_tracked
        ],
    }


ALL = {"records": [RENEWAL, ACCOUNT], **{key: [ANN, BEN] for key in ("mailboxes", "suggestions", "tracked")}}
TABLES: list[tuple[Topic[Any, Any], dict[str, list[Any]]]] = [
    (RECORDS, {"records": [RENEWAL]}),
    (MAILBOXES, {"mailboxes": [ANN]}),
    (MATCHES, {"suggestions": [ANN]}),
    (TRACKED_ACTIVITIES, {"tracked": [ANN]}),
]


@pytest.mark.parametrize("topic,expected", TABLES, ids=lambda each: getattr(each, "name", ""))
async def test_what_the_whole_of_a_table_lacks_is_gone(
    copied: Store, topic: Topic[Any, Any], expected: dict[str, list[Any]]
) -> None:
    await after(copied, topic)
    assert await left(copied) == ALL | expected


@pytest.mark.parametrize("recovery", NOT_WHOLE, ids=["younger than the tombstones", "a new topic"])
async def test_nothing_is_gone_when_the_topic_may_lack_it(copied: Store, recovery: Recovery) -> None:
    for topic, _ in TABLES:
        await after(copied, topic, recovery)
    assert await left(copied) == ALL


async def test_record_that_is_gone_keeps_its_readers_and_is_published_again(copied: Store) -> None:
    await after(copied, RECORDS)
    gone = await copied.records.find_by_key(ACCOUNT)
    assert gone
    assert (gone.absence, gone.name, gone.readers) == (RecordAbsence.DELETED, None, ("*",))
    due = await copied.republications.lease_next("replica")
    assert due
    assert due.scope == join_key(ACCOUNT)


@pytest.mark.parametrize("cause,stays", [(Cause.RESTORED, False), (Cause.AWAY, True)])
async def test_pending_state_stays_unless_an_older_copy_may_have_published_it(
    store: Store, cause: Cause, stays: bool
) -> None:
    pending = tracked(email(), (ANN, RENEWAL))
    assert await store.tracked_activities.replace_if_unchanged(pending, None)
    await after(store, TRACKED_ACTIVITIES, replace(LONG, cause=cause))
    stored = await store.tracked_activities.find_by_key(pending.key)
    assert stored
    assert stored.is_tracked is stays


async def test_record_of_a_new_topic_stays_beside_topics_that_are_whole(store: Store) -> None:
    for topic_name, key in (("a topic", RENEWAL), ("a new topic", ACCOUNT)):
        value = CustomRecord(tenant=CONTOSO, type=key.type, id=key.id)
        message = valid_message(RECORDS, key, value, topic_name=topic_name)
        await store.records.upsert_later([record_document(key, message, BEFORE)])
    recovery = replace(LONG, new_topics=frozenset({"a new topic"}))
    await after(store, RECORDS, recovery)
    records = await store.records.find_by_keys([RENEWAL, ACCOUNT])
    assert {key: record.absence for key, record in records.items()} == {
        RENEWAL: RecordAbsence.DELETED,
        ACCOUNT: None,
    }


async def test_activity_that_is_tracked_since_the_recovery_began_stays(store: Store) -> None:
    since = tracked(email(), (ANN, RENEWAL), now=NOW + 2 * HOUR)
    assert await store.tracked_activities.replace_if_unchanged(since, None)
    await after(store, TRACKED_ACTIVITIES)
    assert await store.tracked_activities.find_by_key(since.key) == since


async def test_what_no_topic_holds_is_failed_or_a_case(store: Store) -> None:
    [entry] = regarding((ANN, RENEWAL))
    assert await store.track_requests.insert(open_request("r", email(), entry, HOUR), email())
    for _ in range(2):
        await TableRecovery(store, SettableClock()).close_what_no_topic_holds(LONG)
    [request] = await store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)
    assert (request.state, request.reason) == (TrackRequestState.FAILED, NO_ANSWER)
    cases = [case async for case in store.restore_cases.find()]
    assert [(case["kind"], case["since"], case["found_at"]) for case in cases] == [("dismissals", NOW, NOW)]


# -- states on the topic that are newer than the stored ones -----------------------------------------

COPY = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))


def event_of(activity: TrackedActivity) -> ActivityTracked:
    event = to_event(activity, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True)
    assert isinstance(event, ActivityTracked)
    return event


async def reconcile(
    store: Store, event: ActivityTracked | ActivityUntracked, recovery: Recovery = LONG
) -> TrackedActivity:
    """The activity after a recovery that has read this state of it."""
    version = to_micros(NOW + HOUR)
    await store.topic_states.put_newer([NewerState(COPY.key, version, event)])
    await after(store, TRACKED_ACTIVITIES, replace(recovery, is_long=False))
    assert not await store.topic_states.has_newer()
    stored = await store.tracked_activities.find_by_key(COPY.key)
    assert stored
    assert stored.revision > version
    return stored


async def open_cases(store: Store) -> list[list[tuple[str, str, datetime]]]:
    """The entries of each open case."""
    return [
        [(each["record"], each["by"], each["at"]) for each in case["entries"]]
        async for case in store.restore_cases.find()
    ]


def named(*pairs: tuple[Any, RecordKey]) -> Sequence[tuple[str, str, datetime]]:
    return [(join_key(record), user.oid, NOW) for user, record in pairs]


async def test_closed_activity_that_the_copy_has_stays_without_a_case(store: Store) -> None:
    assert await store.tracked_activities.replace_if_unchanged(COPY, None)
    stored = await reconcile(store, closed(event_of(COPY)))
    assert (stored.regarding, stored.content, stored.lost) == (COPY.regarding, COPY.content, False)
    assert await open_cases(store) == []
    assert await store.tracked_activities.count_publish_pending() == 1


async def test_closed_activity_that_the_copy_has_not_is_a_case(store: Store) -> None:
    stored = await reconcile(store, closed(event_of(COPY)))
    assert (stored.is_tracked, stored.lost) == (False, True)
    assert await open_cases(store) == [named((ANN, ACCOUNT), (ANN, RENEWAL))]


async def test_closed_activity_of_unknown_entries_is_a_case(store: Store) -> None:
    stored = await reconcile(store, event_of(COPY).model_copy(update={"regarding": ()}))
    assert stored.lost
    assert await open_cases(store) == [[]]


async def test_activity_that_is_lost_again_is_a_case_in_each_database(store: Store) -> None:
    lost = await reconcile(store, event_of(COPY))
    event = to_event(lost, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True)
    assert isinstance(event, ActivityUntracked)
    # The copy of this database knows its case, an empty one has none.
    await reconcile(store, event, replace(LONG, id=GENERATION + 1))
    assert await open_cases(store) == [named((ANN, ACCOUNT), (ANN, RENEWAL))]
    for collection in ("restore_cases", "tracked_activities"):
        await store.collection(collection).delete_many(ANY)
    assert (await reconcile(store, event)).lost
    assert await open_cases(store) == [named((ANN, ACCOUNT), (ANN, RENEWAL))]
