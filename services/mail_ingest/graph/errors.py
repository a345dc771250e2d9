"""The errors of Graph and of the sign-in authority, by their recovery."""

from datetime import timedelta
from enum import StrEnum

from services.mail_ingest.domain.retries import BlockReason
from shared.errors import RetryableError

ITEM_NOT_FOUND_CODES = {"erroritemnotfound", "itemnotfound"}
"""Codes of a 404 about an item; by no other code is an item gone."""
BLOCK_REASONS = {
    (403, "erroraccessdenied"): BlockReason.ACCESS_POLICY,
    (403, "authorization_requestdenied"): BlockReason.PERMISSION,
    (404, "mailboxnotenabledforrestapi"): BlockReason.NO_MAILBOX,
    (404, "errorinvaliduser"): BlockReason.NO_MAILBOX,
    (404, "request_resourcenotfound"): BlockReason.NO_MAILBOX,
    (404, "resourcenotfound"): BlockReason.NO_MAILBOX,
    (404, "errornonexistentmailbox"): BlockReason.NO_MAILBOX,
}
"""(HTTP status, error code) -> reason; the reason of any other refusal is `graph_` and the status."""


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
        tenant_wide: the authority refuses the tenant's token.
        status: the HTTP status of Graph; None: the authority refuses, or the cause is our own.
    """

    def __init__(self, reason: str, *, tenant_wide: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tenant_wide = tenant_wide
        self.status = status


def refusal(status: int, code: str, *, missing_is_item: bool, refusal_is_temporary: bool) -> Exception:
    """The error of a response that no immediate retry resolves.

    Args:
        status: the HTTP status.
        code: Graph's error code.
        missing_is_item: a 404 or 410 is about the item, whatever its code.
        refusal_is_temporary: a 400 or an `ExtensionError` passes by itself; Graph refuses a subscription
            so when it cannot reach the webhook, and capture goes on without one.
    """
    is_item_code = status == 404 and code.lower() in ITEM_NOT_FOUND_CODES
    if is_item_code or (missing_is_item and status in {404, 410}):
        return ItemNotFoundError()
    if status == 409:
        return SubscriptionExistsError()
    if status == 401:
        return MailboxBlockedError(BlockReason.TOKEN_REFUSED, tenant_wide=True)
    if refusal_is_temporary and (status == 400 or code == "ExtensionError"):
        return GraphUnavailableError(f"Graph refuses the request: {status} {code}")
    if not code:
        # Graph's refusals have a code; this one is of something on the way, or is empty.
        return GraphUnavailableError(f"Graph answers {status}", reason=FailureReason.UNUSABLE_ANSWER)
    reason = BLOCK_REASONS.get((status, code.lower()), f"graph_{status}")
    return MailboxBlockedError(reason, status=status)
