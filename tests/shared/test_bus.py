"""Events to Kafka's records and back: nothing is lost on the way, and nothing that comes in raises."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import ENVELOPE, LARGEST, Headers, Outgoing, Position, decode, decode_record
from shared.consumer import dead_letter
from shared.errors import Rejected
from shared.events import Event
from shared.topics import (
    ACTIVITIES,
    CONTENT,
    MATCHES,
    MAX_DEAD_LETTER_BYTES,
    RECORDS,
    TOPICS,
    TRACKED_ACTIVITIES,
    Topic,
)

from .examples import EMAIL, EXAMPLES, MATCHED, NOW, SUBJECT, kafka_record

OURS = [(topic, example) for topic in TOPICS for example in EXAMPLES if type(example) in topic.messages]
KEY = ("contoso", "mia", "AAMk=")


def key_of(topic: Topic) -> tuple[str, ...]:
    return KEY[: len(topic.key)]


def sent(
    topic: Topic, value: Event | None, version: int = 5, **more: int
) -> tuple[bytes, bytes | None, Headers]:
    return Outgoing(topic, key_of(topic), value, version, **more).encode("matcher", NOW)


def test_every_message_has_an_example_and_one_topic() -> None:
    assert Counter(type(example) for _, example in OURS) == Counter(
        model for topic in TOPICS for model in topic.messages
    )


@pytest.mark.parametrize(
    "topic, value", OURS, ids=lambda it: it.name if isinstance(it, Topic) else type(it).__name__
)
def test_a_message_arrives_as_it_was_sent(topic: Topic, value: Event) -> None:
    received = decode(topic, kafka_record(*sent(topic, value), topic=topic.name))
    assert (received.refused, received.key, received.value, received.version) == (
        None,
        key_of(topic),
        value,
        5,
    )
    assert received.at == Position(topic.name, 0, 7)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.messages], ids=lambda topic: topic.name)
def test_so_does_a_tombstone_with_its_version(topic: Topic) -> None:
    key, value, headers = sent(topic, None)
    received = decode(topic, kafka_record(key, value, headers))
    assert (value, received.refused, received.key, received.value, received.version) == (
        None,
        None,
        key_of(topic),
        None,
        5,
    )


def test_the_envelope_is_cloudevents_in_binary_mode() -> None:
    _, _, headers = Outgoing(ACTIVITIES, KEY, EMAIL, 5).encode(
        "mail-ingest", NOW.astimezone(timezone(timedelta(hours=9)))
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"contoso/mia/AAMk=@5",
        "ce_type": b"autocapture.activity.captured",
        "ce_source": b"mail-ingest",
        "ce_time": b"2026-11-20T09:12:00+00:00",
        "ce_version": b"5",
        "content-type": b"application/json",
    }


def test_matches_have_epoch_and_count_in_headers_and_in_their_id() -> None:
    key, value, headers = sent(MATCHES, MATCHED, epoch=8, count=3)
    received = decode(MATCHES, kafka_record(key, value, headers))
    assert (received.version, received.epoch, received.count) == (5, 8, 3)
    assert dict(headers)["ce_id"] == b"contoso/mia/AAMk=@5/8.3"


def test_the_id_of_two_messages_is_the_same_only_if_they_say_the_same() -> None:
    ids = [
        dict(sent(MATCHES, MATCHED, version, epoch=epoch, count=count)[2])["ce_id"]
        for version, epoch, count in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]
    ]
    assert len(set(ids)) == len(ids)


def test_all_headers_that_are_sent_are_known_as_the_envelope() -> None:
    assert {name for name, _ in sent(MATCHES, MATCHED, epoch=8, count=3)[2]} == set(ENVELOPE)


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    key, value, headers = sent(ACTIVITIES, EMAIL)
    newer = json.loads(value or b"") | {"mood": "good"}
    assert decode(ACTIVITIES, kafka_record(key, json.dumps(newer).encode(), headers)).value == EMAIL


@pytest.mark.parametrize(
    "change, field, reason",
    [
        ({"key": None}, "key", "the key is not tenant/mailbox/item"),
        ({"key": b"contoso/mia"}, "key", "the key is not tenant/mailbox/item"),
        ({"key": b"\xff/mia/1"}, "key", "the key is not tenant/mailbox/item"),
        ({"value": b"{"}, "", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ({"value": b'{"kind": "fax"}'}, "tenant", "Field required"),
        ({"headers": []}, "ce_type", "no such message on this topic"),
        ({"headers": [("ce_type", b"\xff")]}, "ce_type", "no such message on this topic"),
        ({"headers": [("ce_type", None)]}, "ce_type", "no such message on this topic"),
        (
            {"headers": [("ce_type", b"autocapture.activity.matched")]},
            "ce_type",
            "no such message on this topic",
        ),
        ({"headers": [("ce_version", b"five")]}, "ce_version", "not a number of 63 bits"),
        ({"headers": [("ce_version", b"-1")]}, "ce_version", "not a number of 63 bits"),
        ({"headers": [("ce_version", str(LARGEST + 1).encode())]}, "ce_version", "not a number of 63 bits"),
        ({"headers": [("ce_epoch", b"9" * 5000)]}, "ce_epoch", "not a number of 63 bits"),
    ],
)
def test_a_message_that_cannot_be_read_says_why(change: dict[str, Any], field: str, reason: str) -> None:
    key, value, headers = sent(ACTIVITIES, EMAIL)
    refused = decode(
        ACTIVITIES, kafka_record(**{"key": key, "value": value, "headers": headers} | change)
    ).refused
    assert refused is not None
    assert (refused.field, refused.reason) == (field, reason)


def test_a_key_that_could_be_read_is_known_of_a_refused_message_too() -> None:
    """Its record is not there now: whoever keeps it must know which one."""
    received = decode_record(RECORDS, ["*"], kafka_record(b"contoso/account/a1", b"{"))
    assert (received.key, received.value, received.refused is not None) == (
        ("contoso", "account", "a1"),
        None,
        True,
    )


@pytest.mark.parametrize("value", [None, b'{"tenant":"contoso","type":"account","id":"a1"}'])
def test_a_tenant_in_a_topic_that_is_not_its_own_is_refused_with_its_key(value: bytes | None) -> None:
    """Else whoever may write that topic could delete another tenant's records."""
    received = decode_record(RECORDS, ["fabrikam"], kafka_record(b"contoso/account/a1", value))
    assert (received.key, received.refused and received.refused.field) == ((), "key")


