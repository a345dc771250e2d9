"""The simulator's history as a timeline of each item: when it was which activity, and when it was none."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from .normaliser import Expected, FolderTree, Json, Owner, expected_meeting, expected_message

ItemId: TypeAlias = tuple[str, str]
"""Mailbox and item."""

BEGINNING, END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Segment:
    """A time, from `start` until before `end`, in which an item was one activity; None: it was none.

    Attributes:
        before_folders_moved: what it was under the earlier folder trees of its mailbox, where that differs.
            Graph sends no notification when a folder moves with its messages.
    """

    start: datetime
    end: datetime
    expected: Expected | None
    before_folders_moved: tuple[Expected | None, ...] = ()

    def touches(self, first: datetime, last: datetime) -> bool:
        """Whether it has a moment from `first` to `last`, both included."""
        return self.start <= last and self.end > first


Timeline: TypeAlias = list[Segment]
"""The segments of an item, in their order, from `BEGINNING` to `END`."""
_Change: TypeAlias = tuple[datetime, Expected | None, tuple[Expected | None, ...]]
"""When, what an item is since then, and what else under earlier folder trees."""


@dataclass
class _MailboxState:
    """A mailbox at one moment of the history."""

    owner: Owner
    trees: list[FolderTree] = field(default_factory=list)
    """Its folder trees until now."""
    messages: dict[str, Json] = field(default_factory=dict)
    occurrences: dict[str, set[str]] = field(default_factory=dict)
    """Event -> its occurrences."""


def timelines(entries: Iterable[Mapping[str, Any]], owners: Mapping[str, Owner]) -> dict[ItemId, Timeline]:
    """The timelines of all items of these owners' mailboxes."""
    states = {mailbox: _MailboxState(owner) for mailbox, owner in owners.items()}
    changes: defaultdict[ItemId, list[_Change]] = defaultdict(list)
    for entry in entries:
        state = states.get(entry["mailbox"])
        if state is not None:
            at = datetime.fromisoformat(entry["at"])
            for item, expected, *earlier in _apply(state, entry["item"], entry["state"]):
                changes[entry["mailbox"], item].append((at, expected, tuple(earlier)))
    return {key: _segments(each) for key, each in changes.items()}


def _apply(state: _MailboxState, item: str, new: Json | None) -> Iterator[tuple[Any, ...]]:
    """Apply an entry; the items that may have changed by it: what they are, and were under earlier trees."""
    match new:
        case None:
            state.messages.pop(item, None)
            yield item, None
            for occurrence in state.occurrences.pop(item, ()):
                yield occurrence, None
        case {"kind": "folders"}:
            state.trees.append(FolderTree(new["parents"], new["well_known"]))
            for message in state.messages:
                yield message, *_under_all_trees(state, message)
        case {"kind": "message"}:
            state.messages[item] = new
            yield item, *_under_all_trees(state, item)
        case _:
            occurrences = {each["item"]: each for each in new["occurrences"]}
            for gone in state.occurrences.get(item, set()) - occurrences.keys():
                yield gone, None
            state.occurrences[item] = set(occurrences)
            for occurrence, content in occurrences.items():
                yield occurrence, expected_meeting(state.owner, content)


def _under_all_trees(state: _MailboxState, item: str) -> list[Expected | None]:
    """What a message is now, and what else it would be under the earlier folder trees of its mailbox."""
    found: list[Expected | None] = []
    for tree in reversed(state.trees):
        expected = expected_message(state.owner, item, state.messages[item], tree)
        if expected not in found:
            found.append(expected)
    return found


def _segments(changes: list[_Change]) -> Timeline:
    """The changes of an item, cut where the clock lets it in and out; equal neighbours are one segment."""
    ends = [at for at, *_ in changes[1:]] + [END]
    found = [Segment(BEGINNING, changes[0][0], None)]
    for (at, expected, earlier), end in zip(changes, ends, strict=True):
        for segment in _by_the_clock(Segment(at, end, expected, earlier)):
            if segment.start >= segment.end:
                continue
            if (segment.expected, segment.before_folders_moved) == (
                found[-1].expected,
                found[-1].before_folders_moved,
            ):
                found[-1] = replace(found[-1], end=segment.end)
            else:
                found.append(segment)
    return found


def _by_the_clock(segment: Segment) -> Iterator[Segment]:
    if segment.expected is None:
        yield segment
        return
    enters = min(max(segment.start, segment.expected.visible_from), segment.end)
    leaves = min(max(enters, segment.expected.visible_until), segment.end)
    yield Segment(segment.start, enters, None)
    yield replace(segment, start=enters, end=leaves)
    yield Segment(leaves, segment.end, None)
