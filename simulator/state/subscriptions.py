"""Subscriptions to changes, and the notifications that changes create."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from .items import Event, Message

CREATED, UPDATED, DELETED = "created", "updated", "deleted"
CHANGES = (CREATED, UPDATED, DELETED)

MESSAGES, EVENTS = "messages", "events"

LIFECYCLE_EVENTS = ("missed", "subscriptionRemoved", "reauthorizationRequired")


@dataclass(frozen=True, slots=True)
class Subscription:
    """An application's subscription to the messages or the events of one mailbox.

    `folder` restricts messages to one folder, `condition` to those that pass its test; `immutable` is the
    form of ids in its notifications.
    """

    id: str
    tenant: str
    app: str
    mailbox: str
    resource: str
    collection: str
    changes: tuple[str, ...]
    url: str
    lifecycle_url: str | None
    client_state: str | None
    expires: datetime
    immutable: bool
    tls: str | None = None
    folder: str | None = None
    condition: Callable[[Message], bool] | None = None

    def covers(self, message: Message) -> bool:
        """Whether the subscription is to this message, in its state."""
        is_in_folder = self.folder in (None, message.folder)
        return is_in_folder and (self.condition is None or self.condition(message))


@dataclass(frozen=True, slots=True)
class Notification:
    """One entry of a POST to a webhook."""

    url: str
    subscription: str
    change: str
    body: dict[str, Any]


def format_timestamp(value: datetime) -> str:
    """A date-time in the format of notifications, subscriptions and events."""
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond:06d}0Z"


def message_notifications(
    subscription: Subscription, change: str, message: Message, before: Message | None
) -> Iterable[Notification]:
    """Notifications of a message that was created, updated, moved or deleted.

    What leaves a folder or a filter is deleted for its subscription, and what enters is created. With
    default ids a move deletes one id and creates another.
    """
    is_covered = subscription.covers(message)
    was_covered = before is not None and subscription.covers(before)
    renamed = before is not None and before.folder != message.folder and not subscription.immutable
    if before is None or (was_covered and is_covered and not renamed):
        if is_covered:
            yield from _item_notification(subscription, change, message)
        return
    if was_covered:
        yield from _notification(subscription, DELETED, _id(subscription, before), None)
    if is_covered:
        yield from _item_notification(subscription, CREATED, message)


def event_notifications(subscription: Subscription, change: str, event: Event) -> Iterable[Notification]:
    """Notifications of an event that was created, updated or deleted."""
    yield from _item_notification(subscription, change, event)


def lifecycle_notification(subscription: Subscription, event: str) -> Notification:
    """A lifecycle notification for the subscription's lifecycle URL."""
    body = {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": format_timestamp(subscription.expires),
        "tenantId": subscription.tenant,
        "clientState": subscription.client_state,
        "lifecycleEvent": event,
    }
    return Notification(subscription.lifecycle_url or "", subscription.id, event, body)


def _id(subscription: Subscription, item: Message | Event) -> str:
    return item.immutable_id if subscription.immutable else item.id


def _item_notification(
    subscription: Subscription, change: str, item: Message | Event
) -> Iterable[Notification]:
    etag = None if change == DELETED else f'W/"{item.change_key}"'
    return _notification(subscription, change, _id(subscription, item), etag)


def _notification(
    subscription: Subscription, change: str, item: str, etag: str | None
) -> Iterable[Notification]:
    if change not in subscription.changes:
        return
    resource_type = "Message" if subscription.collection == MESSAGES else "Event"
    path = f"Users/{subscription.mailbox}/{resource_type}s/{quote(item, safe='')}"
    data = {"@odata.type": f"#Microsoft.Graph.{resource_type}", "@odata.id": path}
    if etag is not None:
        data["@odata.etag"] = etag
    data["id"] = item
    body = {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": format_timestamp(subscription.expires),
        "changeType": change,
        "resource": path,
        "resourceData": data,
        "clientState": subscription.client_state,
        "tenantId": subscription.tenant,
    }
    yield Notification(subscription.url, subscription.id, change, body)
