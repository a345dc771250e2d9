"""Encoding and decoding of messages: nothing is lost, and no input raises."""

import json
from collections import Counter
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import MAX_VERSION
from shared.dead_letters import encode_dead_letter
from shared.errors import InvalidMessageError
from shared.events import Event
from shared.keys import ItemKey, MailboxKey, MessageKey, RecordKey, TrackedActivityKey
from shared.messages import (
    ENVELOPE_HEADERS,
    Headers,
    InvalidMessage,
    KafkaRecord,
    MessagePosition,
    OutgoingMessage,
    ReceivedMessage,
    TombstoneMessage,
    ValueMessage,
    decode,
    decode_record,
)
from shared.topics import (
    ACTIVITIES,
    CONTENT,
    MATCHES,
    MAX_ACTIVITY_BYTES,
    MAX_DEAD_LETTER_BYTES,
    RECORDS,
    TOPICS,
    Topic,
)

from .examples import EMAIL, EXAMPLES, MATCHED, NOW, SUBJECT, kafka_record

AnyTopic = Topic[Any, Any]
OWN_TOPICS = [topic for topic in TOPICS if topic.value_types]
EXAMPLES_BY_TOPIC = [
    (topic, example) for topic in TOPICS for example in EXAMPLES if type(example) in topic.value_types
]
KEYS: dict[type[Any], MessageKey] = {
    ItemKey: ItemKey("contoso", "mia", "AAMk="),
    MailboxKey: MailboxKey("contoso", "mia"),
    TrackedActivityKey: TrackedActivityKey("contoso", "a1"),
}


def encode(
    topic: AnyTopic, value: Event | None, version: int = 5, **more: Any
) -> tuple[bytes, bytes | None, Headers]:
    return OutgoingMessage(topic, KEYS[topic.key_type], value, version, **more).encode("matcher", NOW)


def decode_any(topic: AnyTopic, record: KafkaRecord) -> ReceivedMessage[Any, Any]:
    return decode(topic, record) if topic.value_types else decode_record(["*"], record)


def invalid(message: ReceivedMessage[Any, Any]) -> InvalidMessage[Any]:
    assert isinstance(message, InvalidMessage)
    return message


# -- messages of our own --------------------------------------------------------------------------


def test_every_event_has_an_example_and_one_topic() -> None:
    examples = Counter(type(example) for _, example in EXAMPLES_BY_TOPIC)
    assert examples == Counter(event for topic in TOPICS for event in topic.value_types)


@pytest.mark.parametrize(
    "topic, value", EXAMPLES_BY_TOPIC, ids=lambda it: it.name if isinstance(it, Topic) else type(it).__name__
)
def test_a_value_is_decoded_as_it_was_sent(topic: AnyTopic, value: Event) -> None:
    message = decode(topic, kafka_record(*encode(topic, value), topic=topic.name))
    assert isinstance(message, ValueMessage)
    assert (message.key, message.value, message.version) == (KEYS[topic.key_type], value, 5)
    assert isinstance(message.key, topic.key_type)
    assert message.position == MessagePosition(topic.name, 0, 7)


@pytest.mark.parametrize("topic", OWN_TOPICS, ids=lambda topic: topic.name)
def test_a_tombstone_keeps_its_version(topic: AnyTopic) -> None:
    key, value, headers = encode(topic, None)
    message = decode(topic, kafka_record(key, value, headers))
    assert value is None
    assert isinstance(message, TombstoneMessage)
    assert (message.key, message.version) == (KEYS[topic.key_type], 5)


def test_the_envelope_is_cloudevents_in_binary_mode() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    _, _, headers = OutgoingMessage(ACTIVITIES, KEYS[ItemKey], EMAIL, 5).encode("mail-ingest", tokyo)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"contoso/mia/AAMk=@5",
        "ce_type": b"autocapture.activity.captured",
        "ce_source": b"mail-ingest",
        "ce_time": b"2026-11-20T09:12:00+00:00",
        "ce_version": b"5",
        "content-type": b"application/json",
    }


def test_matches_carry_epoch_and_sequence() -> None:
    key, value, headers = encode(MATCHES, MATCHED, epoch=8, sequence=3)
    message = decode(MATCHES, kafka_record(key, value, headers))
    assert (message.version, message.epoch, message.sequence) == (5, 8, 3)
    assert dict(headers)["ce_id"] == b"contoso/mia/AAMk=@5/8.3"


def test_ids_differ_when_version_epoch_or_sequence_differ() -> None:
    ids = [
        dict(encode(MATCHES, MATCHED, version, epoch=epoch, sequence=sequence)[2])["ce_id"]
        for version, epoch, sequence in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]
    ]
    assert len(set(ids)) == len(ids)


def test_all_sent_headers_are_envelope_headers() -> None:
    _, _, headers = encode(MATCHES, MATCHED, epoch=8, sequence=3, resent=True)
    assert {name for name, _ in headers} == set(ENVELOPE_HEADERS)


