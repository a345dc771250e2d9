"""Graph's JSON -> an `Activity`, or the reason why the item is not captured.

The functions here are total: every payload of Graph becomes one or the other.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from shared.events import Activity

from .activities import MailboxOwner, NotCaptured, NotCapturedReason, Payload
from .activity_size import bounded
from .folders import Folders
from .kinds import FolderLiveness, KindRow, ViewLiveness
from .payload_reader import Oddity, PayloadReader


@dataclass(frozen=True, slots=True)
class NormalisedItem:
    """What a payload became.

    Attributes:
        oddities: what the payload had that an activity cannot have.
    """

    state: Activity | NotCaptured
    oddities: Counter[Oddity]


def capture_item(
    row: KindRow, item: str, payload: Payload, owner: MailboxOwner, folders: Folders, now: datetime
) -> NormalisedItem:
    """The activity of an item that is live and within the capture window now."""
    folder = folder_of(row, payload)
    if folder is not None and folder in folders.dead:
        return _not_captured(NotCapturedReason.DEAD_FOLDER)
    if folder is not None and folder not in folders.live:
        return _not_captured(NotCapturedReason.UNKNOWN_FOLDER)
    normalised = normalise_item(row, item, payload, owner, folders)
    return replace(normalised, state=within_window(row, normalised.state, now))


def normalise_item(
    row: KindRow, item: str, payload: Payload, owner: MailboxOwner, folders: Folders
) -> NormalisedItem:
    """The activity of an item, in any folder and at any time.

    Args:
        row: the item's kind.
        item: its id.
        payload: the item as Graph has it.
        owner: of the mailbox that holds it.
        folders: the mailbox's folder tree.
    """
    oddities: Counter[Oddity] = Counter()
    state = row.normalise(item, PayloadReader(payload, oddities), owner, folders)
    if isinstance(state, Activity):
        state = bounded(state, oddities)
    return NormalisedItem(state, oddities)


def within_window(row: KindRow, result: Activity | NotCaptured, now: datetime) -> Activity | NotCaptured:
    """The activity, when it is within the capture window now."""
    if isinstance(result, NotCaptured):
        return result
    if row.enters_by_clock and now < result.visible_from:
        return NotCaptured(NotCapturedReason.OUT_OF_WINDOW, enters_at=result.visible_from)
    return result if now < result.visible_until else NotCaptured(NotCapturedReason.OUT_OF_WINDOW)


def folder_of(row: KindRow, payload: Payload) -> str | None:
    """The id of the folder that decides whether the item is live; None: the kind has no folders."""
    match row.liveness:
        case FolderLiveness(folder_field):
            return PayloadReader(payload, Counter()).text(folder_field) or ""
        case ViewLiveness():
            return None
        case _:
            assert_never(row.liveness)


def _not_captured(reason: NotCapturedReason) -> NormalisedItem:
    return NormalisedItem(NotCaptured(reason), Counter())
