"""Graph's error answers: status, code and text of each that can be given."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of error answer; the text may have places for details."""

    status: int
    code: str
    text: str


TOKEN = Refusal(401, "InvalidAuthenticationToken", "{0}")
DENIED = Refusal(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
DIRECTORY_DENIED = Refusal(
    403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
)
RAOP = Refusal(
    403,
    "ErrorAccessDenied",
    "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
)
NO_MAILBOX = Refusal(
    404,
    "MailboxNotEnabledForRESTAPI",
    "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
)
NO_USER = Refusal(404, "ErrorInvalidUser", "The requested user '{0}' is invalid.")
NO_OBJECT = Refusal(
    404,
    "Request_ResourceNotFound",
    "Resource '{0}' does not exist or one of its queried reference-property objects are not present.",
)
NO_ITEM = Refusal(404, "ErrorItemNotFound", "The specified object was not found in the store.")
NO_SUBSCRIPTION = Refusal(404, "ResourceNotFound", "The object was not found.")
NO_RESOURCE = Refusal(400, "BadRequest", "Resource not found for the segment '{0}'.")
NO_METHOD = Refusal(405, "BadRequest", "Specified HTTP method is not allowed for the request target.")
ME = Refusal(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
BUSY = Refusal(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.")
TOO_MANY = Refusal(429, "TooManyRequests", "Too many requests. Please retry later.")
PROPERTY = Refusal(400, "RequestBroker--ParseUri", "Could not find a property named '{0}' on type '{1}'.")
FILTER = Refusal(400, "BadRequest", "Invalid filter clause: {0}")
INEFFICIENT = Refusal(
    400, "InefficientFilter", "The restriction or sort order is too complex for this operation."
)
OPTION = Refusal(400, "BadRequest", "The value '{1}' of the query option '{0}' is invalid.")
WINDOW = Refusal(
    400,
    "ErrorInvalidParameter",
    "This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.",
)
TIME_ZONE = Refusal(
    400,
    "TimeZoneNotSupportedException",
    "A valid TimeZone value must be specified. The following TimeZone value is not supported: '{0}'.",
)
JSON = Refusal(
    400,
    "BadRequest",
    "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
)
BATCH = Refusal(400, "BadRequest", "Invalid batch payload format. {0}")
INVALID = Refusal(400, "InvalidRequest", "{0}")
VALIDATION = Refusal(
    400,
    "InvalidRequest",
    "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
)
TOO_LONG = Refusal(400, "ExtensionError", "Subscription expiration can only be {0} minutes in the future.")
CONFLICT = Refusal(409, "Conflict", "Subscription Id {0} already exists for the requested combination")
TOO_MANY_SUBSCRIPTIONS = Refusal(
    403,
    "ExtensionError",
    "Operation: Create; Exception: [Status Code: Forbidden; Reason: Number of subscriptions on item has exceeded limit]",
)


class GraphError(Exception):
    """A request that Graph refuses; `retry_after` is in seconds."""

    def __init__(self, refusal: Refusal, *details: object, retry_after: int | None = None) -> None:
        self.status = refusal.status
        self.code = refusal.code
        self.text = refusal.text.format(*details)
        self.retry_after = retry_after
        super().__init__(f"{self.code}: {self.text}")

    def body(self, now: datetime, request: str, client_request: str) -> dict[str, Any]:
        """The error as Graph writes it."""
        inner: dict[str, Any] = {
            "date": f"{now:%Y-%m-%dT%H:%M:%S}",
            "request-id": request,
            "client-request-id": client_request,
        }
        if self.status == 429:
            inner["status"] = "429"
        return {"error": {"code": self.code, "message": self.text, "innerError": inner}}
