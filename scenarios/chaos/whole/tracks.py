"""What the calls of the users mean for the judges: what was requested, and what was taken back."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from scenarios.chaos.timelines import ItemId
from shared.events import ActivityTracked

from .history import Call, Entry, History, Operation
from .join import RecordId

PRECISION = timedelta(milliseconds=2)
"""MongoDB keeps the time of an entry in milliseconds."""


class Tracks:
    """The calls of all users, and what is published of them.

    A *thing* is a message or a meeting, by the id that its copies have in common.

    Attributes:
        table: what the compacted topic `tracked-activities` holds at the end: the last message of each key.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._calls: defaultdict[tuple[str, RecordId], list[Call]] = defaultdict(list)
        for call in history.calls:
            self._calls[call.user, call.record].append(call)
        last = {activity: each[-1].event for activity, each in history.log.tracked.items() if each}
        self.table = {key: event for key, event in last.items() if isinstance(event, ActivityTracked)}
        self._things: dict[ItemId, str] = {}
        for item, timeline in history.timelines.items():
            fields = next((each.expected.fields for each in timeline if each.expected), None)
            if fields is not None:
                self._things[item] = fields["internet_message_id"] or fields["ical_uid"] or "/".join(item)

    def thing_of_item(self, item: ItemId) -> str | None:
        """None: nobody knows such an item."""
        return self._things.get(item)

    def thing_of_activity(self, activity: str) -> str | None:
        """The thing of a tracked activity; None: nothing was ever published of it."""
        for each in self._history.log.tracked.get(activity, ()):
            if isinstance(each.event, ActivityTracked):
                return each.event.internet_message_id or each.event.ical_uid
        return None

    def thing_of_call(self, call: Call) -> str | None:
        """The thing that a call is about."""
        if call.operation is Operation.UNTRACK:
            return self.thing_of_activity(call.target)
        return self.thing_of_item((call.user, call.target))

    def of(self, user: str, record: RecordId, *operations: Operation) -> Iterator[Call]:
        """A user's calls on a record, in their order."""
        return (call for call in self._calls.get((user, record), ()) if call.operation in operations)

    def was_requested(self, entry: Entry) -> bool:
        """Whether its user called Track when the entry was made; a call without an answer may act later."""
        return any(
            call.sent - PRECISION <= entry.at and (call.is_unknown or entry.at <= call.received)
            for call in self.of(entry.by, entry.record, Operation.TRACK)
            if call.succeeded or call.is_unknown
        )

    def untracked(self, activity: str, entry: Entry) -> Call | None:
        """The untrack that took this entry back for certain."""
        return next(
            (
                call
                for call in self.of(entry.by, entry.record, Operation.UNTRACK)
                if call.target == activity and call.succeeded and entry.at < call.sent
            ),
            None,
        )

    def tracked_on(self, record: RecordId, user: str | None = None) -> set[str | None]:
        """The things that are tracked on a record at the end, by this user or (None) by anybody."""
        return {
            event.internet_message_id or event.ical_uid
            for event in self.table.values()
            if any(entry.record == record and user in {None, entry.by} for entry in entries_of(event))
        }


def entries_of(event: ActivityTracked) -> list[Entry]:
    """The entries of an event."""
    return [Entry((each.type, each.id), each.by, each.at) for each in event.regarding]
