"""Faults that the simulator was told to have; without any it has none."""

from dataclasses import dataclass
from random import Random

MESSAGES = {
    429: ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    500: ("ErrorInternalServerTransientError", "A transient error occurred. Please try again."),
    502: ("UnknownError", "Bad gateway."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable. Please try again later."),
    504: ("GatewayTimeout", "The gateway did not receive a response in time."),
}
"""What Graph says with each status that can be asked for."""


@dataclass(slots=True)
class Fault:
    """Answers to have instead of the true ones.

    Attributes:
        status: the status of the answer.
        count: how many answers, None without end.
        rate: the share of the requests that it hits, from 0 to 1.
        retry_after: seconds in the Retry-After header, None without one.
        mailbox: object id of the only mailbox it hits.
        kind: the only kind of request it hits, as counted: `message.by_id`, `token`, …
    """

    status: int
    count: int | None = None
    rate: float = 1.0
    retry_after: int | None = None
    mailbox: str | None = None
    kind: str | None = None


@dataclass(slots=True)
class DeliveryFaults:
    """How notifications go astray.

    Attributes:
        loss: share of the notifications that are never sent.
        duplicates: share that is sent twice.
        reorder: share that overtakes or falls behind others.
        delay: seconds that a notification waits, chosen between 0 and this.
        followed_by_updated: whether `created` is followed by one `updated`, as it usually is.
        update_after: seconds between the two.
    """

    loss: float = 0.0
    duplicates: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    followed_by_updated: bool = True
    update_after: float = 0.3


class Faults:
    """The faults in force, and the dice that decide whom a rate hits."""

    def __init__(self, seed: int | None = None) -> None:
        self.dice = Random(seed)
        self.requests: list[Fault] = []
        self.delivery = DeliveryFaults()

    def add(self, fault: Fault) -> None:
        """One more fault."""
        self.requests.append(fault)

    def clear(self) -> None:
        """No request faults any more, and notifications as they should be."""
        self.requests.clear()
        self.delivery = DeliveryFaults()

    def hit(self, kind: str, mailbox: str | None) -> Fault | None:
        """The fault that this request runs into, counted down."""
        for fault in self.requests:
            if fault.mailbox not in (None, mailbox) or fault.kind not in (None, kind):
                continue
            if fault.count == 0 or (fault.rate < 1.0 and self.dice.random() >= fault.rate):
                continue
            if fault.count is not None:
                fault.count -= 1
            return fault
        return None
