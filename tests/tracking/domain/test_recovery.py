"""What proves that the store is older than the topics, and what becomes of its tracked activities."""

from dataclasses import replace
from typing import Any

import pytest

from services.tracking.domain.recovery import Cause, LostEntry, PartitionProgress, judge, reconcile
from services.tracking.domain.tracked_activity import MAX_WITHHELD, TrackedActivity, closed, to_event
from services.tracking.domain.visibility import DefaultReaders, User
from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import RecordKey
from tests.tracking.worlds import ACCOUNT, ANN, BEN, DAY, HOUR, NOW, RENEWAL, email, tracked

LATER = NOW + HOUR


def cause(*progress: tuple[int | None, int], **changes: Any) -> Cause | None:
    known: dict[str, Any] = {"is_empty": False, "has_published": True, "age": 3 * HOUR}
    return judge((PartitionProgress(*each) for each in progress), **known | changes)


@pytest.mark.parametrize(
    "progress, changes, expected",
    [
        # A usual restart, also after hours, or after a kill between store and commit.
        ([(500, 500)], {}, None),
        ([(500, 400)], {}, None),
        ([(500, 500)], {"age": 12 * DAY}, None),
        # A commit that the store knows nothing of.
        ([(500, 501)], {}, Cause.RESTORED),
        ([(500, 500), (None, 1)], {}, Cause.RESTORED),
        # Stopped for so long that tombstones are gone.
        ([(500, 500)], {"age": 14 * DAY}, Cause.AWAY),
        # The first start, beside topics that others have filled.
        ([(None, 0)], {"is_empty": True, "has_published": False, "age": None}, None),
        ([(None, 0)], {"is_empty": True, "has_published": True, "age": None}, Cause.LOST),
        ([(None, 7)], {"is_empty": True, "has_published": False, "age": None}, Cause.LOST),
    ],
)
def test_only_what_kafka_has_and_the_store_has_not_proves_a_restore(
    progress: list[tuple[int | None, int]], changes: dict[str, Any], expected: Cause | None
) -> None:
    assert cause(*progress, **changes) == expected


def event_of(activity: TrackedActivity) -> ActivityTracked:
    event = to_event(activity, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True)
    assert isinstance(event, ActivityTracked)
    return event


COPY = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))


def reconciled(
    event: ActivityTracked | ActivityUntracked | None, before: TrackedActivity | None = COPY
) -> tuple[TrackedActivity | None, tuple[LostEntry, ...]]:
    return reconcile(COPY.key, before, event, COPY.revision + 10, LATER)


def test_entry_that_was_untracked_since_the_copy_is_removed() -> None:
    after, lost = reconciled(event_of(tracked(email(), (ANN, ACCOUNT))))
    assert after
    assert ([entry.record for entry in after.regarding], lost) == ([ACCOUNT], ())
    assert after.content == COPY.content
    assert after.revision > COPY.revision + 10


def test_activity_that_was_untracked_since_the_copy_loses_its_content() -> None:
    for event in (None, ActivityUntracked(tenant=ANN.tenant, activity=COPY.id, revision=1)):
        after, lost = reconciled(event)
        assert after
        assert (after.is_tracked, after.content, after.copies, after.lost, lost) == (
            False,
            None,
            (),
            False,
            (),
        )


def test_entry_that_was_tracked_since_the_copy_is_lost() -> None:
    after, lost = reconciled(event_of(tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))))
    assert after
    assert [(entry.record, entry.by) for entry in after.regarding] == [(RENEWAL, ANN.oid)]
    assert lost == (LostEntry(RENEWAL, BEN.oid, NOW),)
    assert not after.lost


def test_activity_that_the_copy_has_not_is_lost() -> None:
    for before in (None, replace(COPY, regarding=(), content=None)):
        after, lost = reconciled(event_of(tracked(email(), (BEN, RENEWAL))), before)
        assert after
        assert (after.is_tracked, after.lost) == (False, True)
        assert lost == (LostEntry(RENEWAL, BEN.oid, NOW),)


