"""Subscriptions to changes, and the notifications that changes make of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .items import Event, Message
from .mailbox import Mailbox

CREATED, UPDATED, DELETED = "created", "updated", "deleted"
CHANGES = (CREATED, UPDATED, DELETED)

MESSAGES, EVENTS = "messages", "events"

LIFECYCLE = ("missed", "subscriptionRemoved", "reauthorizationRequired")


@dataclass(frozen=True, slots=True)
class Subscription:
    """What an application asked to be told: of one mailbox, its messages or its events.

    `folder` narrows messages to one folder; `immutable` is the form of ids in its notifications.
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


@dataclass(frozen=True, slots=True)
class Notification:
    """One entry of a POST to a webhook."""

    url: str
    subscription: str
    change: str
    body: dict[str, Any]


def moment(value: datetime) -> str:
    """A date-time as notifications and subscriptions carry it."""
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond:06d}0Z"


def of_message(
    subscription: Subscription, change: str, message: Message, before: Message | None
) -> Iterable[Notification]:
    """What a subscription is told when a message was created, updated, moved or deleted.

    With default ids a move is the end of one id and the beginning of another.
    """
    moved = before is not None and before.folder != message.folder
    left = before is not None and subscription.folder in (None, before.folder)
    here = subscription.folder in (None, message.folder)
    if moved and before is not None and (not subscription.immutable or left != here):
        if left:
            yield from _notification(subscription, DELETED, _id(subscription, before), None)
        if here:
            yield from _of_item(subscription, CREATED, message)
    elif here:
        yield from _of_item(subscription, change, message)


def of_event(subscription: Subscription, change: str, event: Event) -> Iterable[Notification]:
    """What a subscription is told when an event was created, updated or deleted."""
    yield from _of_item(subscription, change, event)


def lifecycle(subscription: Subscription, event: str) -> Notification:
    """A lifecycle notification; it goes to the lifecycle URL, if there is one."""
    body = {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": moment(subscription.expires),
        "tenantId": subscription.tenant,
        "clientState": subscription.client_state,
        "lifecycleEvent": event,
    }
    return Notification(subscription.lifecycle_url or "", subscription.id, event, body)


def concerns(subscription: Subscription, mailbox: Mailbox, collection: str) -> bool:
    """Whether a change in this collection of a mailbox is this subscription's business."""
    return (
        subscription.mailbox == mailbox.owner
        and subscription.tenant == mailbox.tenant
        and subscription.collection == collection
    )


def _id(subscription: Subscription, item: Message | Event) -> str:
    return item.immutable_id if subscription.immutable else item.id


def _of_item(subscription: Subscription, change: str, item: Message | Event) -> Iterable[Notification]:
    etag = None if change == DELETED else f'W/"{item.change_key}"'
    return _notification(subscription, change, _id(subscription, item), etag)


def _notification(
    subscription: Subscription, change: str, item: str, etag: str | None
) -> Iterable[Notification]:
    if change not in subscription.changes:
        return
    one = "Message" if subscription.collection == MESSAGES else "Event"
    path = f"Users/{subscription.mailbox}/{one}s/{item}"
    data = {"@odata.type": f"#Microsoft.Graph.{one}", "@odata.id": path}
    if etag is not None:
        data["@odata.etag"] = etag
    data["id"] = item
    body = {
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": moment(subscription.expires),
        "changeType": change,
        "resource": path,
        "resourceData": data,
        "clientState": subscription.client_state,
        "tenantId": subscription.tenant,
    }
    yield Notification(subscription.url, subscription.id, change, body)
