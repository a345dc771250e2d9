"""The errors of the API, as problem details (RFC 9457)."""

from fastapi import Request, Response

from services.tracking.content.previews import TextUnavailableError
from services.tracking.domain.errors import ConflictError, NotFoundError
from services.tracking.signin import UnauthorizedError
from shared.errors import RetryableError
from shared.problems import problem_response

MAX_BODY_BYTES = 4096
"""The largest body that a route needs has one field."""

ERROR_DESCRIPTIONS = {
    401: "There is no valid token; `WWW-Authenticate` has the reason.",
    404: (
        "There is nothing of that name for the caller: missing, deleted, another user's, or not readable "
        "for the caller; always the same body."
    ),
    409: (
        "Not possible in the present state: `no_longer_visible`, `private` (confirm it), `too_many_entries` "
        "(at most 60), or why there is no text now."
    ),
    413: f"The body has more than {MAX_BODY_BYTES} bytes, or no Content-Length.",
    422: "A part of the request is wrong; `field` names it.",
    503: "Unavailable now; `Retry-After` has the seconds to wait.",
}
"""HTTP status -> what it means, for the OpenAPI document."""
ERRORS_OF_EVERY_ROUTE = (401, 413, 503)


def problem_for(_: Request, error: Exception) -> Response:
    """The response to an error of a route or of the sign-in."""
    match error:
        case NotFoundError():
            return problem_response(404, "not_found", "there is nothing here for you")
        case UnauthorizedError():
            headers = {"WWW-Authenticate": error.challenge}
            return problem_response(401, "unauthorized", error.reason or "sign in first", headers=headers)
        case ConflictError():
            return problem_response(409, error.code, error.detail)
        case TextUnavailableError():
            return problem_response(409, error.reason, "the text is not available now")
        case RetryableError():
            detail = f"try again in a moment: {error}"
            return problem_response(503, "unavailable", detail, headers={"Retry-After": "2"})
        case _:
            raise error


HANDLED_ERRORS = (NotFoundError, ConflictError, TextUnavailableError, RetryableError)
"""The errors that a route may raise; any other one is a defect and a 500.

`shared.service` handles unknown paths and invalid requests.
"""


def body_too_large() -> Response:
    """The response to a body of more than `MAX_BODY_BYTES`."""
    return problem_response(413, "too_large", f"at most {MAX_BODY_BYTES} bytes, with a Content-Length")


def not_in_use(why: str) -> Response:
    """The response while the store must not be used."""
    return problem_response(503, "recovering", f"try again in a moment: {why}", headers={"Retry-After": "2"})
