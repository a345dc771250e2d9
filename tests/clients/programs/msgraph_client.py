"""msgraph-sdk with azure-identity as an application uses them: no base URL, no option of ours."""

import asyncio
import base64
import json
import os
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientSecretCredential
from kiota_abstractions.api_error import APIError
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.headers_collection import HeadersCollection
from msgraph import GraphServiceClient
from msgraph.generated.models.message import Message
from msgraph.generated.models.subscription import Subscription
from msgraph_core import PageIterator
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem

from tests.clients.programs.actions import Actions

SCOPE = "https://graph.microsoft.com/.default"
TENANT, CLIENT = os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"]
SECRET = os.environ["AZURE_CLIENT_SECRET"]

credential = ClientSecretCredential(TENANT, CLIENT, SECRET)
client = GraphServiceClient(credential)
actions = Actions()


class FixedToken:
    """A credential whose token never changes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self._token, 4_102_444_800)


def unknown(model: Any) -> list[str]:
    """The properties of a response that the SDK's own model does not have."""
    return sorted(name for name in model.additional_data if "@" not in name)


def configured(prefer: list[str] | None = None, query: Any = None) -> Any:
    headers = HeadersCollection()
    for each in prefer or ():
        headers.add("Prefer", each)
    return RequestConfiguration(query_parameters=query, headers=headers)


async def collect(page: Any, prefer: list[str] | None = None) -> list[Any]:
    """All items from this page to the last one; for these the SDK sends the headers of its iterator only."""
    items: list[Any] = []

    def add(item: Any) -> bool:
        items.append(item)
        return True

    iterator = PageIterator(page, client.request_adapter)
    for each in prefer or ():
        iterator.headers.add("Prefer", each)  # `set_headers` of msgraph-core 1.5.2 raises a TypeError
    await iterator.iterate(add)
    return items


async def raised(call: Awaitable[Any]) -> dict[str, Any]:
    """The error that a call raises, as the SDK shows it; an AssertionError if it raises none."""
    try:
        await call
    except APIError as error:
        main = getattr(error, "error", None)
        return {
            "class": type(error).__name__,
            "status": error.response_status_code,
            "code": main and main.code,
            "message": main and main.message,
            "has_request_id": bool(main and main.inner_error and main.inner_error.request_id),
        }
    raise AssertionError("the client raised nothing")


# -- sign-in ---------------------------------------------------------------------------------------


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@actions
def sign_in(secret: str = SECRET, certificate: str | None = None) -> Any:
    new = (
        CertificateCredential(TENANT, CLIENT, certificate)
        if certificate
        else ClientSecretCredential(TENANT, CLIENT, secret)
    )
    try:
        tokens = [new.get_token(SCOPE) for _ in range(2)]
    except ClientAuthenticationError as error:
        return {"refused": error.message}
    return {"claims": claims_of(tokens[0].token), "same": tokens[0].token == tokens[1].token}


# -- reads -----------------------------------------------------------------------------------------


@actions
async def users(**query: Any) -> Any:
    builder = client.users
    page = await builder.get(configured(query=type(builder).UsersRequestBuilderGetQueryParameters(**query)))
    return [
        {"id": u.id, "upn": u.user_principal_name, "name": u.display_name, "unknown": unknown(u)}
        for u in await collect(page)
    ]


@actions
async def folders(user: str) -> Any:
    builder = client.users.by_user_id(user).mail_folders
    query = type(builder).MailFoldersRequestBuilderGetQueryParameters(top=50)
    page = await builder.get(configured(query=query))
    return [{"name": f.display_name, "total": f.total_item_count, "unknown": unknown(f)} for f in page.value]


def shown(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "class": type(message).__name__,
        "subject": message.subject,
        "received": message.received_date_time,
        "from": message.from_ and message.from_.email_address.address,
        "body": message.body and message.body.content,
        "unknown": unknown(message),
    }


@actions
async def messages(
    user: str,
    folder: str | None = None,
    prefer: list[str] | None = None,
    prefer_later: list[str] | None = None,
    **query: Any,
) -> Any:
    mailbox = client.users.by_user_id(user)
    builder = mailbox.mail_folders.by_mail_folder_id(folder).messages if folder else mailbox.messages
    page = await builder.get(
        configured(prefer, type(builder).MessagesRequestBuilderGetQueryParameters(**query))
    )
    first = len(page.value)
    return {"first": first, "items": [shown(m) for m in await collect(page, prefer_later)]}


@actions
async def message(user: str, item_id: str, prefer: list[str] | None = None) -> Any:
    return shown(await client.users.by_user_id(user).messages.by_message_id(item_id).get(configured(prefer)))


