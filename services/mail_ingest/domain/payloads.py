"""What any payload of Graph's becomes, judged by itself: for people who want to see it, offline."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.events import Activity

from .capture import Owner, Refused, in_its_time, of_event, of_message

EVENT_FIELDS = {"start", "end", "attendees", "organizer", "iCalUId", "seriesMasterId", "recurrence"}
MESSAGE_FIELDS = {"from", "sender", "toRecipients", "internetMessageId", "receivedDateTime", "isDraft"}
"""Fields of the one that the other does not have; Graph names the type only in mixed collections."""

NOT_OF_MAIL = "neither_message_nor_event"
ONLY_A_HINT = "notification"  # its item is fetched by its id
GONE = "gone"  # a delta's or a notification's word that it is not there


def judged(payload: Any, owner: Owner, now: datetime | None) -> Iterator[Activity | str]:
    """What it becomes: one answer for it, or one for each of a collection's values.

    Args:
        payload: any JSON of Graph's.
        owner: of the mailbox that it is from.
        now: judge also whether it is in its time, as of this moment.
    """
    values = payload.get("value") if isinstance(payload, dict) else None
    for value in values if isinstance(values, list) else [payload]:
        yield _judged(value, owner, now)


def _judged(value: Any, owner: Owner, now: datetime | None) -> Activity | str:
    if not isinstance(value, dict):
        return NOT_OF_MAIL
    if "subscriptionId" in value:
        return ONLY_A_HINT
    if "@removed" in value:
        return GONE
    kind = str(value.get("@odata.type", "")).lower().rpartition(".")[2]
    if kind.startswith("eventmessage") or kind == "message" or (not kind and MESSAGE_FIELDS & value.keys()):
        taken = of_message(value, owner)
    elif kind == "event" or (not kind and EVENT_FIELDS & value.keys()):
        taken = of_event(value, owner)
    else:
        return NOT_OF_MAIL
    if now is not None and isinstance(taken, Activity):
        taken = in_its_time(taken, now)
    return str(taken.reason) if isinstance(taken, Refused) else taken
