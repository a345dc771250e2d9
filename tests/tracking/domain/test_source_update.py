"""What a tracked activity shows when a copy of it has changed, is cancelled, or is gone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.tracking.domain.source_update import update_source
from services.tracking.domain.tracked_activity import (
    TrackedActivity,
    activity_id,
    add_regarding,
    remove_regarding,
    to_event,
)
from services.tracking.domain.tracked_copy import new_copy
from services.tracking.domain.visibility import DefaultReaders, User
from shared.events import ActivityTracked, Content, Participant, ParticipantRole, Sensitivity
from shared.keys import RecordKey
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
    meeting,
    regarding,
)

LATER = NOW + HOUR
AGENDA = "The agenda"


def tracked_by(*pairs: tuple[User, RecordKey]) -> TrackedActivity:
    """A meeting that these users have tracked, each from an own copy of version 1."""
    tracked = None
    for user, record in pairs:
        copy = of(user)
        tracked = add_regarding(tracked, regarding((user, record)), copy, NOW, version=1)
    assert tracked
    return tracked


def of(owner: User, text: str = AGENDA, **changes: Any) -> Content:
    """The content of a user's copy of the meeting."""
    return content(meeting(owner, f"meeting-of-{owner.oid}", **changes), text)


def update(
    before: TrackedActivity, owner: User, changed: Content | None, version: int = 2
) -> TrackedActivity:
    return update_source(before, of(owner).activity.key, version, changed, LATER)


def shown(tracked: TrackedActivity) -> tuple[str, str, bool, bool]:
    """Subject, text, cancelled and gone, as everyone sees them."""
    assert tracked.content
    activity = tracked.content.activity
    return activity.subject, tracked.content.text, activity.cancelled, tracked.source_gone


SAME = ("Kick-off", AGENDA, False, False)
BEFORE = tracked_by((ANN, RENEWAL))


def test_changed_copy_is_shown_under_the_same_id_and_a_greater_revision() -> None:
    after = update(BEFORE, ANN, of(ANN, "A new agenda", subject="Start", start=NOW + 5 * HOUR))
    assert shown(after) == ("Start", "A new agenda", False, False)
    assert after.id == BEFORE.id
    assert after.revision > BEFORE.revision
    [copy] = after.copies
    assert (copy.version, copy.until) == (2, NOW + 6 * HOUR + 3 * DAY)


def test_change_of_people_is_shown() -> None:
    more = Participant(role=ParticipantRole.OPTIONAL, address="x@y.z", name=None)
    after = update(BEFORE, ANN, of(ANN, participants=(*meeting().participants, more)))
    assert after.content
    assert more in after.content.activity.participants
    assert after.revision > BEFORE.revision


def test_cancelled_and_gone_are_shown_and_published() -> None:
    cancelled = update(BEFORE, ANN, of(ANN, cancelled=True))
    gone = update(cancelled, ANN, None, 3)
    assert (shown(cancelled), shown(gone)) == (
        ("Kick-off", AGENDA, True, False),
        ("Kick-off", AGENDA, True, True),
    )
    event = to_event(gone, lambda _: None, DefaultReaders({"*": ("*",)}).resolve, publish_subjects=True)
    assert isinstance(event, ActivityTracked)
    assert (event.cancelled, event.source_gone) == (True, True)
    assert BEFORE.revision < cancelled.revision < gone.revision


def test_item_that_is_found_again_is_not_gone() -> None:
    back = update(update(BEFORE, ANN, None), ANN, of(ANN), 3)
    assert shown(back) == SAME


def test_change_that_shows_nothing_is_no_revision() -> None:
    other_link = of(ANN, AGENDA + " \r\n", web_link="https://elsewhere")
    after = update(BEFORE, ANN, other_link)
    assert (after.revision, after.content) == (BEFORE.revision, BEFORE.content)
    assert [copy.version for copy in after.copies] == [2]


@pytest.mark.parametrize("version", [0, 1])
def test_version_that_is_known_changes_nothing(version: int) -> None:
    assert update(BEFORE, ANN, of(ANN, "late"), version) is BEFORE


def test_update_of_another_item_or_of_an_untracked_activity_changes_nothing() -> None:
    untracked = remove_regarding(BEFORE, RENEWAL, ANN.oid, NOW)
    assert untracked
    assert untracked.copies == ()
    assert update(untracked, ANN, of(ANN, "new")) is untracked
    assert update(BEFORE, BEN, of(BEN, "new")) is BEFORE


