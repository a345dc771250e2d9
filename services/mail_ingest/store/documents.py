"""The documents of the database: each field is declared once, here or in the domain.

| collection | `_id` | fields |
|---|---|---|
| `mailboxes` | `tenant/mailbox` | `Mailbox` |
| `items` | `tenant/mailbox/item` | `CapturedItem` without `item`; `owner`: the mailbox's `_id`; `by`: holder of the lease under which it was written |
| `stuck_items` | `tenant/mailbox/item` | `StuckItem` without `item` |
| `request_slots` | `tenant/mailbox` | `holder`, `until`, while a person's request has the slot |
| `followed_items` | `tenant/mailbox/item` | `FollowedItem` without `item`; `owner`: the mailbox's `_id`; `expires_at` |
| `subscriptions` | our own id | `GraphSubscription` without `key` |
| `tenants` | its id | `TenantBlock` without `tenant`, while the tenant is blocked |
| `audit` | MongoDB's | `AuditEntry` |
| `instances` | INSTANCE | see `instances.py` |
| `marks` | full name of a topic | see `marks.py` |

`DocumentForm` reads and writes all of them: a named tuple is stored as its parts joined by `/`, a set as a
sorted list, an event as its JSON.
"""  # noqa: E501  # a table's row cannot be wrapped

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.followed_items import FollowedItem
from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.domain.refused_kinds import RefusedKind
from services.mail_ingest.domain.stuck_items import StuckItem
from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.domain.tenants import TenantBlock
from shared.events import ActivityKind, FetchContent, KindRefused, MailboxChanged, MailboxStatus
from shared.keys import MailboxKey, join_key, split_key
from shared.mongodb import Document

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class NotifiedItem:
    """An item that Graph's notifications have named; it is fetched by its id.

    Attributes:
        sequence: differs for a later notification of the same item.
        deleted: the last notification reports that it is deleted.
    """

    kind: ActivityKind
    item: str
    sequence: int
    deleted: bool = False


class Work(StrEnum):
    """The two classes of a mailbox's work, each with the field of its due time."""

    FRESH = "fresh_due_at"
    """Notified items, those that Graph does not find yet among them, and content requests: somebody waits."""
    ROUTINE = "due_at"
    """Everything else: windows, subscriptions, retries, what is pending."""


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The lease of a mailbox, by MongoDB's clock."""

    holder: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox.

    Attributes:
        status, reason, since: the state of its capture, why it is blocked, and since when.
        addresses: the owner's own, normalised; None: to be read from Graph.
        folders: the folder tree; None: to be read from Graph.
        addresses_read_at, folders_read_at: when each was read last; None: it is read with the next window.
        sequence: of the last notification.
        notified_items: items to fetch, each of them once.
        window_due: since when a reading of the window is due at once; None: it is not.
        series_changed_at: since when a change of a series waits for a reading, which alone shows its
            occurrences; None: none does.
        items_dropped_at: since when a reading is to find notified items that were dropped, because too many
            waited; None: none were.
        window_spacing: seconds from the last reading to one for such a cause.
        next_window_at: when the window is read again without a cause; None: now.
        window_failures: readings in a row that failed while Graph answered for the mailbox.
        window_retry_at: no reading of the window before this time.
        content_requests: requests to answer.
        pending_items_due: since when items may be recorded that Kafka has not acknowledged; None: there are
            none, or their publication is in progress.
        next_expiry_at: no item leaves the capture window before this time; None: none will.
        followed_until: no item of the mailbox is followed after this time; None: none is.
        next_entry_at: no item enters the capture window by the clock before this time; None: none will.
        content_retry_at: no request for a content before this time. It is later than now only for a short
            pause, or for Graph's `Retry-After`: a user waits, whatever else has failed.
        sought_items_due_at: when the next item that Graph does not find yet is fetched again.
        stuck_items_due_at: when the next other stuck item is fetched again; None: there is none.
        subscriptions_due_at: when the subscriptions need work; None: now.
        subscription_failures: attempts in a row that left a subscription missing or not renewed.
        refused_kinds: the kinds that Graph refuses, while it answers for another one.
        no_notifications: why Graph sends no notifications of some or all items; None: it sends them.
        lease: None: nobody holds the mailbox.
        fresh_due_at: when the mailbox next has fresh work; see `Work`.
        due_at: when it next has routine work. An index on each finds the mailboxes with work.
        retry_at: no request to Graph before this time.
        failures: syncs in a row that Graph refused; outages between them do not count.
        outages: syncs in a row that Graph did not answer, or throttled.
        complete_as_of: when the window was last read completely.
        missed_by_notifications: changes that the last reconciliation found and no notification had named.
        missed_so_far: the same of the reconciliation in progress.
        version: of the published state; a monotonic version.
        publish_pending: recorded, and Kafka may not have it.
    """

    tenant: str
    mailbox: str
    status: MailboxStatus
    since: datetime
    reason: str | None = None
    enrolled_at: datetime | None = None
    addresses: frozenset[str] | None = None
    folders: Folders | None = None
    addresses_read_at: datetime | None = None
    folders_read_at: datetime | None = None
    sequence: int = 0
    notified_items: tuple[NotifiedItem, ...] = ()
    window_due: datetime | None = None
    series_changed_at: datetime | None = None
    items_dropped_at: datetime | None = None
    window_spacing: int = 0
    next_window_at: datetime | None = None
    window_failures: int = 0
    window_retry_at: datetime | None = None
    pending_items_due: datetime | None = None
    next_expiry_at: datetime | None = None
    next_entry_at: datetime | None = None
    content_requests: tuple[FetchContent, ...] = ()
    followed_until: datetime | None = None
    content_retry_at: datetime | None = None
    sought_items_due_at: datetime | None = None
    stuck_items_due_at: datetime | None = None
    subscriptions_due_at: datetime | None = None
    subscription_failures: int = 0
    refused_kinds: tuple[RefusedKind, ...] = ()
    no_notifications: str | None = None
    lease: LeaseState | None = None
    fresh_due_at: datetime | None = None
    due_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    outages: int = 0
    complete_as_of: datetime | None = None
    missed_by_notifications: int | None = None
    missed_so_far: int = 0
    version: int = 0
    publish_pending: bool = False

    @property
    def key(self) -> MailboxKey:
        """Tenant and owner."""
        return MailboxKey(self.tenant, self.mailbox)

    @property
    def has_stuck_items(self) -> bool:
        """Whether the mailbox may have stuck items, those that Graph does not find yet included."""
        return self.stuck_items_due_at is not None or self.sought_items_due_at is not None

    def to_event(self) -> MailboxChanged:
        """The published state."""
        return MailboxChanged(
            status=self.status,
            reason=self.reason,
            since=self.since,
            enrolled_at=self.enrolled_at,
            complete_as_of=self.complete_as_of,
            missed_by_notifications=self.missed_by_notifications,
            refused_kinds=tuple(
                KindRefused(kind=each.kind, reason=each.reason, since=each.since)
                for each in self.refused_kinds
            ),
            no_notifications=self.no_notifications,
        )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action of an administrator.

    Attributes:
        tenant, mailbox: `*` means all.
        by: the command line and its user, or the API.
        item: the only item that the action is about.
    """

    at: datetime
    action: str
    tenant: str
    mailbox: str
    by: str
    item: str | None = None


