"""The log of the services' topics: which messages count, and which numbers are used twice."""

from types import SimpleNamespace
from typing import Any

from scenarios.chaos.whole.published import SystemLog
from shared.events import ActivityMatched, ActivityTracked
from shared.keys import ItemKey, TrackedActivityKey
from shared.messages import OutgoingMessage
from shared.topics import MATCHES, TRACKED_ACTIVITIES
from tests.scenarios.chaos.histories import at, email

from .stories import MAIL, TRACKED, event, matched, version

KEY = ItemKey("t", *MAIL)


def add(log: SystemLog, message: OutgoingMessage, seconds: float, partition: int = 0) -> None:
    """Adds a message as Kafka gives it to a reader."""
    key, value, headers = message.encode("source", at(seconds))
    record: Any = SimpleNamespace(
        topic=f"prefix-{message.topic.name}",
        partition=partition,
        offset=0,
        timestamp=int(at(seconds).timestamp() * 1000),
        key=key,
        value=value,
        headers=headers,
    )
    log.add(record)


def matches(
    epoch: int, sequence: int, value: ActivityMatched | None = None, item: str = "e1"
) -> OutgoingMessage:
    return OutgoingMessage(MATCHES, KEY._replace(item=item), value, 1, epoch, sequence)


def test_greater_epoch_and_sequence_count() -> None:
    log = SystemLog()
    for seconds, (epoch, sequence) in enumerate([(1, 1), (2, 1), (1, 2), (2, 1), (2, 3), (2, 2)]):
        add(log, matches(epoch, sequence, matched(email())), seconds)
    assert [each.counts for each in log.matches[MAIL]] == [True, True, False, True, True, False]
    assert log.matches[MAIL][0].at == at(0)
    assert log.repeated == []


def test_epoch_of_another_key_of_the_partition_counts() -> None:
    log = SystemLog()
    add(log, matches(2, 1, item="other"), 1)
    add(log, matches(1, 5), 2)
    add(log, matches(1, 5), 3, partition=1)
    assert [each.counts for each in log.matches[MAIL]] == [False, True]


def test_two_contents_of_one_number_are_repeated() -> None:
    log = SystemLog()
    add(log, matches(1, 1, matched(email())), 1)
    add(log, matches(1, 1, matched(email())), 2)
    assert log.repeated == []
    add(log, matches(1, 1), 3)
    assert [when for when, _ in log.repeated] == [at(3)]


def test_tracked_activities_count_by_their_version() -> None:
    log = SystemLog()
    key = TrackedActivityKey("t", TRACKED)
    states: list[tuple[float, ActivityTracked | None]] = [(22, event()), (41, None), (22, event())]
    for seconds, state in states:
        add(log, OutgoingMessage(TRACKED_ACTIVITIES, key, state, version(seconds)), seconds)
    assert [(each.event, each.counts) for each in log.tracked[TRACKED]] == [
        (event(), True),
        (None, True),
        (event(), False),
    ]


def test_unreadable_message_is_kept() -> None:
    log = SystemLog()
    add(log, matches(1, 1, matched(email()), item="another"), 1)
    assert len(log.invalid) == 1
