from dataclasses import replace
from datetime import timedelta

from services.tracking.domain.activity import NO_ANSWER, ClaimState, activity_id, claim, event, track, untrack
from services.tracking.domain.visibility import DefaultReaders, Gone, Record
from shared.clock import micros
from shared.events import ActivityTracked, ActivityUntracked, Participant, Role

from .worlds import ACCOUNT, ANN, BEN, HOUR, NOW, RENEWAL, asks, content, email, tracked

TEN_MINUTES = timedelta(minutes=10)
READERS = DefaultReaders({"*": ("*",)})
RECORDS = {RENEWAL: Record(RENEWAL, "Fleet renewal", ("user:oid-ann",)), ACCOUNT: Record(ACCOUNT, "Fabrikam")}


def test_a_claim_is_open_until_its_deadline_and_has_failed_after_it_noted_or_not() -> None:
    [ask] = asks((ANN, RENEWAL))
    opened = claim("c", email(), ask, TEN_MINUTES)
    assert opened.outcome(NOW + timedelta(minutes=9)) == (ClaimState.OPEN, None)
    assert opened.outcome(NOW + TEN_MINUTES) == (ClaimState.FAILED, NO_ANSWER)


def test_a_settled_claim_is_never_open() -> None:
    [ask] = asks((ANN, RENEWAL))
    assert not replace(claim("c", email(), ask, TEN_MINUTES), state=ClaimState.DONE).is_open(NOW)


def test_content_makes_one_activity_with_an_entry_for_each_who_asked() -> None:
    after = track(None, asks((ANN, RENEWAL), (ANN, ACCOUNT)), content(email()), NOW)
    assert [(entry.record, entry.by) for entry in after.regarding] == [(RENEWAL, ANN.oid), (ACCOUNT, ANN.oid)]
    assert after.revision == micros(NOW)


def test_the_same_content_twice_changes_nothing() -> None:
    once = tracked(email(), (ANN, RENEWAL))
    assert track(once, asks((ANN, RENEWAL)), content(email()), NOW + HOUR) is once


def test_a_second_owner_s_copy_joins_and_the_first_is_the_one_shown() -> None:
    first = tracked(email(ANN), (ANN, RENEWAL))
    both = track(first, asks((BEN, RENEWAL)), content(email(BEN, "mail-of-ben")), NOW + HOUR)
    assert both.id == first.id
    assert both.content
    assert both.content.activity.mailbox == ANN.oid
    assert [entry.by for entry in both.regarding] == [ANN.oid, BEN.oid]
    assert both.revision > first.revision


def test_copies_that_differ_in_line_ends_names_or_order_are_the_same() -> None:
    ann, ben = email(ANN), email(BEN)
    shuffled = ben.model_copy(
        update={
            "participants": tuple(
                person.model_copy(update={"name": "?"}) for person in reversed(ben.participants)
            )
        }
    )
    assert activity_id(content(ann, "a\nb\n")) == activity_id(content(shuffled, "a \r\nb"))


def test_another_text_another_participant_or_another_identity_is_an_activity_of_its_own() -> None:
    mail = email()
    more = Participant(role=Role.TO, address="x@y.z", name=None)
    others = [
        content(mail, "another text"),
        content(mail.model_copy(update={"participants": (*mail.participants, more)})),
        content(mail.model_copy(update={"identity": "<other@fabrikam.com>"})),
        content(mail.model_copy(update={"tenant": "another"})),
    ]
    assert len({activity_id(each) for each in [content(mail), *others]}) == 5


def test_untrack_takes_one_s_own_entry_on_that_record_and_no_other() -> None:
    both = track(
        tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT)), asks((BEN, RENEWAL)), content(email()), NOW
    )
    left = untrack(both, RENEWAL, ANN.oid, NOW)
    assert left
    assert [(entry.record, entry.by) for entry in left.regarding] == [(ACCOUNT, ANN.oid), (RENEWAL, BEN.oid)]
    assert left.content == both.content
    assert left.revision > both.revision
    assert untrack(left, RENEWAL, ANN.oid, NOW) is None


def test_with_the_last_entry_the_content_goes() -> None:
    gone = untrack(tracked(email(), (ANN, RENEWAL)), RENEWAL, ANN.oid, NOW)
    assert gone
    assert gone.content is None
    assert not gone.is_live
    assert event(gone, RECORDS.get, READERS.resolved, subjects=True) == ActivityUntracked(
        tenant=gone.tenant, activity=gone.id, revision=gone.revision
    )


def test_tracked_again_it_is_a_greater_revision_with_the_new_copy() -> None:
    gone = untrack(tracked(email(ANN), (ANN, RENEWAL)), RENEWAL, ANN.oid, NOW)
    assert gone
    again = track(gone, asks((BEN, RENEWAL)), content(email(BEN)), NOW - HOUR)
    assert again.revision == gone.revision + 1
    assert again.content
    assert again.content.activity.mailbox == BEN.oid


def test_the_event_has_each_entry_with_its_record_s_name_and_readers_now() -> None:
    said = event(
        tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT)), RECORDS.get, READERS.resolved, subjects=True
    )
    assert isinstance(said, ActivityTracked)
    assert [(entry.id, entry.name, entry.deleted, entry.readers) for entry in said.regarding] == [
        ("renewal", "Fleet renewal", False, ("user:oid-ann",)),
        ("fabrikam", "Fabrikam", False, ("*",)),
    ]


def test_the_event_has_no_body_and_no_address() -> None:
    said = event(
        tracked(email(), (ANN, RENEWAL)), RECORDS.get, READERS.resolved, subjects=True
    ).model_dump_json()
    assert "Dear all" not in said
    # Message ids look like addresses and are none.
    assert "@" not in said.replace("<offer@fabrikam.com>", "")


def test_subjects_can_be_kept_off_the_topic() -> None:
    said = event(tracked(email(), (ANN, RENEWAL)), RECORDS.get, READERS.resolved, subjects=False)
    assert isinstance(said, ActivityTracked)
    assert said.subject is None


def test_a_gone_record_keeps_its_last_readers_and_loses_its_name() -> None:
    for gone in Gone:
        record = Record(RENEWAL, "must not be said", ("user:oid-ann",), gone=gone)
        said = event(tracked(email(), (ANN, RENEWAL)), {RENEWAL: record}.get, READERS.resolved, subjects=True)
        assert isinstance(said, ActivityTracked)
        [entry] = said.regarding
        assert (entry.name, entry.deleted, entry.readers) == (None, True, ("user:oid-ann",))


def test_a_record_that_nobody_knows_is_hidden_from_all_but_who_tracked_on_it() -> None:
    said = event(tracked(email(), (ANN, RENEWAL)), lambda _: None, READERS.resolved, subjects=True)
    assert isinstance(said, ActivityTracked)
    assert said.regarding[0].readers == ("user:oid-ann",)
