"""Compares the captured items of a mailbox with a complete reading of the window."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from .items import CapturedItem
from .kinds import FolderLiveness, KindTable, ViewLiveness


@dataclass(frozen=True, slots=True)
class WindowComparison:
    """What a reading of the window means for the captured items.

    Attributes:
        to_fetch: items that the window no longer shows. Each is fetched by its id, and is gone when Graph
            does not find it.
        gone: items that too many windows lacked.
        missing: items that this window lacked -> how many windows in a row lacked them now.
        shown_again: items that had been missing.
    """

    to_fetch: tuple[CapturedItem, ...]
    gone: tuple[CapturedItem, ...]
    missing: Mapping[str, int]
    shown_again: tuple[str, ...]


def compare_window(
    live: Iterable[CapturedItem], shown: frozenset[str], now: datetime, kinds: KindTable
) -> WindowComparison:
    """Compares the captured items with a complete reading of the window.

    Args:
        live: the items that are captured and not gone.
        shown: the ids of all items that the window shows.
        now: an item that has expired by now is no longer expected in the window.
        kinds: the table of kinds.
    """
    to_fetch, gone, missing, shown_again = [], [], {}, []
    for captured in live:
        if captured.item in shown:
            if captured.missing:
                shown_again.append(captured.item)
            continue
        if captured.is_expired(now):
            continue
        liveness = kinds[captured.kind].liveness
        match liveness:
            case FolderLiveness():
                to_fetch.append(captured)
            case ViewLiveness(max_missing_views):
                if captured.missing + 1 >= max_missing_views:
                    gone.append(captured)
                else:
                    to_fetch.append(captured)
                    missing[captured.item] = captured.missing + 1
            case _:
                assert_never(liveness)
    return WindowComparison(tuple(to_fetch), tuple(gone), missing, tuple(shown_again))
