"""The properties that `$filter` and `$orderby` may name, with the type of their literals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from simulator.state.items import SENSITIVITIES
from simulator.state.tenants import User

from . import errors, resources
from .errors import GraphError


class Literal(Enum):
    """How a filter writes the values of a property."""

    TEXT = auto()  # 'text'
    CASELESS = auto()  # 'text', compared without case, as in the directory
    MOMENT = auto()  # 2026-01-31T09:00:00Z
    WALL_TIME = auto()  # '2026-01-31T09:00:00', as the texts in start and end
    FLAG = auto()  # true or false


@dataclass(frozen=True, slots=True)
class Comparable:
    """One property: its literal, how it is read from an item, and its values where they are a fixed set."""

    literal: Literal
    read: Callable[[Any], Any]
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparableType:
    """A type of the schema.

    Attributes:
        name: as Graph writes it in errors.
        comparables: its properties that may be compared.
        others: names, in lower case, of its other properties; None: they are not all known here.
    """

    name: str
    comparables: Mapping[str, Comparable]
    others: frozenset[str] | None

    def find(self, name: str) -> Comparable:
        """A property by its name in any case.

        Raises:
            GraphError: Graph has no such property, or it is not simulated.
        """
        for known, comparable in self.comparables.items():
            if known.lower() == name.lower():
                return comparable
        if self.others is None or name.partition("/")[0].lower() in self.others:
            raise GraphError(errors.NOT_SIMULATED, f"a comparison of {name}")
        raise GraphError(errors.PROPERTY, name, self.name)


def sort_items(items: list[Any], orderby: Sequence[tuple[str, bool]], kind: ComparableType) -> list[Any]:
    """Sort items by `$orderby`.

    Raises:
        GraphError: `$orderby` names a property that cannot be compared.
    """
    for name, descending in reversed(orderby):
        read = kind.find(name).read
        items = sorted(items, key=lambda i: (read(i) is not None, read(i)), reverse=descending)
    return items


_LEVELS = ("low", "normal", "high")

MESSAGE = ComparableType(
    "Microsoft.OutlookServices.Message",
    {
        "receivedDateTime": Comparable(Literal.MOMENT, lambda m: m.received),
        "sentDateTime": Comparable(Literal.MOMENT, lambda m: m.mail.sent),
        "createdDateTime": Comparable(Literal.MOMENT, lambda m: m.created),
        "lastModifiedDateTime": Comparable(Literal.MOMENT, lambda m: m.modified),
        "internetMessageId": Comparable(Literal.TEXT, lambda m: m.mail.internet_message_id),
        "subject": Comparable(Literal.TEXT, lambda m: m.mail.subject),
        "isRead": Comparable(Literal.FLAG, lambda m: m.is_read),
        "isDraft": Comparable(Literal.FLAG, lambda m: m.is_draft),
        "importance": Comparable(Literal.TEXT, lambda m: m.mail.importance, _LEVELS),
        "hasAttachments": Comparable(Literal.FLAG, lambda m: m.mail.has_attachments),
        "parentFolderId": Comparable(Literal.TEXT, lambda m: m.folder),
        "conversationId": Comparable(Literal.TEXT, lambda m: resources.conversation(m.mail)[0]),
        "from/emailAddress/address": Comparable(
            Literal.TEXT, lambda m: m.mail.origin.address if m.mail.origin else None
        ),
    },
    resources.MESSAGE_NAMES,
)
EVENT = ComparableType(
    "Microsoft.OutlookServices.Event",
    {
        "iCalUId": Comparable(Literal.TEXT, resources.ical_uid),
        "start/dateTime": Comparable(Literal.WALL_TIME, lambda o: o.meeting.start),
        "end/dateTime": Comparable(Literal.WALL_TIME, lambda o: o.meeting.end),
        "createdDateTime": Comparable(Literal.MOMENT, lambda o: o.event.created),
        "lastModifiedDateTime": Comparable(Literal.MOMENT, lambda o: o.event.modified),
        "subject": Comparable(Literal.TEXT, lambda o: o.meeting.subject),
        "type": Comparable(
            Literal.TEXT, lambda o: o.kind, ("singleInstance", "occurrence", "exception", "seriesMaster")
        ),
        "isCancelled": Comparable(Literal.FLAG, lambda o: o.meeting.cancelled),
        "isAllDay": Comparable(Literal.FLAG, lambda o: o.meeting.all_day),
        "sensitivity": Comparable(Literal.TEXT, lambda o: o.meeting.sensitivity, SENSITIVITIES),
        "organizer/emailAddress/address": Comparable(
            Literal.TEXT, lambda o: o.meeting.organizer.address if o.meeting.organizer else None
        ),
    },
    resources.EVENT_NAMES,
)
FOLDER = ComparableType(
    "Microsoft.OutlookServices.MailFolder",
    {
        "displayName": Comparable(Literal.TEXT, lambda f: f.name),
        "parentFolderId": Comparable(Literal.TEXT, lambda f: f.parent),
        "isHidden": Comparable(Literal.FLAG, lambda f: f.hidden),
    },
    resources.FOLDER_NAMES,
)


def _user_text(read: Callable[[User], Any]) -> Comparable:
    return Comparable(Literal.CASELESS, read)


USER = ComparableType(
    "Microsoft.Graph.User",
    {
        "id": _user_text(lambda u: u.oid),
        "userPrincipalName": _user_text(lambda u: u.upn),
        "mail": _user_text(lambda u: u.address),
        "displayName": _user_text(lambda u: u.name),
        "accountEnabled": Comparable(Literal.FLAG, lambda _: True),
    },
    None,
)
