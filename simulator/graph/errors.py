"""Graph's error responses: status, code and text, as Graph has them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorTemplate:
    """One kind of error response; `{0}` and so on in the text are placeholders."""

    status: int
    code: str
    text: str


TOKEN = ErrorTemplate(401, "InvalidAuthenticationToken", "{0}")
NO_PERMISSIONS = ErrorTemplate(
    401,
    "NoPermissionsInAccessToken",
    "The token contains no permissions, or permissions can not be understood.",
)
DENIED = ErrorTemplate(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
DIRECTORY_DENIED = ErrorTemplate(
    403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
)
RAOP = ErrorTemplate(
    403,
    "ErrorAccessDenied",
    "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
)
NO_MAILBOX = ErrorTemplate(
    404,
    "MailboxNotEnabledForRESTAPI",
    "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
)
NO_USER = ErrorTemplate(404, "ErrorInvalidUser", "The requested user '{0}' is invalid.")
NO_OBJECT = ErrorTemplate(
    404,
    "Request_ResourceNotFound",
    "Resource '{0}' does not exist or one of its queried reference-property objects are not present.",
)
NO_ITEM = ErrorTemplate(404, "ErrorItemNotFound", "The specified object was not found in the store.")
NO_SUBSCRIPTION = ErrorTemplate(404, "ResourceNotFound", "The object was not found.")
MALFORMED_ID = ErrorTemplate(400, "ErrorInvalidIdMalformed", "Id is malformed.")
NOT_SIMULATED = ErrorTemplate(501, "NotImplemented", "Not simulated: {0}.")
"""The simulator's own refusal, wherever the real Graph may answer something that it cannot."""
ME = ErrorTemplate(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
BUSY = ErrorTemplate(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.")
TOO_MANY = ErrorTemplate(429, "TooManyRequests", "Too many requests. Please retry later.")
PROPERTY = ErrorTemplate(
    400, "RequestBroker--ParseUri", "Could not find a property named '{0}' on type '{1}'."
)
FILTER = ErrorTemplate(400, "BadRequest", "Invalid filter clause: {0}")
SEARCH_WITH = ErrorTemplate(
    400, "SearchWith{0}", "The query parameter '${1}' is not supported with '$search'."
)
INEFFICIENT = ErrorTemplate(
    400, "InefficientFilter", "The restriction or sort order is too complex for this operation."
)
OPTION = ErrorTemplate(400, "BadRequest", "The value '{1}' of the query option '{0}' is invalid.")
TWICE = ErrorTemplate(400, "BadRequest", "Query option '{0}' was specified more than once.")
NO_SKIP = ErrorTemplate(400, "Request_BadRequest", "'$skip' is not supported by the service.")
ADVANCED = ErrorTemplate(
    400,
    "Request_UnsupportedQuery",
    "{0} needs the advanced query capabilities: add the header ConsistencyLevel: eventual and $count=true.",
)
TOO_LONG_WINDOW = ErrorTemplate(
    400, "ErrorInvalidRequest", "The requested time window may have at most {0} days."
)
BACKWARD_WINDOW = ErrorTemplate(
    400, "ErrorCalendarEndDateIsEarlierThanStartDate", "EndDate is earlier than StartDate"
)
WINDOW = ErrorTemplate(
    400,
    "ErrorInvalidParameter",
    "This request requires a time window specified by the query string parameters StartDateTime and "
    "EndDateTime.",
)
TIME_ZONE = ErrorTemplate(
    400,
    "TimeZoneNotSupportedException",
    "A valid TimeZone value must be specified. The following TimeZone value is not supported: '{0}'.",
)
JSON = ErrorTemplate(
    400,
    "BadRequest",
    "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is "
    "of valid JSON format.",
)
BATCH = ErrorTemplate(400, "BadRequest", "Invalid batch payload format. {0}")
INVALID = ErrorTemplate(400, "InvalidRequest", "{0}")
VALIDATION = ErrorTemplate(
    400,
    "InvalidRequest",
    "Subscription validation request failed. Notification endpoint must respond with 200 OK to "
    "validation request.",
)
TOO_LONG = ErrorTemplate(
    400, "ExtensionError", "Subscription expiration can only be {0} minutes in the future."
)
CONFLICT = ErrorTemplate(409, "Conflict", "Subscription Id {0} already exists for the requested combination")
TOO_MANY_SUBSCRIPTIONS = ErrorTemplate(
    403,
    "ExtensionError",
    "Operation: Create; Exception: [Status Code: Forbidden; Reason: Number of subscriptions on item "
    "has exceeded limit]",
)
SUBSCRIPTION_REFUSED = ErrorTemplate(
    401, "ExtensionError", "Operation: {0}; Exception: [Status Code: {1}; Reason: {2}]"
)
"""Exchange refuses a subscription: Graph answers 401, and the inner status is Exchange's."""
REVOKED_TEXT = (
    "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "
    "TokenIssuedBeforeRevocationTimestamp"
)


class GraphError(Exception):
    """Graph rejects the request; `retry_after` is in seconds."""

    def __init__(self, template: ErrorTemplate, *details: object, retry_after: int | None = None) -> None:
        self.status = template.status
        self.code = template.code.format(*details)
        self.text = template.text.format(*details)
        self.retry_after = retry_after
        super().__init__(f"{self.code}: {self.text}")

    def body(self, now: datetime, request: str, client_request: str) -> dict[str, Any]:
        """The JSON of the error."""
        inner: dict[str, Any] = {
            "date": f"{now:%Y-%m-%dT%H:%M:%S}",
            "request-id": request,
            "client-request-id": client_request,
        }
        if self.status == 429:
            inner["status"] = "429"
        return {"error": {"code": self.code, "message": self.text, "innerError": inner}}
