"""What Graph's JSON becomes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail_ingest.domain.capture import (
    MOST_TEXT,
    Owner,
    Reason,
    Refused,
    of_event,
    of_item,
    of_message,
)
from services.mail_ingest.domain.folders import Folders
from shared.events import Activity, Direction, Kind, Participant, Role, Sensitivity

ANN = Owner("t", "ann", frozenset({"ann@contoso.com", "a@contoso.com"}))
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FOLDERS = Folders(live=frozenset({"inbox", "sent"}), dead=frozenset({"junk"}), sent=frozenset({"sent"}))


def person(address: Any, name: str | None = None) -> dict[str, Any]:
    return {"emailAddress": {"address": address, "name": name}}


def message(**changes: Any) -> dict[str, Any]:
    made = {
        "id": "m1",
        "parentFolderId": "inbox",
        "subject": "Offer",
        "from": person("x@fabrikam.com", "X"),
        "sender": person("delegate@fabrikam.com"),
        "replyTo": [person("reply@fabrikam.com")],
        "toRecipients": [person("Ann@Contoso.com")],
        "ccRecipients": [person("bo@fabrikam.com")],
        "bccRecipients": [person("hidden@fabrikam.com")],
        "receivedDateTime": "2026-11-24T10:00:00Z",
        "sentDateTime": "2026-11-24T09:59:00Z",
        "internetMessageId": "<1@fabrikam.com>",
    }
    return {**made, **changes}


def event(**changes: Any) -> dict[str, Any]:
    made = {
        "id": "e1",
        "type": "singleInstance",
        "iCalUId": "uid-1",
        "subject": "Kick-off",
        "start": {"dateTime": "2026-11-24T14:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-24T15:00:00.0000000", "timeZone": "UTC"},
        "organizer": person("ann@contoso.com"),
        "attendees": [
            {"type": "required", **person("ann@contoso.com")},
            {"type": "optional", **person("bo@fabrikam.com")},
            {"type": "resource", **person("room@contoso.com")},
        ],
    }
    return {**made, **changes}


def mail(**changes: Any) -> Activity:
    taken = of_message(message(**changes), ANN)
    assert isinstance(taken, Activity)
    return taken


def meeting(**changes: Any) -> Activity:
    taken = of_event(event(**changes), ANN)
    assert isinstance(taken, Activity)
    return taken


def why(taken: Activity | Refused) -> str:
    assert isinstance(taken, Refused)
    return taken.reason


def test_participants_are_from_to_and_cc_verbatim_and_nobody_else() -> None:
    assert mail().participants == (
        Participant(role=Role.FROM, address="x@fabrikam.com", name="X"),
        Participant(role=Role.TO, address="Ann@Contoso.com", name=None),
        Participant(role=Role.CC, address="bo@fabrikam.com", name=None),
    )


def test_an_organizer_who_attends_has_both_roles_and_rooms_take_no_part() -> None:
    assert [(each.role, each.address) for each in meeting().participants] == [
        (Role.ORGANIZER, "ann@contoso.com"),
        (Role.REQUIRED, "ann@contoso.com"),
        (Role.OPTIONAL, "bo@fabrikam.com"),
    ]


@pytest.mark.parametrize(
    "recipients",
    [None, [], [None], [{}], [person("")], [person("  ")], [person(None)], [{"emailAddress": None}]],
)
def test_recipients_without_an_address_are_skipped(recipients: Any) -> None:
    assert [each.role for each in mail(toRecipients=recipients).participants] == [Role.FROM, Role.CC]


def test_what_is_no_address_stays_as_it_is() -> None:
    legacy = "/O=EXCHANGELABS/OU=EXCHANGE ADMINISTRATIVE GROUP/CN=RECIPIENTS/CN=ADELEV"
    assert mail(**{"from": person(legacy)}).participants[0].address == legacy


@pytest.mark.parametrize(
    "sender, sent, direction",
    [
        ("x@fabrikam.com", False, Direction.INCOMING),
        ("A@contoso.com", False, Direction.OUTGOING),
        ("shared@contoso.com", True, Direction.OUTGOING),
    ],
)
def test_outgoing_is_what_is_from_her_or_lies_in_sent_items(
    sender: str, sent: bool, direction: Direction
) -> None:
    taken = of_message(message(**{"from": person(sender)}), ANN, sent=sent)

    assert isinstance(taken, Activity)
    assert taken.direction is direction
    assert taken.at == (taken.received_at if direction is Direction.INCOMING else taken.sent_at)


def test_a_mail_is_visible_for_three_days_and_a_meeting_for_three_days_around_it() -> None:
    assert (mail().visible_from, mail().visible_until) == (mail().at, mail().at + timedelta(days=3))
    kick_off = meeting()
    assert kick_off.start is not None
    assert kick_off.end is not None
    assert (kick_off.visible_from, kick_off.visible_until) == (
        kick_off.start - timedelta(days=3),
        kick_off.end + timedelta(days=3),
    )


def test_copies_have_one_identity_and_reused_message_ids_do_not() -> None:
    same = mail(id="m2", toRecipients=[])

    assert mail().identity == same.identity
    assert mail().identity != mail(sentDateTime="2026-11-24T08:00:00Z").identity
    assert mail().identity != mail(**{"from": person("y@fabrikam.com")}).identity
    assert mail().identity == mail(**{"from": person("X@FABRIKAM.com")}).identity
    assert mail(internetMessageId=None).identity != mail(internetMessageId=None, id="m2").identity


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


@pytest.mark.parametrize(
    "taken, reason",
    [
        (of_message(message(isDraft=True), ANN), Reason.DRAFT),
        (
            of_message(message(receivedDateTime=None, sentDateTime="0001-01-01T00:00:00Z"), ANN),
            Reason.NO_DATE,
        ),
        (of_message(message(toRecipients="x"), ANN), Reason.MALFORMED),
        (of_message(message(receivedDateTime="datetime-value"), ANN), Reason.MALFORMED),
        (of_message({}, ANN), Reason.NO_DATE),
        (of_message(message(subject="x" * (MOST_TEXT + 1)), ANN), Reason.TOO_LARGE),
        (of_event(event(type="seriesMaster"), ANN), Reason.SERIES_MASTER),
        (of_event(event(start=None), ANN), Reason.NO_DATE),
        (of_event(event(end={"dateTime": None}), ANN), Reason.NO_DATE),
        (
            of_event(
                event(start={"dateTime": "2026-11-24T14:00:00", "timeZone": "Pacific Standard Time"}), ANN
            ),
            Reason.TIME_ZONE,
        ),
        (
            of_event(
                event(start={"dateTime": "2026-11-24T14:00:00", "timeZone": "tzone://Microsoft/Custom"}), ANN
            ),
            Reason.TIME_ZONE,
        ),
        (of_event(event(attendees=["x"]), ANN), Reason.MALFORMED),
        (
            of_event(
                event(start={"dateTime": "9999-12-31T00:00:00"}, end={"dateTime": "9999-12-31T00:00:00"}), ANN
            ),
            Reason.MALFORMED,
        ),
    ],
)
def test_what_is_no_activity_has_a_reason(taken: Activity | Refused, reason: Reason) -> None:
    assert why(taken) == reason


@pytest.mark.parametrize("kind", ["eventMessage", "eventMessageRequest", "eventMessageResponse"])
def test_mail_about_meetings_is_none(kind: str) -> None:
    assert why(of_message(message(**{"@odata.type": f"#microsoft.graph.{kind}"}), ANN)) == Reason.MEETING_MAIL


def test_times_may_have_seven_digits_an_offset_or_an_iana_zone() -> None:
    assert mail(receivedDateTime="2026-11-24T15:30:00.1234567+05:30").received_at == datetime(
        2026, 11, 24, 10, 0, 0, 123456, UTC
    )
    assert meeting(start={"dateTime": "2026-11-24T14:00:00", "timeZone": "Europe/Berlin"}).start == datetime(
        2026, 11, 24, 13, tzinfo=UTC
    )


def test_a_whole_day_and_a_cancelled_meeting_say_so() -> None:
    day = {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "UTC"}
    assert meeting(isAllDay=True, isCancelled=True, start=day).model_dump(
        include={"all_day", "cancelled"}
    ) == {"all_day": True, "cancelled": True}


def test_sensitivity_comes_from_the_event_or_the_extended_property() -> None:
    def extended(value: str) -> dict[str, Any]:
        return {"singleValueExtendedProperties": [{"id": "Integer 0x36", "value": value}]}

    assert meeting(sensitivity="confidential").sensitivity is Sensitivity.CONFIDENTIAL
    assert [mail(**extended(str(number))).sensitivity for number in range(4)] == [
        "normal",
        "personal",
        "private",
        "confidential",
    ]
    assert mail(**extended("9")).sensitivity is Sensitivity.NORMAL
    assert mail().sensitivity is Sensitivity.NORMAL


@pytest.mark.parametrize(
    "folder, reason",
    [
        ("inbox", None),
        ("sent", None),
        ("junk", Reason.DEAD_FOLDER),
        ("elsewhere", Reason.UNKNOWN_FOLDER),
        (None, Reason.UNKNOWN_FOLDER),
    ],
)
def test_a_message_is_live_in_a_live_folder_only(folder: str | None, reason: Reason | None) -> None:
    taken = of_item(Kind.EMAIL, message(parentFolderId=folder), ANN, FOLDERS, NOW)

    assert (taken.reason if isinstance(taken, Refused) else None) == reason


@pytest.mark.parametrize(
    "kind, payload, inside",
    [
        (Kind.EMAIL, message(receivedDateTime="2026-11-21T12:00:01Z"), True),
        (Kind.EMAIL, message(receivedDateTime="2026-11-21T12:00:00Z"), False),
        (Kind.EMAIL, message(receivedDateTime="2026-11-24T12:00:30Z"), True),
        (
            Kind.MEETING,
            event(start={"dateTime": "2026-11-27T12:00:00"}, end={"dateTime": "2026-11-27T13:00:00"}),
            True,
        ),
        (
            Kind.MEETING,
            event(start={"dateTime": "2026-11-27T12:00:01"}, end={"dateTime": "2026-11-27T13:00:00"}),
            False,
        ),
        (
            Kind.MEETING,
            event(start={"dateTime": "2026-11-20T12:00:00"}, end={"dateTime": "2026-11-21T12:00:01"}),
            True,
        ),
        (
            Kind.MEETING,
            event(start={"dateTime": "2026-11-20T12:00:00"}, end={"dateTime": "2026-11-21T12:00:00"}),
            False,
        ),
    ],
)
def test_the_window_is_three_days_either_way(kind: Kind, payload: dict[str, Any], inside: bool) -> None:
    taken = of_item(kind, payload, ANN, FOLDERS, NOW)

    assert isinstance(taken, Activity) is inside
