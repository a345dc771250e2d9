"""The table of activity kinds: everything that differs between an e-mail and a meeting.

A new kind is a new member of `ActivityKind` and one row here. No other module of mail-ingest branches by
kind; the table is passed in where it is needed, and code that branches by `Liveness` is exhaustive
(`assert_never`).
"""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from shared.events import Activity, ActivityKind

from .activities import MailboxOwner, NotCaptured
from .emails import FOLDER_FIELD, SENSITIVITY_PROPERTY, normalise_message
from .folders import Folders
from .graph_values import format_time
from .meetings import normalise_event
from .payload_reader import PayloadReader

Normaliser: TypeAlias = Callable[[str, PayloadReader, MailboxOwner, Folders], Activity | NotCaptured]
"""Item id, payload, owner of the mailbox, its folder tree -> the activity, or why there is none."""


@dataclass(frozen=True, slots=True)
class FolderLiveness:
    """An item is live while it lies in a live folder of the mailbox's folder tree.

    An item that the window no longer shows is fetched by its id, and is gone when Graph does not find it.

    Attributes:
        folder_field: field of the payload that holds the folder's id.
    """

    folder_field: str


@dataclass(frozen=True, slots=True)
class ViewLiveness:
    """An item has no folder; it is live while Graph finds it and the window shows it.

    Attributes:
        max_missing_views: an item that this many complete windows in a row lack is gone: the item may
            move while one window is read.
    """

    max_missing_views: int


Liveness: TypeAlias = FolderLiveness | ViewLiveness


@dataclass(frozen=True, slots=True)
class WindowQuery:
    """The Graph query that returns all items of the capture window.

    Attributes:
        path: below `users/{id}`.
        options: start and end of the window -> query options beside `$select`, `$expand` and `$top`.
    """

    path: str
    options: Callable[[datetime, datetime], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of activity.

    Attributes:
        resource: path of its items below `users/{id}`; an item is at `{resource}/{item id}`.
        select: the fields that an activity is made of; no body, no preview, no Bcc.
        expand: Graph's `$expand`, or None.
        window: the query of the capture window.
        normalise: makes the activity. `capture.normalise_item` adds what holds for all kinds.
        liveness: the rule by which a captured item is gone.
        enters_by_clock: an activity is captured only from its `visible_from` on. False: it is captured
            at once; an e-mail from a clock ahead of ours is not too early.
        has_series: a notification may name a series; only a window shows its occurrences.
        subscribed_resource: path below `users/{id}` of the Graph subscription.
        change_types: Graph's `changeType` of that subscription.
        graph_type: matches the last part of `@odata.type`, in lower case.
        distinctive_fields: fields that no other kind has. Graph writes the type of an item only in mixed
            collections. (Drafts of both kinds have `isDraft`.)
    """

    kind: ActivityKind
    resource: str
    select: tuple[str, ...]
    expand: str | None
    window: WindowQuery
    normalise: Normaliser
    liveness: Liveness
    enters_by_clock: bool
    has_series: bool
    subscribed_resource: str
    change_types: str
    graph_type: re.Pattern[str]
    distinctive_fields: frozenset[str]


KindTable: TypeAlias = Mapping[ActivityKind, KindRow]


def kind_table(*rows: KindRow) -> KindTable:
    """A table of these rows, in this order."""
    return MappingProxyType({row.kind: row for row in rows})


def folder_kinds(kinds: KindTable) -> AbstractSet[ActivityKind]:
    """The kinds whose items are live by their folders; without the folder tree nothing is known of them."""
    return {kind for kind, row in kinds.items() if isinstance(row.liveness, FolderLiveness)}


ALL_CHANGES = "created,updated,deleted"

EMAIL = KindRow(
    kind=ActivityKind.EMAIL,
    resource="messages",
    select=(
        "id",
        "changeKey",
        "parentFolderId",
        "isDraft",
        "subject",
        "from",
        "toRecipients",
        "ccRecipients",
        "receivedDateTime",
        "sentDateTime",
        "internetMessageId",
        "conversationId",
        "webLink",
    ),
    expand=f"singleValueExtendedProperties($filter=id eq '{SENSITIVITY_PROPERTY}')",
    # Messages of all folders; the folder tree decides which of them are live.
    window=WindowQuery("messages", lambda start, _: {"$filter": f"receivedDateTime ge {format_time(start)}"}),
    normalise=normalise_message,
    liveness=FolderLiveness(FOLDER_FIELD),
    enters_by_clock=False,
    has_series=False,
    subscribed_resource="messages",  # all folders of the mailbox
    change_types=ALL_CHANGES,
    graph_type=re.compile(r"message|eventmessage.*|calendarsharingmessage"),
    distinctive_fields=frozenset({"from", "sender", "toRecipients", "internetMessageId", "receivedDateTime"}),
)

MEETING = KindRow(
    kind=ActivityKind.MEETING,
    resource="events",
    select=(
        "id",
        "changeKey",
        "type",
        "subject",
        "organizer",
        "attendees",
        "start",
        "end",
        "isAllDay",
        "isCancelled",
        "sensitivity",
        "iCalUId",
        "originalStart",
        "seriesMasterId",
        "webLink",
    ),
    expand=None,
    # A view shows a series as its occurrences.
    window=WindowQuery(
        "calendarView",
        lambda start, end: {"startDateTime": format_time(start), "endDateTime": format_time(end)},
    ),
    normalise=normalise_event,
    liveness=ViewLiveness(max_missing_views=2),
    enters_by_clock=True,
    has_series=True,
    subscribed_resource="events",  # the primary calendar
    change_types=ALL_CHANGES,
    graph_type=re.compile("event"),
    distinctive_fields=frozenset(
        {"start", "end", "attendees", "organizer", "iCalUId", "seriesMasterId", "recurrence"}
    ),
)

KINDS = kind_table(EMAIL, MEETING)
"""THE TABLE. A payload is of the first row that recognises it."""
