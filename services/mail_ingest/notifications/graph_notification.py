"""The form of Graph's notifications."""

import json
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _ForeignModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class ResourceData(_ForeignModel):
    """The item of a change notification; no other id in a notification is trusted."""

    id: Text


class GraphNotification(_ForeignModel):
    """A change notification, or a lifecycle notification of a subscription."""

    subscription: Text = Field(alias="subscriptionId")
    client_state: str = Field("", alias="clientState")
    change: Text | None = Field(None, alias="changeType")
    resource: ResourceData | None = Field(None, alias="resourceData")
    lifecycle: Text | None = Field(None, alias="lifecycleEvent")


def parse_collection(body: bytes) -> list[Any] | None:
    """The values of a notification collection; None when the body is not one."""
    try:
        values = json.loads(body)["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def parse_notification(value: Any) -> GraphNotification | None:
    """A notification; None when the value is not one."""
    try:
        return GraphNotification.model_validate(value)
    except ValidationError:
        return None
