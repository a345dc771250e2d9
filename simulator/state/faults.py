"""Faults that the control interface injects; without any the simulator answers correctly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

FAULT_MESSAGES = {
    429: ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    500: ("ErrorInternalServerTransientError", "A transient error occurred. Please try again."),
    502: ("UnknownError", "Bad gateway."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable. Please try again later."),
    504: ("GatewayTimeout", "The gateway did not receive a response in time."),
}
"""Code and message of Graph for each status that can be injected."""

REFUSAL_MESSAGES = {
    "ExtensionError": "Operation: Create; Exception: [Status Code: Unauthorized; Reason: Unauthorized]",
    "NoPermissionsInAccessToken": "The token contains no permissions, or permissions can not be understood.",
}
"""Message of Graph for each code with which it refuses a request."""


@dataclass(slots=True)
class Fault:
    """Another response instead of the correct one.

    Attributes:
        status: the HTTP status of the response.
        code: Graph's error code; None for the usual one of the status.
        message: Graph's error message; None for the usual one of the code.
        body: the JSON of the response, or the text of an HTML page; by default an error has Graph's body, and
            any other response none. The authority's may be any text.
        headers: further headers.
        count: how many responses; None for no limit.
        until: when the fault ends; None for never.
        rate: the share of the matching requests that fail, from 0 to 1.
        retry_after: the Retry-After header, None without one.
        mailbox: object id of the only mailbox whose requests fail; None for all.
        item: id of the only item whose requests fail; None for all.
        kind: the only kind of request that fails, as in the counters: `message.by_id`, `token`, …
    """

    status: int
    code: str | None = None
    message: str | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None
    until: datetime | None = None
    rate: float = 1.0
    retry_after: int | str | None = None
    mailbox: str | None = None
    item: str | None = None
    kind: str | None = None

    def error(self) -> tuple[str, str]:
        """Code and message of Graph's error."""
        code, message = FAULT_MESSAGES.get(self.status, ("UnknownError", ""))
        if self.code is not None:
            code, message = self.code, REFUSAL_MESSAGES.get(self.code, "")
        return code, message if self.message is None else self.message


@dataclass(slots=True)
class DeliveryFaults:
    """Faults of notification delivery.

    Attributes:
        loss: share of the notifications that are never sent.
        duplicates: share that is sent twice.
        reorder: share that is delayed, so that it arrives out of order.
        delay: upper bound in seconds of a random delay of each notification.
        followed_by_updated: whether one `updated` follows each `created`, as Graph usually does.
        update_after: seconds between `created` and `updated`.
    """

    loss: float = 0.0
    duplicates: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    followed_by_updated: bool = True
    update_after: float = 0.3


class Faults:
    """The active faults, and the random generator that applies their rates."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = Random(seed)
        self.requests: list[Fault] = []
        self.delivery = DeliveryFaults()

    def add(self, fault: Fault) -> None:
        """Activate a request fault."""
        self.requests.append(fault)

    def clear(self) -> None:
        """Remove all request faults, and deliver notifications without faults."""
        self.requests.clear()
        self.delivery = DeliveryFaults()

    def next_for(
        self, kind: str, mailbox: str | None, now: datetime, item: str | None = None
    ) -> Fault | None:
        """Return the fault for this request and decrement its count; None without a matching fault."""
        for fault in self.requests:
            if fault.mailbox not in (None, mailbox) or fault.kind not in (None, kind):
                continue
            if fault.item not in (None, item) or (fault.until is not None and fault.until <= now):
                continue
            if fault.count == 0 or (fault.rate < 1.0 and self.random.random() >= fault.rate):
                continue
            if fault.count is not None:
                fault.count -= 1
            return fault
        return None
