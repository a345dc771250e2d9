"""Items that Graph answers as any JSON at all, so that a client meets what nobody expects."""

import json
from datetime import timedelta
from typing import Any

from simulator.state import ids, mail_delivery, meetings
from simulator.state.items import Mail, Meeting
from simulator.state.tenants import Tenant
from simulator.state.world import World

JsonBody = dict[str, Any]


def add_raw_items(world: World, tenant: Tenant, body: JsonBody) -> Any:
    """Add `messages` to the Inbox of a `mailbox`, and `events` to its calendar, each the JSON of an object.

    Graph answers an item with this JSON to a caller that prefers immutable ids, whatever the request
    selects. Its `id`, and the folder of a message, are added where the JSON has none.

    Returns:
        The ids of the `messages` and of the `events`.
    """
    user = tenant.find_user(body["mailbox"])
    if user is None or user.mailbox is None:
        raise LookupError(f"no mailbox {body['mailbox']}")
    mailbox, now = user.mailbox, world.now()
    added: dict[str, list[str]] = {"messages": [], "events": []}
    with world.lock:  # nobody reads an item before its JSON is there
        for text in body.get("messages", ()):
            mail = Mail(None, "", now, None)
            message = mail_delivery.add_copy(world, mailbox, mail, "inbox", now).message
            fields = {"id": message.immutable_id, "parentFolderId": message.folder}
            mailbox.raw_items[message.immutable_id] = _with_fields(text, fields)
            added["messages"].append(message.immutable_id)
        for text in body.get("events", ()):
            uid = ids.global_object_id(ids.digest(world.salt, len(mailbox.raw_items), mailbox.owner))
            meeting = Meeting(uid, "", now, now + timedelta(hours=1))
            event = meetings.add_copy(world, mailbox, meeting, is_organizer=True).event
            mailbox.raw_items[event.immutable_id] = _with_fields(text, {"id": event.immutable_id})
            added["events"].append(event.immutable_id)
    return added


def _with_fields(text: str, fields: dict[str, str]) -> bytes:
    """The JSON of an object with more fields in front; of two fields with one name readers take the last."""
    rest = text.strip().removeprefix("{")
    if rest == text.strip():
        raise ValueError("a raw item is a JSON object")
    comma = "" if rest.lstrip() == "}" else ","
    return (json.dumps(fields)[:-1] + comma + rest).encode()