@pytest.mark.parametrize("resent", [True, False])
def test_reader_learns_that_a_message_is_resent(resent: bool) -> None:
    for value in (MATCHED, None):
        message = decode(MATCHES, kafka_record(*encode(MATCHES, value, resent=resent)))
        assert not isinstance(message, InvalidMessage)
        assert message.is_resent == resent


def test_unknown_fields_are_ignored() -> None:
    key, value, headers = encode(ACTIVITIES, EMAIL)
    newer = json.loads(value or b"") | {"mood": "good"}
    message = decode(ACTIVITIES, kafka_record(key, json.dumps(newer).encode(), headers))
    assert isinstance(message, ValueMessage)
    assert message.value == EMAIL


NO_SUCH_MESSAGE = "this topic has no such message"
NO_NUMBER = f"not a number up to {MAX_VERSION}"


@pytest.mark.parametrize(
    "change, field, reason",
    [
        ({"key": None}, "key", "the key is not tenant/mailbox/item"),
        ({"key": b"contoso/mia"}, "key", "the key is not tenant/mailbox/item"),
        ({"key": b"\xff/mia/1"}, "key", "the key is not tenant/mailbox/item"),
        ({"value": b"{"}, "", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ({"value": b'{"kind": "fax"}'}, "tenant", "Field required"),
        ({"headers": []}, "ce_type", NO_SUCH_MESSAGE),
        ({"headers": [("ce_type", b"\xff")]}, "ce_type", NO_SUCH_MESSAGE),
        ({"headers": [("ce_type", None)]}, "ce_type", NO_SUCH_MESSAGE),
        ({"headers": [("ce_type", b"autocapture.activity.matched")]}, "ce_type", NO_SUCH_MESSAGE),
        ({"headers": [("ce_type", b"autocapture.activity.captured")]}, "ce_version", "the header is missing"),
        ({"headers": [], "value": None}, "ce_version", "the header is missing"),
        ({"value": b" " * (MAX_ACTIVITY_BYTES + 1)}, "", "the value is longer than 327680 bytes"),
        ({"headers": [("ce_version", b"five")]}, "ce_version", NO_NUMBER),
        ({"headers": [("ce_version", b"-1")]}, "ce_version", NO_NUMBER),
        ({"headers": [("ce_version", str(MAX_VERSION + 1).encode())]}, "ce_version", NO_NUMBER),
        ({"headers": [("ce_epoch", b"9" * 5000)]}, "ce_epoch", NO_NUMBER),
    ],
)
def test_an_unreadable_message_is_invalid_with_field_and_reason(
    change: dict[str, Any], field: str, reason: str
) -> None:
    key, value, headers = encode(ACTIVITIES, EMAIL)
    record = kafka_record(**{"key": key, "value": value, "headers": headers} | change)
    error = invalid(decode(ACTIVITIES, record)).error
    assert (error.field, error.reason) == (field, reason)


# -- key and body ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic, value", EXAMPLES_BY_TOPIC, ids=lambda it: it.name if isinstance(it, Topic) else type(it).__name__
)
def test_key_and_body_must_agree_in_every_part_that_the_body_repeats(topic: AnyTopic, value: Event) -> None:
    _, body, headers = encode(topic, value)
    for part, path in value.key_fields.items():
        if path.startswith("content.") and getattr(value, "content", None) is None:
            continue
        other = KEYS[topic.key_type]._replace(**{part: "other"})
        message = decode(topic, kafka_record(topic.encode_key(other), body, headers))
        error = invalid(message).error
        assert (error.field, error.reason) == (path, "key and body do not agree")


def test_a_body_without_content_is_not_compared() -> None:
    topic, value = next((topic, value) for topic, value in EXAMPLES_BY_TOPIC if hasattr(value, "change"))
    key, body, headers = encode(topic, value)
    assert isinstance(decode(topic, kafka_record(key, body, headers)), ValueMessage)


@pytest.mark.parametrize(
    "field, key",
    [("tenant", b"fabrikam/opportunity/o1"), ("type", b"contoso/lead/o1"), ("id", b"contoso/opportunity/o2")],
)
def test_key_and_body_of_a_record_must_agree(field: str, key: bytes) -> None:
    body = b'{"tenant":"contoso","type":"opportunity","id":"o1"}'
    message = invalid(decode_record(["*"], kafka_record(key, body)))
    assert (message.error.field, message.error.reason) == (field, "key and body do not agree")


# -- messages of upstream systems -----------------------------------------------------------------


def test_an_invalid_record_keeps_its_key() -> None:
    """A reader must know which record is not there now."""
    message = invalid(decode_record(["*"], kafka_record(b"contoso/account/a1", b"{")))
    assert message.key == RecordKey("contoso", "account", "a1")


