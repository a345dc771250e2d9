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
    """A time, from `start` until before `end`, in which an item was one activity; None: it was none."""

    start: datetime
    end: datetime
    expected: Expected | None

    def touches(self, first: datetime, last: datetime) -> bool:
        """Whether it has a moment from `first` to `last`, both included."""
        return self.start <= last and self.end > first


Timeline: TypeAlias = list[Segment]
"""The segments of an item, in their order, from `BEGINNING` to `END`."""


@dataclass
class _MailboxState:
    """A mailbox at one moment of the history."""

    owner: Owner
    folders: FolderTree | None = None
    messages: dict[str, Json] = field(default_factory=dict)
    occurrences: dict[str, set[str]] = field(default_factory=dict)
    """Event -> its occurrences."""


def timelines(entries: Iterable[Mapping[str, Any]], owners: Mapping[str, Owner]) -> dict[ItemId, Timeline]:
    """The timelines of all items of these owners' mailboxes."""
    states = {mailbox: _MailboxState(owner) for mailbox, owner in owners.items()}
    changes: defaultdict[ItemId, list[tuple[datetime, Expected | None]]] = defaultdict(list)
    for entry in entries:
        state = states.get(entry["mailbox"])
        if state is not None:
            at = datetime.fromisoformat(entry["at"])
            for item, expected in _apply(state, entry["item"], entry["state"]):
                changes[entry["mailbox"], item].append((at, expected))
    return {key: _segments(each) for key, each in changes.items()}


def _apply(state: _MailboxState, item: str, new: Json | None) -> Iterator[tuple[str, Expected | None]]:
    """Apply an entry; the items that may have changed by it."""
    match new:
        case None:
            state.messages.pop(item, None)
            yield item, None
            for occurrence in state.occurrences.pop(item, ()):
                yield occurrence, None
        case {"kind": "folders"}:
            state.folders = FolderTree(new["parents"], new["well_known"])
            for message, content in state.messages.items():
                yield message, expected_message(state.owner, message, content, state.folders)
        case {"kind": "message"}:
            assert state.folders is not None, "a mailbox has folders before it has messages"  # noqa: S101
            state.messages[item] = new
            yield item, expected_message(state.owner, item, new, state.folders)
        case _:
            occurrences = {each["item"]: each for each in new["occurrences"]}
            for gone in state.occurrences.get(item, set()) - occurrences.keys():
                yield gone, None
            state.occurrences[item] = set(occurrences)
            for occurrence, content in occurrences.items():
                yield occurrence, expected_meeting(state.owner, content)


def _segments(changes: list[tuple[datetime, Expected | None]]) -> Timeline:
    """The changes of an item, cut where the clock lets it in and out; equal neighbours are one segment."""
    ends = [at for at, _ in changes[1:]] + [END]
    found = [Segment(BEGINNING, changes[0][0], None)]
    for (at, expected), end in zip(changes, ends, strict=True):
        for segment in _by_the_clock(Segment(at, end, expected)):
            if segment.start >= segment.end:
                continue
            if segment.expected == found[-1].expected:
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
    yield Segment(enters, leaves, segment.expected)
    yield Segment(leaves, segment.end, None)
