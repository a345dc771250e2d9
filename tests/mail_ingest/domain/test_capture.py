"""Graph's JSON -> activities."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail_ingest.domain.activities import MailboxOwner, NotCaptured, NotCapturedReason
from services.mail_ingest.domain.capture import NormalisedItem, capture_item, normalise_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import EMAIL, KINDS, MEETING
from services.mail_ingest.domain.payload_reader import LATEST_TIME, Oddity
from shared.events import Activity, ActivityKind, Direction, Participant, ParticipantRole, Sensitivity
from shared.topics import MAX_ACTIVITY_BYTES

from .payloads import event, message, person

ANN = MailboxOwner("t", "ann", frozenset({"ann@contoso.com", "a@contoso.com"}))
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FOLDERS = Folders(live=frozenset({"inbox", "sent"}), dead=frozenset({"junk"}), sent=frozenset({"sent"}))


def captured_message(payload: dict[str, Any]) -> NormalisedItem:
    return normalise_item(EMAIL, "m1", payload, ANN, FOLDERS)


def captured_event(payload: dict[str, Any]) -> NormalisedItem:
    return normalise_item(MEETING, "e1", payload, ANN, FOLDERS)


def activity_of(captured: NormalisedItem) -> Activity:
    assert isinstance(captured.state, Activity)
    return captured.state


def email(**changes: Any) -> Activity:
    payload = message(**changes)
    return activity_of(normalise_item(EMAIL, payload["id"], payload, ANN, FOLDERS))


def meeting(**changes: Any) -> Activity:
    return activity_of(captured_event(event(**changes)))


def reason_of(captured: NormalisedItem) -> str:
    assert isinstance(captured.state, NotCaptured)
    return captured.state.reason


def test_participants_are_from_to_and_cc_verbatim_and_no_others() -> None:
    assert email().participants == (
        Participant(role=ParticipantRole.FROM, address="x@fabrikam.com", name="X"),
        Participant(role=ParticipantRole.TO, address="Ann@Contoso.com", name=None),
        Participant(role=ParticipantRole.CC, address="bo@fabrikam.com", name=None),
    )


def test_organizer_who_attends_has_both_roles_and_a_resource_has_none() -> None:
    assert [(each.role, each.address) for each in meeting().participants] == [
        (ParticipantRole.ORGANIZER, "ann@contoso.com"),
        (ParticipantRole.REQUIRED, "ann@contoso.com"),
        (ParticipantRole.OPTIONAL, "bo@fabrikam.com"),
    ]


@pytest.mark.parametrize(
    "recipients",
    [None, [], [None], [{}], [person("")], [person("  ")], [person(None)], [{"emailAddress": None}]],
)
def test_recipients_without_an_address_are_skipped(recipients: Any) -> None:
    roles = [each.role for each in email(toRecipients=recipients).participants]
    assert roles == [ParticipantRole.FROM, ParticipantRole.CC]


def test_invalid_address_is_kept_verbatim() -> None:
    legacy = "/O=EXCHANGELABS/OU=EXCHANGE ADMINISTRATIVE GROUP/CN=RECIPIENTS/CN=ADELEV"
    assert email(**{"from": person(legacy)}).participants[0].address == legacy


@pytest.mark.parametrize(
    "sender, folder, direction",
    [
        ("x@fabrikam.com", "inbox", Direction.INCOMING),
        ("A@contoso.com", "inbox", Direction.OUTGOING),
        ("shared@contoso.com", "sent", Direction.OUTGOING),
    ],
)
def test_email_from_the_owner_or_in_sent_items_is_outgoing(
    sender: str, folder: str, direction: Direction
) -> None:
    activity = email(**{"from": person(sender)}, parentFolderId=folder)

    assert activity.direction is direction
    assert activity.at == (activity.received_at if direction is Direction.INCOMING else activity.sent_at)


def test_email_is_visible_for_three_days_and_meeting_for_three_days_around_it() -> None:
    assert (email().visible_from, email().visible_until) == (email().at, email().at + timedelta(days=3))
    kick_off = meeting()
    assert kick_off.start is not None
    assert kick_off.end is not None
    assert (kick_off.visible_from, kick_off.visible_until) == (
        kick_off.start - timedelta(days=3),
        kick_off.end + timedelta(days=3),
    )


def test_copies_have_one_identity_and_reused_message_ids_have_several() -> None:
    copy = email(id="m2", toRecipients=[])

    assert email().identity == copy.identity
    assert email().identity != email(sentDateTime="2026-11-24T08:00:00Z").identity
    assert email().identity != email(**{"from": person("y@fabrikam.com")}).identity
    assert email().identity == email(**{"from": person("X@FABRIKAM.com")}).identity
    assert email(internetMessageId=None).identity != email(id="m2", internetMessageId=None).identity


def test_occurrences_of_a_series_differ_by_their_original_start() -> None:
    first = meeting(type="occurrence", originalStart="2026-11-24T14:00:00Z")
    moved = meeting(
        type="exception",
        originalStart="2026-11-24T14:00:00Z",
        start={"dateTime": "2026-11-24T16:00:00", "timeZone": "UTC"},
    )
    second = meeting(type="occurrence", originalStart="2026-11-25T14:00:00Z")

    assert first.identity == moved.identity != second.identity
    assert meeting().original_start is None


def start_in(zone: str) -> dict[str, Any]:
    return event(start={"dateTime": "2026-11-24T14:00:00", "timeZone": zone})


@pytest.mark.parametrize(
    "captured, reason",
    [
        (captured_message(message(isDraft=True)), NotCapturedReason.DRAFT),
        (
            captured_message(message(receivedDateTime=None, sentDateTime="0001-01-01T00:00:00Z")),
            NotCapturedReason.NO_DATE,
        ),
        (captured_message({}), NotCapturedReason.NO_DATE),
        (captured_message(message(webLink="x" * MAX_ACTIVITY_BYTES)), NotCapturedReason.TOO_LARGE),
        (captured_event(event(type="seriesMaster")), NotCapturedReason.SERIES_MASTER),
        (captured_event(event(start=None, end={"dateTime": None})), NotCapturedReason.NO_DATE),
        (captured_event(start_in("Pacific")), NotCapturedReason.TIME_ZONE),
        (captured_event(start_in("tzone://Microsoft/Custom")), NotCapturedReason.TIME_ZONE),
    ],
)
def test_item_that_is_not_captured_has_a_reason(captured: NormalisedItem, reason: NotCapturedReason) -> None:
    assert reason_of(captured) == reason


@pytest.mark.parametrize("kind", ["eventMessage", "eventMessageRequest", "eventMessageResponse"])
def test_email_about_a_meeting_is_not_captured(kind: str) -> None:
    payload = message(**{"@odata.type": f"#microsoft.graph.{kind}"})
    assert reason_of(captured_message(payload)) == NotCapturedReason.MEETING_MAIL


def test_calendar_sharing_message_is_mail() -> None:
    payload = message(**{"@odata.type": "#microsoft.graph.calendarSharingMessage"})
    assert activity_of(captured_message(payload)).kind is ActivityKind.EMAIL


def test_draft_flag_of_an_event_decides_nothing() -> None:
    assert meeting(isDraft=True) == meeting()


def test_times_may_have_seven_digits_and_an_offset() -> None:
    assert email(receivedDateTime="2026-11-24T15:30:00.1234567+05:30").received_at == datetime(
        2026, 11, 24, 10, 0, 0, 123456, UTC
    )


@pytest.mark.parametrize(
    "zone, hour",
    [
        ("Europe/Berlin", 13),
        ("europe/berlin", 13),
        ("W. Europe Standard Time", 13),
        ("Pacific Standard Time", 22),
        ("UTC", 14),
        ("utc", 14),
        ("Z", 14),
        ("Etc/UTC", 14),
        ("UCT", 14),
        ("tzone://Microsoft/Utc", 14),
        ("Coordinated Universal Time", 14),
        ("(UTC) Coordinated Universal Time", 14),
        (None, 14),
    ],
)
def test_zone_is_known_by_its_iana_or_windows_name_or_as_utc(zone: str | None, hour: int) -> None:
    start = meeting(start={"dateTime": "2026-11-24T14:00:00", "timeZone": zone}).start
    assert start == datetime(2026, 11, 24, hour, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["UTC", "Tokyo Standard Time", "tzone://Microsoft/Custom"])
def test_whole_day_is_a_date_in_every_zone(zone: str) -> None:
    days = [{"dateTime": f"2026-11-{day}T00:00:00.0000000", "timeZone": zone} for day in (24, 25)]
    activity = meeting(isAllDay=True, start=days[0], end=days[1])
    assert activity.all_day
    assert (activity.start, activity.end) == (
        datetime(2026, 11, 24, tzinfo=UTC),
        datetime(2026, 11, 25, tzinfo=UTC),
    )


def test_cancellation_is_captured() -> None:
    assert meeting(isCancelled=True).cancelled


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-08:00"])
def test_meeting_without_end_ends_at_the_latest_time(end: str) -> None:
    activity = meeting(end={"dateTime": end, "timeZone": "Pacific Standard Time"})
    assert activity.end == LATEST_TIME
    assert activity.visible_until == LATEST_TIME + timedelta(days=3)
    assert Activity.model_validate_json(activity.model_dump_json()) == activity


def test_unreadable_end_is_the_start() -> None:
    captured = captured_event(event(end={"dateTime": "soon"}))
    assert activity_of(captured).end == activity_of(captured).start
    assert captured.oddities == {Oddity.UNREADABLE: 1}


UNREADABLE: list[Any] = [None, "x", 7, True, [], {}, [None], ["x"], [[]], [{"emailAddress": "x@y.z"}]]


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize(
    "field", ["subject", "ccRecipients", "internetMessageId", "singleValueExtendedProperties", "webLink"]
)
def test_unreadable_value_of_an_email_is_passed_over_and_the_rest_stays(field: str, value: Any) -> None:
    activity = email(**{field: value})
    assert [each.address for each in activity.participants][:2] == ["x@fabrikam.com", "Ann@Contoso.com"]
    assert activity.received_at == email().received_at


def test_unreadable_entries_are_counted() -> None:
    entries = [None, "Bo", 7, {"emailAddress": "bo@fabrikam.com"}, person("bo@fabrikam.com", name=7)]
    captured = captured_event(event(attendees=entries, subject=5))
    activity = activity_of(captured)
    assert [(each.address, each.name) for each in activity.participants] == [
        ("ann@contoso.com", None),
        ("bo@fabrikam.com", None),
    ]
    assert captured.oddities == {Oddity.UNREADABLE: 6}


def test_half_a_surrogate_pair_is_replaced_wherever_it_is() -> None:
    half, whole = "\ud83d", "\U0001f680"
    captured = captured_message(
        message(
            subject=f"Offer {half} {whole}",
            toRecipients=[person(f"ann{half}@contoso.com", f"Ann {half}{half}")],
            conversationId=half,
        )
    )
    activity = activity_of(captured)
    assert activity.subject == f"Offer \ufffd {whole}"
    assert (activity.participants[1].address, activity.participants[1].name) == (
        "ann\ufffd@contoso.com",
        "Ann \ufffd\ufffd",
    )
    assert captured.oddities == {Oddity.HALF_CHARACTER: 5}
    activity.model_dump_json().encode()


def legacy_people(count: int, name: str) -> list[dict[str, Any]]:
    legacy = "/O=EXCHANGELABS/OU=EXCHANGE ADMINISTRATIVE GROUP (FYDIBOHF23SPDLT)/CN=RECIPIENTS/CN="
    return [person(f"{legacy}{number:064}", name) for number in range(count)]


@pytest.mark.parametrize(
    "people, name, subject, oddities",
    [
        (1000, "Person", "Offer", {}),
        (1000, "Ünlü " * 30, "Offer", {Oddity.NAMES_CUT: 1}),
        (1000, "\x01" * 200, "x" * 200_000, {Oddity.NAMES_CUT: 1, Oddity.SUBJECT_CUT: 1}),
        (1, "X", "\U0001f680" * 100_000, {Oddity.NAMES_CUT: 1, Oddity.SUBJECT_CUT: 1}),
    ],
)
def test_large_activity_loses_names_first_then_its_subject_and_never_an_address(
    people: int, name: str, subject: str, oddities: dict[Oddity, int]
) -> None:
    recipients = legacy_people(people, name)
    captured = captured_message(message(subject=subject, toRecipients=recipients, ccRecipients=None))
    activity = activity_of(captured)

    assert len(activity.model_dump_json().encode()) <= MAX_ACTIVITY_BYTES
    assert [each.address for each in activity.participants[1:]] == [
        each["emailAddress"]["address"] for each in recipients
    ]
    assert subject.startswith(activity.subject)
    assert (activity.subject == subject) is (Oddity.SUBJECT_CUT not in oddities)
    assert all(name.startswith(each.name or "") for each in activity.participants[1:])
    assert captured.oddities == oddities


def test_sensitivity_comes_from_the_event_or_the_extended_property() -> None:
    def extended(value: str) -> dict[str, Any]:
        return {"singleValueExtendedProperties": [{"id": "Integer 0x36", "value": value}]}

    assert meeting(sensitivity="confidential").sensitivity is Sensitivity.CONFIDENTIAL
    assert [email(**extended(str(number))).sensitivity for number in range(4)] == [
        "normal",
        "personal",
        "private",
        "confidential",
    ]
    assert email(**extended("9")).sensitivity is Sensitivity.NORMAL
    assert email().sensitivity is Sensitivity.NORMAL


@pytest.mark.parametrize(
    "folder, reason",
    [
        ("inbox", None),
        ("sent", None),
        ("junk", NotCapturedReason.DEAD_FOLDER),
        ("elsewhere", NotCapturedReason.UNKNOWN_FOLDER),
        (None, NotCapturedReason.UNKNOWN_FOLDER),
    ],
)
def test_message_is_live_in_a_live_folder_only(folder: str | None, reason: NotCapturedReason | None) -> None:
    captured = capture_item(EMAIL, "m1", message(parentFolderId=folder), ANN, FOLDERS, NOW).state

    assert (captured.reason if isinstance(captured, NotCaptured) else None) == reason


def event_between(start: str, end: str) -> dict[str, Any]:
    return event(start={"dateTime": start}, end={"dateTime": end})


@pytest.mark.parametrize(
    "kind, payload, inside",
    [
        (ActivityKind.EMAIL, message(receivedDateTime="2026-11-21T12:00:01Z"), True),
        (ActivityKind.EMAIL, message(receivedDateTime="2026-11-21T12:00:00Z"), False),
        (ActivityKind.EMAIL, message(receivedDateTime="2026-11-24T12:00:30Z"), True),
        (ActivityKind.MEETING, event_between("2026-11-27T12:00:00", "2026-11-27T13:00:00"), True),
        (ActivityKind.MEETING, event_between("2026-11-27T12:00:01", "2026-11-27T13:00:00"), False),
        (ActivityKind.MEETING, event_between("2026-11-20T12:00:00", "2026-11-21T12:00:01"), True),
        (ActivityKind.MEETING, event_between("2026-11-20T12:00:00", "2026-11-21T12:00:00"), False),
    ],
)
def test_capture_window_is_three_days_either_way(
    kind: ActivityKind, payload: dict[str, Any], inside: bool
) -> None:
    captured = capture_item(KINDS[kind], "i1", payload, ANN, FOLDERS, NOW).state

    assert isinstance(captured, Activity) is inside