@actions
async def refused(user: str, item_id: str) -> Any:
    """Status and code of each of the SDK's calls that the simulator refuses."""
    mailbox = client.users.by_user_id(user)
    item = mailbox.messages.by_message_id(item_id)
    errors = {
        "messages/delta()": mailbox.mail_folders.by_mail_folder_id("inbox").messages.delta.get(),
        "calendarView/delta()": mailbox.calendar_view.delta.get(),
        "messages/$count": mailbox.messages.count.get(),
        "attachments": item.attachments.get(),
        "$value": item.content.get(),
        "PATCH": item.patch(Message(is_read=True)),
        "DELETE": item.delete(),
        "POST": mailbox.messages.post(Message(subject="New")),
        "calendar": mailbox.calendar.get(),
        "mailboxSettings": mailbox.mailbox_settings.get(),
        "groups": client.groups.get(),
    }
    shown_errors = {call: await raised(response) for call, response in errors.items()}
    return {call: [error["status"], error["code"]] for call, error in shown_errors.items()}


def shown_event(event: Any) -> dict[str, Any]:
    return {
        "id": event.id,
        "subject": event.subject,
        "type": event.type,
        "start": [event.start.date_time, event.start.time_zone],
        "attendees": [a.email_address.address for a in event.attendees],
        "organizer": event.organizer.email_address.address,
        "unknown": unknown(event),
    }


@actions
async def events(user: str, **query: Any) -> Any:
    builder = client.users.by_user_id(user).events
    page = await builder.get(configured(query=type(builder).EventsRequestBuilderGetQueryParameters(**query)))
    return [shown_event(e) for e in await collect(page)]


@actions
async def event(user: str, item_id: str, prefer: list[str] | None = None) -> Any:
    return shown_event(
        await client.users.by_user_id(user).events.by_event_id(item_id).get(configured(prefer))
    )


@actions
async def calendar_view(user: str, prefer: list[str] | None = None, **query: Any) -> Any:
    builder = client.users.by_user_id(user).calendar_view
    page = await builder.get(
        configured(prefer, type(builder).CalendarViewRequestBuilderGetQueryParameters(**query))
    )
    return [shown_event(e) for e in await collect(page, prefer)]


# -- subscriptions ---------------------------------------------------------------------------------


def shown_subscription(subscription: Any) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "resource": subscription.resource,
        "change_type": subscription.change_type,
        "expires": subscription.expiration_date_time,
        "unknown": unknown(subscription),
    }


@actions
async def subscribe(resource: str, url: str, expires: str) -> Any:
    wanted = Subscription(
        change_type="created,updated,deleted",
        notification_url=url,
        lifecycle_notification_url=url,
        resource=resource,
        expiration_date_time=datetime.fromisoformat(expires),
        client_state="secret",
    )
    created = await client.subscriptions.post(wanted, configured(['IdType="ImmutableId"']))
    return shown_subscription(created)


@actions
async def subscriptions() -> Any:
    page = await client.subscriptions.get()
    return [shown_subscription(s) for s in await collect(page)]


@actions
async def renew(item_id: str, expires: str) -> Any:
    changes = Subscription(expiration_date_time=datetime.fromisoformat(expires))
    return shown_subscription(await client.subscriptions.by_subscription_id(item_id).patch(changes))


@actions
async def unsubscribe(item_id: str) -> Any:
    await client.subscriptions.by_subscription_id(item_id).delete()


@actions
async def missing_subscription(item_id: str) -> Any:
    return await raised(client.subscriptions.by_subscription_id(item_id).get())


# -- batches ---------------------------------------------------------------------------------------


@actions
async def batch(user: str, ids: list[str]) -> Any:
    """Read messages by id in one batch; for each its status and Retry-After.

    kiota 1.16 drops the bodies of the parts, so this SDK shows no more: microsoft/kiota-python, issue 737.
    """
    content = BatchRequestContent()
    for number, item_id in enumerate(ids):
        builder = client.users.by_user_id(user).messages.by_message_id(item_id)
        item = BatchRequestItem(builder.to_get_request_information(), id=str(number))
        content.add_request(item.id, item)
    responses = (await client.batch.post(content)).responses
    parts = [responses[str(number)] for number in range(len(ids))]
    return [[part.status, part.headers.get("Retry-After")] for part in parts]


# -- errors ----------------------------------------------------------------------------------------


@actions
async def failed_message(user: str, item_id: str) -> Any:
    return await raised(client.users.by_user_id(user).messages.by_message_id(item_id).get())


@actions
async def failed_messages(user: str) -> Any:
    return await raised(client.users.by_user_id(user).messages.get())


@actions
async def failed_user(user: str) -> Any:
    return await raised(client.users.by_user_id(user).get())


@actions
async def failed_token(user: str, token: str) -> Any:
    other = GraphServiceClient(FixedToken(token))
    return await raised(other.users.by_user_id(user).messages.get())


if __name__ == "__main__":
    with asyncio.Runner() as runner:  # one loop: the SDK's connections belong to it
        actions.run(runner.run)
