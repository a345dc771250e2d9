"""Every message on the bus.

Events are past tense, commands imperative. They are CloudEvents 1.0 in Kafka's binary mode: what
envelopes them stands in headers (`bus.py`), so that tombstones have it too; these models are the
JSON values. Readers ignore unknown fields, writers never remove one.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from .clock import Moment

Stamp: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]


class Event(BaseModel):
    """A message's value. `ce_type` is the CloudEvents type that names its model."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    ce_type: ClassVar[str]


class Part(BaseModel):
    """A part of a message's value."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Kind(StrEnum):
    """What an item is."""

    EMAIL = "email"
    MEETING = "meeting"


class Role(StrEnum):
    """How somebody takes part. Bcc, Sender and Reply-To are never captured."""

    FROM = "from"
    TO = "to"
    CC = "cc"
    ORGANIZER = "organizer"
    REQUIRED = "required"
    OPTIONAL = "optional"


class Direction(StrEnum):
    """Of an e-mail, seen from its mailbox."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Sensitivity(StrEnum):
    """As Outlook knows it."""

    NORMAL = "normal"
    PERSONAL = "personal"
    PRIVATE = "private"
    CONFIDENTIAL = "confidential"


class Participant(Part):
    """One role of one address; who has two roles stands there twice."""

    role: Role
    address: str = Field(description="Verbatim, as the item has it.")
    name: str | None = None


# -- graph-notifications --------------------------------------------------------------------------


class ItemHinted(Event):
    """Graph says that an item of a mailbox changed; only a hint."""

    ce_type: ClassVar[str] = "autocapture.item.hinted"
    kind: Kind
    item: str
    change: str = Field(description="created, updated or deleted; nothing is decided by it.")


class LifecycleNotified(Event):
    """Graph says something about a subscription."""

    ce_type: ClassVar[str] = "autocapture.subscription.lifecycle"
    subscription: str
    event: str = Field(description="missed, subscriptionRemoved or reauthorizationRequired.")


# -- mailboxes ------------------------------------------------------------------------------------


class MailboxStatus(StrEnum):
    """What capture does with a mailbox."""

    ENROLLED = "enrolled"
    PAUSED = "paused"
    BLOCKED = "blocked"
    REMOVED = "removed"


class MailboxChanged(Event):
    """What is true of a mailbox's capture now."""

    ce_type: ClassVar[str] = "autocapture.mailbox.changed"
    status: MailboxStatus
    reason: str | None = Field(
        default=None,
        description="Why it is blocked: access_policy, no_mailbox, throttled, conditional_access, …",
    )
    since: Moment = Field(description="When this status began.")
    enrolled_at: Moment | None = None
    complete_as_of: Moment | None = Field(default=None, description="When the window was last read whole.")
    missed_by_hints: int | None = Field(
        default=None, description="What the last reconciliation found that no hint had named."
    )


# -- activities -----------------------------------------------------------------------------------


class Activity(Event):
    """An item as captured: who, when, subject, ids. Never a body."""

    ce_type: ClassVar[str] = "autocapture.activity.captured"
    tenant: str
    mailbox: str = Field(description="The owner's Entra object id.")
    item: str = Field(description="Immutable id of the message or occurrence in that mailbox.")
    kind: Kind
    identity: str = Field(description="The same for copies of one thing in several mailboxes.")
    subject: str = ""
    participants: tuple[Participant, ...] = ()
    direction: Direction | None = Field(default=None, description="E-mails only.")
    at: Moment = Field(description="Its place on the timeline: arrival, sending, or the meeting's start.")
    visible_from: Moment
    visible_until: Moment
    sent_at: Moment | None = None
    received_at: Moment | None = None
    start: Moment | None = None
    end: Moment | None = None
    all_day: bool = False
    cancelled: bool = False
    sensitivity: Sensitivity = Sensitivity.NORMAL
    internet_message_id: str | None = None
    ical_uid: str | None = None
    original_start: Moment | None = Field(default=None, description="Of an occurrence of a series.")
    conversation: str | None = None
    web_link: str | None = None


