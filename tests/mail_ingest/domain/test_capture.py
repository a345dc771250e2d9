"""Graph's JSON -> activities."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail_ingest.domain.activities import MailboxOwner, NotCaptured, NotCapturedReason
from services.mail_ingest.domain.capture import MAX_TEXT, capture_item, normalise_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import EMAIL, KINDS, MEETING
from shared.events import Activity, ActivityKind, Direction, Participant, ParticipantRole, Sensitivity

from .payloads import event, message, person

ANN = MailboxOwner("t", "ann", frozenset({"ann@contoso.com", "a@contoso.com"}))
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FOLDERS = Folders(live=frozenset({"inbox", "sent"}), dead=frozenset({"junk"}), sent=frozenset({"sent"}))


def captured_message(payload: dict[str, Any]) -> Activity | NotCaptured:
    return normalise_item(EMAIL, payload, ANN, FOLDERS)


def captured_event(payload: dict[str, Any]) -> Activity | NotCaptured:
    return normalise_item(MEETING, payload, ANN, FOLDERS)


def email(**changes: Any) -> Activity:
    captured = captured_message(message(**changes))
    assert isinstance(captured, Activity)
    return captured


def meeting(**changes: Any) -> Activity:
    captured = captured_event(event(**changes))
    assert isinstance(captured, Activity)
    return captured


def reason_of(captured: Activity | NotCaptured) -> str:
    assert isinstance(captured, NotCaptured)
    return captured.reason


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
    assert email(internetMessageId=None).identity != email(internetMessageId=None, id="m2").identity


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


END_OF_CALENDAR = {"dateTime": "9999-12-31T00:00:00"}


@pytest.mark.parametrize(
    "captured, reason",
    [
        (captured_message(message(isDraft=True)), NotCapturedReason.DRAFT),
        (
            captured_message(message(receivedDateTime=None, sentDateTime="0001-01-01T00:00:00Z")),
            NotCapturedReason.NO_DATE,
        ),
        (captured_message(message(toRecipients="x")), NotCapturedReason.MALFORMED),
        (captured_message(message(receivedDateTime="datetime-value")), NotCapturedReason.MALFORMED),
        (captured_message({}), NotCapturedReason.NO_DATE),
        (captured_message(message(subject="x" * (MAX_TEXT + 1))), NotCapturedReason.TOO_LARGE),
        (captured_event(event(type="seriesMaster")), NotCapturedReason.SERIES_MASTER),
        (captured_event(event(start=None)), NotCapturedReason.NO_DATE),
        (captured_event(event(end={"dateTime": None})), NotCapturedReason.NO_DATE),
        (captured_event(start_in("Pacific Standard Time")), NotCapturedReason.TIME_ZONE),
        (captured_event(start_in("tzone://Microsoft/Custom")), NotCapturedReason.TIME_ZONE),
        (captured_event(event(attendees=["x"])), NotCapturedReason.MALFORMED),
        (
            captured_event(event(start=END_OF_CALENDAR, end=END_OF_CALENDAR)),
            NotCapturedReason.MALFORMED,
        ),
    ],
)
def test_item_that_is_not_captured_has_a_reason(
    captured: Activity | NotCaptured, reason: NotCapturedReason
) -> None:
    assert reason_of(captured) == reason


@pytest.mark.parametrize("kind", ["eventMessage", "eventMessageRequest", "eventMessageResponse"])
def test_email_about_a_meeting_is_not_captured(kind: str) -> None:
    payload = message(**{"@odata.type": f"#microsoft.graph.{kind}"})
    assert reason_of(captured_message(payload)) == NotCapturedReason.MEETING_MAIL


def test_times_may_have_seven_digits_an_offset_or_an_iana_zone() -> None:
    assert email(receivedDateTime="2026-11-24T15:30:00.1234567+05:30").received_at == datetime(
        2026, 11, 24, 10, 0, 0, 123456, UTC
    )
    assert meeting(start={"dateTime": "2026-11-24T14:00:00", "timeZone": "Europe/Berlin"}).start == datetime(
        2026, 11, 24, 13, tzinfo=UTC
    )


def test_whole_day_and_cancellation_are_captured() -> None:
    day = {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "UTC"}
    activity = meeting(isAllDay=True, isCancelled=True, start=day)
    assert (activity.all_day, activity.cancelled) == (True, True)


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
    captured = capture_item(EMAIL, message(parentFolderId=folder), ANN, FOLDERS, NOW)

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
    captured = capture_item(KINDS[kind], payload, ANN, FOLDERS, NOW)

    assert isinstance(captured, Activity) is inside
