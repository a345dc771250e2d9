"""The judge sees each kind of fault, and no fault where there is none."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from scenarios.chaos.judge import FaultKind
from scenarios.chaos.normaliser import expected_meeting
from scenarios.chaos.timelines import Timeline
from scenarios.chaos.topic_log import Reading
from shared.events import Activity
from tests.scenarios.chaos.histories import (
    ANN,
    BEN,
    FOLDERS,
    OWNERS,
    Story,
    appointment,
    at,
    email,
    meeting,
    message,
)

THREE_DAYS = timedelta(days=3)


@pytest.fixture
def story() -> Story:
    return Story()


# -- right ----------------------------------------------------------------------------------------


def test_arrival_change_and_deletion_that_are_published_are_right(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(11, "e1", message(subject="Offer"))
    story.publishes(12, email(subject="Offer"))
    story.happens(33, "e1", None)
    story.publishes(34, None)
    verdict = story.judge()
    assert verdict.findings == []
    assert verdict.checked["messages"] == 3
    assert verdict.checked["states after two readings"] == 2, "the first state did not last for two"


def test_change_that_shows_nothing_needs_no_message(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(9, "e1", message(folder="root"))
    assert story.faults() == []


def test_message_that_a_crash_repeats_is_right(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.publishes(5, email())
    assert story.faults() == []


def test_change_that_two_readings_had_no_time_for_is_right(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(51, "e1", message(subject="Offer"))
    assert story.faults() == []


def test_value_that_was_overtaken_before_it_was_recorded_is_right(story: Story) -> None:
    story.happens(2, "e1", message())
    story.happens(2.9, "e1", message(subject="Offer"))
    story.publishes(3, email())
    story.publishes(4, email(subject="Offer"))
    assert story.faults() == []


@pytest.mark.parametrize("folder", ["junk", "bin", "old", "elsewhere"])
def test_return_from_a_folder_that_is_not_live_needs_both_messages(story: Story, folder: str) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(11, "e1", message(folder=folder))
    story.publishes(12, None)
    story.happens(33, "e1", message())
    story.publishes(34, email())
    assert story.faults() == []
    del story.log.items[ANN, "e1"][1]
    assert story.faults() == [FaultKind.EXTRA]


OWN_FOLDER = FOLDERS | {"parents": FOLDERS["parents"] | {"own": "root"}}  # type: ignore[operator]
OWN_FOLDER_DELETED = FOLDERS | {"parents": FOLDERS["parents"] | {"own": "bin"}}  # type: ignore[operator]


def test_folder_that_moves_takes_its_messages_along_when_the_tree_is_read(story: Story) -> None:
    story.happens(1, "", OWN_FOLDER)
    story.happens(2, "e1", message(folder="own"))
    story.publishes(3, email())
    story.happens(11, "", OWN_FOLDER_DELETED)
    assert story.faults() == [], "the tree is known for a minute"
    story.log.readings[ANN] += [Reading(at(each), at(each + 1), 0) for each in (70, 80, 90)]
    assert story.faults() == [FaultKind.EXTRA]
    story.publishes(80, None)
    assert story.faults() == []


def test_change_of_a_message_whose_folder_has_moved_may_be_published_before(story: Story) -> None:
    story.happens(1, "", OWN_FOLDER)
    story.happens(2, "e1", message(folder="own"))
    story.publishes(3, email())
    story.happens(11, "", OWN_FOLDER_DELETED)
    story.happens(12, "e1", message(folder="own", subject="Offer"))
    story.publishes(13, email(subject="Offer"))
    story.publishes(24, None)
    assert story.faults() == []
    story.publishes(25, email())
    assert story.faults()[0] == FaultKind.STALE


def test_activity_leaves_by_the_clock(story: Story) -> None:
    old = {"received": (at(12) - THREE_DAYS).isoformat()}
    visible = {
        "received_at": at(12) - THREE_DAYS,
        "at": at(12) - THREE_DAYS,
        "visible_from": at(12) - THREE_DAYS,
        "visible_until": at(12),
    }
    story.happens(2, "e1", message(**old))
    story.publishes(3, email(**visible))
    assert story.faults() == [FaultKind.EXTRA]
    story.publishes(13, None)
    assert story.faults() == []


def test_meeting_enters_by_the_clock(story: Story) -> None:
    start, end = at(12) + THREE_DAYS, at(72) + THREE_DAYS
    entering = {"start": start, "end": end}
    times = {**entering, "at": start, "visible_from": at(12), "visible_until": end + THREE_DAYS}
    story.happens(2, "m1", meeting(**{name: time.isoformat() for name, time in entering.items()}))
    assert story.faults() == [FaultKind.MISSING]
    story.publishes(13, appointment(**times), "m1")
    assert story.faults() == []


def test_meeting_before_it_enters_is_extra(story: Story) -> None:
    start, end = at(50) + THREE_DAYS, at(100) + THREE_DAYS
    times = {"start": start, "end": end}
    story.happens(2, "m1", meeting(**{name: time.isoformat() for name, time in times.items()}))
    story.publishes(
        3, appointment(**times, at=start, visible_from=at(50), visible_until=end + THREE_DAYS), "m1"
    )
    assert set(story.faults()) == {FaultKind.EXTRA}


def test_occurrence_that_leaves_its_series_is_gone(story: Story) -> None:
    both = meeting(item="m1", original_start=at(3600).isoformat())
    both["occurrences"] += meeting(item="m2", uid="uid2")["occurrences"]
    story.happens(2, "series", both)
    story.publishes(3, appointment(original_start=at(3600)), "m1")
    story.publishes(3, appointment(item="m2", ical_uid="uid2", identity="im2"), "m2")
    story.happens(12, "series", {"kind": "event", "occurrences": both["occurrences"][:1]})
    assert story.faults() == [FaultKind.EXTRA]
    story.publishes(13, None, "m2")
    assert story.faults() == []


# -- wrong ----------------------------------------------------------------------------------------


def test_item_that_is_not_published_is_missing(story: Story) -> None:
    story.happens(2, "e1", message())
    assert story.faults() == [FaultKind.MISSING]


def test_item_that_is_published_after_two_readings_was_missing(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(30, email())
    assert story.faults() == [FaultKind.MISSING]


def test_deleted_item_that_is_not_withdrawn_is_extra(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(25, "e1", None)
    assert story.faults() == [FaultKind.EXTRA]


def test_item_that_was_never_there_is_extra(story: Story) -> None:
    story.publishes(3, email())
    assert set(story.faults()) == {FaultKind.EXTRA}


@pytest.mark.parametrize("state", [{"draft": True}, {"about_meeting": True}, {"folder": "junk"}])
def test_message_that_is_no_activity_is_extra(story: Story, state: dict[str, Any]) -> None:
    story.happens(2, "e1", message(**state))
    story.publishes(3, email())
    assert set(story.faults()) == {FaultKind.EXTRA}


def test_change_that_is_not_published_is_stale(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(25, "e1", message(subject="Offer"))
    assert story.faults() == [FaultKind.STALE]


@pytest.mark.parametrize("published", [email(), appointment()], ids=["email", "meeting"])
@pytest.mark.parametrize("name", sorted(Activity.model_fields.keys() - {"identity", "kind", "item"}))
def test_every_field_is_compared(story: Story, published: Activity, name: str) -> None:
    is_email = published.kind == "email"
    story.happens(2, published.item, message() if is_email else meeting())
    story.publishes(3, _with_another(published, name), published.item)
    assert set(story.faults()) == {FaultKind.STALE}


def _with_another(activity: Activity, name: str) -> Activity:
    value = getattr(activity, name)
    others: dict[str, Any] = {
        "participants": activity.participants[::-1],
        "direction": "outgoing",
        "sensitivity": "private",
        "all_day": not value,
        "cancelled": not value,
    }
    if name.endswith("_at") or name in {
        "at",
        "start",
        "end",
        "original_start",
        "visible_from",
        "visible_until",
    }:
        others[name] = at(99)
    return Activity(**{**activity.model_dump(), name: others.get(name, "another")})


def test_old_value_after_a_newer_one_is_stale(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(5, "e1", message(subject="Offer"))
    story.publishes(6, email(subject="Offer"))
    story.publishes(7, email())
    story.publishes(8, email(subject="Offer"))
    assert story.faults() == [FaultKind.STALE]


def test_tombstone_of_a_live_item_is_wrongly_gone_although_it_comes_back(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.publishes(5, None)
    story.publishes(6, email())
    assert story.faults() == [FaultKind.WRONGLY_GONE]


def test_expiry_as_published_is_a_cause_although_the_meeting_was_prolonged(story: Story) -> None:
    def starting(time: datetime) -> tuple[dict[str, Any], Activity]:
        """A meeting of a minute."""
        end = time + timedelta(minutes=1)
        times = {"start": time, "end": end}
        visible = {"at": time, "visible_from": time - THREE_DAYS, "visible_until": end + THREE_DAYS}
        return meeting(**{name: each.isoformat() for name, each in times.items()}), appointment(
            **times, **visible
        )

    (old, old_activity), (new, new_activity) = starting(at(-48) - THREE_DAYS), starting(at(-48))
    story.happens(2, "m1", old)
    story.publishes(3, old_activity, "m1")
    story.happens(11.9, "m1", new)
    story.publishes(12.1, None, "m1")
    story.publishes(13, new_activity, "m1")
    assert story.faults() == []
    story.publishes(14, None, "m1")
    story.publishes(15, new_activity, "m1")
    assert story.faults() == [FaultKind.WRONGLY_GONE]


def test_tombstone_for_an_earlier_deletion_is_wrongly_gone(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(4, "e1", message(folder="junk"))
    story.happens(5, "e1", message())
    story.publishes(6, email())
    story.publishes(7, None)
    story.publishes(8, email())
    assert story.faults() == [FaultKind.WRONGLY_GONE]


def test_activity_after_its_end_is_extra_although_it_is_withdrawn_again(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(4, "e1", None)
    story.publishes(5, None)
    story.publishes(6, email())
    story.publishes(7, None)
    assert story.faults() == [FaultKind.EXTRA]


@pytest.mark.parametrize("version", [1, int(at(3).timestamp() * 1_000_000)])
def test_version_that_does_not_grow_is_disordered(story: Story, version: int) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.publishes(5, email(), version=version)
    assert FaultKind.DISORDERED in story.faults()


@pytest.mark.parametrize(
    "second, identity", [("<1@fabrikam.example>", "i2"), ("<2@fabrikam.example>", "i1")], ids=["two", "one"]
)
def test_copies_have_one_identity_and_others_another(story: Story, second: str, identity: str) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(2, "e2", message(message_id=second), BEN)
    copy = email(mailbox=BEN, item="e2", internet_message_id=second, identity=identity)
    story.publishes(3, copy, "e2", BEN)
    assert story.faults() == [FaultKind.WRONG_IDENTITY]


def test_mailbox_that_is_not_read_twice_after_the_changes_is_unread(story: Story) -> None:
    story.log.readings[BEN] = story.log.readings[BEN][:3]
    assert story.faults() == [FaultKind.UNREAD]


def test_message_that_cannot_be_read_is_invalid(story: Story) -> None:
    story.log.invalid.append("activities-0 at 17: value_not_json")
    assert story.faults() == [FaultKind.INVALID]


# -- faults of items ------------------------------------------------------------------------------


def test_item_that_could_not_be_fetched_may_be_late(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.happens(11, "e1", None)
    story.obstructed[ANN, "e1"] = [at(12), at(14)]
    story.publishes(30, None)
    assert story.faults() == []
    del story.log.items[ANN, "e1"][-1]
    assert story.faults() == [FaultKind.EXTRA], "it may be late, and must arrive"


def test_item_that_could_not_be_fetched_is_not_gone(story: Story) -> None:
    story.happens(2, "e1", message())
    story.publishes(3, email())
    story.obstructed[ANN, "e1"] = [at(12)]
    story.publishes(13, None)
    story.publishes(14, email())
    assert story.faults() == [FaultKind.WRONGLY_GONE]


def test_outage_that_is_over_excuses_nothing(story: Story) -> None:
    story.obstructed[ANN, "e1"] = [at(-300)]
    story.happens(2, "e1", message())
    assert story.faults() == [FaultKind.MISSING]


# -- one reading ----------------------------------------------------------------------------------


def test_one_reading_without_notifications_must_find_everything(story: Story) -> None:
    story.happens(12, "e1", message())
    assert story.faults_after_one_reading(15) == [FaultKind.MISSING]
    story.publishes(20.5, email())
    assert story.faults_after_one_reading(15) == []


def test_what_one_reading_publishes_later_is_not_of_this_reading(story: Story) -> None:
    story.happens(12, "e1", message())
    story.publishes(22, email())
    assert story.faults_after_one_reading(15) == [FaultKind.MISSING]


def test_mailbox_without_a_reading_is_unread(story: Story) -> None:
    story.happens(12, "e1", message())
    assert story.faults_after_one_reading(61) == [FaultKind.UNREAD]


def test_normaliser_knows_every_field_of_an_activity(story: Story) -> None:
    [occurrence] = meeting()["occurrences"]
    assert expected_meeting(OWNERS[ANN], occurrence).fields.keys() == Activity.model_fields.keys() - {
        "identity"
    }
    story.happens(2, "e1", message())
    timeline: Timeline = story.evidence.timelines[ANN, "e1"]
    assert timeline[1].expected is not None
    assert timeline[1].expected.fields.keys() == Activity.model_fields.keys() - {"identity"}
