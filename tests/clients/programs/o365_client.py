"""O365's reads: mail, calendar and users, with the credentials of an application."""

import os
from datetime import datetime
from typing import Any

from O365 import Account
from requests import HTTPError

from tests.clients.programs.actions import Actions

CREDENTIALS = (os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"])

actions = Actions()


def account(user: str) -> Any:
    found = Account(
        CREDENTIALS, auth_flow_type="credentials", tenant_id=os.environ["AZURE_TENANT_ID"], main_resource=user
    )
    assert found.is_authenticated or found.authenticate()
    return found


def raised(call: Any) -> Any:
    """Status and code of the error that a call raises; an AssertionError if it raises none."""
    try:
        result = call()
    except HTTPError as error:
        response: Any = error.response
        return [response.status_code, response.json()["error"]["code"]]
    raise AssertionError(f"the client raised nothing and returned {result!r}")


# -- mail ------------------------------------------------------------------------------------------


@actions
def folders(user: str) -> Any:
    return [f.name for f in account(user).mailbox().get_folders(limit=50)]


@actions
def folder(user: str, name: str) -> Any:
    """A folder by its name: O365 filters mailFolders by displayName."""
    found = account(user).mailbox().get_folder(folder_name=name)
    return found and {"name": found.name, "id": found.folder_id, "total": found.total_items_count}


def shown(message: Any) -> Any:
    return {
        "id": message.object_id,
        "subject": message.subject,
        "from": message.sender.address,
        "to": [each.address for each in message.to],
        "received": message.received,
        "body": message.body,
    }


@actions
def messages(
    user: str,
    limit: int | None = 25,
    batch: int | None = None,
    since: str | None = None,
    unread: bool | None = None,
    search: str | None = None,
    order_by: str | None = None,
) -> Any:
    inbox = account(user).mailbox().inbox_folder()
    builder = inbox.new_query()
    query = None
    if since:
        query = builder.greater_equal("receivedDateTime", datetime.fromisoformat(since))
    if unread is not None:
        unread_only = builder.equals("isRead", not unread)
        query = unread_only if query is None else builder.chain_and(query, unread_only)
    if search:
        query = builder.search(search)
    if order_by:
        order = builder.orderby((order_by, False))
        query = order if query is None else query & order
    return [shown(m) for m in inbox.get_messages(limit=limit, batch=batch, query=query)]


@actions
def message(user: str, item_id: str) -> Any:
    return shown(account(user).mailbox().get_message(object_id=item_id))


@actions
def failed_message(user: str, item_id: str) -> Any:
    return raised(lambda: account(user).mailbox().get_message(object_id=item_id))


@actions
def failed_messages(user: str, subject_has: str | None = None) -> Any:
    mailbox = account(user).mailbox()
    query = mailbox.new_query().contains("subject", subject_has) if subject_has else None
    return raised(lambda: list(mailbox.get_messages(query=query)))


# -- calendar --------------------------------------------------------------------------------------


def shown_event(event: Any) -> Any:
    return {
        "id": event.object_id,
        "subject": event.subject,
        "start": event.start,
        "end": event.end,
        "organizer": event.organizer.address,
        "attendees": [each.address for each in event.attendees],
    }


@actions
def events(user: str, start: str, end: str) -> Any:
    """The events of a range, with series expanded: O365 reads the calendar view."""
    return [
        shown_event(e)
        for e in account(user).schedule().get_events(limit=50, start_recurring=start, end_recurring=end)
    ]


@actions
def default_calendar(user: str) -> Any:
    return raised(lambda: account(user).schedule().get_default_calendar())


@actions
def calendars(user: str) -> Any:
    return raised(lambda: account(user).schedule().list_calendars())


# -- users -----------------------------------------------------------------------------------------


@actions
def users(user: str) -> Any:
    return [[u.user_principal_name, u.display_name] for u in account(user).directory().get_users()]


if __name__ == "__main__":
    actions.run()
