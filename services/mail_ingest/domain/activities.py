"""The types that the capture of an item uses: payload, mailbox owner, and the reason of no capture."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

Payload: TypeAlias = Mapping[str, Any]
"""A message, an event or another item, as Graph's JSON has it."""

CAPTURE_WINDOW = timedelta(days=3)
"""An e-mail is captured for this time after its arrival; a meeting from this time before its start until this
time after its end."""


class NotCapturedReason(StrEnum):
    """Why an item is not an activity."""

    MALFORMED = "malformed"  # it has no id
    DRAFT = "draft"
    MEETING_MAIL = "meeting_mail"  # requests, answers and cancellations: the event is the activity
    SERIES_MASTER = "series_master"  # its occurrences are the activities
    NO_DATE = "no_date"
    TIME_ZONE = "time_zone_unknown"  # neither a name of IANA nor of Windows; every request prefers UTC
    OUT_OF_WINDOW = "out_of_window"
    DEAD_FOLDER = "dead_folder"  # Junk, Deleted Items, or below them
    TOO_LARGE = "too_large"  # for a message on Kafka, by its ids and addresses alone
    UNKNOWN_FOLDER = "unknown_folder"  # not under the mailbox's root, or not in the tree as last read


@dataclass(frozen=True, slots=True)
class NotCaptured:
    """An item that is not an activity, and the reason.

    Attributes:
        enters_at: when it becomes one by the clock alone, if nothing changes.
    """

    reason: NotCapturedReason
    enters_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MailboxOwner:
    """The owner of a mailbox.

    Attributes:
        mailbox: the owner's Entra object id.
        addresses: the owner's own addresses, normalised; an e-mail from one of them is outgoing.
    """

    tenant: str
    mailbox: str
    addresses: frozenset[str] = frozenset()
