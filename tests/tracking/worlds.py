"""Small worlds for the tests of tracking: two tenants, three users, an opportunity and what is mailed about it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.tracking.domain.activity import Ask, Tracked, track
from services.tracking.domain.visibility import User
from shared.events import Activity, ActivityMatched, Content, Direction, Kind, Match, Participant, Role

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

CONTOSO, FABRIKAM = "tenant-contoso", "tenant-fabrikam"
ANN, BEN = User(CONTOSO, "oid-ann", "Ann Lee"), User(CONTOSO, "oid-ben", "Ben Roy")
EVE = User(FABRIKAM, "oid-eve", "Eve Fox")
ADA = User(CONTOSO, "oid-ada", "Ada Min", admin=True)

RENEWAL = (CONTOSO, "opportunity", "renewal")
ACCOUNT = (CONTOSO, "account", "fabrikam")
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
        "kind": Kind.EMAIL,
        "identity": "<offer@fabrikam.com>",
        "subject": "Our offer",
        "participants": (
            Participant(role=Role.FROM, address="joe@fabrikam.com", name="Joe"),
            Participant(role=Role.TO, address="team@contoso.com", name=None),
            Participant(role=Role.CC, address="ann@fabrikam.com", name="Ann F."),
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
        "kind": Kind.MEETING,
        "identity": "uid-1",
        "subject": "Kick-off",
        "participants": (
            Participant(role=Role.ORGANIZER, address="joe@fabrikam.com", name="Joe"),
            Participant(role=Role.REQUIRED, address="ann@fabrikam.com", name=None),
        ),
        "at": start,
        "visible_from": start - 3 * DAY,
        "visible_until": start + HOUR + 3 * DAY,
        "start": start,
        "end": start + HOUR,
        "ical_uid": "uid-1",
    }
    return Activity(**fields | changes)


def matched(activity: Activity, *records: tuple[str, str, str]) -> ActivityMatched:
    """The activity related to these records, by its last participant."""
    last = len(activity.participants) - 1
    rule = {"opportunity": "opportunity.stakeholder"}
    matches = tuple(
        Match(type=kind, id=id_, reasons=((rule.get(kind, "account.email"), last),), more=0)
        for _, kind, id_ in records
    )
    return ActivityMatched(activity=activity, matches=matches, rules=RULES, truncated=False)


def content(activity: Activity, text: str = "Dear all,\nhere is our offer.") -> Content:
    """Its text, as fetched."""
    return Content(activity=activity, text=text, html=False, cut=False)


def asks(*pairs: tuple[User, tuple[str, str, str]], at: datetime = NOW) -> tuple[Ask, ...]:
    """Who asked to track on what."""
    return tuple(Ask(record, user.oid, at, user.name) for user, record in pairs)


def tracked(activity: Activity, *pairs: tuple[User, tuple[str, str, str]], now: datetime = NOW) -> Tracked:
    """The activity as tracked by these on those."""
    return track(None, asks(*pairs), content(activity), now)


def subjects(tiles: Sequence[Any]) -> list[str]:
    return [tile.suggestion.activity.subject for tile in tiles]