class DocumentForm(Generic[F]):
    """Reads and writes the documents of one collection.

    Args:
        form: the dataclass that declares the fields.
        id_field: a field that is not stored, because the document's `_id` holds it.
    """

    def __init__(self, form: type[F], id_field: str | None = None) -> None:
        self._adapter = TypeAdapter(form)
        self._id_field = id_field
        declared = fields(form)  # type: ignore[arg-type]  # a dataclass
        self._names = dict.fromkeys(field.name for field in declared if field.name != id_field).keys()
        self._key_fields = [field.name for field in declared if field.type is MailboxKey]

    def read(self, document: Mapping[str, Any], item_id: str | None = None) -> F:
        """The value of a document; `item_id` is the part of the `_id` that `id_field` names."""
        values = {name: document[name] for name in self._names if name in document}
        for name in self._key_fields:
            values[name] = split_key(MailboxKey, values[name])
        if self._id_field:
            values[self._id_field] = item_id
        return self._adapter.validate_python(values)

    def write(self, value: F) -> Document:
        """All fields of a value."""
        return {name: _to_bson(getattr(value, name)) for name in self._names}

    def write_fields(self, **values: Any) -> Document:
        """Some fields; raises TypeError for one that is not declared."""
        if undeclared := values.keys() - self._names:
            raise TypeError(f"not declared: {', '.join(sorted(undeclared))}")
        return {name: _to_bson(value) for name, value in values.items()}


def _to_bson(value: Any) -> Any:
    if isinstance(value, MailboxKey):
        return join_key(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_bson(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, AbstractSet):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_to_bson(each) for each in value]
    return value


MAILBOX = DocumentForm(Mailbox)
ITEM = DocumentForm(CapturedItem, id_field="item")
STUCK_ITEM = DocumentForm(StuckItem, id_field="item")
FOLLOWED_ITEM = DocumentForm(FollowedItem, id_field="item")
TENANT_BLOCK = DocumentForm(TenantBlock, id_field="tenant")
SUBSCRIPTION = DocumentForm(GraphSubscription, id_field="key")
AUDIT_ENTRY = DocumentForm(AuditEntry)

KEPT_AT_ENROLMENT = frozenset(
    {
        "tenant",
        "mailbox",
        "sequence",
        "content_requests",
        "pending_items_due",
        "followed_until",
        "next_expiry_at",
        "next_entry_at",
        "sought_items_due_at",
        "stuck_items_due_at",
        "lease",
        "fresh_due_at",
        "due_at",
        "version",
        "publish_pending",
    }
)
"""Fields of a mailbox that an enrolment leaves as they are; all others begin anew."""


def enrolment(mailbox: Mailbox) -> Document:
    """The fields that an enrolment sets."""
    written = MAILBOX.write(mailbox)
    return {name: value for name, value in written.items() if name not in KEPT_AT_ENROLMENT}
