"""Which responses of Graph are answers, and what the others hold.

A response that is empty, of another form than the request's, or with ids of another kind shows nothing:
neither that an item is gone, nor that a collection is empty.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

MAX_RETRY_AFTER = timedelta(hours=1)
"""A longer wait is not believed: Outlook counts requests over ten minutes."""
MAX_ID_LENGTH = 2000
"""Graph's ids are ASCII and have up to some hundred characters; anything else is none of Graph's."""
RETRY_AFTER_FIELDS = ("retryAfterSeconds", "retryAfter", "Retry-After", "retry-after")
"""Fields of an error's body that may hold the wait."""
IMMUTABLE_IDS = "idtype=immutableid"
"""In the header Preference-Applied: the ids in the answer are immutable ones, as requested."""


class Form(Enum):
    """The form of an answer."""

    NOTHING = auto()
    ENTITY = auto()  # a JSON object with an id
    IMMUTABLE_ENTITY = auto()
    PAGE = auto()  # a JSON object with a list of entities
    IMMUTABLE_PAGE = auto()


def read_answer(status: int, headers: Mapping[str, str], content: bytes, form: Form) -> dict[str, Any] | None:
    """The JSON object of a response; None where it is no success, or has not this form."""
    if not 200 <= status < 300:
        return None
    if form is Form.NOTHING:
        return {}
    if form in {Form.IMMUTABLE_ENTITY, Form.IMMUTABLE_PAGE} and not _has_immutable_ids(headers):
        return None
    answer = _parse(content)
    is_page = form in {Form.PAGE, Form.IMMUTABLE_PAGE}
    return answer if (_is_page(answer) if is_page else _is_entity(answer)) else None


def error_details(content: bytes) -> dict[str, Any]:
    """The error of a response that has one in Graph's form."""
    body = _parse(content)
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return {"code": error}
    return error if isinstance(error, dict) else {}


def retry_after(headers: Mapping[str, str], details: Mapping[str, Any], now: datetime) -> timedelta | None:
    """The wait of the header, or of the body, where some responses have it instead; from 0 to an hour.

    Args:
        headers: of a response.
        details: of its error.
        now: a date in the header is compared with it.
    """
    inner = details.get("innerError")
    parts = (details, inner if isinstance(inner, dict) else {})
    in_body = (part.get(name) for part in parts for name in RETRY_AFTER_FIELDS)
    for value in (headers.get("Retry-After"), *in_body):
        seconds = _seconds(value, now)
        if seconds is not None:
            return timedelta(seconds=min(max(0.0, seconds), MAX_RETRY_AFTER.total_seconds()))
    return None


def _seconds(value: Any, now: datetime) -> float | None:
    """The seconds of a number or a date; None for anything else, not-a-number included."""
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        try:
            date = parsedate_to_datetime(str(value))
        except (ValueError, OverflowError):
            return None
        return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return None if seconds != seconds else seconds  # noqa: PLR0124  # true for not-a-number alone


def _has_immutable_ids(headers: Mapping[str, str]) -> bool:
    applied = headers.get("Preference-Applied", "").replace('"', "").replace(" ", "").lower()
    return IMMUTABLE_IDS in applied.split(",")


def _parse(content: bytes) -> Any:
    try:
        # An integer of any length; Python itself refuses the whole text for one with thousands of digits.
        return json.loads(content, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _is_entity(value: Any) -> bool:
    entity_id = value.get("id") if isinstance(value, dict) else None
    return isinstance(entity_id, str) and entity_id.isascii() and 0 < len(entity_id) <= MAX_ID_LENGTH


def _is_page(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("value"), list)
        and all(map(_is_entity, value["value"]))
        and isinstance(value.get("@odata.nextLink"), str | None)
    )
