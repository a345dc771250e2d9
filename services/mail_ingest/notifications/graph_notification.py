"""The form of Graph's notifications."""

import json
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.events import ItemId

MAX_VALUES = 1000
"""Of one POST request; Graph's own batches have a few hundred at most."""
MAX_PARTS = 32 * MAX_VALUES
"""Of one POST request: commas and opening brackets, which Python counts fifty times as fast as it parses
them. A notification of Graph has eleven."""

Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class TooManyValuesError(Exception):
    """Graph must send less at once; it repeats the request, and the windows find what it gives up."""


class _ForeignModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class ResourceData(_ForeignModel):
    """The item of a change notification; no other id in a notification is trusted."""

    id: ItemId


class GraphNotification(_ForeignModel):
    """A change notification, or a lifecycle notification of a subscription."""

    subscription: Text = Field(alias="subscriptionId")
    client_state: str = Field("", alias="clientState")
    change: Text | None = Field(None, alias="changeType")
    resource: ResourceData | None = Field(None, alias="resourceData")
    lifecycle: Text | None = Field(None, alias="lifecycleEvent")


def parse_collection(body: bytes) -> list[Any] | None:
    """The values of a notification collection; None when the body is not one.

    Raises:
        TooManyValuesError: it has more than `MAX_VALUES`, or more parts than they need.
    """
    if sum(body.count(mark) for mark in (b",", b"{", b"[")) > MAX_PARTS:
        raise TooManyValuesError
    try:
        # No number is read, and an integer takes a time that grows with the square of its digits.
        values = json.loads(body, parse_int=float)["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(values, list):
        return None
    if len(values) > MAX_VALUES:
        raise TooManyValuesError
    return values


def parse_notification(value: Any) -> GraphNotification | None:
    """A notification; None when the value is not one."""
    try:
        return GraphNotification.model_validate(value)
    except ValidationError:
        return None
