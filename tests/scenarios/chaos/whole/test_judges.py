"""Each history here has one wrong thing, and the judges find it; all else that may happen is right."""

import pytest

from scenarios.chaos.whole.history import BEGINNING, Operation, Restore
from scenarios.chaos.whole.verdict import Wrong
from shared.events import ActivityUntracked
from tests.scenarios.chaos.histories import ANN, BEN, at, email, message

from .stories import CARLA, DEAL, MAIL, REASONS, TRACKED, Story, entry, event, matched, version

UNTRACKED = ActivityUntracked(tenant="t", activity=TRACKED, revision=version(41))


@pytest.fixture
def story() -> Story:
    return Story()


def test_history_without_a_fault_is_right(story: Story) -> None:
    assert story.judge().findings == []


# -- lost


def test_reason_that_was_there_all_the_time_is_lost(story: Story) -> None:
    story.matches(100, matched(email(), REASONS[:1]))
    story.matches(101, matched(email()))
    assert story.found() == {Wrong.LOST}


def test_withdrawal_without_a_cause_is_lost(story: Story) -> None:
    story.matches(100, None)
    story.matches(101, matched(email()))
    assert story.found() == {Wrong.LOST}


def test_withdrawal_while_the_item_is_gone_has_a_cause(story: Story) -> None:
    story.happens(90, "e1", message(folder="bin"))
    story.captures(91, None)
    story.matches(92, None)
    story.happens(93, "e1", message())
    story.captures(94, email())
    story.matches(95, matched(email()))
    assert story.found() == set()


def test_match_that_is_missing_at_the_end_is_lost(story: Story) -> None:
    story.publishes_record(100, CARLA, emails=["nobody@fabrikam.example"])
    story.matches(101, None)
    story.publishes_record(102, CARLA)
    assert story.found() == {Wrong.LOST}


def test_match_that_tracking_has_not_stored_is_lost(story: Story) -> None:
    story.history.exported = {MAIL: {CARLA}}
    assert story.found() == {Wrong.LOST}


def test_activity_that_is_not_published_is_lost(story: Story) -> None:
    story.happens(50, "e1", message(folder="bin"))
    story.captures(51, None)
    story.happens(52, "e1", message())
    assert Wrong.LOST in story.found()


def test_accepted_track_that_comes_to_nothing_is_lost(story: Story) -> None:
    story.calls(40, Operation.TRACK, CARLA, "e1")
    assert story.found() == {Wrong.LOST}


def test_accepted_track_that_fails_without_a_reason_is_lost(story: Story) -> None:
    story.calls(40, Operation.TRACK, CARLA, "e1")
    story.history.failed = {MAIL: {"no answer"}}
    assert story.found() == {Wrong.LOST}


@pytest.mark.parametrize("copied, is_lost", [(39, False), (60, True)])
def test_accepted_track_is_lost_unless_the_restored_database_cannot_know_it(
    story: Story, copied: float, is_lost: bool
) -> None:
    story.calls(40, Operation.TRACK, CARLA, "e1")
    story.history.restores.append(Restore("tracking", at(copied), at(70)))
    assert story.found() == ({Wrong.LOST} if is_lost else set())


@pytest.mark.parametrize("reason, is_lost", [("no_answer", False), ("private", True)])
def test_track_that_was_pending_in_a_restored_database_has_no_answer(
    story: Story, reason: str, is_lost: bool
) -> None:
    story.calls(40, Operation.TRACK, CARLA, "e1")
    story.history.restores.append(Restore("tracking", at(60), at(70)))
    story.history.failed = {MAIL: {reason}}
    assert story.found() == ({Wrong.LOST} if is_lost else set())


def test_tracked_activity_that_a_lost_database_had_published_is_lost(story: Story) -> None:
    story.history.restores.append(Restore("tracking", BEGINNING, at(70)))
    story.ends(BEN, DEAL)
    assert story.found() == {Wrong.LOST}


def test_suggestion_that_its_owner_does_not_see_is_lost(story: Story) -> None:
    story.ends(ANN, CARLA)
    assert story.found() == {Wrong.LOST}


def test_record_that_is_not_found_is_lost(story: Story) -> None:
    story.answers(50, BEN, DEAL, status=404)
    assert story.found() == {Wrong.LOST}


@pytest.mark.parametrize("status", [503, 404])
def test_record_may_be_unavailable_and_not_found_soon_after_it_was_opened(story: Story, status: int) -> None:
    story.publishes_record(40, DEAL, readers=[f"user:{ANN}"])
    story.publishes_record(45, DEAL)
    story.answers(50, BEN, DEAL, status=status)
    assert story.found() == set()


