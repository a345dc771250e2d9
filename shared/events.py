"""The JSON values of all messages on Kafka.

Events are past tense, commands imperative. Messages are CloudEvents 1.0 in Kafka's binary mode:
versions, epochs and types are headers (`messages.py`), so that tombstones have them too. Readers
ignore unknown fields, writers never remove one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field

from .clock import MAX_VERSION, Timestamp
from .keys import ItemKey
from .message_parts import MessagePart
from .records import Id

Version: TypeAlias = Annotated[int, Field(ge=0, le=MAX_VERSION)]
Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
ItemId: TypeAlias = Annotated[str, Field(min_length=1, max_length=1000)]
"""Graph's id of an item; it has some 150 characters."""
RequestId: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class Event(MessagePart):
    """The value of a message.

    Attributes:
        ce_type: the CloudEvents type that names the model.
        key_fields: part of the message's key -> path of the field that repeats it. The decoder compares
            both; a path that ends in an absent part of the value is not compared.
    """

    ce_type: ClassVar[str]
    key_fields: ClassVar[Mapping[str, str]] = {}


class ActivityKind(StrEnum):
    """The kind of an item."""

    EMAIL = "email"
    MEETING = "meeting"


class ParticipantRole(StrEnum):
    """The role of a participant. Bcc, Sender and Reply-To are never captured."""

    FROM = "from"
    TO = "to"
    CC = "cc"
    ORGANIZER = "organizer"
    REQUIRED = "required"
    OPTIONAL = "optional"


class Direction(StrEnum):
    """Direction of an e-mail, seen from its mailbox."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Sensitivity(StrEnum):
    """Outlook's sensitivity of an item."""

    NORMAL = "normal"
    PERSONAL = "personal"
    PRIVATE = "private"
    CONFIDENTIAL = "confidential"


SENSITIVITIES_TO_CONFIRM = frozenset({Sensitivity.PERSONAL, Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL})
"""Items of these sensitivities are shared only after the owner confirms it."""


class Participant(MessagePart):
    """One role of one address; an address with two roles is listed twice."""

    role: ParticipantRole
    address: str = Field(description="Verbatim, as the item has it.")
    name: str | None = None


# -- graph-notifications --------------------------------------------------------------------------


class ItemNotified(Event):
    """A Graph change notification named this item; its state is read from Graph."""

    ce_type: ClassVar[str] = "autocapture.item.notified"
    kind: ActivityKind
    item: ItemId
    change: str = Field(description="created, updated or deleted: a deleted item is sought once alone.")


class LifecycleNotified(Event):
    """A Graph lifecycle notification about a subscription."""

    ce_type: ClassVar[str] = "autocapture.subscription.lifecycle"
    subscription: str
    event: str = Field(description="missed, subscriptionRemoved or reauthorizationRequired.")


# -- mailboxes ------------------------------------------------------------------------------------


class MailboxStatus(StrEnum):
    """The state of a mailbox's capture."""

    ENROLLED = "enrolled"
    PAUSED = "paused"
    BLOCKED = "blocked"
    REMOVED = "removed"


class KindRefused(MessagePart):
    """A kind of items that Graph refuses, while the mailbox's other kinds are captured."""

    kind: ActivityKind
    reason: str = Field(description="As that of a blocked mailbox.")
    since: Timestamp


class MailboxChanged(Event):
    """The whole state of a mailbox's capture."""

    ce_type: ClassVar[str] = "autocapture.mailbox.changed"
    status: MailboxStatus
    reason: str | None = Field(
        default=None,
        description="Why it is blocked: access_policy, no_mailbox, throttled, conditional_access, …",
    )
    since: Timestamp = Field(description="When this status began.")
    enrolled_at: Timestamp | None = None
    complete_as_of: Timestamp | None = Field(
        default=None, description="When the window was last read completely."
    )
    missed_by_notifications: Count | None = Field(
        default=None, description="Items that the last reconciliation found and no notification had named."
    )
    refused_kinds: tuple[KindRefused, ...] = Field(
        default=(), description="Kinds that are not captured; what was captured of them stays in its window."
    )
    no_notifications: str | None = Field(
        default=None,
        description="Why Graph sends no notifications of the mailbox's e-mails, meetings or both: capture is "
        "slow, by reconciliations alone. another_environment: another one subscribes the mailbox.",
    )


