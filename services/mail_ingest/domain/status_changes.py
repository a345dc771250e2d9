"""The changes of a mailbox's status that administrators make."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from shared.events import MailboxStatus

ENROL, RESEND = "enrol", "resend"
RETRY_STUCK, DROP_STUCK = "retry stuck items", "drop stuck items"
"""Actions of administrators beside the status changes, as audit records name them."""


class StatusChange(StrEnum):
    """A change of the status of an enrolled mailbox."""

    PAUSE = "pause"
    RESUME = "resume"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Transition:
    """The effect of a change; a mailbox with another status than those of `only_from` stays as it is."""

    only_from: AbstractSet[MailboxStatus]
    to: MailboxStatus


TRANSITIONS: Mapping[StatusChange, Transition] = {
    StatusChange.PAUSE: Transition({MailboxStatus.ENROLLED, MailboxStatus.BLOCKED}, MailboxStatus.PAUSED),
    StatusChange.RESUME: Transition({MailboxStatus.PAUSED}, MailboxStatus.ENROLLED),
    StatusChange.REMOVE: Transition(
        {MailboxStatus.ENROLLED, MailboxStatus.BLOCKED, MailboxStatus.PAUSED}, MailboxStatus.REMOVED
    ),
}
