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


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about; `items` are the ids of items and folders in it."""

    kind: str
    tenant: str | None = None
    mailbox: str | None = None
    items: tuple[str, ...] = ()
    subscription: str | None = None


@dataclass(slots=True)
class Fault:
    """Another response instead of the correct one.

    Attributes:
        status: the HTTP status of the response.
        label: the name under which its responses are counted.
        code: Graph's error code, or Entra's `AADSTS…`; None for the usual one of the status.
        message: Graph's error message; None for the usual one of the code.
        body: the JSON of the response, or any text, such as an HTML page; by default an error has the body of
            Graph or Entra, and any other response none.
        headers: further headers.
        count: how many responses; None for no limit.
        until: when the fault ends; None for never.
        rate: the share of the matching requests that fail, from 0 to 1.
        retry_after: the Retry-After header, None without one.
        tenant: id of the only tenant whose requests fail; None for all, here and below.
        mailbox: object id of the only mailbox whose requests fail.
        item: id of the only item, or folder, whose requests fail.
        subscription: id of the only subscription whose requests fail.
        kind: the only operation that fails: the kinds of the counters, `message.by_id` and so on; `token`,
            `discovery`; `subscribe`, `renew`, `unsubscribe`, `subscription`, `subscriptions`, `batch`.
    """

    status: int
    label: str = ""
    code: str | None = None
    message: str | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None
    until: datetime | None = None
    rate: float = 1.0
    retry_after: int | str | None = None
    tenant: str | None = None
    mailbox: str | None = None
    item: str | None = None
    subscription: str | None = None
    kind: str | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has no further response."""
        return self.count == 0 or (self.until is not None and self.until <= now)

    def matches(self, subject: "Subject", now: datetime) -> bool:
        """Whether the fault is active and is of this request."""
        if self.is_over(now):
            return False
        return (
            self.tenant in (None, subject.tenant)
            and self.mailbox in (None, subject.mailbox)
            and (self.item is None or self.item in subject.items)
            and self.subscription in (None, subject.subscription)
            and self.kind in (None, subject.kind)
        )

    def all_headers(self) -> dict[str, str]:
        """The headers, Retry-After included."""
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**self.headers, **wait}

    def error(self) -> tuple[str, str]:
        """Code and message of Graph's error."""
        code, message = FAULT_MESSAGES.get(self.status, ("UnknownError", "An error occurred."))
        if self.code is not None:
            code, message = self.code, REFUSAL_MESSAGES.get(self.code, "An error occurred.")
        return code, message if self.message is None else self.message


@dataclass(frozen=True, slots=True)
class FaultHit:
    """A request that was answered by a fault.

    Attributes:
        label: of the fault.
        subject: of the request.
    """

    at: datetime
    label: str
    subject: Subject


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


@dataclass(slots=True)
class PageFaults:
    """Shares of the pages of collections that are short (half of the size), or empty; both go on."""

    short: float = 0.0
    empty: float = 0.0


class Faults:
    """The active faults, and the random generator that applies their rates."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = Random(seed)
        self.requests: list[Fault] = []
        self.delivery = DeliveryFaults()
        self.pages = PageFaults()
        self.hits: list[FaultHit] = []
        """The requests that faults with a label have answered."""

    def add(self, fault: Fault, now: datetime) -> None:
        """Activate a request fault."""
        self.requests = [each for each in self.requests if not each.is_over(now)]
        self.requests.append(fault)

    def clear(self) -> None:
        """Remove all request faults, deliver notifications without faults, and fill all pages."""
        self.requests.clear()
        self.delivery = DeliveryFaults()
        self.pages = PageFaults()

    def next_for(self, subject: Subject, now: datetime) -> Fault | None:
        """Return the fault for this request and decrement its count; None without a matching fault."""
        for fault in self.requests:
            if not fault.matches(subject, now) or not self._happens(fault.rate):
                continue
            if fault.count is not None:
                fault.count -= 1
            if fault.label:
                self.hits.append(FaultHit(now, fault.label, subject))
            return fault
        return None

    def page_size(self, size: int, *, may_be_empty: bool) -> int:
        """How many items a page has whose size is `size`."""
        if may_be_empty and self.pages.empty and self._happens(self.pages.empty):
            return 0
        if self.pages.short and self._happens(self.pages.short):
            return max(1, size // 2)
        return size

    def _happens(self, rate: float) -> bool:
        return rate >= 1.0 or self.random.random() < rate