@pytest.mark.parametrize("sensitivity", [Sensitivity.PERSONAL, Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL])
def test_item_that_became_private_shows_nothing_new(sensitivity: Sensitivity) -> None:
    private = of(ANN, "secret", subject="Secret", cancelled=True, sensitivity=sensitivity)
    after = update(BEFORE, ANN, private)
    assert (shown(after), after.revision) == (SAME, BEFORE.revision)
    public_again = update(after, ANN, of(ANN, "public"), 3)
    assert shown(public_again)[1] == "public"


def test_item_that_was_shared_as_private_is_updated() -> None:
    before = add_regarding(
        None, regarding((ANN, RENEWAL)), of(ANN, sensitivity=Sensitivity.PRIVATE), NOW, version=1
    )
    after = update(before, ANN, of(ANN, "new", sensitivity=Sensitivity.PRIVATE))
    assert shown(after)[1] == "new"


def test_change_is_not_shown_on_a_record_that_the_owner_has_not_tracked_it_on() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, ACCOUNT))
    after = update(before, ANN, of(ANN, "Ann's own notes"))
    assert (shown(after), after.revision) == (SAME, before.revision)


def test_change_that_the_copies_of_every_record_have_is_shown() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, ACCOUNT))
    after = update(update(before, ANN, of(ANN, "new")), BEN, of(BEN, "new"))
    assert shown(after)[1] == "new"


def test_change_of_one_copy_is_shown_when_both_are_on_the_same_record() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, RENEWAL))
    after = update(before, BEN, of(BEN, "new"))
    assert shown(after)[1] == "new"
    same = update(after, ANN, of(ANN, "new"))
    assert (same.content, same.revision) == (after.content, after.revision)


def test_cancellation_is_shown_without_the_text_that_came_with_it() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, ACCOUNT))
    after = update(before, ANN, of(ANN, "Ann's own notes", subject="Canceled: Kick-off", cancelled=True))
    assert shown(after) == ("Kick-off", AGENDA, True, False)


def test_source_is_gone_when_every_copy_is() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, RENEWAL))
    one = update(before, ANN, None)
    assert (one.source_gone, one.revision) == (False, before.revision)
    assert update(one, BEN, None).source_gone


def test_copy_of_who_remains_is_shown_after_an_untrack() -> None:
    both = tracked_by((ANN, RENEWAL), (BEN, RENEWAL))
    of_ann = update(both, ANN, of(ANN, "Ann's own notes"))
    left = remove_regarding(of_ann, RENEWAL, ANN.oid, NOW)
    assert left
    [copy] = left.copies
    assert (copy.item.mailbox, copy.version) == (BEN.oid, 0)
    after = update(left, BEN, of(BEN))
    assert shown(after) == SAME
    assert after.content
    assert after.content.activity.mailbox == BEN.oid
    assert after.revision > left.revision


def test_change_that_waited_for_another_copy_is_read_again_when_that_one_is_untracked() -> None:
    before = tracked_by((ANN, RENEWAL), (BEN, ACCOUNT))
    waiting = update(before, ANN, of(ANN, "new"))
    left = remove_regarding(waiting, ACCOUNT, BEN.oid, NOW)
    assert left
    assert [copy.version for copy in left.copies] == [0]
    assert shown(update(left, ANN, of(ANN, "new"), 2))[1] == "new"


def test_untrack_of_one_of_two_records_reads_nothing_again() -> None:
    before = tracked_by((ANN, RENEWAL), (ANN, ACCOUNT))
    left = remove_regarding(before, RENEWAL, ANN.oid, NOW)
    assert left
    assert left.copies == before.copies


def test_id_of_a_content_differs_from_that_of_an_activity_that_has_changed() -> None:
    assert activity_id(of(ANN), 1) != activity_id(of(ANN))
    assert add_regarding(None, regarding((BEN, ACCOUNT)), of(BEN), NOW, new_id="other").id == "other"


def test_message_from_the_future_is_followed_from_now() -> None:
    late = content(email(at=NOW + timedelta(days=900)))
    assert new_copy(late, 1, NOW).until == NOW + 3 * DAY
    usual = email()
    assert new_copy(content(usual), 1, NOW).until == usual.visible_until
    assert new_copy(content(meeting()), 1, NOW).until == meeting().visible_until


def test_until_of_a_message_stays() -> None:
    before = add_regarding(None, regarding((ANN, RENEWAL)), content(email()), NOW, version=1)
    moved = content(email(visible_until=NOW + 99 * DAY), "another text")
    [copy] = update_source(before, email().key, 2, moved, LATER).copies
    assert copy == replace(before.copies[0], version=2, digest=copy.digest)
