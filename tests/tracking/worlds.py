"""Small worlds for the tests of tracking: two tenants, their users, an opportunity and the mail about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.tracking.domain.track_request import Regarding
from services.tracking.domain.tracked_activity import TrackedActivity, add_regarding
from services.tracking.domain.visibility import User
from shared.events import (
    Activity,
    ActivityKind,
    ActivityMatched,
    Content,
    Direction,
    Match,
    Participant,
    ParticipantRole,
)
from shared.keys import RecordKey

NOW = datetime(2096, 11, 24, 12, 0, tzinfo=UTC)
"""The time in most tests: in the future, because MongoDB deletes expired documents by its own clock."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

CONTOSO, FABRIKAM = "tenant-contoso", "tenant-fabrikam"
ANN, BEN = User(CONTOSO, "oid-ann", "Ann Lee"), User(CONTOSO, "oid-ben", "Ben Roy")
EVE = User(FABRIKAM, "oid-eve", "Eve Fox")
ADA = User(CONTOSO, "oid-ada", "Ada Min", admin=True)

RENEWAL = RecordKey(CONTOSO, "opportunity", "renewal")
ACCOUNT = RecordKey(CONTOSO, "account", "fabrikam")
RULES = {
    "opportunity.stakeholder": "is a stakeholder of this opportunity",
    "account.email": "is an address of this account",
}


def email(owner: User = ANN, item: str = "mail-1", **changes: Any) -> Activity:
    """A message that somebody at Fabrikam sent an hour ago, with a stakeholder in Cc."""
    at = changes.pop("at", NOW - HOUR)
    fields: dict[str, Any] = {
        "tenant": owner.tenant,
        "mailbox": owner.oid,
        "item": item,
        "kind": ActivityKind.EMAIL,
        "identity": "<offer@fabrikam.com>",
        "subject": "Our offer",
        "participants": (
            Participant(role=ParticipantRole.FROM, address="joe@fabrikam.com", name="Joe"),
            Participant(role=ParticipantRole.TO, address="team@contoso.com", name=None),
            Participant(role=ParticipantRole.CC, address="ann@fabrikam.com", name="Ann F."),
        ),
        "direction": Direction.INCOMING,
        "at": at,
        "visible_from": at,
        "visible_until": at + 3 * DAY,
        "received_at": at,
        "internet_message_id": "<offer@fabrikam.com>",
        "web_link": f"https://outlook.example/{item}",
    }
    return Activity(**fields | changes)


def meeting(owner: User = ANN, item: str = "meeting-1", **changes: Any) -> Activity:
    """A meeting that begins in an hour."""
    start = changes.pop("start", NOW + HOUR)
    fields: dict[str, Any] = {
        "tenant": owner.tenant,
        "mailbox": owner.oid,
        "item": item,
        "kind": ActivityKind.MEETING,
        "identity": "uid-1",
        "subject": "Kick-off",
        "participants": (
            Participant(role=ParticipantRole.ORGANIZER, address="joe@fabrikam.com", name="Joe"),
            Participant(role=ParticipantRole.REQUIRED, address="ann@fabrikam.com", name=None),
        ),
        "at": start,
        "visible_from": start - 3 * DAY,
        "visible_until": start + HOUR + 3 * DAY,
        "start": start,
        "end": start + HOUR,
        "ical_uid": "uid-1",
    }
    return Activity(**fields | changes)


def matched(activity: Activity, *records: RecordKey) -> ActivityMatched:
    """The activity, matched with these records by its last participant."""
    last = len(activity.participants) - 1
    rule = {"opportunity": "opportunity.stakeholder"}
    matches = tuple(
        Match(type=kind, id=id_, reasons=((rule.get(kind, "account.email"), last),), more=0)
        for _, kind, id_ in records
    )
    return ActivityMatched(activity=activity, matches=matches, rules=RULES, truncated=False)


def content(activity: Activity, text: str = "Dear all,\nhere is our offer.") -> Content:
    """The content of an activity, as mail-ingest fetches it."""
    return Content(activity=activity, text=text, html=False, cut=False)


def regarding(*pairs: tuple[User, RecordKey], at: datetime = NOW) -> tuple[Regarding, ...]:
    """An entry for each user and record."""
    return tuple(Regarding(record, user.oid, at, user.name) for user, record in pairs)


def tracked(activity: Activity, *pairs: tuple[User, RecordKey], now: datetime = NOW) -> TrackedActivity:
    """The activity as tracked by these users on these records."""
    return add_regarding(None, regarding(*pairs), content(activity), now)
