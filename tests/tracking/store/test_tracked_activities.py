"""Tracked activities in the store, and their outbox; on both drivers."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.tracking.domain.tracked_activity import TrackedActivity, add_regarding, remove_regarding
from services.tracking.store import Store
from services.tracking.store.id_ranges import ANY
from shared.keys import join_key
from tests.tracking.worlds import (
    ACCOUNT,
    ANN,
    BEN,
    DAY,
    HOUR,
    NOW,
    RENEWAL,
    content,
    email,
    regarding,
    tracked,
)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FIRST = tracked(email(), (ANN, RENEWAL))
SECOND = add_regarding(FIRST, regarding((BEN, RENEWAL)), content(email(BEN)), NOW)
UNTRACKED = remove_regarding(FIRST, RENEWAL, ANN.oid, NOW)


async def document(store: Store, activity: TrackedActivity = FIRST) -> dict[str, Any]:
    found = await store.collection("tracked_activities").find_one({"_id": join_key(activity.key)})
    assert found
    return found


async def test_state_changes_only_from_the_revision_that_was_read(store: Store) -> None:
    assert await store.tracked_activities.replace_if_unchanged(FIRST, None)
    assert await store.tracked_activities.replace_if_unchanged(SECOND, FIRST)
    assert UNTRACKED
    assert not await store.tracked_activities.replace_if_unchanged(UNTRACKED, FIRST)
    assert await store.tracked_activities.find_by_key(FIRST.key) == SECOND


async def test_failed_transaction_changes_nothing(store: Store) -> None:
    with contextlib.suppress(KeyError):
        async with store.transaction() as session:
            await store.tracked_activities.replace_if_unchanged(FIRST, None, session)
            raise KeyError
    assert await store.tracked_activities.find_by_key(FIRST.key) is None


async def test_change_names_the_records_that_it_removed(store: Store) -> None:
    both = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    left = remove_regarding(both, RENEWAL, ANN.oid, NOW)
    assert left
    await store.tracked_activities.replace_if_unchanged(both, None)
    await store.tracked_activities.replace_if_unchanged(left, both)
    assert (await document(store))["affected_records"] == [join_key(ACCOUNT), join_key(RENEWAL)]


async def test_acknowledged_revision_is_published(store: Store) -> None:
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    assert await store.tracked_activities.count_publish_pending() == 1
    assert [each.id for each in await store.tracked_activities.lease_pending("first", 10)] == [FIRST.id]
    assert await store.tracked_activities.lease_pending("second", 10) == []
    await store.tracked_activities.acknowledge([FIRST], NOW)
    assert await store.tracked_activities.count_publish_pending() == 0
    assert "publish_lease" not in await document(store)
    assert "delete_at" not in await document(store)


async def test_activity_that_changed_while_it_was_published_stays_pending(store: Store) -> None:
    """An untracked state is published; the newer, tracked one neither counts as published nor expires."""
    assert UNTRACKED
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    await store.tracked_activities.replace_if_unchanged(UNTRACKED, FIRST)
    [published] = await store.tracked_activities.lease_pending("first", 10)
    again = add_regarding(UNTRACKED, regarding((ANN, RENEWAL)), content(email()), NOW)
    await store.tracked_activities.replace_if_unchanged(again, UNTRACKED)
    await store.tracked_activities.acknowledge([published], NOW)
    left = await document(store)
    assert (left["revision"], left.get("publish_pending")) == (again.revision, True)
    assert "delete_at" not in left


async def test_late_acknowledgement_of_an_old_revision_publishes_the_new_one_again(store: Store) -> None:
    """A replica was paused while it published: its old state is on the topic after the new one."""
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    await store.tracked_activities.replace_if_unchanged(SECOND, FIRST)
    await store.tracked_activities.acknowledge([SECOND], NOW)
    assert await store.tracked_activities.count_publish_pending() == 0
    await store.tracked_activities.acknowledge([FIRST], NOW)
    pending = await store.tracked_activities.lease_pending("second", 10)
    assert [each.revision for each in pending] == [SECOND.revision]


async def test_ended_lease_passes_to_another_replica(store: Store) -> None:
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    await store.tracked_activities.lease_pending("first", 10)
    expired = {"publish_lease.until": LONG_AGO}
    await store.collection("tracked_activities").update_many(ANY, {"$set": expired})
    assert len(await store.tracked_activities.lease_pending("second", 10)) == 1
    assert (await document(store))["publish_lease"]["holder"] == "second"


async def test_untracked_activity_is_deleted_when_its_tombstone_is(store: Store) -> None:
    assert UNTRACKED
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    await store.tracked_activities.replace_if_unchanged(UNTRACKED, FIRST)
    await store.tracked_activities.acknowledge([UNTRACKED], NOW)
    left = await document(store)
    assert left.keys() == {
        "_id",
        "tenant",
        "identity",
        "regarding",
        "affected_records",
        "copies",
        "revision",
        "delete_at",
    }
    assert left["delete_at"] == NOW + 14 * DAY


async def test_pages_are_newest_first_and_begin_after_the_page_before(store: Store) -> None:
    activities = [
        tracked(email(identity=str(number), at=NOW - (number // 2) * HOUR), (ANN, RENEWAL))
        for number in range(5)
    ]
    for activity in activities:
        await store.tracked_activities.replace_if_unchanged(activity, None)
    await store.tracked_activities.replace_if_unchanged(tracked(email(identity="x"), (ANN, ACCOUNT)), None)
    found: list[TrackedActivity] = []
    before: tuple[datetime, str] | None = None
    while page := await store.tracked_activities.find_page(RENEWAL, before, {}, 2):
        found += page
        assert page[-1].content
        before = page[-1].content.activity.at, page[-1].id
    assert sorted(each.id for each in found) == sorted(each.id for each in activities)
    times = [each.content.activity.at for each in found if each.content]
    assert times == sorted(times, reverse=True)
    assert all(each.content and each.content.text == "" for each in found), "pages are read without texts"


async def test_tracked_identities_are_those_of_the_records(store: Store) -> None:
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    for identity, record, expected in (
        (FIRST.identity, RENEWAL, {(RENEWAL, FIRST.identity)}),
        (FIRST.identity, ACCOUNT, set()),
        ("other", RENEWAL, set()),
    ):
        assert await store.tracked_activities.find_identities(ANN.tenant, [identity], [record]) == expected
    [found] = await store.tracked_activities.find_by_identity(ANN.tenant, FIRST.identity)
    assert (found.id, found.regarding) == (FIRST.id, FIRST.regarding)
    assert await store.tracked_activities.find_by_identity(ANN.tenant, "other") == []


async def test_copies_change_only_from_the_state_that_was_read(store: Store) -> None:
    await store.tracked_activities.replace_if_unchanged(FIRST, None)
    [copy] = FIRST.copies
    known = replace(FIRST, copies=(replace(copy, version=7),))
    assert await store.tracked_activities.record_copies(known, FIRST)
    assert not await store.tracked_activities.record_copies(replace(FIRST, copies=()), FIRST)
    assert not await store.tracked_activities.replace_if_unchanged(SECOND, FIRST)
    assert await store.tracked_activities.find_by_key(FIRST.key) == known