@pytest.mark.parametrize("timestamp", [-1, 0, 2**63 - 1])
def test_no_timestamp_of_an_upstream_system_is_too_odd(timestamp: int) -> None:
    received = decode_record(RECORDS, ["*"], kafka_record(b"contoso/account/a1", None, timestamp=timestamp))
    assert received.refused is None
    assert 0 <= received.version <= LARGEST


NUMBERS = st.integers().map(lambda number: str(number).encode())
NAMES = st.sampled_from(ENVELOPE) | st.text()
TYPES = st.sampled_from([example.ce_type.encode() for example in EXAMPLES])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary() | NUMBERS | TYPES))
KEYS = st.none() | st.binary() | st.sampled_from([b"contoso/mia/1", b"contoso/account/a1"])
VALUES = (
    st.none() | st.binary() | st.sampled_from([example.model_dump_json().encode() for example in EXAMPLES])
)


@given(st.sampled_from(TOPICS), KEYS, VALUES, HEADERS, st.integers(-1, 2**63 - 1))
def test_whatever_comes_is_read_or_refused_and_can_be_a_dead_letter(
    topic: Topic, key: bytes | None, value: bytes | None, headers: Headers, timestamp: int
) -> None:
    record = kafka_record(key, value, headers, timestamp=timestamp)
    received = decode(topic, record) if topic.messages else decode_record(topic, ["*"], record)
    assert received.value is None or received.refused is None
    assert all(0 <= number <= LARGEST for number in (received.version, received.epoch, received.count))
    if received.refused:
        dead_letter(received, received.refused)


# -- dead letters ---------------------------------------------------------------------------------


def letter(
    topic: Topic, key: bytes | None, value: bytes | None, headers: Headers, reason: Rejected
) -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
    record = kafka_record(key, value, headers, topic=f"here-{topic.name}")
    received = decode(topic, record) if topic.messages else decode_record(topic, ["*"], record)
    key, value, headers = dead_letter(replace(received, refused=reason), reason)
    return key, value, dict(headers)


def test_a_dead_letter_is_the_original_and_says_where_it_was_and_why() -> None:
    key, value, headers = sent(ACTIVITIES, EMAIL)
    why = {
        "dead_letter_topic": b"here-activities",
        "dead_letter_partition": b"0",
        "dead_letter_offset": b"7",
        "dead_letter_error": b"should be a valid string",
        "dead_letter_field": b"participants.1.address",
    }
    reason = Rejected("should be a valid string", "participants.1.address")
    assert letter(ACTIVITIES, key, value, headers, reason) == (key, value, dict(headers) | why)


def test_content_is_never_copied() -> None:
    key, value, headers = sent(CONTENT, next(example for topic, example in OURS if topic is CONTENT))
    letter_key, letter_value, letter_headers = letter(CONTENT, key, value, headers, Rejected("late"))
    assert (letter_key, letter_value, letter_headers["dead_letter_offset"]) == (key, None, b"7")


def test_headers_hold_no_value_whatever_the_message_held() -> None:
    """Neither the reason, nor the field's path, nor what the writer had in its own headers."""
    secret = {"subject": SUBJECT, "participants": [{"role": SUBJECT, "address": 5}], "at": SUBJECT}
    odd: Headers = [("ce_type", EMAIL.ce_type.encode()), ("subject", SUBJECT.encode())]
    activity = decode(ACTIVITIES, kafka_record(b"contoso/mia/1", json.dumps(secret).encode(), odd))
    upstream = decode_record(
        RECORDS,
        ["*"],
        kafka_record(
            b"contoso/account/1",
            json.dumps(secret).encode(),
            [("ce_subject", SUBJECT.encode()), ("ce_type", SUBJECT.encode())],
        ),
    )
    for received in (activity, upstream):
        assert received.refused is not None
        _, _, headers = dead_letter(received, received.refused)
        assert SUBJECT.encode() not in b" ".join(value for _, value in headers)


def test_a_message_too_large_even_for_dead_letters_leaves_its_position() -> None:
    """Upstream may allow more on its topic than we do; it must not stop the reader for ever."""
    key, value, headers = letter(
        RECORDS, b"contoso/account/a1", b" " * MAX_DEAD_LETTER_BYTES, [], Rejected("no JSON")
    )
    assert (key, value, headers["dead_letter_offset"]) == (None, None, b"7")


def test_the_public_topic_names_its_two_messages() -> None:
    assert list(TRACKED_ACTIVITIES.model_of) == [
        "autocapture.activity.tracked",
        "autocapture.activity.untracked",
    ]