@pytest.mark.parametrize("value", [None, b'{"tenant":"contoso","type":"account","id":"a1"}'])
def test_a_tenant_of_another_topic_is_invalid_without_a_key(value: bytes | None) -> None:
    """Otherwise the writer of that topic could delete records of another tenant."""
    message = invalid(decode_record(["fabrikam"], kafka_record(b"contoso/account/a1", value)))
    assert (message.key, message.error.field) == (None, "key")


@pytest.mark.parametrize("timestamp", [-1, 0, 2**63 - 1])
def test_any_timestamp_of_an_upstream_system_gives_a_version(timestamp: int) -> None:
    record = kafka_record(b"contoso/account/a1", None, timestamp=timestamp)
    message = decode_record(["*"], record)
    assert isinstance(message, TombstoneMessage)
    assert 0 <= message.version <= MAX_VERSION


NUMBERS = st.integers().map(lambda number: str(number).encode())
HEADER_NAMES = st.sampled_from(ENVELOPE_HEADERS) | st.text()
TYPES = st.sampled_from([example.ce_type.encode() for example in EXAMPLES])
HEADERS = st.lists(st.tuples(HEADER_NAMES, st.none() | st.binary() | NUMBERS | TYPES))
RAW_KEYS = st.none() | st.binary() | st.sampled_from([b"contoso/mia/1", b"contoso/account/a1"])
VALUES = (
    st.none() | st.binary() | st.sampled_from([example.model_dump_json().encode() for example in EXAMPLES])
)


@given(st.sampled_from(TOPICS), RAW_KEYS, VALUES, HEADERS, st.integers(-1, 2**63 - 1))
def test_any_record_is_decoded_or_becomes_a_dead_letter(
    topic: AnyTopic, key: bytes | None, value: bytes | None, headers: Headers, timestamp: int
) -> None:
    message = decode_any(topic, kafka_record(key, value, headers, timestamp=timestamp))
    numbers = (message.version, message.epoch, message.sequence)
    assert all(0 <= number <= MAX_VERSION for number in numbers)
    if isinstance(message, InvalidMessage):
        encode_dead_letter(message, message.error)


# -- dead letters ---------------------------------------------------------------------------------


def dead_letter(
    topic: AnyTopic, key: bytes | None, value: bytes | None, headers: Headers, error: InvalidMessageError
) -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
    message = decode_any(topic, kafka_record(key, value, headers, topic=f"here-{topic.name}"))
    key, value, headers = encode_dead_letter(message, error)
    return key, value, dict(headers)


def test_a_dead_letter_is_the_original_with_position_and_reason() -> None:
    key, value, headers = encode(ACTIVITIES, EMAIL)
    description = {
        "dead_letter_topic": b"here-activities",
        "dead_letter_partition": b"0",
        "dead_letter_offset": b"7",
        "dead_letter_error": b"should be a valid string",
        "dead_letter_field": b"participants.1.address",
    }
    error = InvalidMessageError("should be a valid string", "participants.1.address")
    assert dead_letter(ACTIVITIES, key, value, headers, error) == (key, value, dict(headers) | description)


def test_content_is_never_copied_to_a_dead_letter() -> None:
    key, value, headers = encode(
        CONTENT, next(value for topic, value in EXAMPLES_BY_TOPIC if topic is CONTENT)
    )
    letter_key, letter_value, letter_headers = dead_letter(
        CONTENT, key, value, headers, InvalidMessageError("late")
    )
    assert (letter_key, letter_value, letter_headers["dead_letter_offset"]) == (key, None, b"7")


def test_headers_of_a_dead_letter_hold_no_value() -> None:
    """Neither the reason, nor the field's path, nor the writer's own headers."""
    secret = {"subject": SUBJECT, "participants": [{"role": SUBJECT, "address": 5}], "at": SUBJECT}
    body = json.dumps(secret).encode()
    odd: Headers = [("ce_type", EMAIL.ce_type.encode()), ("subject", SUBJECT.encode())]
    forged: Headers = [("ce_subject", SUBJECT.encode()), ("ce_type", SUBJECT.encode())]
    messages = (
        invalid(decode(ACTIVITIES, kafka_record(b"contoso/mia/1", body, odd))),
        invalid(decode_record(["*"], kafka_record(b"contoso/account/1", body, forged))),
    )
    for message in messages:
        _, _, headers = encode_dead_letter(message, message.error)
        assert SUBJECT.encode() not in b" ".join(value for _, value in headers)


def test_a_message_too_large_for_a_dead_letter_leaves_its_position() -> None:
    """Upstream may allow larger messages on its topic; such a message must not stop the reader."""
    body = b" " * MAX_DEAD_LETTER_BYTES
    key, value, headers = dead_letter(
        RECORDS, b"contoso/account/a1", body, [], InvalidMessageError("no JSON")
    )
    assert (key, value, headers["dead_letter_offset"]) == (None, None, b"7")