# -- matches --------------------------------------------------------------------------------------


class Match(Part):
    """A record that an activity relates to, and why."""

    type: str
    id: str
    reasons: tuple[tuple[str, int], ...] = Field(
        description="At most 5 of (rule, index into the activity's participants)."
    )
    more: int = Field(default=0, description="How many further reasons there are.")


class ActivityMatched(Event):
    """An activity with the complete list of its matches."""

    ce_type: ClassVar[str] = "autocapture.activity.matched"
    activity: Activity
    matches: tuple[Match, ...]
    rules: dict[str, str] = Field(
        description="The rules named in the reasons, each with its phrase: `is a stakeholder of this opportunity`."
    )
    truncated: bool = Field(default=False, description="More records relate than are listed.")


# -- content-requests and content -----------------------------------------------------------------


class FetchContent(Event):
    """Fetch this item's content for a claim, before the deadline or not at all."""

    ce_type: ClassVar[str] = "autocapture.content.fetch"
    claim: str
    item: str
    kind: Kind
    deadline: Moment


class Followed(Part):
    """A tracked item whose changes are to be told."""

    item: str
    kind: Kind
    version: Stamp = Field(description="Of the item as tracking knows it; what is newer is told.")
    until: Moment = Field(description="3 days after a message's arrival or a meeting's end.")


class FollowItems(Event):
    """Tell the changes of these tracked items; what is not said again for a day is followed no more."""

    ce_type: ClassVar[str] = "autocapture.content.follow"
    items: tuple[Followed, ...]


class Content(Part):
    """What Track shares: the text, and the item as it was when the text was fetched."""

    activity: Activity
    text: str
    html: bool = False
    cut: bool = Field(default=False, description="The text was longer than 900 kB and ends early.")


class ContentAnswered(Event):
    """The content for a claim, or why it cannot be had."""

    ce_type: ClassVar[str] = "autocapture.content.answered"
    claim: str
    item: str
    content: Content | None = None
    unavailable: str | None = Field(
        default=None, description="Why there is none: gone, blocked, throttled, …"
    )


class SourceChange(StrEnum):
    """What became of a followed item."""

    CHANGED = "changed"
    CANCELLED = "cancelled"
    GONE = "gone"


class ContentUpdated(Event):
    """A followed item is no longer as it was tracked; its version stands in the header."""

    ce_type: ClassVar[str] = "autocapture.content.updated"
    item: str
    change: SourceChange
    content: Content | None = Field(default=None, description="As it is now; null where it is gone.")


# -- tracked-activities ---------------------------------------------------------------------------


class Regarding(Part):
    """One record that a tracked activity was put on."""

    type: str
    id: str
    name: str | None = Field(default=None, description="Null when the record is deleted or refused.")
    deleted: bool = False
    by: str = Field(description="Entra object id of who tracked it.")
    at: Moment
    readers: tuple[str, ...] = Field(description="Who may know of this entry; resolved, never absent.")


class ActivityTracked(Event):
    """A tracked activity's whole state. No body and no addresses."""

    ce_type: ClassVar[str] = "autocapture.activity.tracked"
    tenant: str
    activity: str
    kind: Kind
    direction: Direction | None = None
    owner: str = Field(description="Whose copy is shown.")
    subject: str | None = Field(default=None, description="Null where the setting TRACKED_SUBJECTS is off.")
    at: Moment
    sent_at: Moment | None = None
    start: Moment | None = None
    end: Moment | None = None
    cancelled: bool = False
    source_gone: bool = False
    internet_message_id: str | None = None
    ical_uid: str | None = None
    regarding: tuple[Regarding, ...]
    revision: Stamp = Field(description="A stamp; the greater one is the newer state.")


class ActivityUntracked(Event):
    """The last entry was taken off; a tombstone follows."""

    ce_type: ClassVar[str] = "autocapture.activity.untracked"
    tenant: str
    activity: str
    revision: Stamp