# -- extra


def test_reason_that_never_held_is_extra(story: Story) -> None:
    story.matches(100, matched(email(), [*REASONS, (*DEAL, "opportunity.stakeholder", 0)]))
    story.matches(101, matched(email()))
    assert story.found() == {Wrong.EXTRA}


def test_reason_of_the_past_is_extra(story: Story) -> None:
    story.publishes_record(-400, DEAL, contact_id=None, stakeholder_ids=["carla"])
    story.publishes_record(-300, DEAL)
    story.matches(100, matched(email(), [REASONS[0], (*DEAL, "opportunity.stakeholder", 0)]))
    story.matches(101, matched(email()))
    assert story.found() == {Wrong.EXTRA, Wrong.LOST}


def test_match_that_is_left_at_the_end_is_extra(story: Story) -> None:
    story.publishes_record(100, DEAL, contact_id=None)
    story.history.exported = {MAIL: {CARLA}}
    assert story.found() == {Wrong.EXTRA}


def test_match_that_tracking_stored_alone_is_extra(story: Story) -> None:
    story.history.exported = {MAIL: {CARLA, DEAL, ("lead", "l")}}
    assert story.found() == {Wrong.EXTRA}


def test_dismissed_suggestion_that_is_shown_is_extra(story: Story) -> None:
    story.calls(40, Operation.DISMISS, CARLA, "e1", status=204)
    assert story.found() == {Wrong.EXTRA}


def test_dismissal_that_was_undone_or_is_unknown_may_be_shown(story: Story) -> None:
    story.calls(40, Operation.DISMISS, CARLA, "e1", status=204)
    story.calls(45, Operation.UNDO, CARLA, "e1", status=204)
    assert story.found() == set()
    story.calls(50, Operation.DISMISS, CARLA, "e1", status=None)
    assert story.found() == set()


def test_message_that_cannot_be_read_is_extra(story: Story) -> None:
    story.history.log.invalid.append("not JSON")
    assert story.found() == {Wrong.EXTRA}


# -- stale


def test_older_activity_after_a_newer_one_is_stale(story: Story) -> None:
    story.happens(50, "e1", message(subject="Changed"))
    story.captures(51, email(subject="Changed"))
    story.matches(52, matched(email(subject="Changed")))
    story.matches(100, matched(email()))
    story.matches(101, matched(email(subject="Changed")))
    story.tracks(60, event(subject="Changed"))
    assert story.found() == {Wrong.STALE}


def test_old_values_on_matches_at_the_end_are_stale(story: Story) -> None:
    story.happens(50, "e1", message(subject="Changed"))
    story.captures(51, email(subject="Changed"))
    story.tracks(60, event(subject="Changed"))
    assert story.found() == {Wrong.STALE}


def test_old_subject_of_a_tracked_activity_is_stale(story: Story) -> None:
    story.happens(50, "e1", message(subject="Changed"))
    story.captures(51, email(subject="Changed"))
    story.matches(52, matched(email(subject="Changed")))
    assert story.found() == {Wrong.STALE}


def test_old_name_of_a_record_is_stale(story: Story) -> None:
    story.publishes_record(100, DEAL, name="Another name")
    assert story.found() == {Wrong.STALE}


def test_old_revision_that_is_the_last_message_is_stale(story: Story) -> None:
    story.tracks(24, event(), recorded=21, counts=False)
    assert story.found() == {Wrong.STALE}


# -- duplicated


def test_two_messages_with_one_number_are_duplicated(story: Story) -> None:
    story.history.log.repeated.append((at(50), "partition 0"))
    assert story.found() == {Wrong.DUPLICATED}


def test_two_entries_of_one_user_are_duplicated(story: Story) -> None:
    story.tracks(23, event(entry(), entry(20.6)))
    story.tracks(24, event())
    assert story.found() == {Wrong.DUPLICATED}


def test_two_states_of_one_revision_are_duplicated(story: Story) -> None:
    story.tracks(23, event(cancelled=True), recorded=22)
    story.tracks(24, event())
    assert story.found() == {Wrong.DUPLICATED}


def test_two_activities_of_one_mail_are_duplicated(story: Story) -> None:
    story.tracks(23, event(activity="t2"), activity="t2")
    for reader in (ANN, BEN):
        story.ends(reader, DEAL, tracked=[(TRACKED, entry()), ("t2", entry())])
    assert story.found() == {Wrong.DUPLICATED}


def test_suggestion_that_is_answered_twice_is_duplicated(story: Story) -> None:
    story.answers(50, ANN, CARLA, suggestions=["e1", "e1"])
    assert story.found() == {Wrong.DUPLICATED}


