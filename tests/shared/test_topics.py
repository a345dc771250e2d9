"""The table of topics."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidMessageError
from shared.keys import RecordKey
from shared.topics import (
    ACTIVITIES,
    ANYONE,
    CONTENT,
    MAIL_INGEST,
    MATCHER,
    RECORDS,
    TOMBSTONE_RETENTION,
    TOPICS,
    TRACKING,
    UPSTREAM,
    Topic,
)

AnyTopic = Topic[Any, Any]
each = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
PARTS = st.text(min_size=1)


@each
@given(parts=st.lists(PARTS.filter(lambda part: "/" not in part), min_size=4, max_size=4), last=PARTS)
def test_a_key_is_restored_from_its_bytes(topic: AnyTopic, parts: list[str], last: str) -> None:
    key = topic.key_type(*parts[: len(topic.key_type._fields) - 1], last)
    assert topic.decode_key(topic.encode_key(key)) == key


@each
@given(parts=st.lists(st.text("a/"), min_size=4, max_size=4))
def test_a_key_that_would_not_be_restored_is_refused(topic: AnyTopic, parts: list[str]) -> None:
    key = topic.key_type(*parts[: len(topic.key_type._fields)])
    try:
        encoded = topic.encode_key(key)
    except ValueError:
        return
    assert topic.decode_key(encoded) == key


def test_a_key_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="a key of activities is tenant/mailbox/item"):
        ACTIVITIES.encode_key(RecordKey("contoso", "account", "a1"))  # type: ignore[arg-type]


@each
@given(key=st.binary())
def test_any_other_key_is_an_invalid_message(topic: AnyTopic, key: bytes) -> None:
    try:
        decoded = topic.decode_key(key)
    except InvalidMessageError:
        return
    assert topic.encode_key(decoded) == key


def test_names_and_message_types_are_unique() -> None:
    names = Counter(name for topic in TOPICS for name in (topic.name, topic.dead_letters))
    types = Counter(event.ce_type for topic in TOPICS for event in topic.value_types)
    assert max(names.values()) == max(types.values()) == 1


@each
def test_writers_and_readers_are_services_or_outside(topic: AnyTopic) -> None:
    services = {MAIL_INGEST, MATCHER, TRACKING}
    assert topic.writer in services | {UPSTREAM}
    assert set(topic.readers) <= services | {ANYONE}


@each
def test_dead_letters_stay_14_days_but_no_longer_than_the_topic(
    topic: AnyTopic,
) -> None:
    time = topic.dead_letter_retention.time
    assert time == min(timedelta(days=14), topic.retention.time or timedelta(days=14))


@each
def test_retention_is_exact_to_a_twelfth(topic: AnyTopic) -> None:
    """Kafka does not delete the active segment, however old its messages are."""
    configs = topic.retention.configs()
    if topic.retention.compacted:
        assert configs["cleanup.policy"] == "compact"
        assert int(configs["delete.retention.ms"]) == TOMBSTONE_RETENTION / timedelta(milliseconds=1)
        assert int(configs["segment.ms"]) <= int(configs["max.compaction.lag.ms"])
    else:
        assert configs["cleanup.policy"] == "delete"
        assert configs["retention.bytes"] == "-1"
        assert int(configs["segment.ms"]) <= int(configs["retention.ms"]) / 12


@pytest.mark.parametrize("name", ["activities", "matches"])
def test_deleted_private_data_leaves_the_log_within_two_days(name: str) -> None:
    topic = next(topic for topic in TOPICS if topic.name == name)
    configs = topic.retention.configs()
    assert int(configs["segment.ms"]) + int(configs["max.compaction.lag.ms"]) <= timedelta(
        days=2
    ) / timedelta(milliseconds=1)


def test_only_content_is_not_copied_and_only_records_have_no_envelope() -> None:
    assert [topic for topic in TOPICS if not topic.copied_to_dead_letters] == [CONTENT]
    assert [topic for topic in TOPICS if not topic.value_types] == [RECORDS]
