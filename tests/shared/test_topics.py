"""The table of topics."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.topics import (
    ANYONE,
    CONTENT,
    MAIL_INGEST,
    MATCHER,
    RECORDS,
    TOMBSTONES_KEPT,
    TOPICS,
    TRACKING,
    UPSTREAM,
    Topic,
)

each = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
PARTS = st.text(min_size=1)


@each
@given(parts=st.lists(PARTS.filter(lambda part: "/" not in part), min_size=4, max_size=4), last=PARTS)
def test_a_key_gives_its_parts_back(topic: Topic, parts: list[str], last: str) -> None:
    key = (*parts[: len(topic.key) - 1], last)
    assert topic.split(topic.join(*key)) == key


@each
@given(parts=st.lists(st.text("a/"), max_size=4))
def test_parts_that_a_key_would_not_give_back_are_refused(topic: Topic, parts: list[str]) -> None:
    try:
        key = topic.join(*parts)
    except ValueError:
        return
    assert topic.split(key) == tuple(parts)


@each
@given(key=st.binary())
def test_any_other_key_is_a_value_error(topic: Topic, key: bytes) -> None:
    try:
        parts = topic.split(key)
    except ValueError:
        return
    assert topic.join(*parts) == key


def test_names_and_message_types_are_unique() -> None:
    names = Counter(name for topic in TOPICS for name in (topic.name, topic.dead_letters))
    types = Counter(model.ce_type for topic in TOPICS for model in topic.messages)
    assert max(names.values()) == max(types.values()) == 1


@each
def test_writers_and_readers_are_services_or_outside(topic: Topic) -> None:
    services = {MAIL_INGEST, MATCHER, TRACKING}
    assert topic.writer in services | {UPSTREAM}
    assert set(topic.readers) <= services | {ANYONE}


@each
def test_dead_letters_are_kept_for_14_days_and_never_longer_than_the_topic_keeps_its_own(
    topic: Topic,
) -> None:
    kept = topic.dead_letters_kept.time
    assert kept == min(timedelta(days=14), topic.kept.time or timedelta(days=14))


@each
def test_a_topic_keeps_its_word_within_a_twelfth(topic: Topic) -> None:
    """A segment that is still written to is not deleted, however old its messages are."""
    configs = topic.kept.configs()
    if topic.kept.compacted:
        assert configs["cleanup.policy"] == "compact"
        assert int(configs["delete.retention.ms"]) == TOMBSTONES_KEPT / timedelta(milliseconds=1)
        assert int(configs["segment.ms"]) <= int(configs["max.compaction.lag.ms"])
    else:
        assert configs["cleanup.policy"] == "delete"
        assert configs["retention.bytes"] == "-1"
        assert int(configs["segment.ms"]) <= int(configs["retention.ms"]) / 12


@pytest.mark.parametrize("name", ["activities", "matches"])
def test_what_is_private_and_gone_is_out_of_the_log_in_two_days(name: str) -> None:
    topic = next(topic for topic in TOPICS if topic.name == name)
    configs = topic.kept.configs()
    assert int(configs["segment.ms"]) + int(configs["max.compaction.lag.ms"]) <= timedelta(
        days=2
    ) / timedelta(milliseconds=1)


def test_only_content_is_never_copied_and_only_records_are_not_ours() -> None:
    assert [topic for topic in TOPICS if not topic.copied_to_dead_letters] == [CONTENT]
    assert [topic for topic in TOPICS if not topic.messages] == [RECORDS]