# -- activities -----------------------------------------------------------------------------------


class Activity(Event):
    """An item as captured: who, when, subject, ids. Never a body."""

    ce_type: ClassVar[str] = "autocapture.activity.captured"
    key_fields: ClassVar[Mapping[str, str]] = {"tenant": "tenant", "mailbox": "mailbox", "item": "item"}
    tenant: str
    mailbox: str = Field(description="The owner's Entra object id.")
    item: ItemId = Field(description="Immutable id of the message or occurrence in that mailbox.")
    kind: ActivityKind
    identity: str = Field(description="Equal for all copies of one message or meeting.")
    subject: str = ""
    participants: tuple[Participant, ...] = ()
    direction: Direction | None = Field(default=None, description="E-mails only.")
    at: Timestamp = Field(description="Position on the timeline: arrival, sending, or the meeting's start.")
    visible_from: Timestamp
    visible_until: Timestamp
    sent_at: Timestamp | None = None
    received_at: Timestamp | None = None
    start: Timestamp | None = None
    end: Timestamp | None = None
    all_day: bool = Field(default=False, description="Start and end are dates: midnights in UTC.")
    cancelled: bool = False
    sensitivity: Sensitivity = Sensitivity.NORMAL
    internet_message_id: str | None = None
    ical_uid: str | None = None
    original_start: Timestamp | None = Field(
        default=None, description="Original start of an occurrence of a series."
    )
    conversation: str | None = None
    web_link: str | None = None

    @property
    def key(self) -> ItemKey:
        """The item that the activity is captured from."""
        return ItemKey(self.tenant, self.mailbox, self.item)


# -- matches --------------------------------------------------------------------------------------


class Match(MessagePart):
    """A record that an activity relates to, with the reasons."""

    type: Id
    id: Id
    reasons: tuple[tuple[str, int], ...] = Field(
        description="At most 5 of (rule, index into the activity's participants)."
    )
    more: Count = Field(default=0, description="Count of the reasons beyond those listed.")


class ActivityMatched(Event):
    """An activity with the complete list of its matches."""

    ce_type: ClassVar[str] = "autocapture.activity.matched"
    key_fields: ClassVar[Mapping[str, str]] = {
        "tenant": "activity.tenant",
        "mailbox": "activity.mailbox",
        "item": "activity.item",
    }
    activity: Activity
    matches: tuple[Match, ...]
    rules: dict[str, str] = Field(
        description="Phrase of each rule in the reasons: `is a stakeholder of this opportunity`."
    )
    truncated: bool = Field(default=False, description="More records match than are listed.")


# -- content-requests and content -----------------------------------------------------------------


class FetchContent(Event):
    """Fetch this item's content for a track request; after the deadline it is not fetched."""

    ce_type: ClassVar[str] = "autocapture.content.fetch"
    request: RequestId = Field(description="Id of the track request.")
    item: ItemId
    kind: ActivityKind
    deadline: Timestamp


class Followed(MessagePart):
    """A tracked item whose changes tracking wants to receive."""

    item: ItemId
    kind: ActivityKind
    version: Version = Field(description="Version of the item in tracking; newer ones are published.")
    until: Timestamp = Field(
        description="3 days after a message's arrival or a meeting's end; now, when it is untracked."
    )
    sensitivity: Sensitivity = Field(
        default=Sensitivity.NORMAL,
        description="The item's sensitivity when its owner tracked it. The item's changes are not published "
        "while it has another one that the owner would have to confirm.",
    )


class FollowItems(Event):
    """Publish the changes of these tracked items; an item not listed again within a day is dropped."""

    ce_type: ClassVar[str] = "autocapture.content.follow"
    items: tuple[Followed, ...] = Field(min_length=1)


