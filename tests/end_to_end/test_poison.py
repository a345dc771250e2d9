"""No message stops a handler or leaks what somebody wrote: poisoned ones through the handlers' functions."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from services.mail_ingest.store.followed_items import _naming
from services.mail_ingest.store.pipelines import MailboxPipelines
from services.matcher.domain.active_rules import ActiveRules
from services.matcher.domain.directory import Directory
from services.matcher.domain.live_activities import LiveActivities
from services.matcher.domain.matching import Matcher
from services.matcher.records.loader import apply_record_message
from services.matcher.restore.restorer import apply_activity_message
from services.tracking.domain.track_request import Regarding
from services.tracking.domain.tracked_activity import add_regarding
from services.tracking.store import capture_status_document, record_document, suggestion_document
from services.tracking.store.tracked_activities import _document, _to_tracked
from shared.dead_letters import encode_dead_letter
from shared.errors import InvalidMessageError
from shared.events import FetchContent, FollowItems, ItemNotified
from shared.keys import RecordKey
from shared.messages import (
    InvalidMessage,
    OutgoingMessage,
    ReceivedMessage,
    ValueMessage,
    decode,
    decode_record,
)
from shared.record_batches import UNREADABLE_NAME
from shared.topics import (
    ACTIVITIES,
    CONTENT,
    CONTENT_REQUESTS,
    GRAPH_NOTIFICATIONS,
    MAILBOXES,
    MATCHES,
    RECORDS,
    TOPICS,
    Topic,
)
from tests.shared.examples import EXAMPLES, kafka_record
from tests.support.poison import SECRET, poisoned
from tests.support.raw_batches import RawMessage

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
KEYS = {3: ("contoso", "mia", "AAMk="), 2: ("contoso", "mia")}
RECORD = RawMessage(
    b"contoso/lead/l1",
    b'{"tenant":"contoso","type":"lead","id":"l1","name":"Ann","version":3,"modified_on":"2026-11-20T09:12:00Z",'
    b'"readers":["*"],"emails":["ann@fabrikam.com",null],"contact":{"name":"Ann","email":"ann@fabrikam.com"},'
    b'"contact_id":"c1","lookups":{"customer":{"type":"account","id":"a1"}}}',
)
CUSTOM = RawMessage(
    b"contoso/project/p1", (RECORD.value or b"").replace(b'"lead"', b'"project"').replace(b"l1", b"p1")
)

AnyMessage = ReceivedMessage[Any, Any]


def good_messages(topic: Topic[Any, Any]) -> list[RawMessage]:
    """One message of each type on a topic, as its writer writes it."""
    if topic is RECORDS:
        return [RECORD, CUSTOM]
    return [
        RawMessage(key, value, [(name.encode(), each) for name, each in headers])
        for example in EXAMPLES
        if type(example) in topic.value_types
        for key, value, headers in [
            OutgoingMessage(
                topic,
                topic.decode_key(
                    b"contoso/a1"
                    if hasattr(example, "revision")
                    else "/".join(KEYS[len(topic.key_type._fields)]).encode()
                ),
                example,
                5,
                epoch=7 if topic is MATCHES else None,
                sequence=1 if topic is MATCHES else None,
            ).encode("test", NOW)
        ]
    ]


def received(topic: Topic[Any, Any], raw: RawMessage) -> AnyMessage:
    """The message as a reader gets it; the names of headers as aiokafka with our patch reads them."""

    def read(name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            return UNREADABLE_NAME

    record = kafka_record(
        raw.key, raw.value, [(read(name), each) for name, each in raw.headers], topic=topic.name
    )
    return decode_record(["*"], record) if topic is RECORDS else decode(topic, record)


# -- what the handlers do with a valid message -----------------------------------------------------------


def stored(document: Any) -> Any:
    """A document as MongoDB gives it back; raises for one that it does not store."""
    encoded = bson.encode(document)
    assert len(encoded) < MAX_DOCUMENT_BYTES
    return bson.decode(encoded, bson.CodecOptions(tz_aware=True))


def on_matches(message: AnyMessage) -> None:
    if not isinstance(message, InvalidMessage):
        document = stored(suggestion_document(message, NOW))
        for record in document.get("records", ()):
            RecordKey("contoso", *record.split("/"))


def on_records(message: AnyMessage) -> None:
    directory = Directory(ActiveRules())
    apply_record_message(directory, message)
    if message.key:
        stored(record_document(message.key, message, 1))
        for ref in directory.for_tenant(message.key.tenant).refs():
            directory.for_tenant(message.key.tenant).addresses(ref)


def on_activities(message: AnyMessage) -> None:
    live = LiveActivities(Matcher(Directory(ActiveRules())))
    apply_activity_message(live, message, NOW)
    live.expire(NOW)
    for update in live.next_updates(10):
        OutgoingMessage(MATCHES, update.key, update.message, update.version, 1, 1).encode("matcher", NOW)


def on_mailboxes(message: AnyMessage) -> None:
    if not isinstance(message, InvalidMessage):
        stored(capture_status_document(message))


def on_notifications(message: AnyMessage) -> None:
    if isinstance(message, ValueMessage) and isinstance(message.value, ItemNotified):
        update = MailboxPipelines(reconcile=True).add_notified_items(
            [(message.value.kind, message.value.item)], window=False
        )
        stored({"update": update})


def on_content_requests(message: AnyMessage) -> None:
    if isinstance(message, ValueMessage) and isinstance(message.value, FetchContent):
        stored({"update": MailboxPipelines(reconcile=True).add_content_requests([message.value])})
    elif isinstance(message, ValueMessage) and isinstance(message.value, FollowItems):
        max(each.until for each in message.value.items)
        for each in message.value.items:
            stored({"update": _naming(message.key, each, NOW)._doc})


def on_content(message: AnyMessage) -> None:
    if isinstance(message, ValueMessage) and message.value.content:
        regarding = Regarding(RecordKey("contoso", "account", "a1"), "mia", NOW)
        tracked = add_regarding(None, (regarding,), message.value.content, NOW, version=message.version)
        _to_tracked(stored(_document(tracked)))


HANDLERS: dict[str, Callable[[AnyMessage], None]] = {
    MATCHES.name: on_matches,
    RECORDS.name: on_records,
    ACTIVITIES.name: on_activities,
    MAILBOXES.name: on_mailboxes,
    GRAPH_NOTIFICATIONS.name: on_notifications,
    CONTENT_REQUESTS.name: on_content_requests,
    CONTENT.name: on_content,
}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_poisoned_message_is_handled_or_refused_without_its_values(topic: Topic[Any, Any]) -> None:
    handler = HANDLERS.get(topic.name)
    for good in good_messages(topic):
        assert isinstance(received(topic, good), ValueMessage), "the good example is valid"
        for raw in poisoned(topic, good):
            message = received(topic, raw)
            error = message.error if isinstance(message, InvalidMessage) else None
            try:
                if handler:
                    handler(message)
            except InvalidMessageError as refused:
                error = refused
            if error:
                _, _, headers = encode_dead_letter(message, error)
                values = b" ".join(value for _, value in headers)
                assert SECRET.encode() not in values + str(error).encode(), error
