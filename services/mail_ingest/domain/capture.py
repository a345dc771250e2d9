"""Graph's JSON -> an `Activity`, or the reason why the item is not captured.

The functions here are total: every payload of Graph becomes one or the other.
"""

from datetime import datetime
from typing import assert_never

from shared.events import Activity

from .activities import MailboxOwner, NotCaptured, NotCapturedReason, Payload
from .folders import Folders
from .graph_values import MALFORMED_ERRORS
from .kinds import FolderLiveness, KindRow, ViewLiveness

MAX_TEXT = 150_000
"""Characters of subject, addresses and names together. JSON may need six bytes for each, and a message on
Kafka has 1 MiB."""


def capture_item(
    row: KindRow, payload: Payload, owner: MailboxOwner, folders: Folders, now: datetime
) -> Activity | NotCaptured:
    """The activity of an item that is live and within the capture window now."""
    folder = folder_of(row, payload)
    if folder is not None and folder in folders.dead:
        return NotCaptured(NotCapturedReason.DEAD_FOLDER)
    if folder is not None and folder not in folders.live:
        return NotCaptured(NotCapturedReason.UNKNOWN_FOLDER)
    return within_window(row, normalise_item(row, payload, owner, folders), now)


def normalise_item(
    row: KindRow, payload: Payload, owner: MailboxOwner, folders: Folders
) -> Activity | NotCaptured:
    """The activity of an item, in any folder and at any time."""
    try:
        result = row.normalise(payload, owner, folders)
    except MALFORMED_ERRORS:
        return NotCaptured(NotCapturedReason.MALFORMED)
    if isinstance(result, Activity) and _text_length(result) > MAX_TEXT:
        return NotCaptured(NotCapturedReason.TOO_LARGE)
    return result


def within_window(row: KindRow, result: Activity | NotCaptured, now: datetime) -> Activity | NotCaptured:
    """The activity, when it is within the capture window now."""
    if isinstance(result, NotCaptured):
        return result
    is_early = row.enters_by_clock and now < result.visible_from
    if is_early or now >= result.visible_until:
        return NotCaptured(NotCapturedReason.OUT_OF_WINDOW)
    return result


def folder_of(row: KindRow, payload: Payload) -> str | None:
    """The id of the folder that decides whether the item is live; None: the kind has no folders."""
    match row.liveness:
        case FolderLiveness(folder_field):
            return str(payload.get(folder_field) or "")
        case ViewLiveness():
            return None
        case _:
            assert_never(row.liveness)


def _text_length(activity: Activity) -> int:
    people = sum(len(each.address) + len(each.name or "") for each in activity.participants)
    return len(activity.subject) + people
