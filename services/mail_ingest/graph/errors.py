"""The errors of Graph and of the sign-in authority, by their recovery."""

import re
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus

from services.mail_ingest.domain.retries import BlockReason
from shared.errors import RetryableError

ITEM_NOT_FOUND_CODES = {"erroritemnotfound", "itemnotfound"}
"""Codes of a 404 about an item; by no other code is an item gone."""
BLOCK_REASONS = {
    (401, "nopermissionsinaccesstoken"): BlockReason.PERMISSION,
    (403, "erroraccessdenied"): BlockReason.ACCESS_POLICY,
    (403, "authorization_requestdenied"): BlockReason.PERMISSION,
    (404, "mailboxnotenabledforrestapi"): BlockReason.NO_MAILBOX,
    (404, "errorinvaliduser"): BlockReason.NO_MAILBOX,
    (404, "request_resourcenotfound"): BlockReason.NO_MAILBOX,
    (404, "resourcenotfound"): BlockReason.NO_MAILBOX,
    (404, "errornonexistentmailbox"): BlockReason.NO_MAILBOX,
}
"""(HTTP status, error code) -> reason; the reason of any other refusal is `graph_` and the status."""
EXTENSION_ERROR = "ExtensionError"
"""The code of a refused subscription. The HTTP status is mostly 401, and is no statement about the token."""
EXCHANGE_STATUS = re.compile(r"\[Status Code: (\w+)")
"""The reason of an ExtensionError: the status with which Exchange refuses the subscription."""
HTTP_STATUSES = {status.phrase.replace(" ", ""): status.value for status in HTTPStatus}
WEBHOOK_VALIDATION = "validation request"
"""In the message of a refusal because Graph does not reach the webhook."""


class FailureReason(StrEnum):
    """Why a request has no answer; a refusal and a temporary error are `graph_` and the HTTP status."""

    NO_ANSWER = "no_answer"
    UNUSABLE_ANSWER = "unusable_answer"  # empty, or of another form than the request's


class GraphUnavailableError(RetryableError):
    """Graph or the authority cannot answer now; the same request succeeds later.

    Attributes:
        retry_after: Graph's `Retry-After`, if there is one.
        throttled: Graph throttles this mailbox.
        reason: a `FailureReason`, or `graph_` and the HTTP status.
    """

    def __init__(
        self,
        message: str,
        retry_after: timedelta | None = None,
        *,
        throttled: bool = False,
        reason: str = FailureReason.NO_ANSWER,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.throttled = throttled
        self.reason = reason


class ItemNotFoundError(Exception):
    """Graph does not have the item, or the subscription; a retry does not help."""


class SubscriptionExistsError(Exception):
    """Graph already has a subscription for this resource; it must be deleted first."""


class MailboxBlockedError(Exception):
    """Graph or the authority refuses the mailbox until an administrator changes something.

    Attributes:
        reason: a `BlockReason`, or `graph_` and the HTTP status.
        tenant_wide: it is the authority that refuses, and so for all mailboxes of the tenant.
        status: the HTTP status of Graph; None: the authority refuses, or the cause is our own.
    """

    def __init__(self, reason: str, *, tenant_wide: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tenant_wide = tenant_wide
        self.status = status


class SubscriptionRefusedError(Exception):
    """Graph refuses a subscription; the mailbox may be readable, and is captured without notifications.

    Attributes:
        reason: as that of a MailboxBlockedError; or `exchange_` and the HTTP status that Exchange has.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def refusal(
    status: int, code: str, message: str = "", *, permission: str | None, missing_is_item: bool = False
) -> Exception:
    """The error of a response that no immediate retry resolves.

    Args:
        status: the HTTP status.
        code: Graph's error code.
        message: Graph's error message.
        permission: the permission that the request needs.
        missing_is_item: a 404 or 410 is about the item, whatever its code.
    """
    is_item_code = status == 404 and code.lower() in ITEM_NOT_FOUND_CODES
    if is_item_code or (missing_is_item and status in {404, 410}):
        return ItemNotFoundError()
    if status == 409:
        return SubscriptionExistsError()
    if not code and status != 401:
        # Graph's refusals have a code; this one is of something on the way, or is empty.
        return GraphUnavailableError(f"Graph answers {status}", reason=FailureReason.UNUSABLE_ANSWER)
    return MailboxBlockedError(_block_reason(status, code, message, permission), status=status)


def _block_reason(status: int, code: str, message: str, permission: str | None) -> str:
    if code == EXTENSION_ERROR:
        inner = EXCHANGE_STATUS.search(message)
        return f"exchange_{HTTP_STATUSES.get(inner[1], status)}" if inner else f"graph_{status}"
    if status == 400 and WEBHOOK_VALIDATION in message.lower():
        return BlockReason.WEBHOOK
    reason = BLOCK_REASONS.get((status, code.lower()))
    if reason is BlockReason.PERMISSION and permission:
        return f"{reason}:{permission}"
    if reason is None and status == 401:
        # Not of the tenant: only the authority, or several mailboxes alike, decide that.
        return BlockReason.TOKEN_REFUSED
    return reason or f"graph_{status}"