class Content(MessagePart):
    """The content that Track shares: the text, and the item as it was when the text was fetched."""

    activity: Activity
    text: str
    html: bool = False
    cut: bool = Field(default=False, description="The text was longer than 900 kB and is cut.")


class ContentAnswered(Event):
    """The content for a track request, or the reason why there is none."""

    ce_type: ClassVar[str] = "autocapture.content.answered"
    key_fields: ClassVar[Mapping[str, str]] = {
        "tenant": "content.activity.tenant",
        "mailbox": "content.activity.mailbox",
    }
    request: RequestId = Field(description="Id of the track request.")
    item: ItemId
    content: Content | None = None
    unavailable: str | None = Field(
        default=None, description="Reason without content: gone, blocked, throttled, …"
    )


class SourceChange(StrEnum):
    """How a followed item changed."""

    CHANGED = "changed"
    CANCELLED = "cancelled"
    GONE = "gone"


class ContentUpdated(Event):
    """A followed item changed; its version is in the header."""

    ce_type: ClassVar[str] = "autocapture.content.updated"
    key_fields: ClassVar[Mapping[str, str]] = {
        "tenant": "content.activity.tenant",
        "mailbox": "content.activity.mailbox",
    }
    item: ItemId
    change: SourceChange
    content: Content | None = Field(
        default=None, description="The current content; null when the item is gone."
    )


# -- tracked-activities ---------------------------------------------------------------------------


class PublishedRegarding(MessagePart):
    """One record that a tracked activity is regarding."""

    type: str
    id: str
    name: str | None = Field(
        default=None, description="At most 200 characters; null when the record is deleted or refused."
    )
    deleted: bool = False
    by: str = Field(description="Entra object id of the user who tracked it.")
    at: Timestamp
    readers: tuple[str, ...] = Field(description="Who may read this entry; resolved, never absent.")


class WithheldRegarding(MessagePart):
    """An entry by which nobody may read: of a state that is too large to be published, or is lost."""

    type: str
    id: str
    by: str = Field(description="Entra object id of the user who tracked it.")
    at: Timestamp


class ActivityTracked(Event):
    """A tracked activity's whole state. No body and no addresses."""

    ce_type: ClassVar[str] = "autocapture.activity.tracked"
    key_fields: ClassVar[Mapping[str, str]] = {"tenant": "tenant", "activity": "activity"}
    tenant: str
    activity: str
    kind: ActivityKind
    direction: Direction | None = None
    owner: str = Field(description="Entra object id of the user whose copy is shown.")
    subject: str | None = Field(
        default=None, description="At most 1,000 characters; null when TRACKING_PUBLISH_SUBJECTS is off."
    )
    at: Timestamp
    sent_at: Timestamp | None = None
    start: Timestamp | None = None
    end: Timestamp | None = None
    all_day: bool = Field(default=False, description="Start and end are dates: midnights in UTC.")
    cancelled: bool = False
    source_gone: bool = False
    internet_message_id: str | None = None
    ical_uid: str | None = None
    regarding: tuple[PublishedRegarding, ...] = Field(
        description="At most 60. Empty when the state is too large to be published: nobody may read it."
    )
    withheld: tuple[WithheldRegarding, ...] = Field(
        default=(),
        description="The entries of a state that is too large to be published. They are for the recovery of "
        "tracking's database, and have no readers: nobody may read the activity by them.",
    )
    revision: Version = Field(description="A monotonic version; the greater one is the newer state.")


class ActivityUntracked(Event):
    """The last regarding entry was removed, or the activity is lost; a tombstone follows."""

    ce_type: ClassVar[str] = "autocapture.activity.untracked"
    key_fields: ClassVar[Mapping[str, str]] = {"tenant": "tenant", "activity": "activity"}
    tenant: str
    activity: str
    revision: Version
    lost: bool = Field(
        default=False,
        description="The content is lost with the database that had it; no user has untracked the activity. "
        "The tombstone follows when an administrator closes the case.",
    )
    withheld: tuple[WithheldRegarding, ...] = Field(
        default=(),
        description="The entries that are lost. They are for the recovery of tracking's database alone.",
    )
