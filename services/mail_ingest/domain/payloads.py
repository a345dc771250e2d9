"""The result of any Graph payload by itself; people use it offline (`normalise`)."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.events import Activity

from .activities import MailboxOwner, NotCaptured, NotCapturedReason, Payload
from .capture import normalise_item, within_window
from .folders import Folders
from .kinds import KindRow, KindTable
from .payload_reader import PayloadReader

NEITHER = "neither_message_nor_event"
NOTIFICATION = "notification"  # its item is fetched by its id
GONE = "gone"  # a delta or a notification reports that the item is deleted
EMPTY = "empty"  # a collection without items


def explain_payload(
    payload: Any, owner: MailboxOwner, now: datetime | None, kinds: KindTable
) -> Iterator[Activity | str]:
    """Yields the activity or the reason of no capture: one for an item, one for each item of a collection.

    Args:
        payload: any JSON of Graph.
        owner: of the mailbox that holds the items.
        now: also check the capture window at this time.
        kinds: the table of kinds.
    """
    values = payload.get("value") if isinstance(payload, dict) else None
    if values == []:
        yield EMPTY
    for value in values if isinstance(values, list) else [payload]:
        yield _explain_item(value, owner, now, kinds)


def _explain_item(value: Any, owner: MailboxOwner, now: datetime | None, kinds: KindTable) -> Activity | str:
    if not isinstance(value, dict):
        return NEITHER
    if "subscriptionId" in value:
        return NOTIFICATION
    if "@removed" in value:
        return GONE
    row = _row_of(value, kinds)
    if row is None:
        return NEITHER
    item = PayloadReader(value, Counter()).text("id")
    if item is None:
        return str(NotCapturedReason.MALFORMED)
    result = normalise_item(row, item, value, owner, Folders()).state
    if now is not None:
        result = within_window(row, result, now)
    return str(result.reason) if isinstance(result, NotCaptured) else result


def _row_of(payload: Payload, kinds: KindTable) -> KindRow | None:
    """The first row that recognises a payload, by its type or else by its fields."""
    graph_type = str(payload.get("@odata.type", "")).lower().rpartition(".")[2]
    for row in kinds.values():
        if graph_type and row.graph_type.fullmatch(graph_type):
            return row
        if not graph_type and row.distinctive_fields & payload.keys():
            return row
    return None
