from services.tracking.domain.tracked_activity import activity_id, add_regarding, remove_regarding, to_event
from services.tracking.domain.visibility import DefaultReaders, KnownRecord, RecordAbsence
from shared.clock import to_micros
from shared.events import ActivityTracked, ActivityUntracked, Participant, ParticipantRole
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

READERS = DefaultReaders({"*": ("*",)})
RECORDS = {
    RENEWAL: KnownRecord(RENEWAL, "Fleet renewal", ("user:oid-ann",)),
    ACCOUNT: KnownRecord(ACCOUNT, "Fabrikam"),
}


def test_content_makes_one_activity_with_all_entries_of_the_request() -> None:
    after = add_regarding(None, regarding((ANN, RENEWAL), (ANN, ACCOUNT)), content(email()), NOW)
    assert [(entry.record, entry.by) for entry in after.regarding] == [(RENEWAL, ANN.oid), (ACCOUNT, ANN.oid)]
    assert after.revision == to_micros(NOW)


def test_same_content_twice_changes_nothing() -> None:
    once = tracked(email(), (ANN, RENEWAL))
    assert add_regarding(once, regarding((ANN, RENEWAL)), content(email()), NOW + HOUR) is once


def test_second_owner_joins_and_the_first_copy_is_shown() -> None:
    first = tracked(email(ANN), (ANN, RENEWAL))
    both = add_regarding(first, regarding((BEN, RENEWAL)), content(email(BEN, "mail-of-ben")), NOW + HOUR)
    assert both.id == first.id
    assert both.content
    assert both.content.activity.mailbox == ANN.oid
    assert [entry.by for entry in both.regarding] == [ANN.oid, BEN.oid]
    assert both.revision > first.revision


def test_copies_that_differ_in_line_ends_names_or_order_have_one_id() -> None:
    ann, ben = email(ANN), email(BEN)
    shuffled = tuple(person.model_copy(update={"name": "?"}) for person in reversed(ben.participants))
    other = ben.model_copy(update={"participants": shuffled})
    assert activity_id(content(ann, "a\nb\n")) == activity_id(content(other, "a \r\nb"))


def test_another_text_participant_identity_or_tenant_has_its_own_id() -> None:
    mail = email()
    more = Participant(role=ParticipantRole.TO, address="x@y.z", name=None)
    others = [
        content(mail, "another text"),
        content(mail.model_copy(update={"participants": (*mail.participants, more)})),
        content(mail.model_copy(update={"identity": "<other@fabrikam.com>"})),
        content(mail.model_copy(update={"tenant": "another"})),
    ]
    assert len({activity_id(each) for each in [content(mail), *others]}) == 5


def test_untrack_removes_one_entry_of_one_user() -> None:
    first = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    both = add_regarding(first, regarding((BEN, RENEWAL)), content(email()), NOW)
    left = remove_regarding(both, RENEWAL, ANN.oid, NOW)
    assert left
    assert [(entry.record, entry.by) for entry in left.regarding] == [(ACCOUNT, ANN.oid), (RENEWAL, BEN.oid)]
    assert left.content == both.content
    assert left.revision > both.revision
    assert remove_regarding(left, RENEWAL, ANN.oid, NOW) is None


def test_last_untrack_removes_the_content() -> None:
    untracked = remove_regarding(tracked(email(), (ANN, RENEWAL)), RENEWAL, ANN.oid, NOW)
    assert untracked
    assert untracked.content is None
    assert not untracked.is_tracked
    event = to_event(untracked, RECORDS.get, READERS.resolve, publish_subjects=True)
    assert event == ActivityUntracked(
        tenant=untracked.tenant, activity=untracked.id, revision=untracked.revision
    )


def test_tracked_again_has_a_greater_revision_and_the_new_copy() -> None:
    untracked = remove_regarding(tracked(email(ANN), (ANN, RENEWAL)), RENEWAL, ANN.oid, NOW)
    assert untracked
    again = add_regarding(untracked, regarding((BEN, RENEWAL)), content(email(BEN)), NOW - HOUR)
    assert again.revision == untracked.revision + 1
    assert again.content
    assert again.content.activity.mailbox == BEN.oid


def test_revision_rises_when_the_clock_was_set_back() -> None:
    first = tracked(email(), (ANN, RENEWAL))
    more = add_regarding(first, regarding((BEN, ACCOUNT)), content(email()), NOW - DAY)
    fewer = remove_regarding(more, ACCOUNT, BEN.oid, NOW - DAY)
    assert fewer
    none = remove_regarding(fewer, RENEWAL, ANN.oid, NOW - DAY)
    assert none
    assert [each.revision - first.revision for each in (more, fewer, none)] == [1, 2, 3]


def test_event_has_each_record_s_present_name_and_readers() -> None:
    activity = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    event = to_event(activity, RECORDS.get, READERS.resolve, publish_subjects=True)
    assert isinstance(event, ActivityTracked)
    assert [(entry.id, entry.name, entry.deleted, entry.readers) for entry in event.regarding] == [
        ("renewal", "Fleet renewal", False, ("user:oid-ann",)),
        ("fabrikam", "Fabrikam", False, ("*",)),
    ]


def test_event_has_no_body_and_no_address() -> None:
    event = to_event(tracked(email(), (ANN, RENEWAL)), RECORDS.get, READERS.resolve, publish_subjects=True)
    text = event.model_dump_json()
    assert "Dear all" not in text
    # Message ids look like addresses and are none.
    assert "@" not in text.replace("<offer@fabrikam.com>", "")


def test_subjects_can_be_left_out_of_events() -> None:
    event = to_event(tracked(email(), (ANN, RENEWAL)), RECORDS.get, READERS.resolve, publish_subjects=False)
    assert isinstance(event, ActivityTracked)
    assert event.subject is None


def test_absent_record_keeps_its_last_readers_and_loses_its_name() -> None:
    for absence in RecordAbsence:
        record = KnownRecord(RENEWAL, "a hidden name", ("user:oid-ann",), absence=absence)
        activity = tracked(email(), (ANN, RENEWAL))
        event = to_event(activity, {RENEWAL: record}.get, READERS.resolve, publish_subjects=True)
        assert isinstance(event, ActivityTracked)
        [entry] = event.regarding
        assert (entry.name, entry.deleted, entry.readers) == (None, True, ("user:oid-ann",))


def test_unknown_record_is_readable_only_for_the_user_who_tracked() -> None:
    event = to_event(tracked(email(), (ANN, RENEWAL)), lambda _: None, READERS.resolve, publish_subjects=True)
    assert isinstance(event, ActivityTracked)
    [entry] = event.regarding
    assert (entry.name, entry.deleted, entry.readers) == (None, True, ("user:oid-ann",))