# -- wrongly public


def test_suggestion_that_another_user_sees_is_wrongly_public(story: Story) -> None:
    story.answers(50, BEN, CARLA, suggestions=["e1"])
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


@pytest.mark.parametrize("seconds, found", [(54, set()), (56, {Wrong.WRONGLY_PUBLIC})])
def test_closed_record_is_wrongly_public_after_15_seconds(
    story: Story, seconds: float, found: set[Wrong]
) -> None:
    story.publishes_record(40, DEAL, readers=[f"user:{ANN}"])
    story.answers(seconds, BEN, DEAL)
    story.publishes_record(100, DEAL)
    assert story.found() == found


def test_deleted_record_that_is_answered_is_wrongly_public(story: Story) -> None:
    story.deletes_record(40, DEAL)
    story.answers(60, BEN, DEAL)
    story.publishes_record(100, DEAL)
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_tile_that_names_a_closed_record_is_wrongly_public(story: Story) -> None:
    story.publishes_record(-300, CARLA, readers=[f"user:{ANN}"])
    story.publishes_record(100, CARLA)
    story.calls(20, Operation.TRACK, CARLA, "e1")
    story.calls(21.5, Operation.UNTRACK, CARLA, TRACKED, status=None)
    story.answers(60, BEN, DEAL, tracked=[(TRACKED, entry(20.5, CARLA))])
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_tile_may_name_a_deleted_record_that_could_be_read(story: Story) -> None:
    story.calls(20, Operation.TRACK, CARLA, "e1")
    story.calls(25, Operation.UNTRACK, CARLA, TRACKED, status=None)
    story.deletes_record(30, CARLA)
    story.answers(60, BEN, DEAL, tracked=[(TRACKED, entry(20.5, CARLA))])
    story.publishes_record(100, CARLA)
    assert story.found() == set()


def test_entry_that_nobody_requested_is_wrongly_public(story: Story) -> None:
    story.tracks(60, event(entry(), entry(50, CARLA, BEN)))
    story.tracks(70, event())
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_entry_that_is_answered_and_nobody_requested_is_wrongly_public(story: Story) -> None:
    story.answers(60, BEN, CARLA, tracked=[(TRACKED, entry(50, CARLA, BEN))])
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def untrack(story: Story) -> None:
    """Ann takes the mail back; it is a suggestion on the deal again."""
    story.calls(40, Operation.UNTRACK, DEAL, TRACKED, status=204)
    story.tracks(41, UNTRACKED)
    story.tracks(41, None)
    story.ends(ANN, DEAL, suggestions=["e1"])
    story.ends(BEN, DEAL)


def test_untracked_activity_that_stays_untracked_is_right(story: Story) -> None:
    untrack(story)
    assert story.found() == set()


def test_untracked_activity_that_is_recorded_again_is_wrongly_public(story: Story) -> None:
    untrack(story)
    story.tracks(60, event())
    story.tracks(61, None)
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_untracked_activity_that_a_restored_database_publishes_is_wrongly_public(story: Story) -> None:
    untrack(story)
    story.tracks(130, event(), recorded=22, counts=False)
    story.tracks(131, None, recorded=41)
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_delayed_message_of_an_older_revision_is_right_when_it_is_overruled(story: Story) -> None:
    untrack(story)
    story.tracks(45, event(), recorded=22, counts=False)
    story.tracks(46, None, recorded=45)
    assert story.found() == set()


def test_untracked_activity_that_is_answered_is_wrongly_public(story: Story) -> None:
    untrack(story)
    story.answers(50, BEN, DEAL, tracked=[(TRACKED, entry())])
    assert story.found() == {Wrong.WRONGLY_PUBLIC}


def test_activity_that_is_tracked_again_is_right(story: Story) -> None:
    untrack(story)
    story.calls(60, Operation.TRACK, DEAL, "e1")
    story.tracks(62, event(entry(60.5)))
    story.answers(63, BEN, DEAL, tracked=[(TRACKED, entry(60.5))])
    for reader in (ANN, BEN):
        story.ends(reader, DEAL, tracked=[(TRACKED, entry(60.5))])
    assert story.found() == set()


def test_readers_of_the_past_on_the_topic_are_wrongly_public(story: Story) -> None:
    story.publishes_record(100, DEAL, readers=[f"user:{ANN}"])
    story.history.final = [each for each in story.history.final if (each.reader, each.record) != (BEN, DEAL)]
    assert story.found() == {Wrong.WRONGLY_PUBLIC}