def test_tombstone_of_an_activity_that_the_copy_has_not_changes_nothing() -> None:
    assert reconciled(None, None) == (None, ())


def test_activity_that_another_database_had_lost_stays() -> None:
    event = ActivityUntracked(tenant=ANN.tenant, activity=COPY.id, revision=1, lost=True)
    after, lost = reconciled(event)
    assert after
    assert (after.regarding, after.content, after.lost, lost) == (COPY.regarding, COPY.content, False, ())
    assert after.revision > COPY.revision + 10


# -- states without readers ------------------------------------------------------------------------

MANY = tuple((ANN, RecordKey(ANN.tenant, "project", str(number))) for number in range(MAX_WITHHELD + 1))


def closed_event_of(*entries: tuple[User, RecordKey]) -> ActivityTracked:
    """The event of a state that is too large to be published."""
    return closed(event_of(tracked(email(), *entries)))


def test_activity_that_was_too_large_to_be_published_stays() -> None:
    after, lost = reconciled(closed_event_of((ANN, RENEWAL), (ANN, ACCOUNT)))
    assert after
    assert (after.regarding, after.content, after.lost, lost) == (COPY.regarding, COPY.content, False, ())
    assert after.revision > COPY.revision + 10


def test_entry_that_was_untracked_before_the_activity_was_too_large_is_removed() -> None:
    after, lost = reconciled(closed_event_of((ANN, ACCOUNT), (BEN, RENEWAL)))
    assert after
    assert [(entry.record, entry.by) for entry in after.regarding] == [(ACCOUNT, ANN.oid)]
    assert lost == (LostEntry(RENEWAL, BEN.oid, NOW),)


def test_activity_that_was_too_large_and_that_the_copy_has_not_is_lost() -> None:
    after, lost = reconciled(closed_event_of((BEN, RENEWAL)), None)
    assert after
    assert (after.is_tracked, after.lost) == (False, True)
    assert lost == (LostEntry(RENEWAL, BEN.oid, NOW),)


def test_nothing_stays_of_a_closed_activity_whose_entries_are_unknown() -> None:
    event = closed_event_of(*MANY)
    assert (event.regarding, event.withheld) == ((), ())
    after, lost = reconciled(event)
    assert after
    assert (after.is_tracked, after.content, after.lost) == (False, None, True)
    assert lost == (LostEntry(ACCOUNT, ANN.oid, NOW), LostEntry(RENEWAL, ANN.oid, NOW))
    unknown, none = reconciled(event, None)
    assert unknown
    assert (unknown.lost, none) == (True, ())


def lost_event_of(event: ActivityTracked | ActivityUntracked) -> ActivityUntracked:
    """What an empty database publishes of an activity with this last state."""
    lost, _ = reconciled(event, None)
    assert lost
    untracked = to_event(lost, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True)
    assert isinstance(untracked, ActivityUntracked)
    return untracked


def test_entry_that_was_untracked_before_another_database_lost_the_activity_is_removed() -> None:
    after, lost = reconciled(lost_event_of(event_of(tracked(email(), (ANN, ACCOUNT), (BEN, RENEWAL)))))
    assert after
    assert [(entry.record, entry.by) for entry in after.regarding] == [(ACCOUNT, ANN.oid)]
    assert (lost, after.lost) == ((LostEntry(RENEWAL, BEN.oid, NOW),), False)


def test_activity_that_is_lost_twice_keeps_its_entries() -> None:
    once = lost_event_of(event_of(COPY))
    assert lost_event_of(once).withheld == once.withheld != ()
    stored, _ = reconciled(event_of(COPY), None)
    again, lost = reconciled(once, stored)
    assert stored
    assert again
    assert (again.lost, again.lost_regarding, lost) == (True, stored.lost_regarding, ())
